"""One run of a project's pipeline, from what is checked out to its report."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fairway.bundle.files import Bundle, scan
from fairway.bundle.git import is_inside_repository
from fairway.clock import Clock
from fairway.errors import FairwayError, UserError
from fairway.pipeline.cache import StageCache
from fairway.pipeline.dag import select
from fairway.pipeline.journal import PastRun, RunJournal, find_run, new_run_id, prune_runs, read_run
from fairway.pipeline.port import RunReport, StageResult
from fairway.pipeline.runner import Listener, Opening, Runner, graph_of
from fairway.pipeline.unchanged import forget, remember
from fairway.project.load import Project
from fairway.release.cut import no_commit
from fairway.release.history import commit_version
from fairway.release.port import ContentStore
from fairway.release.versions import Version, VersionKind
from fairway.stages.before import refuse_taken_version, refuse_wrong_files
from fairway.stages.config import InterpreterChoice, PrepareSection
from fairway.stages.context import COPIES, Delivery, DeliveryContext, Ledger
from fairway.stages.interpreter import Interpreter, current_interpreter, environment_interpreter
from fairway.stages.options import RunOptions, stage_code_version, unchanged_folder, unchanged_key
from fairway.stages.process import PREFIX
from fairway.stages.registry import NEEDS_RELEASE, Node, build_pipeline, counts_until, vouching
from fairway.targets.local.owned import reap_orphans
from fairway.units import RouteId, format_duration

_LAST_STAGE = {"dev": "build_image", "test": "build_image", "staging": "e2e_test", "production": None}
"""Where a run ends that may reach an environment of that kind, and none after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a run needs of the world.

    Attributes:
        open_ledger, open_store: Called at most once each, when first needed.
        actor: Who runs it.
        listeners: Told how it goes.
        stop: Set to interrupt it.
        begun: Told the id of the run before the first stage.
        waiting_for: What a living controller says about a route just now.
        attended: Whether a person sees the run as it goes.
    """

    clock: Clock
    actor: str
    open_ledger: Callable[[], Ledger]
    open_store: Callable[[], ContentStore]
    listeners: Sequence[Listener] = ()
    stop: asyncio.Event | None = None
    begun: Callable[[str, Sequence[Node]], None] | None = None
    waiting_for: Callable[[RouteId], str | None] = lambda _: None
    attended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What a run is about; a resumed run must be about the same."""

    release: str
    instrument: str
    version: str | None
    selected: tuple[str, ...]

    def to_wire(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "instrument": self.instrument,
            "version": self.version,
            "selected": list(self.selected),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a run will do.

    Attributes:
        released: The version to release; ``None`` for a development run.
        shown: The version to show.
        note: What the reader should know when nothing is released.
        past: The run that is resumed.
    """

    bundle: Bundle
    nodes: Sequence[Node]
    subject: _Subject
    released: str | None
    shown: str
    note: str | None
    past: PastRun | None

    @property
    def running(self) -> set[str]:
        """The stages that will run."""
        return {node.id for node in self.nodes if node.id in self.subject.selected and node.disabled is None}


async def deliver(project: Project, options: RunOptions, wiring: Wiring) -> RunReport:
    """Run the pipeline and return its report; what stages find is in the report, never raised.

    Raises:
        UserError: When what is asked cannot be: a version that is none or is taken, uncommitted changes, an unknown
            stage, a run that was about something else, a mistake in a file that a stage reads.
        ConflictError: When the run to resume still goes on.
    """
    clock = wiring.clock
    began, begun_at = clock.monotonic(), clock.now()
    key = await asyncio.to_thread(unchanged_key, project.root, options)
    bundle = await asyncio.to_thread(scan, project.root)
    plan = _plan(project, bundle, options)
    open_ledger = functools.cache(wiring.open_ledger)
    await _refuse(project, plan, open_ledger)
    await asyncio.to_thread(_tidy, project, now=begun_at)
    folder = plan.past.folder if plan.past else project.state.runs / new_run_id(begun_at)
    with RunJournal(folder) as journal:
        journal.begin(plan.subject.to_wire(), at=begun_at)
        delivery = Delivery(
            project=project,
            bundle=bundle,
            interpreter=interpreter_of(project, bundle),
            clock=clock,
            release_version=plan.released,
            shown_version=plan.shown,
            run_id=journal.run_id,
            actor=wiring.actor,
            folder=folder,
            open_ledger=open_ledger,
            open_store=wiring.open_store,
            engine=stage_code_version(),
            vouching=vouching(project),
            waiting_for=wiring.waiting_for,
            attended=wiring.attended,
        )
        if wiring.begun is not None:
            wiring.begun(journal.run_id, [node for node in plan.nodes if node.id in plan.subject.selected])
        runner = _runner(delivery, plan, journal, wiring, options)
        stop = wiring.stop or asyncio.Event()
        overtime = _Overtime(stop, limit=project.pipeline.timeout)
        try:
            with overtime:
                results = await runner.run(plan.subject.selected, past=plan.past, stop=stop)
        finally:
            await delivery.close()
        await asyncio.to_thread(_remove_copies, folder, results)
        needs_release = any(result.summary == NEEDS_RELEASE for result in results)
        report = RunReport(
            run_id=journal.run_id,
            agent=project.name,
            release=bundle.digest,
            release_version=plan.shown,
            started_at=begun_at,
            duration_seconds=clock.monotonic() - began,
            results=results,
            prompts=_prompts(project),
            titles={node.id: node.title for node in plan.nodes},
            cancelled=stop.is_set(),
            note=overtime.note or (plan.note if needs_release else None),
        )
        journal.ended(report.verdict, at=clock.now())
        _record(delivery, report)
        _remember(project, bundle, key, report, runner.keys)
    return report


def _plan(project: Project, bundle: Bundle, options: RunOptions) -> _Plan:
    """What a run of what is checked out will do.

    Raises:
        UserError: When what is asked cannot be.
        ConflictError: When the run to resume still goes on.
    """
    past = read_run(find_run(project.state.runs, options.resume or None)) if options.resume is not None else None
    asked = options.version or (str(past.subject.get("version") or "") if past else "") or None
    released, shown, note = version_of(project, bundle, asked)
    nodes = build_pipeline(project, releasing=released is not None)
    selected = tuple(_selected(project, nodes, options, past))
    subject = _Subject(release=bundle.digest, instrument=bundle.instrument, version=released, selected=selected)
    if past is not None:
        _check_same(past, subject)
    return _Plan(bundle=bundle, nodes=nodes, subject=subject, released=released, shown=shown, note=note, past=past)


async def _refuse(project: Project, plan: _Plan, open_ledger: Callable[[], Ledger]) -> None:
    """Refuse what would only fail later.

    Raises:
        UserError: For a mistake in a file that a stage reads, or a version that is taken.
    """
    await asyncio.to_thread(refuse_wrong_files, project, plan.bundle, plan.running)
    if plan.released is not None and "build_image" in plan.running and project.state.ledger.exists():
        await asyncio.to_thread(refuse_taken_version, project, open_ledger(), plan.bundle, plan.released)


def _runner(
    delivery: Delivery, plan: _Plan, journal: RunJournal, wiring: Wiring, options: RunOptions
) -> Runner[DeliveryContext]:
    return Runner(
        plan.nodes,
        open_context=lambda opening: _context(delivery, opening),
        journal=journal,
        clock=wiring.clock,
        cache=StageCache(delivery.project.state.cache / "stages") if options.cache else None,
        listeners=[delivery, *wiring.listeners],
        limit=delivery.project.pipeline.parallel,
        record=delivery.record,
        still_holds=delivery.still_holds,
    )


def _tidy(project: Project, *, now: datetime) -> None:
    """Remove old runs, and end what a killed run could not."""
    with contextlib.suppress(FairwayError):
        if not read_run(find_run(project.state.runs, None)).ended:
            reap_orphans(PREFIX)
    prune_runs(project.state.runs, now=now)
    StageCache(project.state.cache / "stages").prune(now=now)


def _remove_copies(folder: Path, results: Sequence[StageResult]) -> None:
    """Remove the copies of the files that stages worked on; those of a stage that said no are kept to look at."""
    for result in results:
        if result.opens:
            for name in COPIES:
                shutil.rmtree(folder / "stages" / result.stage / name, ignore_errors=True)


class _Overtime:
    """Stops a run whose time is up, as a person would."""

    def __init__(self, stop: asyncio.Event, *, limit: float) -> None:
        self._stop = stop
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None
        self.note: str | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limit, self._expire)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.note = f"stopped: the run took longer than pipeline.timeout ({format_duration(self._limit)})"
        self._stop.set()


def version_of(project: Project, bundle: Bundle, asked: str | None) -> tuple[str | None, str, str | None]:
    """The version to release (``None``: a development run), the one to show, and what the reader should know.

    Raises:
        UserError: When a release is asked for that cannot be.
    """
    if asked is not None:
        version = Version.parse(asked)
        if bundle.commit_sha is None:
            raise no_commit(in_repository=is_inside_repository(project.root))
        if bundle.dirty:
            changed = ", ".join(bundle.changes[:3]) + (" …" if len(bundle.changes) > 3 else "")
            raise UserError(
                f"cannot release {version}: uncommitted changes in {changed}",
                code="dirty_tree",
                hint="commit them, or run without --version to only check them",
            )
        return str(version), str(version), None
    if bundle.commit_sha is None:
        return None, "0.0.0-dev", "nothing is released: the project has no git commit yet"
    version = commit_version(project.root)
    if bundle.dirty:
        return None, f"{version}-dirty", f"nothing is released: {_files(len(bundle.changes))} from the commit"
    if version.kind is VersionKind.DEV:
        return None, str(version), f"nothing is released: {NEEDS_RELEASE}"
    return str(version), str(version), None


def _files(count: int) -> str:
    return "one file differs" if count == 1 else f"{count} files differ"


def _selected(project: Project, nodes: Sequence[Node], options: RunOptions, past: PastRun | None) -> frozenset[str]:
    graph = graph_of(nodes)
    if past is not None and not (options.start or options.stop or options.only or options.environment):
        return frozenset(stage for stage in past.subject.get("selected", ()) if stage in graph.after)
    stop = options.stop
    if options.environment is not None:
        last = _LAST_STAGE[project.environment(options.environment).kind.value]
        stop = stop or last
    return select(graph, start=options.start, stop=stop, only=options.only)


def _check_same(past: PastRun, subject: _Subject) -> None:
    """Refuse to go on with a run that was about something else.

    Raises:
        UserError: ``code="resume_changed"``.
    """
    for name, now in (("release", subject.release), ("instrument", subject.instrument), ("version", subject.version)):
        if past.subject.get(name) != now:
            what = {"release": "the files", "instrument": "the suites or tests", "version": "the version"}[name]
            raise UserError(
                f"{what} changed since run {past.run_id}",
                code="resume_changed",
                hint="start a new run: fairway run; what did not change comes from the cache",
            )


def interpreter_of(project: Project, bundle: Bundle) -> Interpreter:
    """The Python that runs what is checked out.

    Raises:
        ProjectFileError: The settings of ``prepare`` are wrong.
    """
    settings = project.stage_config("prepare", PrepareSection)
    if settings.environment is InterpreterChoice.VENV:
        lock = bundle.read(settings.lock) if bundle.find(settings.lock) else b""
        return environment_interpreter(project.state.cache / "envs", lock)
    return current_interpreter()


def _context(delivery: Delivery, opening: Opening[DeliveryContext]) -> DeliveryContext:
    config: Mapping[str, Any] = delivery.project.pipeline.stages.get(opening.node.id) or {}
    return DeliveryContext(delivery=delivery, opening=opening, config=config)


def _prompts(project: Project) -> dict[str, dict[str, str]]:
    """The prompts production would serve; none when that cannot be resolved, which static analysis says."""
    try:
        pinned = project.overlay("production").prompts
    except FairwayError:
        return {}
    return {name: {"version": one.version, "sha256": one.sha256} for name, one in pinned.items()}


def _remember(
    project: Project, bundle: Bundle, key: str | None, report: RunReport, keys: Mapping[str, str | None]
) -> None:
    """Keep a run that passed for the next one that finds nothing changed; one that did not ends that."""
    folder = unchanged_folder(project.state)
    with contextlib.suppress(OSError):  # only the next run is slower
        if report.verdict != "passed":
            forget(folder)
        elif key is not None:
            recorded_in = None if bundle.dirty else project.state.ledger
            remember(folder, key, report, keys, recorded_in=recorded_in, until=counts_until(bundle, report.started_at))


def _record(delivery: Delivery, report: RunReport) -> None:
    """Keep the run with the releases it was about, when the ledger was needed at all."""
    if "ledger" not in vars(delivery):
        return
    delivery.ledger.record_run(report.run_id, _summary(report), actor=delivery.actor)


def _summary(report: RunReport) -> dict[str, Any]:
    def stage(result: StageResult) -> dict[str, Any]:
        return {
            "stage": result.stage,
            "status": result.status.value,
            "duration_seconds": round(result.duration_seconds, 3),
            "summary": result.summary,
        }

    return {
        "version": 1,
        "agent": report.agent,
        "release": report.release,
        "release_version": report.release_version,
        "status": report.verdict,
        "started_at": report.started_at.isoformat(),
        "duration_seconds": round(report.duration_seconds, 3),
        "stages": [stage(result) for result in report.results],
    }
