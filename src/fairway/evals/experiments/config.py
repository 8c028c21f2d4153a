"""``experiments.yaml``: A/B experiments, each a set of variants of one project."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from fairway.section import Fraction, MisplacedError, Name, Points, Positive, ProjectPath, Section, Text

EXPERIMENTS_FILE = "experiments.yaml"
WHOLE_PERCENT = 100

Percent = Annotated[float, Field(strict=True, gt=0, le=WHOLE_PERCENT)]


class VariantSection(Section):
    """One variant: what differs from the project as it is in the experiment's environment.

    Attributes:
        share: Percent of assigned keys; the shares of an experiment are 100 together.
        prompts: ``{prompt: version}``.
        models: ``{role or alias: alias}``.
        temperature, max_tokens: Of the environment.
    """

    share: Percent
    prompts: Mapping[str, Text] = {}
    models: Mapping[str, Text] = {}
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    max_tokens: Positive | None = None

    def overrides(self) -> dict[str, object]:
        """What it says differently, as keys of an environment of ``fairway.yaml``; empty: nothing."""
        return self.model_dump(mode="json", exclude={"share"}, exclude_defaults=True)


class ExperimentSection(Section):
    """One experiment.

    Attributes:
        variants: In order; the assignment depends on it.
        control: Every other variant is compared with it; ``None``: the first.
        suites: What is played; empty: the project's.
        environment: Whose configuration the variants change.
        margin: By how much a variant may be worse than the control.
        alpha: Error of each verdict over all variants of the experiment together.
    """

    variants: Annotated[Mapping[Name, VariantSection], Field(min_length=2, max_length=20)]
    control: Name | None = None
    suites: Annotated[tuple[ProjectPath, ...], Field(max_length=1000)] = ()
    environment: Name = "production"
    margin: Points = 0.05
    alpha: Annotated[Fraction, Field(gt=0, le=0.2)] = 0.05
    description: Text = ""

    @model_validator(mode="after")
    def _whole(self) -> ExperimentSection:
        total = sum((Decimal(str(one.share)) for one in self.variants.values()), Decimal(0))
        if total != WHOLE_PERCENT:
            raise MisplacedError(f"the shares are {total.normalize():f} together, and must be 100", "variants")
        if self.control is not None and self.control not in self.variants:
            raise MisplacedError(f"there is no variant {self.control!r}", "control")
        seen: dict[str, str] = {}
        for name, variant in self.variants.items():
            said = repr(sorted(variant.overrides().items()))
            if said in seen:
                raise MisplacedError(f"is the same as {seen[said]!r}", "variants", name)
            seen[said] = name
        return self

    @property
    def compared_with(self) -> str:
        """Name of the control."""
        return self.control or next(iter(self.variants))


class ExperimentsFile(Section):
    """The whole file."""

    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    experiments: Annotated[Mapping[Name, ExperimentSection], Field(max_length=100)] = {}
