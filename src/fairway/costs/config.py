"""The ``costs`` section of ``fairway.yaml``: prices that override ``models.yaml``, and where calls are logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from fairway.bundle.models import PriceSection
from fairway.section import Flag, MisplacedError, Positive, ProjectPath, Ratio, Section

ModelName = Annotated[str, Field(strict=True, min_length=1, max_length=320)]


class CostsSection(Section):
    """What model calls cost, and what is known of those that were made.

    Attributes:
        prices: By alias, role, pinned name or ``provider/name`` of a model; they win over ``models.yaml``.
        logs: Files or globs of call logs (JSONL, also ``.gz``), inside the project; empty: nothing was logged, so
            nothing is projected from logs.
        days: The last so many days count.
        minimum_requests, minimum_days: With fewer requests, or requests on fewer days, nothing is known: NO_DATA.
        required: Whether NO_DATA holds the cost gate; otherwise it is a warning.
        calls_margin: So much more often than in the baseline may a task call a model.
        minimum_tasks: Tasks a release needs for that comparison.
    """

    prices: Mapping[ModelName, PriceSection] = {}
    logs: Annotated[tuple[ProjectPath, ...], Field(max_length=100)] = ()
    days: Annotated[int, Field(strict=True, ge=1, le=366)] = 7
    minimum_requests: Positive = 100
    minimum_days: Positive = 3
    required: Flag = True
    calls_margin: Ratio = 1.1
    minimum_tasks: Annotated[int, Field(strict=True, ge=10)] = 30

    @model_validator(mode="after")
    def _attainable(self) -> CostsSection:
        if self.minimum_days > self.days:
            at = ("minimum_days",) if "minimum_days" in self.model_fields_set else ("days",)
            raise MisplacedError(f"the last {self.days} days never hold {self.minimum_days} days", *at)
        return self
