"""What a stage is: one small plug-in that looks at a project and says what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fairway.release.values import Evidence


class StageStatus(StrEnum):
    """How a stage ended. Only PASSED and CACHED let what depends on it run."""

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
        status: PASSED, FAILED, SKIPPED or ERROR; CACHED and CANCELLED are the runner's to say.
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
    """What a report shows of a stage."""

    stage: str
    status: StageStatus
    duration_seconds: float
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    caused_by: str | None = None
    """The stage whose failure made this one pointless, when skipped."""


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


class Stage(Protocol):
    """One stage, one file in ``fairway/stages``."""

    id: ClassVar[str]
    title: ClassVar[str]
    after: ClassVar[tuple[str, ...]]

    def cache_key(self, context: StageContext) -> str | None:
        """A digest of everything the result depends on; ``None``: never cached."""
        ...

    async def run(self, context: StageContext) -> StageOutcome:
        """Look, and say what was found. A broken tool is ERROR, never PASSED; cancellation must clean up."""
        ...


StageFactory = Callable[[], Stage]
