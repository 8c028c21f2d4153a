from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.clock import SystemClock
from fairway.errors import RefusedError
from fairway.pipeline import runner as runner_module
from fairway.pipeline.cache import StageCache
from fairway.pipeline.journal import RunJournal, read_run
from fairway.pipeline.port import Finding, StageNode, StageOutcome, StageResult, StageStatus
from fairway.pipeline.runner import Opening, Runner
from fairway.release.values import Evidence
from fairway.units import Digest, Verdict

PASSED = StageOutcome(status=StageStatus.PASSED, summary="ok")
FAILED = StageOutcome(status=StageStatus.FAILED, summary="no")
NOW = datetime.now(UTC)
Body = Callable[["Context"], Awaitable[StageOutcome]]


class Context:
    def __init__(self, opening: Opening[Context]) -> None:
        self.opening = opening
        self.root = Path()
        self.config: dict[str, Any] = {}

    @property
    def workdir(self) -> Path:
        return self.opening.workdir()

    def progress(self, text: str) -> None:
        self.opening.progress(text)


@dataclass
class Scripted:
    id: str
    body: Body
    title: str = ""
    after: tuple[str, ...] = ()

    def cache_key(self, context: Context) -> str | None:
        return None

    async def run(self, context: Context) -> StageOutcome:
        return await self.body(context)


@dataclass
class Recorder:
    events: list[tuple[str, str]] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    def stage_started(self, stage: str) -> None:
        self.events.append(("started", stage))
        self.at_once += 1
        self.most = max(self.most, self.at_once)

    def stage_progressed(self, stage: str, text: str) -> None:
        self.events.append(("progress", f"{stage}: {text}"))

    def stage_finished(self, result: StageResult) -> None:
        self.events.append((result.status.value, result.stage))
        if ("started", result.stage) in self.events:
            self.at_once -= 1


def node(
    name: str, *after: str, body: Body | StageOutcome = PASSED, key: str | None = None, **changes: Any
) -> StageNode[Context]:
    async def fixed(_: Context) -> StageOutcome:
        await asyncio.sleep(0)
        assert isinstance(body, StageOutcome)
        return body

    run = fixed if isinstance(body, StageOutcome) else body
    return StageNode(
        id=name, title=name, after=after, factory=lambda: Scripted(name, run), key=lambda _: key, **changes
    )


@dataclass
class Bench:
    folder: Path
    recorder: Recorder = field(default_factory=Recorder)

    async def run(
        self, *nodes: StageNode[Context], run: str = "r1", cache: bool = True, resume: bool = False, **options: Any
    ) -> dict[str, StageResult]:
        limit = options.pop("limit", 4)
        more = {name: options.pop(name) for name in ("record", "still_holds") if name in options}
        with ExitStack() as stack:
            past = read_run(self.folder / "runs" / run) if resume else None
            journal = stack.enter_context(RunJournal(self.folder / "runs" / run))
            if not resume:
                journal.begin({}, at=SystemClock().now())
            engine = Runner(
                nodes,
                open_context=Context,
                journal=journal,
                clock=SystemClock(),
                cache=StageCache(self.folder / "cache") if cache else None,
                listeners=[self.recorder],
                limit=limit,
                **more,
            )
            selected = options.pop("selected", [n.id for n in nodes])
            results = await engine.run(selected, past=past, **options)
        return {result.stage: result for result in results}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_failure_skips_what_depends_on_it_and_lets_the_rest_run(bench: Bench) -> None:
    results = await bench.run(
        node("a"), node("bad", "a", body=FAILED), node("other", "a"), node("c", "bad"), node("d", "c", "other")
    )
    assert {stage: result.status.value for stage, result in results.items()} == {
        "a": "passed", "bad": "failed", "other": "passed", "c": "skipped", "d": "skipped",
    }  # fmt: skip
    assert results["d"].caused_by == "bad"
    assert not results["c"].opens


async def test_a_stages_own_skip_lets_what_depends_on_it_run(bench: Bench) -> None:
    skip = StageOutcome(status=StageStatus.SKIPPED, summary="no tools declared")
    results = await bench.run(
        node("tools", body=skip), node("off", disabled="disabled: no tests yet"), node("c", "tools", "off")
    )
    assert results["off"].summary == "disabled: no tests yet"
    assert results["c"].status is StageStatus.PASSED


@pytest.mark.parametrize(
    ("error", "details"),
    [
        pytest.param(ZeroDivisionError("division by zero"), {"error": "ZeroDivisionError: division by zero"}, id="bug"),
        pytest.param(SystemExit(4), {"error": "SystemExit: 4"}, id="a library that exits"),
        pytest.param(
            RefusedError("not signed", hint="sign it"),
            {"error": "not signed", "code": "refused", "hint": "sign it"},
            id="fairway's own",
        ),
    ],
)
async def test_a_stage_that_raises_is_an_error_with_the_text_and_never_a_pass(
    bench: Bench, error: BaseException, details: dict[str, str]
) -> None:
    async def broken(_: Context) -> StageOutcome:
        raise error

    results = await bench.run(node("broken", body=broken), node("c", "broken"), node("other"))
    assert results["broken"].status is StageStatus.ERROR
    assert dict(results["broken"].details) == details
    assert results["c"].status is StageStatus.SKIPPED
    assert results["other"].status is StageStatus.PASSED


