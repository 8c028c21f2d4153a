"""``evals.online``: what is scored of live traffic."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue, model_validator

from fairway.section import Duration, Positive, Section, Text


class OnlineSection(Section):
    """What every sampled reply is scored by, on both arms alike; the scores are for the gate ``score_mean``.

    Attributes:
        asserted: Written ``assert``: what must hold of a reply without knowing the right one, as in a suite.
        rubric: What ``evals.judge`` grades a reply by; ``None``: no judge is asked.
        spend: USD a day (UTC) at most; what comes after that is not scored.
        wait: So long a block waits for its scores before gates read it; what is later is missing.
        concurrency: Replies scored at a time.
    """

    model_config = ConfigDict(populate_by_name=True)

    asserted: Annotated[tuple[JsonValue, ...], Field(alias="assert", max_length=100)] = ()
    rubric: Text | None = None
    spend: Annotated[float, Field(strict=True, gt=0, le=1e6)] = 5.0
    wait: Duration = 20.0
    concurrency: Annotated[Positive, Field(le=256)] = 4

    @model_validator(mode="after")
    def _scores_something(self) -> OnlineSection:
        if not self.asserted and not (self.rubric or "").strip():
            raise ValueError("needs something to score by: assert, a rubric, or both")
        return self
