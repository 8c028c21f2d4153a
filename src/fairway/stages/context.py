"""What a stage of a delivery is handed: the project, what is examined, and typed collaborators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel

from fairway import __version__
from fairway.bundle.files import Bundle
from fairway.clock import Clock
from fairway.errors import UserError
from fairway.pipeline.port import StageOutcome, StageResult, StageStatus
from fairway.pipeline.runner import Opening
from fairway.project.load import Project
from fairway.release.port import ContentStore, ReleaseStore
from fairway.release.required import SKIPPED, why_not
from fairway.release.values import Evidence, SignedRelease
from fairway.rollout.port import RolloutLedger
from fairway.stages.blessed import AuditChain
from fairway.stages.interpreter import Interpreter
from fairway.stages.tree import write_tree
from fairway.state_dir import StateDir
from fairway.units import Digest, EnvironmentName, RouteId, Verdict

if TYPE_CHECKING:  # values a stage only hands on; what makes them is loaded by the stage that does
    from fairway.ledger.records import DeploymentRecord
    from fairway.stages.ready_service import ReadyService

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

COPIES = ("tree", "release")
"""Folders of a stage with a copy of the examined files: with and without tests and suites."""


_NOT_PASSED = {StageStatus.FAILED: Verdict.FAIL, StageStatus.ERROR: Verdict.ERROR}


class Ledger(RolloutLedger, ReleaseStore, AuditChain, Protocol):
    """The ledger as stages use it: routes, requests, releases, evidence, deployments and the audit chain."""

    def record_deployment(self, record: DeploymentRecord) -> None:
        """Record a deployment, or what became of it under the same id."""
        ...

    def record_run(self, run_id: str, payload: Mapping[str, Any], *, actor: str = "pipeline") -> None:
        """Record what a run of the pipeline found."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