async def test_the_traceback_of_a_broken_stage_is_in_its_log_only(bench: Bench) -> None:
    async def broken(context: Context) -> StageOutcome:
        context.progress("about to divide")
        raise ZeroDivisionError

    result = (await bench.run(node("broken", body=broken)))["broken"]
    assert "Traceback" not in result.summary
    assert result.log is not None
    text = result.log.read_text()
    assert text.startswith("about to divide\n")
    assert "Traceback" in text


@pytest.mark.parametrize("status", [StageStatus.CANCELLED])
async def test_a_stage_cannot_claim_what_is_the_runners_to_say(bench: Bench, status: StageStatus) -> None:
    results = await bench.run(node("a", body=StageOutcome(status=status, summary="")))
    assert results["a"].status is StageStatus.ERROR


async def test_a_pass_with_an_error_finding_is_a_failure(bench: Bench) -> None:
    finding = Finding(severity="error", rule="r", message="m")
    outcome = StageOutcome(status=StageStatus.PASSED, summary="", findings=(finding,))
    assert (await bench.run(node("a", body=outcome)))["a"].status is StageStatus.FAILED


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_as_many_run_at_once_as_the_machine_allows_and_no_more(bench: Bench, limit: int) -> None:
    async def slow(_: Context) -> StageOutcome:
        await asyncio.sleep(0.02)
        return PASSED

    await bench.run(*(node(f"s{i}", body=slow) for i in range(5)), limit=limit)
    assert bench.recorder.most == limit


async def test_an_unchanged_stage_is_cached_and_a_changed_key_runs_again(bench: Bench) -> None:
    await bench.run(node("a", key="1" * 64), node("b", "a", key="2" * 64))
    again = await bench.run(node("a", key="1" * 64), node("b", "a", key="3" * 64), run="r2")
    assert (again["a"].status, again["b"].status) == (StageStatus.CACHED, StageStatus.PASSED)


async def test_without_a_key_or_a_cache_a_stage_always_runs(bench: Bench) -> None:
    for run, cache in (("r1", True), ("r2", True), ("r3", False)):
        results = await bench.run(node("a"), node("b", key="1" * 64), run=run, cache=cache)
        assert results["a"].status is StageStatus.PASSED
    assert results["b"].status is StageStatus.PASSED


async def test_a_failure_is_never_cached(bench: Bench) -> None:
    for run in ("r1", "r2"):
        assert (await bench.run(node("a", key="1" * 64, body=FAILED), run=run))["a"].status is StageStatus.FAILED


async def test_a_result_whose_evidence_has_expired_is_not_used(bench: Bench) -> None:
    def waived(expires: datetime) -> StageOutcome:
        evidence = Evidence(
            kind="a",
            release=Digest("sha256:" + "0" * 64),
            verdict=Verdict.PASS,
            produced_by="t",
            at=NOW,
            expires=expires,
        )
        return replace(PASSED, evidence=(evidence,))

    for key, expires, again in (("1", NOW + timedelta(days=999), "cached"), ("2", NOW, "passed")):
        await bench.run(node("a", key=key * 64, body=waived(expires)))
        results = await bench.run(node("a", key=key * 64, body=waived(expires)), run="r2")
        assert results["a"].status.value == again


async def test_a_broken_key_only_means_that_the_stage_runs(bench: Bench) -> None:
    def broken(_: Context) -> str:
        raise OSError("gone")

    broken_node = StageNode(id="a", title="a", after=(), factory=node("a").factory, key=broken)
    assert (await bench.run(broken_node))["a"].status is StageStatus.PASSED


async def test_a_service_is_held_only_when_somebody_has_to_run(bench: Bench) -> None:
    def nodes(e2e_key: str) -> list[StageNode[Context]]:
        return [
            node("deploy", key="1" * 64, holds=True),
            node("e2e", "deploy", key=e2e_key, uses=("deploy",)),
        ]

    await bench.run(*nodes("2" * 64))
    assert (await bench.run(*nodes("2" * 64), run="r2"))["deploy"].status is StageStatus.CACHED
    assert (await bench.run(*nodes("3" * 64), run="r3"))["deploy"].status is StageStatus.PASSED


async def test_resume_runs_what_did_not_pass_and_rereads_what_others_may_have_changed(bench: Bench) -> None:
    await bench.run(node("a"), node("approval", "a", rereads=True), node("b", "approval", body=FAILED), cache=False)
    results = await bench.run(
        node("a"), node("approval", "a", rereads=True), node("b", "approval"), cache=False, resume=True
    )
    assert {stage: result.status.value for stage, result in results.items()} == {
        "a": "cached", "approval": "passed", "b": "passed",
    }  # fmt: skip


