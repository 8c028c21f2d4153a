"""Runs stages as parallel as the graph and the machine allow, and keeps what they found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol

from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.pipeline.cache import StageCache
from fairway.pipeline.dag import Graph, build_graph, next_moves, restorable
from fairway.pipeline.journal import PastRun, RunJournal
from fairway.pipeline.port import ContextT, StageNode, StageOutcome, StageResult, StageStatus
from fairway.pipeline.unchanged import as_cached, is_fresh

STOP_GRACE_SECONDS = 20.0
"""How long cancelled stages may clean up before the run ends without them."""

_OWN_STATUSES = (
    StageStatus.PASSED,
    StageStatus.FAILED,
    StageStatus.SKIPPED,
    StageStatus.ERROR,
    StageStatus.CACHED,
)


class Listener(Protocol):
    """Whoever wants to know how a run goes: a progress display, the delivery that collects evidence."""

    def stage_started(self, stage: str) -> None:
        """A stage really runs (not cached, not skipped)."""
        ...

    def stage_progressed(self, stage: str, text: str) -> None:
        """A running stage says what it does."""
        ...

    def stage_finished(self, result: StageResult) -> None:
        """A stage ended, was cached, or became pointless."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening(Generic[ContextT]):
    """What a context is made for.

    Attributes:
        workdir: Makes the stage's empty folder; called at most once, only by a stage that runs.
    """

    node: StageNode[ContextT]
    workdir: Callable[[], Path]
    log: Path
    progress: Callable[[str], None]


def graph_of(nodes: Sequence[StageNode[ContextT]]) -> Graph:
    """The graph of a pipeline.

    Raises:
        UserError: When a stage waits for one that is not there, or stages wait for each other.
    """
    return build_graph(
        {node.id: node.after for node in nodes},
        uses={node.id: node.uses for node in nodes},
        holding=[node.id for node in nodes if node.holds],
    )


