"""The ``evals`` section of ``fairway.yaml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairway.section import Count, Duration, Flag, Fraction, Name, Positive, ProjectPath, Section, Share, Text


class JudgeSection(Section):
    """A model that scores answers by a rubric.

    Attributes:
        model: Alias of ``models.yaml``.
        threshold: A case passes with this score or more.
    """

    model: Text
    enabled: Flag = True
    threshold: Fraction = 0.7
    repeats: Positive = 1
    rubric: ProjectPath | None = None
    timeout: Duration = 60.0
    max_tokens: Positive = 512


class EvalsSection(Section):
    """Which suites vouch for a release, and how.

    Attributes:
        suites: Files or globs of suites.
        judge: ``None``: only deterministic assertions.
        environment: Whose effective configuration the agent runs with; ``None``: that of dev.
        maximum_failed: Share of failed cases (parts of 100,000) at which a suite fails.
        errors: Share of cases that may end in an error of provider or judge before the run is an ERROR.
        tool_accuracy: Share of expected tool calls that must be made.
        spend: Hard stop in USD; ``None``: no limit.
    """

    suites: Annotated[tuple[ProjectPath, ...], Field(max_length=1000)] = (
        "evals/suites/*.yaml",
        "evals/suites/*.json",
        "tests/prompt_test_cases.json",
    )
    judge: JudgeSection | None = None
    environment: Name | None = None
    concurrency: Positive = 4
    repeat: Positive = 1
    timeout: Duration = 60.0
    retries: Count = 2
    maximum_failed: Share = 10_000
    errors: Share = 10_000
    tool_accuracy: Fraction = 0.95
    spend: Annotated[float, Field(strict=True, ge=0)] | None = None