async def test_ctrl_c_cancels_what_runs_cleans_it_up_and_keeps_what_passed(bench: Bench) -> None:
    stop = asyncio.Event()
    cleaned: list[str] = []

    async def endless(_: Context) -> StageOutcome:
        stop.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)  # cleaning up takes a moment
            cleaned.append("endless")
        return PASSED

    results = await bench.run(node("a"), node("endless", "a", body=endless), node("c", "endless"), stop=stop)
    assert cleaned == ["endless"]
    assert {stage: result.status.value for stage, result in results.items()} == {
        "a": "passed", "endless": "cancelled", "c": "cancelled",
    }  # fmt: skip
    assert set(read_run(bench.folder / "runs" / "r1").passed) == {"a"}


async def test_a_stage_that_will_not_stop_does_not_hold_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "STOP_GRACE_SECONDS", 0.05)
    stop = asyncio.Event()
    release = asyncio.Event()

    async def stubborn(_: Context) -> StageOutcome:
        stop.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return PASSED

    results = await bench.run(node("stubborn", body=stubborn), stop=stop)
    release.set()
    await asyncio.sleep(0)
    assert results["stubborn"].status is StageStatus.CANCELLED
    assert results["stubborn"].summary == "did not stop in time"


async def test_cancelling_the_run_itself_cancels_its_stages(bench: Bench) -> None:
    running = asyncio.Event()
    cleaned = asyncio.Event()

    async def endless(_: Context) -> StageOutcome:
        running.set()
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.set()
        return PASSED

    task = asyncio.create_task(bench.run(node("endless", body=endless)))
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def test_a_full_disk_does_not_turn_a_pass_into_something_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: StageCache, key: str, result: StageResult) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StageCache, "keep", full)
    assert (await bench.run(node("a", key="1" * 64)))["a"].status is StageStatus.PASSED


async def test_what_each_stage_found_is_recorded_before_anything_that_waits_for_it_starts(bench: Bench) -> None:
    def record(result: StageResult) -> None:
        bench.recorder.events.append(("recorded", result.stage))

    await bench.run(node("a"), node("b", "a", body=FAILED), node("c", "b"), record=record)
    events = bench.recorder.events
    assert events.index(("recorded", "a")) < events.index(("started", "b"))
    assert ("recorded", "b") in events


@pytest.mark.parametrize("found", [PASSED, FAILED])
async def test_a_finding_that_cannot_be_recorded_is_an_error_and_opens_nothing(
    bench: Bench, found: StageOutcome
) -> None:
    def record(result: StageResult) -> None:
        if result.stage == "a":
            raise RefusedError("the disk is full", code="disk_full")

    results = await bench.run(node("a", body=found), node("b", "a"), record=record)
    assert results["a"].status is StageStatus.ERROR
    assert "the disk is full" in results["a"].summary
    assert (results["b"].status, results["b"].caused_by) == (StageStatus.SKIPPED, "a")


async def test_a_kept_result_that_no_longer_holds_is_found_anew(bench: Bench) -> None:
    await bench.run(node("a", key="1" * 64), run="r1")
    again = await bench.run(node("a", key="1" * 64), run="r2", still_holds=lambda _: False)
    assert again["a"].status is StageStatus.PASSED


def test_the_engine_needs_nothing_heavy() -> None:
    heavy = {"pydantic", "sqlalchemy", "rich", "jsonschema", "httpx"}
    import subprocess

    code = "import fairway.pipeline.runner, sys; print(*sorted(m for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert heavy.isdisjoint(loaded)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_pipeline_with_any_failures_runs_each_stage_at_most_once_and_only_after_what_it_needs(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    count = data.draw(st.integers(1, 8))
    names = [f"s{i}" for i in range(count)]
    after = {
        n: tuple(data.draw(st.sets(st.sampled_from(names[:i]), max_size=3))) if i else () for i, n in enumerate(names)
    }
    fates = {n: data.draw(st.sampled_from(["pass", "fail", "raise", "skip"])) for n in names}
    delays = {n: data.draw(st.sampled_from([0.0, 0.0005, 0.001])) for n in names}
    log: list[tuple[str, str]] = []

    def body(name: str) -> Body:
        async def run(_: Context) -> StageOutcome:
            log.append(("start", name))
            await asyncio.sleep(delays[name])
            log.append(("end", name))
            if fates[name] == "raise":
                raise RuntimeError(name)
            status = {"pass": StageStatus.PASSED, "fail": StageStatus.FAILED, "skip": StageStatus.SKIPPED}[fates[name]]
            return StageOutcome(status=status, summary="")

        return run

    bench = Bench(tmp_path_factory.mktemp("p"))
    results = asyncio.run(bench.run(*(node(n, *after[n], body=body(n)) for n in names), limit=3))
    assert set(results) == set(names)
    for name in names:
        lets = all(results[needed].opens for needed in after[name])
        assert (("start", name) in log) is lets
        assert log.count(("start", name)) <= 1
        if lets:
            begun = log.index(("start", name))
            assert all(log.index(("end", needed)) < begun for needed in after[name])
        else:
            assert results[name].status is StageStatus.SKIPPED
            assert fates[results[name].caused_by or ""] in ("fail", "raise")