class Runner(Generic[ContextT]):
    """One run of a pipeline.

    Args:
        nodes: The pipeline.
        open_context: Makes what a stage is handed.
        journal: The open folder of this run.
        cache: Where results are looked up and kept; ``None``: everything runs.
        listeners: Told in order; they must not raise.
        limit: Stages at the same time; by default the machine's processors.
        record: Told what each stage found before anybody else is; when it cannot write that down the stage broke.
        still_holds: Whether a kept result may be used again.
    """

    def __init__(
        self,
        nodes: Sequence[StageNode[ContextT]],
        *,
        open_context: Callable[[Opening[ContextT]], ContextT],
        journal: RunJournal,
        clock: Clock,
        cache: StageCache | None = None,
        listeners: Sequence[Listener] = (),
        limit: int | None = None,
        record: Callable[[StageResult], None] | None = None,
        still_holds: Callable[[StageResult], bool] = lambda _: True,
    ) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._graph = graph_of(nodes)
        self._open_context = open_context
        self._journal = journal
        self._clock = clock
        self._cache = cache
        self._listeners = listeners
        self._record = record
        self._still_holds = still_holds
        self._limit = max(1, limit or os.cpu_count() or 1)
        self._results: dict[str, StageResult] = {}
        self._keys: dict[str, str | None] = {}
        self._tasks: dict[str, asyncio.Task[StageResult]] = {}

    async def run(
        self, selected: Collection[str], *, past: PastRun | None = None, stop: asyncio.Event | None = None
    ) -> tuple[StageResult, ...]:
        """Run the selected stages and return what each found, in the order of the pipeline.

        Args:
            selected: Stage ids, from :func:`fairway.pipeline.dag.select`.
            past: A killed or failed run of the same content, whose passed stages are not run again.
            stop: Set by a person's Ctrl-C: running stages are cancelled and cleaned up, results so far kept.
        """
        stopping = stop or asyncio.Event()
        kept = self._kept_results(selected, past)
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            while not stopping.is_set():
                moved = self._move(selected, kept)
                if not self._tasks:
                    if not moved:
                        break
                    continue
                if not moved:
                    await asyncio.wait([*self._tasks.values(), stopped], return_when=asyncio.FIRST_COMPLETED)
                    self._collect()
            if stopping.is_set():
                await self._cancel(selected)
        finally:
            stopped.cancel()
            await self._stop_tasks()
        return tuple(self._results[stage] for stage in self._graph.order if stage in self._results)

    def _kept_results(self, selected: Collection[str], past: PastRun | None) -> Mapping[str, StageResult]:
        """Results of an earlier run or of the cache that still hold."""
        hits: dict[str, StageResult] = {}
        for stage in self._graph.order:
            if stage not in selected:
                continue
            node = self._nodes[stage]
            self._keys[stage] = key = None if node.disabled else self._key(node)
            if past and not node.rereads and stage in past.passed and past.passed[stage][0] == key:
                hits[stage] = past.passed[stage][1]
            elif key is not None and self._cache is not None and (found := self._cache.find(key)) is not None:
                hits[stage] = found
        now = self._clock.now()
        fresh = {s: result for s, result in hits.items() if is_fresh(result, now) and self._still_holds(result)}
        usable = restorable(self._graph, selected, fresh)
        return {stage: result for stage, result in fresh.items() if stage in usable}

    @property
    def keys(self) -> Mapping[str, str | None]:
        """Cache keys of the selected stages, once the run has begun."""
        return dict(self._keys)

    def _key(self, node: StageNode[ContextT]) -> str | None:
        try:
            return node.key(self._context(node))
        except Exception:  # noqa: BLE001 - what is wrong with its inputs is the stage's to say when it runs
            return None

    def _context(self, node: StageNode[ContextT]) -> ContextT:
        log = self._journal.log(node.id)

        def progress(text: str) -> None:
            _write_log(log, text)
            for listener in self._listeners:
                listener.stage_progressed(node.id, text)

        return self._open_context(
            Opening(node=node, workdir=lambda: self._journal.workdir(node.id), log=log, progress=progress)
        )

    def _move(self, selected: Collection[str], kept: Mapping[str, StageResult]) -> bool:
        """Start, restore and skip what can be; whether anything ended without running."""
        moves = next_moves(
            self._graph,
            selected,
            opened={stage for stage, result in self._results.items() if result.opens},
            closed={s: r.caused_by or s for s, r in self._results.items() if not r.opens},
            busy=self._tasks,
        )
        for stage, cause in moves.skip.items():
            self._finish(_skipped(stage, f"not run: {cause} did not pass", caused_by=cause))
        ended = bool(moves.skip)
        for stage in moves.start:
            node = self._nodes[stage]
            if node.disabled is not None:
                self._finish(_skipped(stage, node.disabled))
                ended = True
            elif stage in kept:
                self._finish(as_cached(kept[stage]))
                ended = True
            elif len(self._tasks) < self._limit:
                self._start(node)
        return ended

    def _start(self, node: StageNode[ContextT]) -> None:
        self._journal.started(node.id, key=self._keys[node.id], at=self._clock.now())
        for listener in self._listeners:
            listener.stage_started(node.id)
        self._tasks[node.id] = asyncio.create_task(self._execute(node), name=f"stage {node.id}")

    async def _execute(self, node: StageNode[ContextT]) -> StageResult:
        """Run one stage; whatever it does becomes a result."""
        begun = self._clock.monotonic()
        log = self._journal.log(node.id)
        try:
            outcome = _judged(await node.factory().run(self._context(node)))
        except asyncio.CancelledError as error:
            # The runner is the only one to cancel a stage, and it wants the result, not the exception.
            outcome = StageOutcome(status=StageStatus.CANCELLED, summary=str(error) or "cancelled")
        except FairwayError as error:
            _write_log(log, f"error: {error}")
            details = {"error": error.message, "code": error.code, "hint": error.hint}
            outcome = StageOutcome(status=StageStatus.ERROR, summary=error.message, details=details)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a broken stage is a result; the others go on
            _write_log(log, traceback.format_exc())
            text = f"{type(error).__name__}: {error}"
            outcome = StageOutcome(
                status=StageStatus.ERROR, summary=f"broke: {text}".splitlines()[0], details={"error": text}
            )
        return StageResult(
            stage=node.id,
            status=outcome.status,
            duration_seconds=self._clock.monotonic() - begun,
            summary=outcome.summary,
            details=outcome.details,
            findings=outcome.findings,
            artifacts=outcome.artifacts,
            evidence=outcome.evidence,
            log=log if log.exists() else None,
        )

    def _collect(self) -> None:
        """Take the results of tasks that are done."""
        for stage, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[stage]
                result = _cancelled(stage, "cancelled") if task.cancelled() else task.result()
                self._keep(result)
                self._finish(result)

    def _keep(self, result: StageResult) -> None:
        key = self._keys[result.stage]
        if key is None or self._cache is None:
            return
        try:
            self._cache.keep(key, result)
        except (OSError, ValueError) as error:  # a pass is a pass; only the next run is slower
            _write_log(self._journal.log(result.stage), f"not cached: {error}")

    def _recorded(self, result: StageResult) -> StageResult:
        """The result, once what it found is written down; a finding nobody can look up later is none."""
        if self._record is None:
            return result
        try:
            self._record(result)
        except FairwayError as error:
            text = f"what it found cannot be recorded: {error.message}"
            _write_log(self._journal.log(result.stage), f"error: {text}")
            details = {**result.details, "error": text, "code": error.code, "hint": error.hint}
            return replace(result, status=StageStatus.ERROR, summary=text, details=details, caused_by=None)
        return result

    def _finish(self, result: StageResult) -> None:
        result = self._recorded(result)
        self._results[result.stage] = result
        durable = result.status not in (StageStatus.CACHED, StageStatus.SKIPPED)
        self._journal.finished(result, key=self._keys.get(result.stage), at=self._clock.now(), durable=durable)
        for listener in self._listeners:
            listener.stage_finished(result)

    async def _cancel(self, selected: Collection[str]) -> None:
        """Stop what runs, keep what came to an end, and say of the rest that it was not run."""
        running = list(self._tasks)
        await self._stop_tasks()
        for stage in running:
            if stage not in self._results:
                self._finish(_cancelled(stage, "did not stop in time"))
        for stage in self._graph.order:
            if stage in selected and stage not in self._results:
                self._finish(_cancelled(stage, "not started"))

    async def _stop_tasks(self) -> None:
        if not self._tasks:
            return
        for task in self._tasks.values():
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_GRACE_SECONDS):
                await asyncio.wait(self._tasks.values())
        self._collect()
        self._tasks.clear()


def _judged(outcome: StageOutcome) -> StageOutcome:
    """An outcome a stage may give: unknown is never a pass."""
    if outcome.status not in _OWN_STATUSES:
        return replace(outcome, status=StageStatus.ERROR, summary=f"stage claims to be {outcome.status}")
    if outcome.status is StageStatus.PASSED and any(finding.severity == "error" for finding in outcome.findings):
        return replace(outcome, status=StageStatus.FAILED)
    return outcome


def _skipped(stage: str, summary: str, *, caused_by: str | None = None) -> StageResult:
    return StageResult(
        stage=stage, status=StageStatus.SKIPPED, duration_seconds=0.0, summary=summary, caused_by=caused_by
    )


def _cancelled(stage: str, summary: str) -> StageResult:
    return StageResult(stage=stage, status=StageStatus.CANCELLED, duration_seconds=0.0, summary=summary)


def _write_log(log: Path, text: str) -> None:
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(text if text.endswith("\n") else text + "\n")