@dataclass(kw_only=True, eq=False)
class Delivery:
    """One run: what is examined, what it shall become, and what its stages have found so far.

    Attributes:
        bundle: What is examined; never the work tree as it changes.
        interpreter: The Python that runs the project.
        release_version: The version to release; ``None``: a development run, which ends before anything is deployed.
        shown_version: The version reports show: that one, or the commit's development version.
        run_id: Of the run; requests made by it are named after it, so that a resumed run asks once.
        actor: Who runs it.
        folder: Of the run.
        open_ledger, open_store: Open them; called at most once, only by a stage that needs them.
        vouching: Stages without whose findings nothing goes to production: one that breaks is a finding too.
        waiting_for: What a living controller says about a route just now; ``None``: nothing is known.
        attended: Whether a person sees the run as it goes.
        results: Of finished stages.
        staging: The release running in staging, while a stage holds it.
        packaged: The release, once it is cut.
    """

    project: Project
    bundle: Bundle
    interpreter: Interpreter
    clock: Clock
    release_version: str | None
    shown_version: str
    run_id: str
    actor: str
    folder: Path
    open_ledger: Callable[[], Ledger]
    open_store: Callable[[], ContentStore]
    engine: str = __version__
    vouching: frozenset[str] = frozenset()
    waiting_for: Callable[[RouteId], str | None] = lambda _: None
    attended: bool = False
    results: dict[str, StageResult] = field(default_factory=dict)
    staging: ReadyService | None = None
    packaged: SignedRelease | None = None
    _held: list[tuple[asyncio.Task[None], asyncio.Event]] = field(default_factory=list)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, opened on first use."""
        return self.open_ledger()

    @cached_property
    def store(self) -> ContentStore:
        """The content store, opened on first use."""
        return self.open_store()

    @cached_property
    def interpreter_digest(self) -> str:
        """Of the interpreter and what is installed for it, as it was when the run began."""
        return self.interpreter.fingerprint()

    @cached_property
    def inputs(self) -> Mapping[str, str]:
        """Digests of everything a stage may read."""
        return {
            **{component.value: digest for component, digest in self.bundle.components.items()},
            "instrument": self.bundle.instrument,
            "interpreter": self.interpreter_digest,
        }

    def evidence(self) -> tuple[Evidence, ...]:
        """What the stages so far vouch for, bound to the release under examination.

        Evidence of a cached stage was found on the same inputs, perhaps under another commit: it is bound anew.
        """
        return tuple(self._bound(one, result) for result in self.results.values() for one in result.evidence)

    def record_evidence(self) -> None:
        """Write to the ledger what the stages so far vouch for; what is there already is not written again."""
        self._write(self.evidence())

    def record(self, result: StageResult) -> None:
        """Write to the ledger what one stage found, as soon as it has ended: also that it failed, or broke.

        What was found about uncommitted files is not kept: they can never be released.

        Raises:
            FairwayError: When the ledger cannot be written.
        """
        found = [self._bound(one, result) for one in result.evidence]
        if not found and result.stage in self.vouching and result.status in _NOT_PASSED:
            found = [self._broken(result)]
        self._write(found)

    def still_holds(self, result: StageResult) -> bool:
        """Whether a kept result may be used again: nothing newer was found on this content that says otherwise.

        Raises:
            FairwayError: When the ledger cannot be read.
        """
        for one in (self._bound(one, result) for one in result.evidence):
            newer = self._known.get(one.kind)
            if newer is not None and newer.at > one.at and why_not(one.kind, newer, now=newer.at) is not None:
                return False
        return True

    @cached_property
    def _known(self) -> Mapping[str, Evidence]:
        """The newest finding of each kind on this content when the run began."""
        newest: dict[str, Evidence] = {}
        if self._is_kept:
            for one in self.ledger.list_evidence(self.bundle.digest):
                if one.kind not in newest or one.at >= newest[one.kind].at:
                    newest[one.kind] = one
        return newest

    @property
    def _is_kept(self) -> bool:
        """Whether findings are kept in the ledger: about uncommitted files they never are."""
        return not self.bundle.dirty

    def _write(self, found: Collection[Evidence]) -> None:
        if not found or not self._is_kept:
            return
        known = {(one.kind, one.at, one.verdict) for one in self.ledger.list_evidence(self.bundle.digest)}
        new = [one for one in found if (one.kind, one.at, one.verdict) not in known]
        if new:
            self.ledger.add_evidence(new)

    def _bound(self, evidence: Evidence, result: StageResult) -> Evidence:
        """Evidence as it counts for what is examined; a stage that said no vouches for nothing."""
        verdict = evidence.verdict
        if verdict is Verdict.PASS and result.status in _NOT_PASSED:
            verdict = _NOT_PASSED[result.status]
        return replace(evidence, verdict=verdict, release=self.bundle.digest)

    def _broken(self, result: StageResult) -> Evidence:
        return Evidence(
            kind=result.stage,
            release=self.bundle.digest,
            verdict=_NOT_PASSED[result.status],
            produced_by=f"fairway {__version__}",
            at=self.clock.now(),
            figures={"problem": result.summary},
        )

    async def hold(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Enter a resource and keep it until :meth:`close`.

        It lives in a task of its own, so that it is entered and left in the same one whoever asks.

        Raises:
            Exception: What entering raises.
        """
        entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        leave = asyncio.Event()

        async def keep() -> None:
            try:
                async with resource as value:
                    entered.set_result(value)
                    await leave.wait()
            except BaseException as error:
                if not entered.done():
                    entered.set_exception(error)
                    return
                raise

        task = asyncio.create_task(keep())
        try:
            value = await asyncio.shield(entered)
        except asyncio.CancelledError:
            entered.cancel()
            task.cancel()
            with contextlib.suppress(BaseException):
                await task
            raise
        self._held.append((task, leave))
        return value

    async def close(self) -> None:
        """Leave what is held, last first; what goes wrong in one does not keep the others."""
        while self._held:
            task, leave = self._held.pop()
            leave.set()
            with contextlib.suppress(Exception):
                await task

    def stage_started(self, stage: str) -> None:
        """Nothing to note."""

    def stage_progressed(self, stage: str, text: str) -> None:
        """Nothing to note."""

    def stage_finished(self, result: StageResult) -> None:
        """Keep the result for the stages to come."""
        self.results[result.stage] = result


