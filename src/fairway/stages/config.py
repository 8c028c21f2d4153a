"""Settings of Fairway's own stages: ``pipeline.stages.<id>`` in ``fairway.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from fairway.section import Command, Duration, Flag, HttpPath, Positive, ProjectPath, Section, Share, Text, Variables

DEFAULT_ENVIRONMENT = "dev"
"""Where suites are played unless ``evals.environment`` says otherwise."""


class StageSection(Section):
    """What every stage has.

    Attributes:
        enabled: ``false`` switches the stage off; it is shown as skipped with the ``reason``.
        reason: Why it is off; required then, so that a missing check is always somebody's decision.
        after: Further stages it waits for.
    """

    enabled: Flag = True
    reason: Text | None = None
    after: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _explained(self) -> StageSection:
        if not self.enabled and not (self.reason or "").strip():
            raise ValueError("a stage that is switched off needs a `reason`, which every report shows")
        return self


class InterpreterChoice(StrEnum):
    """Which Python runs the project: the one on the path, or one made from the lock file."""

    CURRENT = "current"
    VENV = "venv"


class PrepareSection(StageSection):
    """The toolchain.

    Attributes:
        environment: ``venv`` makes an environment from the lock file, once a content of it, and uses it everywhere.
        lock: Pinned requirements; when the file is not there nothing is compared.
        python: Version the project's interpreter must have, its first numbers: ``"3.11"``; ``None``: any.
        tools: Programs that must be on the path.
    """

    environment: InterpreterChoice = InterpreterChoice.CURRENT
    lock: ProjectPath = "requirements.lock"
    python: Annotated[str, Field(strict=True, pattern=r"^[0-9]+(\.[0-9]+){0,2}$")] | None = None
    tools: tuple[Text, ...] = ()
    timeout: Duration = 600.0


class StaticAnalysisSection(StageSection):
    """Checks that need nothing to run.

    Attributes:
        ruff: ``None``: when the project configures it.
        exclude: Globs of files that are left alone (templates that are no YAML yet).
    """

    ruff: Flag | None = None
    exclude: tuple[Text, ...] = ()
    timeout: Duration = 120.0


class CoverageSection(Section):
    """What tests must cover.

    Attributes:
        total, module: Least share of the whole and of each module.
        file: A coverage.py JSON report the ``command`` writes; without it a ``command`` decides by its exit code.
        source: Folders or packages that are measured; empty: all Python code of the bundle but its tests.
        omit: Globs of modules that are not.
    """

    total: Share = 80_000
    module: Share = 70_000
    file: ProjectPath | None = None
    source: tuple[Text, ...] = ()
    omit: tuple[Text, ...] = ()


class UnitTestSection(StageSection):
    """The project's tests.

    Attributes:
        command: Runs them instead of pytest; its exit code decides.
        paths: What pytest collects; empty: as the project configures it.
        junit: A JUnit file the ``command`` writes, so that its tests are counted.
    """

    command: Command | None = None
    paths: tuple[Text, ...] = ()
    junit: ProjectPath | None = None
    coverage: CoverageSection = CoverageSection()
    timeout: Duration = 900.0
    environment: Variables = {}


class ToolExample(Section):
    """One call of a tool with arguments that must work.

    Attributes:
        tool: Its name in ``tools.yaml``.
        arguments: What it is called with.
    """

    tool: Text
    arguments: Mapping[str, JsonValue] = {}


class ToolIntegrationSection(StageSection):
    """Tools against the code.

    Attributes:
        command: Run once an example: ``FAIRWAY_TOOL`` is the tool, the last argument its arguments as JSON; what it
            prints last is the result as JSON. Without it, schemas, mocks and examples are checked against each other.
        examples: Calls that must work.
    """

    command: Command | None = None
    examples: tuple[ToolExample, ...] = ()
    timeout: Duration = 60.0


class BuildImageSection(StageSection):
    """The release.

    Attributes:
        evidence: Kinds of evidence a release needs beside every check of the pipeline that is switched on.
    """

    evidence: tuple[Text, ...] | None = None


class DeployStagingSection(StageSection):
    """The release running, for as long as the run needs it."""

    environment: Text = "staging"


class SmokeTestSection(StageSection):
    """Whether what was deployed answers."""

    tries: Positive = 30
    interval: Duration = 0.5
    chat: Flag | None = None


class Expectation(Section):
    """What an answer must be."""

    status: Annotated[int, Field(strict=True, ge=100, le=599)] = 200
    contains: tuple[Text, ...] | Text = ()

    def texts(self) -> tuple[str, ...]:
        """Every text the body must contain."""
        return (self.contains,) if isinstance(self.contains, str) else self.contains


class E2eRequest(Section):
    """One request to the deployed service and what is expected of the answer."""

    path: HttpPath
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "GET"
    name: Text | None = None
    body: JsonValue = None
    headers: Mapping[str, Text] = {}
    expect: Expectation = Expectation()


class E2eTestSection(StageSection):
    """Whole conversations with what was deployed."""

    requests: tuple[E2eRequest, ...] = ()
    timeout: Duration = 60.0


class ApprovalGateSection(StageSection):
    """Whether a person has said yes."""

    environment: Text = "production"


class RolloutStageSection(StageSection):
    """A deployment by the rollout.

    Attributes:
        timeout: Seconds the stage watches before it leaves the rollout to itself.
        paused: Seconds a paused rollout, which only a person can take on, is waited for where no terminal shows that.
    """

    environment: Text = "production"
    timeout: Duration = 4 * 3600.0
    paused: Duration = 600.0


class SlaSnapshotSection(StageSection):
    """What the release did since it went live."""

    environment: Text = "production"
