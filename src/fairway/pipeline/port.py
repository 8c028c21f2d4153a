"""What a stage is: one small plug-in that looks at a project and says what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from fairway.release.values import Evidence


class StageStatus(StrEnum):
    """How a stage ended. What depends on it runs after PASSED, CACHED, or a SKIPPED of its own choice."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CACHED = "cached"
    ERROR = "error"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a stage complains about.

    Attributes:
        severity: ``error`` fails the stage; ``warning`` and ``note`` do not.
        rule: Stable id, e.g. ``prompt/undefined-variable`` or ``B602``.
    """

    severity: str
    rule: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage returns.

    Attributes:
        status: PASSED, FAILED, SKIPPED or ERROR; CACHED and CANCELLED are the runner's to say, except that a
            publishing stage says CACHED when what it would publish is already there.
        summary: One line for the progress display and the reports.
        details: JSON-able figures.
        findings: Ordered by file and line.
        evidence: Bound to the release under examination, recorded in the ledger.
        artifacts: ``{name: file}`` to keep with the run.
    """

    status: StageStatus
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a report shows of a stage, and what the cache and the run's journal keep of it.

    Attributes:
        caused_by: The stage whose failure made this one pointless, when skipped for that.
        log: File with everything the stage said; ``None`` when it never ran.
    """

    stage: str
    status: StageStatus
    duration_seconds: float
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    caused_by: str | None = None
    log: Path | None = None

    @property
    def opens(self) -> bool:
        """Whether what depends on this stage may run."""
        if self.status is StageStatus.SKIPPED:
            return self.caused_by is None
        return self.status in (StageStatus.PASSED, StageStatus.CACHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run of the pipeline, as every report shows it.

    Attributes:
        release: Digest of what was examined (``dev:`` for a dirty tree).
        release_version: Version the run was to release, or its development version.
        prompts: ``{name: {"version", "sha256"}}``.
        results: In the order of the pipeline; stages left out by ``--from``/``--to``/``--only`` are not there.
        cancelled: Interrupted by a person.
        note: What the reader should know beyond the stages, e.g. why nothing was deployed.
    """

    run_id: str
    agent: str
    release: str
    release_version: str
    started_at: datetime
    duration_seconds: float
    results: tuple[StageResult, ...]
    prompts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    cancelled: bool = False
    note: str | None = None

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``error`` or ``cancelled``: the worst that is certain."""
        statuses = {result.status for result in self.results}
        if self.cancelled or StageStatus.CANCELLED in statuses:
            return "cancelled"
        if StageStatus.FAILED in statuses:
            return "failed"
        return "error" if StageStatus.ERROR in statuses else "passed"

    @property
    def exit_code(self) -> int:
        """0 passed, 1 a stage said no, 3 a stage broke, 130 interrupted."""
        return {"passed": 0, "failed": 1, "error": 3, "cancelled": 130}[self.verdict]


class StageContext(Protocol):
    """What the runner hands to a stage; the concrete one is wired by bootstrap and carries typed collaborators."""

    @property
    def root(self) -> Path:
        """Root of the project."""
        ...

    @property
    def workdir(self) -> Path:
        """A directory of this stage in this run, empty at its start, kept with the run."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The stage's section of ``fairway.yaml``, validated."""
        ...

    def progress(self, text: str) -> None:
        """Say what is going on, one line."""
        ...


ContextT = TypeVar("ContextT", bound=StageContext)
ContextT_contra = TypeVar("ContextT_contra", bound=StageContext, contravariant=True)


class Stage(Protocol[ContextT_contra]):
    """One stage, one file in ``fairway/stages``."""

    @property
    def id(self) -> str:
        """Name in ``fairway.yaml``, on the command line and in reports."""
        ...

    @property
    def title(self) -> str:
        """For people."""
        ...

    @property
    def after(self) -> tuple[str, ...]:
        """Stages it needs to have passed."""
        ...

    def cache_key(self, context: ContextT_contra) -> str | None:
        """A digest of everything the result depends on; ``None``: never cached."""
        ...

    async def run(self, context: ContextT_contra) -> StageOutcome:
        """Look, and say what was found. A broken tool is ERROR, never PASSED; cancellation must clean up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNode(Generic[ContextT]):
    """A stage's place in the pipeline; the stage itself is made only when it has to run.

    Attributes:
        factory: Makes the stage; may import its module, so that a cached run imports nothing.
        key: Digest of everything the result depends on; ``None``: never cached.
        uses: Stages whose *held* resource (a running service) it needs, a subset of ``after`` and its ancestors.
        holds: It keeps something running for its users until the run ends; not started when every user is cached.
        rereads: It looks at what others may have changed meanwhile (the ledger): runs again on ``--resume``, and must
            find by itself what it has already done.
        disabled: Why it is not to run here; shown as SKIPPED, lets what depends on it run.
    """

    id: str
    title: str
    after: tuple[str, ...]
    factory: Callable[[], Stage[ContextT]]
    key: Callable[[ContextT], str | None]
    uses: tuple[str, ...] = ()
    holds: bool = False
    rereads: bool = False
    disabled: str | None = None
