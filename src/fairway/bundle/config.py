"""The ``budgets`` section of ``fairway.yaml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from fairway.section import Positive, Section

Money = Annotated[float, Field(strict=True, ge=0, le=1e9)]
"""USD."""


class TokensSection(Section):
    """Tokens of one request's prompt: more than ``warn`` warns, more than ``fail`` fails."""

    warn: Positive = 3000
    fail: Positive = 4000

    @model_validator(mode="after")
    def _ordered(self) -> TokensSection:
        if self.warn > self.fail:
            raise ValueError("warn must not be above fail")
        return self


class BudgetsSection(Section):
    """What a request and a day may cost.

    Attributes:
        prompt_tokens: Of every prompt of the project.
        prompts: Of one prompt, by name; wins over ``prompt_tokens``.
        cost_per_request, cost_per_day, cost_per_month: USD; ``None``: no limit of its own. What is projected from call
            logs is compared with 500 a day and 10,000 a month then.
    """

    prompt_tokens: TokensSection = TokensSection()
    prompts: dict[str, TokensSection] = {}
    cost_per_request: Money | None = None
    cost_per_day: Money | None = None
    cost_per_month: Money | None = None

    def tokens_of(self, prompt: str) -> TokensSection:
        """The limits of one prompt."""
        return self.prompts.get(prompt, self.prompt_tokens)
