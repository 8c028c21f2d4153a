"""The ``evals`` section of ``fairway.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, model_validator

from fairway.evals.judges.settings import DEFAULT_SCALE, PanelRule, scale_problem
from fairway.evals.live.config import OnlineSection
from fairway.section import (
    Count,
    Duration,
    Flag,
    Fraction,
    MisplacedError,
    Name,
    Points,
    Positive,
    ProjectPath,
    Ratio,
    Section,
    Share,
    Text,
)

Pointer = Annotated[str, Field(strict=True, max_length=512, pattern=r"^(/([^~/]|~[01])*)*$")]
"""RFC 6901."""
KeyPointer = Annotated[str, Field(strict=True, max_length=512, pattern=r"^(/([^~/]|~[01])+)+$")]
"""RFC 6901, through keys of objects."""
HeaderName = Annotated[str, Field(strict=True, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_|~-]+$")]


Grade = Annotated[str, Field(strict=True, min_length=1, max_length=64)]


class ChatRequestSection(Section):
    """How a message is posted to the service's chat path.

    Attributes:
        message: Where the message goes.
        thread: Where the conversation's id goes; ``null``: nowhere.
        header: Header that carries the conversation's id; ``null``: none.
        variables: Where the case's variables go; ``null``: nowhere.
        extra: Fields every request has besides.
    """

    message: KeyPointer = "/message"
    thread: KeyPointer | None = "/thread_id"
    header: HeaderName | None = "x-conversation-id"
    variables: KeyPointer | None = None
    extra: Mapping[str, JsonValue] = {}


class ChatResponseSection(Section):
    """Where an answer says what.

    Attributes:
        text: The reply.
        tools: The list of tool calls; ``null``: it does not say.
        tokens_in, tokens_out: Token counts, for a service that sends no ``Fairway-Outcome`` header.
        cost: US dollars of the request, for a service that does not say it in that header.
        state: The state the agent left behind; ``null``: it does not say.
        state_path: Asked for that state by GET after each turn, ``{thread}`` replaced, when no answer holds it.
        context: The passages it answered from: a list of texts, or of objects with ``text`` or ``content``.
        finish_reason, model: Why it ended, and which model it ran.
    """

    text: Pointer = "/response"
    tools: Pointer | None = "/tools"
    tokens_in: Pointer | None = None
    tokens_out: Pointer | None = None
    cost: Pointer | None = None
    state: Pointer | None = None
    state_path: Annotated[str, Field(strict=True, max_length=512, pattern=r"^/")] | None = None
    context: Pointer | None = None
    finish_reason: Pointer | None = None
    model: Pointer | None = None


class CalibrationSection(Section):
    """Labelled items the judge is tried on in every run, and what it must show on them.

    Attributes:
        items: The file: YAML, JSON or JSONL.
        record: What the judge showed when people last looked, to see it drift; ``null``: not looked for.
        minimum, each: Items at least, and of good and of bad ones each.
        sensitivity, specificity: Least share of good items it passes, of bad ones it fails.
        kappa: Least agreement with the labels beyond chance.
        flip_rate: Largest share of items it grades one way and then another.
        repeats: How often each item is graded.
    """

    items: ProjectPath
    record: ProjectPath | None = None
    minimum: Annotated[int, Field(strict=True, ge=2, le=100_000)] = 20
    each: Positive = 5
    sensitivity: Fraction = 0.8
    specificity: Fraction = 0.8
    kappa: Fraction = 0.6
    flip_rate: Fraction = 0.1
    repeats: Annotated[int, Field(strict=True, ge=1, le=20)] = 2


class JudgeSection(Section):
    """Models that grade answers.

    Attributes:
        model: Alias of ``models.yaml``.
        panel: Aliases of further models that vote.
        rule: What the votes come to: what more than half say, or what all say.
        choices: Grades of a rubric and the score of each, 0 to 1; ``null``: the default scale.
        threshold: A case passes with this score or more.
        repeats: Grades of each model.
        rubric: File with guidance for every case.
        calibration: ``null``: nobody knows how good the judge is.
    """

    model: Text
    enabled: Flag = True
    threshold: Fraction = 0.7
    repeats: Positive = 1
    rubric: ProjectPath | None = None
    timeout: Duration = 60.0
    max_tokens: Positive = 512
    panel: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    rule: PanelRule = PanelRule.MAJORITY
    choices: Annotated[Mapping[Grade, Fraction] | None, Field(min_length=2, max_length=20)] = None
    calibration: CalibrationSection | None = None

    @model_validator(mode="after")
    def _usable_scale(self) -> JudgeSection:
        problem = scale_problem(self.choices) if self.choices is not None else None
        if problem is not None:
            raise MisplacedError(problem, "choices")
        if min((self.choices or DEFAULT_SCALE).values()) >= self.threshold:
            raise MisplacedError("every grade of the scale reaches it, so that nothing could fail", "threshold")
        return self


class EmbeddingsSection(Section):
    """The model that ``similar`` is measured with.

    Attributes:
        model: Alias or role of ``models.yaml``; its provider answers ``POST …/embeddings`` as OpenAI does.
        timeout: Of one request.
    """

    model: Text
    timeout: Duration = 30.0


class BaselineKind(StrEnum):
    """What a release is compared with.

    ``none``: nothing; the simple rule decides. ``stable``: the release now stable, or without one the last release,
    started beside the candidate and asked in turn with it. ``blessed``: the run somebody blessed.
    """

    NONE = "none"
    STABLE = "stable"
    BLESSED = "blessed"


class CompareSection(Section):
    """How a candidate is compared with a baseline.

    Attributes:
        margin: How much worse than the baseline is still allowed: ``5pt``, or a fraction.
        cost_ratio, token_ratio: Limits on what a case costs and uses beside the baseline, ``+10%``; ``null``: none.
        adaptive: Add repeats where the outcome is in doubt.
        max_repeat: Adaptive repeats of a case end here.
        minimum: Fewer cases than this that both sides decided decide nothing; ``null``: what the margin needs.
    """

    baseline: BaselineKind = BaselineKind.NONE
    margin: Points = 0.05
    cost_ratio: Ratio | None = None
    token_ratio: Ratio | None = None
    adaptive: Flag = False
    max_repeat: Positive = 8
    minimum: Positive | None = None


class SmokeLayerSection(Section):
    """The small evaluation against the real model.

    Attributes:
        environment: Whose models are asked; it must name a real provider. ``null``: the one of ``evals``.
        calls: Messages to the agent at most, over all cases.
        tag: Only cases with it; where none has it, the first ones of the suites.
    """

    environment: Name | None = None
    calls: Annotated[int, Field(strict=True, ge=1, le=5)] = 5
    tag: Text = "smoke"


class LayersSection(Section):
    """The layers of evaluation besides the whole one: ``fairway eval run --layer smoke``."""

    smoke: SmokeLayerSection = SmokeLayerSection()


class EvalsSection(Section):
    """Which suites vouch for a release, and how.

    Attributes:
        suites: Files or globs of suites.
        required: Whether a project without any case fails the stage; otherwise it is skipped.
        judge: ``None``: only deterministic assertions.
        embeddings: ``None``: ``similar`` is unknown.
        request, response: How the agent is talked to.
        environment: Whose effective configuration the agent runs with; ``None``: that of dev.
        maximum_failed: Share of failed cases (parts of 100,000) at which a suite fails.
        errors: Share of cases that may end in an error of provider or judge before the run is an ERROR.
        tool_accuracy: Share of expected tool calls that must be made.
        spend: Hard stop in USD, agents and judges together; ``None``: no limit.
        compare: What a release is compared with.
        layers: Smaller evaluations, asked for by name.
        online: What live traffic is scored by; ``None``: it is not.
    """

    suites: Annotated[tuple[ProjectPath, ...], Field(max_length=1000)] = (
        "evals/suites/*.yaml",
        "evals/suites/*.json",
        "evals/suites/*.jsonl",
        "evals/suites/*.csv",
        "tests/prompt_test_cases.json",
    )
    required: Flag = True
    judge: JudgeSection | None = None
    embeddings: EmbeddingsSection | None = None
    request: ChatRequestSection = ChatRequestSection()
    response: ChatResponseSection = ChatResponseSection()
    environment: Name | None = None
    concurrency: Positive = 4
    repeat: Positive = 1
    timeout: Duration = 60.0
    retries: Count = 2
    maximum_failed: Share = 10_000
    errors: Share = 10_000
    tool_accuracy: Fraction = 0.95
    spend: Annotated[float, Field(strict=True, ge=0)] | None = None
    compare: CompareSection = CompareSection()
    layers: LayersSection = LayersSection()
    online: OnlineSection | None = None
