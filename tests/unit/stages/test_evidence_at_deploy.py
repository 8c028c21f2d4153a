"""Law 9 where it counts: what a controller finds about a release that somebody wants in production."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from fairway.bundle.files import scan
from fairway.bundle.git import head_commit
from fairway.controller.facts import ReleaseFactsLookup
from fairway.errors import TransientError
from fairway.pipeline.port import Finding, StageResult, StageStatus
from fairway.project.load import load_project
from fairway.release.required import CHECKS, REHEARSALS
from fairway.release.store import FileContentStore
from fairway.release.trust import trusted_keys
from fairway.release.values import Evidence, Manifest
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.next_step import next_step
from fairway.rollout.requests import AnswerKind, Request, Verb
from fairway.rollout.values import ArmRef, RouteState
from fairway.stages.packaging import package
from fairway.stages.registry import required_for_release
from fairway.testing.rollout_cases import snapshot
from fairway.testing.virtual_clock import EPOCH, VirtualClock
from fairway.units import Digest, EnvironmentName, Verdict

MODELS = "version: 1\nmodels: {main: {provider: mock, model: m1}}\nroles: {orchestrator: main}\n"
STOP = StageStatus.FAILED


class Shop:
    """A release in a ledger, and the lookup of a controller over it."""

    def __init__(self, bench, *, settings: str = "", skip: tuple[str, ...] = (), more: str = "") -> None:  # type: ignore[no-untyped-def]
        self.bench = bench
        self.clock = bench.clock = VirtualClock()
        bench.commit({"server.py": "x = 1\n", "models.yaml": MODELS}, settings=settings)
        if more:
            bench.commit({"fairway.yaml": (bench.root / "fairway.yaml").read_text() + more})
        delivery = bench.delivery(version="1.0.0")
        self.project = delivery.project
        self.digest: Digest = delivery.bundle.digest
        self.find(*(kind for kind in CHECKS if kind not in skip))
        self.manifest: Manifest = package(
            self.project, bench.ledger, delivery.store, version="1.0.0",
            evidence_required=required_for_release(self.project), now=self.clock.now(), publisher="ada",
        ).manifest  # fmt: skip
        self.route = self.project.route("production")
        self.state = RouteState(route=self.route)
        self.reads = 0
        self.lookup = ReleaseFactsLookup(
            releases=bench.ledger,
            store=FileContentStore(self.project.state.blobs),
            trusted=partial(trusted_keys, self.project.state.keys),
            clock=self.clock,
        )

    def find(self, *kinds: str, verdict: Verdict = Verdict.PASS, **changes: object) -> None:
        """Record findings; those of the rehearsals as they are taken: in staging, unless the test says otherwise."""
        staged = {} if not hasattr(self, "manifest") or "figures" in changes else self.in_staging()
        self.bench.ledger.add_evidence(
            Evidence(
                kind=kind, release=self.digest, verdict=verdict, produced_by="t", at=self.clock.now(),
                **{**(staged if kind in REHEARSALS else {}), **changes},  # type: ignore[arg-type]
            )
            for kind in kinds
        )  # fmt: skip

    def in_staging(self, environment: str = "staging") -> dict[str, object]:
        name = EnvironmentName(environment)
        return {"environment": name, "effective": self.manifest.effective[name]}

    def ask(self, verb: Verb = Verb.START, name: str = "r1") -> Request:
        args = {"release": self.digest}
        return Request(id=name, route=self.route, verb=verb, actor="bob", at=EPOCH, args=args)

    def facts(self, state: RouteState | None = None) -> ReleaseFacts:
        found = self.lookup(self.ask(), state or self.state)
        assert found is not None
        return found

    @property
    def arm(self) -> ArmRef:
        effective = self.manifest.effective[self.route.environment]
        return ArmRef(release=self.digest, effective=effective, version="1.0.0")


def test_a_release_that_was_only_cut_does_not_start_and_the_answer_says_what_is_missing(bench) -> None:
    shop = Shop(bench)
    refusal = shop.facts().refusal
    assert "smoke_test: nothing was found" in refusal
    assert "e2e_test" in refusal
    assert "fairway run" in refusal
    asked = shop.ask()
    seen = snapshot(shop.state, requests=(asked,))
    decision = next_step(replace(seen, releases={shop.digest: shop.facts()}))
    assert [(one.kind, one.code) for one in decision.answers] == [(AnswerKind.REFUSED, "release_refused")]
    assert "smoke_test" in decision.answers[0].message


def test_the_way_it_names_leaves_the_folder_of_the_running_project_alone_and_records_in_its_ledger(bench) -> None:
    shop = Shop(bench)
    bench.commit({"server.py": "x = 2\n"})
    later = head_commit(bench.root)
    way, fairway_run = shop.facts().refusal.partition("take it on its commit: ")[2].rsplit("; ", 1)
    there = subprocess.run(["sh", "-ec", f"{way}; pwd"], cwd=bench.root, capture_output=True, text=True, check=True)
    folder = Path(there.stdout.splitlines()[-1])
    assert fairway_run == "fairway run"
    assert (head_commit(bench.root), head_commit(folder)) == (later, shop.manifest.commit_sha)
    assert (folder / "server.py").read_text() == "x = 1\n"
    assert load_project(folder).state.root.resolve() == shop.project.state.root.resolve()
    assert (scan(folder).digest, scan(folder).dirty) == (shop.digest, False)


def test_with_everything_found_it_starts(bench) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    assert shop.facts().refusal == ""


def test_what_was_tried_in_another_environment_than_the_one_before_does_not_vouch(bench) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS, **shop.in_staging("test"))
    assert "has not passed staging (smoke_test: nothing was found on this content; e2e_test" in shop.facts().refusal


def test_a_latency_that_staging_promises_is_measured_there_before_production(bench) -> None:
    shop = Shop(bench, more="environments: {staging: {latency_sla: 2s, tool_accuracy: 0.9}}\n")
    shop.find(*REHEARSALS)
    refusal = shop.facts().refusal
    assert "has not passed staging (tool accuracy: not measured, at least 90.0% is asked; latency SLA: not" in refusal
    shop.find("prompt_regression", figures={"tool_accuracy": 0.95})
    shop.find("e2e_test", **shop.in_staging(), figures={"latency_p95_ms": 2500.0})
    assert "(latency SLA: P95 was 2500 ms, at most 2000 ms is asked)" in shop.facts().refusal
    shop.find("e2e_test", **shop.in_staging(), figures={"latency_p95_ms": 1500.0})
    assert shop.facts().refusal == ""


@pytest.mark.parametrize("kind", [*CHECKS, *REHEARSALS, "deploy_staging"])
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_a_newer_failure_of_any_kind_refuses_at_once_also_when_the_release_was_verified_before(
    bench, kind: str, verdict: Verdict
) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    assert shop.facts().refusal == ""
    shop.find(kind, verdict=verdict)
    assert f"{kind}: {verdict.value}" in shop.facts().refusal


async def test_evidence_that_expires_stops_counting_while_the_release_stays_verified(bench) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    shop.find("security_scan", expires=shop.clock.now() + timedelta(seconds=5))
    assert shop.facts().refusal == ""
    await shop.clock.sleep(5)
    assert "security_scan: PASS expired" in shop.facts().refusal


@pytest.mark.parametrize("place", ["stable", "history"])
def test_a_release_that_was_stable_here_may_always_come_back(bench, place: str) -> None:
    shop = Shop(bench)
    other = replace(shop.arm, release=Digest("sha256:" + "7" * 64))
    state = replace(
        shop.state, **({"stable": shop.arm} if place == "stable" else {"stable": other, "history": (shop.arm,)})
    )
    assert shop.facts(state).refusal == ""
    assert shop.facts(replace(shop.state, stable=other)).refusal != ""


def test_what_the_release_switches_off_is_read_from_the_release_and_not_from_what_is_edited_later(bench) -> None:
    shop = Shop(bench)
    text = (bench.root / "fairway.yaml").read_text()
    off = "{enabled: false, reason: in a hurry}"
    bench.write({"fairway.yaml": f"{text}pipeline: {{stages: {{smoke_test: {off}, e2e_test: {off}}}}}\n"})
    assert "smoke_test" in shop.facts().refusal


def test_a_release_that_switches_a_check_off_with_a_reason_starts_without_it(bench) -> None:
    shop = Shop(bench, settings="unit_test: {enabled: false, reason: no tests yet}", skip=("unit_test",))
    shop.find(*REHEARSALS)
    assert shop.facts().refusal == ""


def test_no_tools_and_no_requests_are_no_reason_to_refuse_but_no_tests_are(bench) -> None:
    shop = Shop(bench)
    shop.find("smoke_test")
    shop.find("tool_integration", "e2e_test", verdict=Verdict.NO_DATA, figures={"skipped": "none declared"})
    assert shop.facts().refusal == ""
    shop.find("unit_test", verdict=Verdict.NO_DATA, figures={"skipped": "none declared"})
    assert "unit_test" in shop.facts().refusal


def test_a_release_that_does_not_verify_is_refused_whatever_was_found(bench) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    lookup = replace(shop.lookup, trusted=dict)
    facts = lookup(shop.ask(), shop.state)
    assert facts is not None
    assert "sign" in facts.refusal


async def test_preparing_reads_the_release_in_a_thread_once_and_the_call_reads_nothing(bench) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    threads: list[bool] = []
    read = shop.lookup.store.get

    def get(digest: Digest) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return read(digest)

    shop.lookup.store.get = get  # type: ignore[method-assign]
    assert await shop.lookup.prepare((shop.ask(),), shop.state, seconds=30) == frozenset()
    assert threads
    assert not any(threads)
    del threads[:]
    assert await shop.lookup.prepare((shop.ask(), shop.ask(Verb.APPROVE, "r2")), shop.state) == frozenset()
    assert shop.facts().refusal == ""
    assert threads == []
    await shop.clock.sleep(31)
    assert shop.facts().refusal == ""
    assert threads  # verified anew after a while


async def test_a_release_that_takes_long_to_read_is_left_for_a_later_tick_and_nothing_waits_for_a_rollback(
    bench,
) -> None:
    shop = Shop(bench)
    shop.find(*REHEARSALS)
    go_on = threading.Event()
    read = shop.lookup.store.get
    shop.lookup.store.get = lambda digest: go_on.wait(10) and read(digest)  # type: ignore[method-assign,return-value]
    asked = shop.ask()
    assert await shop.lookup.prepare((asked,), shop.state, seconds=0.05) == {"r1"}
    urgent = Request(id="r9", route=shop.route, verb=Verb.ROLLBACK, actor="bob", at=EPOCH)
    began = time.monotonic()
    assert await shop.lookup.prepare((asked, urgent), shop.state, seconds=30) == {"r1"}
    assert time.monotonic() - began < 1
    assert "still being verified" in shop.facts().refusal  # and nothing is read on the loop
    abort = replace(urgent, verb=Verb.ABORT)
    assert await shop.lookup.prepare((asked, abort), shop.state, seconds=30) == frozenset()  # it needs no facts
    assert await shop.lookup.prepare((abort, asked), shop.state, seconds=30) == {"r1"}
    go_on.set()
    while await shop.lookup.prepare((asked,), shop.state, seconds=5):
        await asyncio.sleep(0)
    assert shop.facts().refusal == ""


def result(stage: str, status: StageStatus, **changes: object) -> StageResult:
    return StageResult(stage=stage, status=status, duration_seconds=1, summary="said so", **changes)  # type: ignore[arg-type]


def test_a_stage_that_breaks_is_recorded_as_broken_where_production_asks_for_it(bench) -> None:
    shop = Shop(bench)
    delivery = bench.delivery(version="1.0.0")
    for stage in ("smoke_test", "deploy_staging", "prepare", "canary_deploy"):
        delivery.record(result(stage, StageStatus.ERROR))
    found = {one.kind: one.verdict for one in bench.ledger.list_evidence(shop.digest) if one.kind not in CHECKS}
    assert found == {"smoke_test": Verdict.ERROR, "deploy_staging": Verdict.ERROR}


def test_a_stage_that_said_no_never_leaves_a_pass_behind(bench) -> None:
    shop = Shop(bench)
    said_yes = Evidence(kind="e2e_test", release=shop.digest, verdict=Verdict.PASS, produced_by="t", at=EPOCH)
    failed = result(
        "e2e_test",
        StageStatus.FAILED,
        evidence=(said_yes,),
        findings=(Finding(severity="error", rule="x", message="x"),),
    )
    bench.delivery(version="1.0.0").record(failed)
    assert bench.ledger.list_evidence(shop.digest)[-1].verdict is Verdict.FAIL


def test_what_was_found_about_uncommitted_files_is_not_kept(bench) -> None:
    shop = Shop(bench)
    before = bench.ledger.list_evidence(shop.digest)
    bench.write(
        {"tests/test_x.py": "def test_x(): pass\n"}
    )  # the release's digest is the same: tests are no part of it
    delivery = bench.delivery()
    assert delivery.bundle.digest == shop.digest
    evidence = Evidence(kind="unit_test", release=shop.digest, verdict=Verdict.PASS, produced_by="t", at=EPOCH)
    delivery.record(result("unit_test", StageStatus.PASSED, evidence=(evidence,)))
    assert bench.ledger.list_evidence(shop.digest) == before


@pytest.mark.parametrize(("verdict", "holds"), [(Verdict.PASS, True), (Verdict.FAIL, False), (Verdict.ERROR, False)])
async def test_a_kept_result_does_not_outlive_a_newer_finding_that_says_otherwise(
    bench, verdict: Verdict, holds: bool
) -> None:
    shop = Shop(bench)
    kept = Evidence(kind="unit_test", release=shop.digest, verdict=Verdict.PASS, produced_by="t", at=shop.clock.now())
    await shop.clock.sleep(1)
    shop.find("unit_test", verdict=verdict)
    cached = result("unit_test", StageStatus.PASSED, evidence=(kept,))
    assert bench.delivery().still_holds(cached) is holds


def test_a_finding_that_cannot_be_written_down_is_an_error(bench) -> None:
    shop = Shop(bench)

    def full(point: str) -> None:
        if point == "before add_evidence":
            raise TransientError("the ledger is busy", code="ledger_busy")

    bench.ledger.fail_at = full
    with pytest.raises(TransientError):
        bench.delivery().record(result("smoke_test", StageStatus.FAILED))
    assert shop.digest