@dataclass(kw_only=True, eq=False)
class DeliveryContext:
    """What one stage is handed.

    Attributes:
        delivery: The run.
        opening: Where this stage works, writes and reports to.
        config: Its section of ``fairway.yaml`` as written; :meth:`settings` gives it checked.
    """

    delivery: Delivery
    opening: Opening[DeliveryContext]
    config: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Id of the stage."""
        return self.opening.node.id

    @property
    def root(self) -> Path:
        """Root of the project."""
        return self.delivery.project.root

    @cached_property
    def workdir(self) -> Path:
        """A folder of this stage in this run, empty at its start, kept with the run."""
        return self.opening.workdir()

    @property
    def log(self) -> Path:
        """File for what the stage's commands print."""
        return self.opening.log

    @property
    def project(self) -> Project:
        """The project."""
        return self.delivery.project

    @property
    def bundle(self) -> Bundle:
        """What is examined."""
        return self.delivery.bundle

    @property
    def release(self) -> Digest:
        """Digest of what is examined; ``dev:`` for a dirty tree."""
        return self.delivery.bundle.digest

    @property
    def state(self) -> StateDir:
        """``.fairway/``."""
        return self.delivery.project.state

    @property
    def clock(self) -> Clock:
        """Time."""
        return self.delivery.clock

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self.delivery.ledger

    @property
    def store(self) -> ContentStore:
        """The content store."""
        return self.delivery.store

    def settings(self, model: type[M]) -> M:
        """The stage's section of ``fairway.yaml``.

        Raises:
            ProjectFileError: With file, line, column and key of each mistake.
        """
        return self.project.stage_config(self.stage, model)

    def progress(self, text: str) -> None:
        """Say what is going on, one line."""
        self.opening.progress(text)

    def environment(self, **variables: str) -> dict[str, str]:
        """Variables for a command of the project.

        Raises:
            UserError: When the project's environment is not made (``code="no_environment"``): another Python on the
                path would quietly take its place.
        """
        interpreter = self.delivery.interpreter
        if interpreter.made_from is not None and not interpreter.is_made and self.stage != "prepare":
            raise UserError(
                "the environment of the lock file is not made", code="no_environment", hint="fairway run --only prepare"
            )
        return {**interpreter.environment(), **variables}

    async def tree(self, *, instrument: bool = True) -> Path:
        """The examined files in a folder of this stage's own; what it does to them is nobody else's."""
        folder = self.workdir / (COPIES[0] if instrument else COPIES[1])
        if not folder.exists():
            await asyncio.to_thread(write_tree, self.bundle, folder, instrument=instrument)
        return folder

    def nothing_to_look_at(self, reason: str) -> StageOutcome:
        """The stage is skipped because there is nothing it could look at: recorded with the reason, never as a pass."""
        evidence = self.found(Verdict.NO_DATA, figures={SKIPPED: reason}, instrument=True)
        return StageOutcome(status=StageStatus.SKIPPED, summary=reason, evidence=(evidence,))

    def found(
        self,
        verdict: Verdict,
        *,
        figures: Mapping[str, Any] | None = None,
        environment: str | None = None,
        effective: Digest | None = None,
        instrument: bool = False,
    ) -> Evidence:
        """Evidence of this stage about the release under examination.

        Args:
            verdict: What was found.
            figures: Numbers and short strings.
            environment: Where it was taken, when it depends on that.
            effective: Effective digest there.
            instrument: Whether it was measured with the suites, mocks and tests of the bundle.
        """
        return Evidence(
            kind=self.stage,
            release=self.release,
            verdict=verdict,
            produced_by=f"fairway {__version__}",
            at=self.clock.now(),
            effective=effective,
            instrument=self.bundle.instrument if instrument else None,
            environment=EnvironmentName(environment) if environment else None,
            figures=dict(figures or {}),
        )
