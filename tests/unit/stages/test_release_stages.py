from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from fairway.clock import Clock
from fairway.errors import NotFoundError, TransientError
from fairway.observe.fold import ArmBlock, Block
from fairway.pipeline.port import StageResult, StageStatus
from fairway.release.values import Evidence, Manifest
from fairway.rollout.people import Override, Quorum
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.rollout.values import Approval, ArmRef, Phase, RouteState
from fairway.rollout.wire import state_to_wire
from fairway.stages.approval_gate import possible_plans, standing_before_exposure
from fairway.stages.rollout_watch import Standing, standing_of
from fairway.testing.memory_ledger import MemoryLedger
from fairway.testing.rollout_cases import CANDIDATE, GATES, NEXT, ROUTE, STABLE, canary_plan, rollout_state, route_state
from fairway.testing.virtual_clock import EPOCH, VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, EnvironmentName, RouteId, Verdict

CHECKS = ("static_analysis", "unit_test", "prompt_regression", "tool_integration", "security_scan", "cost_gate")
MODELS = "version: 1\nmodels: {main: {provider: mock, model: m1}}\nroles: {orchestrator: main}\n"


def found(bench, *kinds: str, verdict: Verdict = Verdict.PASS, skipped: tuple[str, ...] = ()) -> None:  # type: ignore[no-untyped-def]
    """The stages before have found this."""
    release = bench.delivery().bundle.digest
    for kind in kinds:
        evidence = Evidence(kind=kind, release=release, verdict=verdict, produced_by="test", at=EPOCH)
        bench.results[kind] = StageResult(
            stage=kind, status=StageStatus.PASSED, duration_seconds=1, summary="", evidence=(evidence,)
        )
    for kind in skipped:
        nothing = Evidence(
            kind=kind,
            release=release,
            verdict=Verdict.NO_DATA,
            produced_by="test",
            at=EPOCH,
            figures={"skipped": "none"},
        )
        bench.results[kind] = StageResult(
            stage=kind, status=StageStatus.SKIPPED, duration_seconds=0, summary="none", evidence=(nothing,)
        )


@pytest.fixture
def committed(bench):  # type: ignore[no-untyped-def]
    bench.commit({"server.py": "x = 1\n", "models.yaml": MODELS})
    return bench


async def test_a_release_is_cut_once_with_the_evidence_of_the_run(committed) -> None:
    found(committed, *CHECKS)
    first = await committed.run("build_image", version="1.0.0")
    assert first.status is StageStatus.PASSED, first
    manifest = committed.ledger.list_releases("shop")[0].manifest
    assert manifest.release_digest == committed.delivery().bundle.digest
    assert {one.kind for one in manifest.evidence} >= set(CHECKS)
    again = await committed.run("build_image", version="1.0.0")
    assert again.status is StageStatus.CACHED
    assert len(committed.ledger.list_releases("shop")) == 1
    assert len(committed.ledger.list_evidence(manifest.release_digest)) == len(CHECKS)


async def test_without_the_evidence_of_a_check_nothing_is_cut(committed) -> None:
    found(committed, *CHECKS[1:])
    outcome = await committed.run("build_image", version="1.0.0")
    assert outcome.status is StageStatus.FAILED
    assert outcome.details["code"] == "missing_evidence"
    assert "static_analysis" in outcome.summary
    assert committed.ledger.list_releases("shop") == ()


async def test_a_check_that_did_not_pass_does_not_vouch(committed) -> None:
    found(committed, *CHECKS)
    found(committed, "unit_test", verdict=Verdict.INCONCLUSIVE)
    assert (await committed.run("build_image", version="1.0.0")).details["code"] == "missing_evidence"


@pytest.mark.parametrize(("kind", "may"), [(kind, kind == "tool_integration") for kind in CHECKS])
async def test_only_a_check_that_may_find_nothing_to_look_at_can_be_skipped(committed, kind: str, may: bool) -> None:
    found(committed, *(one for one in CHECKS if one != kind), skipped=(kind,))
    outcome = await committed.run("build_image", version="1.0.0")
    assert (outcome.status is StageStatus.PASSED) is may, outcome


async def test_an_empty_list_of_evidence_empties_nothing(committed) -> None:
    committed.commit(settings="build_image: {evidence: []}")
    outcome = await committed.run("build_image", version="1.0.0")
    assert (outcome.status, outcome.details["code"]) == (StageStatus.FAILED, "missing_evidence")


async def test_a_check_the_release_switches_off_is_in_its_manifest_with_the_reason(committed) -> None:
    committed.commit(settings="unit_test: {enabled: false, reason: no tests yet}")
    found(committed, *(kind for kind in CHECKS if kind != "unit_test"))
    assert (await committed.run("build_image", version="1.0.0")).status is StageStatus.PASSED
    manifest = committed.ledger.list_releases("shop")[0].manifest
    (waived,) = (one for one in manifest.evidence if one.kind == "unit_test")
    assert (waived.verdict, waived.figures) == (Verdict.NO_DATA, {"disabled": "no tests yet"})


async def test_evidence_found_on_the_same_inputs_counts_for_the_release_under_examination(committed) -> None:
    found(committed, *CHECKS)
    other = Digest("sha256:" + "7" * 64)
    for kind, result in committed.results.items():
        committed.results[kind] = replace(result, evidence=(replace(result.evidence[0], release=other),))
    assert (await committed.run("build_image", version="1.0.0")).status is StageStatus.PASSED
    assert committed.ledger.list_evidence(other) == ()


async def test_the_same_version_of_other_files_is_refused(committed) -> None:
    found(committed, *CHECKS)
    await committed.run("build_image", version="1.0.0")
    committed.commit({"server.py": "x = 2\n"})
    found(committed, *CHECKS)
    outcome = await committed.run("build_image", version="1.0.0")
    assert (outcome.status, outcome.details["code"]) == (StageStatus.FAILED, "version_taken")


async def test_a_development_run_publishes_nothing(committed) -> None:
    outcome = await committed.run("build_image")
    assert outcome.status is StageStatus.PASSED
    assert committed.ledger.list_releases("shop") == ()
    assert not (committed.root / ".fairway" / "store").exists()


RELEASE = CANDIDATE.release


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        pytest.param(None, Standing.ABSENT, id="nothing ever happened"),
        pytest.param(route_state(), Standing.ABSENT, id="another is stable"),
        pytest.param(route_state(stable=CANDIDATE), Standing.SERVING, id="it is stable"),
        pytest.param(route_state(rollout_state(Phase.PREPARING)), Standing.STEPPING, id="preparing"),
        pytest.param(route_state(rollout_state(Phase.STEPPING, step=3)), Standing.STEPPING, id="last step"),
        pytest.param(route_state(rollout_state(Phase.PROMOTING)), Standing.PROMOTING, id="promoting"),
        pytest.param(route_state(rollout_state(Phase.SOAKING)), Standing.SERVING, id="soaking"),
        pytest.param(route_state(rollout_state(Phase.DONE)), Standing.SERVING, id="done"),
        pytest.param(route_state(rollout_state(Phase.ROLLING_BACK)), Standing.GOING_BACK, id="going back"),
        pytest.param(route_state(rollout_state(Phase.ROLLED_BACK)), Standing.ROLLED_BACK, id="rolled back"),
        pytest.param(
            route_state(rollout_state(Phase.STEPPING, candidate=NEXT)),
            Standing.ABSENT,
            id="another has taken its place",
        ),
        pytest.param(
            route_state(rollout_state(Phase.STEPPING, candidate=NEXT), stable=CANDIDATE),
            Standing.SERVING,
            id="stable while the next one steps",
        ),
        pytest.param(
            route_state(rollout_state(Phase.DONE), stable=NEXT), Standing.ABSENT, id="done, then replaced by a person"
        ),
    ],
)
def test_where_a_release_stands(state: RouteState | None, standing: Standing) -> None:
    assert standing_of(state, RELEASE) is standing


POLICY = Digest("sha256:" + "9" * 64)


def approval(actor: str = "grace", **changes: object) -> Approval:
    values: dict[str, object] = {
        "actor": actor,
        "at": EPOCH,
        "release": RELEASE,
        "effective": CANDIDATE.effective,
        "policy_digest": POLICY,
    }
    return Approval(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        pytest.param((approval(),), False, id="one of two"),
        pytest.param((approval(), approval("linus")), True, id="exactly this, by two"),
        pytest.param((approval(), approval("Grace")), False, id="one person twice"),
        pytest.param((approval(), approval("ada")), False, id="an author"),
        pytest.param((approval(), approval("linus", release=STABLE.release)), False, id="another release"),
        pytest.param((approval(), approval("linus", effective=STABLE.effective)), False, id="another configuration"),
        pytest.param((approval(), approval("linus", policy_digest=RELEASE)), False, id="another policy"),
        pytest.param((approval(), approval("linus", step=0)), False, id="another step"),
        pytest.param((approval(), approval("linus", used_by="before")), False, id="one that was used"),
        pytest.param((approval(), approval("linus", at=EPOCH - timedelta(hours=2))), False, id="one that expired"),
    ],
)
def test_an_approval_counts_only_for_what_it_named(released_manifest, given: tuple[Approval, ...], counts) -> None:  # type: ignore[no-untyped-def]
    plan = canary_plan(approval=True, quorum=Quorum(count=2, expires=3600.0))
    state = route_state(approvals=given)
    found = standing_before_exposure(state, released_manifest, CANDIDATE.effective, plan, EPOCH)
    assert found.met is counts
    nothing = standing_before_exposure(None, released_manifest, CANDIDATE.effective, plan, EPOCH)
    assert (nothing.given, nothing.met) == ((), False)


@pytest.fixture
def released_manifest() -> Manifest:
    return Manifest(
        agent=ROUTE.agent,
        release_version="1.1.0",
        tag="v1.1.0",
        commit_sha="c" * 40,
        components={},
        release_digest=RELEASE,
        effective={ROUTE.environment: CANDIDATE.effective},
        tree=RELEASE,
        prompts={},
        tools=(),
        models={},
        created_at=EPOCH,
        publisher="ada",
    )


class ScriptedController(VirtualClock):
    """Time in which, at each sleep, the next thing happens on the route: a controller as the stages see it."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger(clock=self)
        self.script: list[Callable[[], None]] = []
        self.alive = True
        self.route: RouteId = ROUTE
        self.arm = CANDIDATE

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.alive:
            self.ledger.acquire_lease(self.route, "controller", seconds=2.0)
        if self.script:
            self.script.pop(0)()

    def say(self, state: RouteState, kind: str = "advance", answers: tuple[Answer, ...] = ()) -> Callable[[], None]:
        def act() -> None:
            lease = self.ledger.acquire_lease(self.route, "controller", seconds=2.0)
            assert lease is not None
            fence = Fence(term=lease.term, seq=self.ledger.head(self.route).fence.seq + 1)
            decision = {"evidence": [{"gate": "failures", "verdict": "FAIL"}]} if kind == "roll_back" else {}
            self.ledger.journal(
                JournalEntry(
                    route=self.route,
                    fence=fence,
                    at=self.now(),
                    kind=kind,
                    code=kind,
                    reason=f"{kind} it is",
                    actor="controller",
                    state=state_to_wire(state),
                    decision=decision,
                    answers=answers,
                ),
                lease,
            )

        return act

    def answer(self, kind: AnswerKind, state: RouteState | None = None, code: str = "") -> Callable[[], None]:
        def act() -> None:
            asked = self.ledger.pending(self.route)
            assert [request.verb for request in asked] == [Verb.START]
            answer = Answer(request_id=asked[0].id, kind=kind, seq=1, code=code, message=code)
            self.say(state or self.at(None), "start", (answer,))()

        return act

    def at(self, phase: Phase | None, **changes: object) -> RouteState:
        """The route with a rollout of the release in a phase."""
        rollout = None if phase is None else rollout_state(phase, candidate=self.arm, cause_text="failures rose")
        serves = phase in (Phase.SOAKING, Phase.DONE)
        state = route_state(rollout, stable=self.arm if serves else STABLE)
        return replace(state, route=self.route, **changes)  # type: ignore[arg-type]

    def walk(self, *phases: Phase) -> None:
        self.script.append(self.answer(AnswerKind.APPLIED, self.at(phases[0])))
        self.script += [self.say(self.at(p), "roll_back" if "roll" in p.value else "advance") for p in phases[1:]]


@pytest.fixture
async def released(bench):  # type: ignore[no-untyped-def]
    clock = ScriptedController()
    bench.clock, bench.ledger = clock, clock.ledger
    bench.commit({"server.py": "x = 1\n", "models.yaml": MODELS})
    found(bench, *CHECKS)
    await bench.run("build_image", version="1.0.0")
    manifest: Manifest = bench.ledger.list_releases("shop")[0].manifest
    clock.route = bench.delivery().project.route("production")
    clock.arm = ArmRef(
        release=manifest.release_digest, effective=manifest.effective[clock.route.environment], version="1.0.0"
    )
    return bench


PROMOTED = (Phase.PREPARING, Phase.STEPPING, Phase.STEPPING, Phase.PROMOTING)


async def test_a_rollout_is_followed_through_its_steps_to_all_of_production(released) -> None:
    released.clock.walk(*PROMOTED)
    canary = await released.run("canary_deploy", version="1.0.0")
    assert canary.status is StageStatus.PASSED, canary
    released.results["canary_deploy"] = StageResult(
        stage="canary_deploy", status=canary.status, duration_seconds=1, summary=""
    )
    released.clock.script = [released.clock.say(released.clock.at(Phase.SOAKING))]
    production = await released.run("production_deploy", version="1.0.0")
    assert production.status is StageStatus.PASSED, production
    assert [one.status.value for one in released.ledger.list_deployments("shop")] == ["succeeded"]
    # And again, when it serves: nothing is asked for, both say so by one read.
    for stage in ("canary_deploy", "production_deploy"):
        released.results.clear()
        assert (await released.run(stage, version="1.0.0")).status is StageStatus.CACHED
    assert released.ledger.pending(released.clock.route) == ()


@pytest.mark.parametrize(("whole", "status"), [(True, StageStatus.SKIPPED), (False, StageStatus.PASSED)])
async def test_a_promotion_by_hand_does_not_read_like_a_pass(released, whole: bool, status: StageStatus) -> None:
    released.clock.walk(Phase.PREPARING, Phase.STEPPING)
    override = Override(
        verb="promote_full", actor="grace", at=EPOCH, reason="hotfix", past="failures INCONCLUSIVE", whole=whole
    )
    promoted = rollout_state(Phase.PROMOTING, candidate=released.clock.arm, overrides=(override,))
    released.clock.script.append(released.clock.say(released.clock.at(None, rollout=promoted)))
    canary = await released.run("canary_deploy", version="1.0.0")
    assert canary.status is status
    assert ("not judged: grace promoted 1.0.0 past its gates" in canary.summary) is whole
    assert [finding.rule for finding in canary.findings] == ["rollout/override"]
    assert canary.details["overrides"][0]["by"] == "grace"


async def test_what_staging_showed_is_in_the_ledger_before_production_is_asked(released) -> None:
    found(released, "smoke_test", "e2e_test")
    released.clock.walk(*PROMOTED)
    await released.run("canary_deploy", version="1.0.0")
    kinds = [one.kind for one in released.ledger.list_evidence(released.delivery().bundle.digest)]
    assert sorted(kinds) == sorted([*CHECKS, "smoke_test", "e2e_test"])


async def test_ctrl_c_leaves_the_rollout_to_itself_and_says_so(released) -> None:
    released.clock.walk(Phase.PREPARING, Phase.STEPPING)
    task = asyncio.create_task(released.run("canary_deploy", version="1.0.0"))
    while released.clock.script:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError, match="the rollout goes on by itself"):
        await task
    assert released.ledger.pending(released.clock.route) == ()


async def test_a_rollback_fails_the_stage_with_the_evidence(released) -> None:
    released.clock.walk(Phase.PREPARING, Phase.STEPPING, Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    outcome = await released.run("canary_deploy", version="1.0.0")
    assert outcome.status is StageStatus.FAILED
    assert outcome.summary == "rolled back: failures rose"
    assert outcome.details["evidence"] == [{"gate": "failures", "verdict": "FAIL"}]


async def test_a_rollback_after_the_last_step_fails_production(released) -> None:
    released.clock.say(released.clock.at(Phase.PROMOTING))()
    released.clock.script = [
        released.clock.say(released.clock.at(p), "roll_back") for p in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    ]
    outcome = await released.run("production_deploy", version="1.0.0")
    assert outcome.status is StageStatus.FAILED
    assert [one.status.value for one in released.ledger.list_deployments("shop")] == ["rolled_back"]


async def test_another_rollout_in_its_place_is_not_taken_for_success(released) -> None:
    released.clock.walk(Phase.PREPARING)
    replaced = released.clock.at(None, rollout=rollout_state(Phase.DONE, candidate=NEXT), stable=NEXT)
    released.clock.script.append(released.clock.say(replaced))
    outcome = await released.run("canary_deploy", version="1.0.0")
    assert (outcome.status, outcome.details["code"]) == (StageStatus.FAILED, "superseded")


@pytest.mark.parametrize("code", ["blocked", "rollout_live", "frozen", "release_refused"])
async def test_a_refused_rollout_fails_with_the_reason(released, code: str) -> None:
    released.clock.script = [released.clock.answer(AnswerKind.REFUSED, code=code)]
    outcome = await released.run("canary_deploy", version="1.0.0")
    assert (outcome.status, outcome.details["code"]) == (StageStatus.FAILED, code)


async def test_a_resumed_run_asks_the_same_request_once(released) -> None:
    released.clock.walk(*PROMOTED)
    await released.run("canary_deploy", version="1.0.0")
    asked: list[Request] = []
    submit = released.ledger.submit
    released.ledger.submit = lambda request: asked.append(request) or submit(request)
    released.clock.say(released.clock.at(None))()  # as if it had been taken off again
    released.clock.script = [released.clock.say(released.clock.at(Phase.PROMOTING))]
    outcome = await released.run("canary_deploy", version="1.0.0")
    assert len(asked) == 1
    assert released.ledger.pending(released.clock.route) == ()  # the ledger had its answer: nothing new was asked
    assert outcome.status is not StageStatus.CACHED


async def test_without_a_controller_it_is_an_error_that_says_what_to_start(released) -> None:
    released.clock.alive = False
    before = released.clock.monotonic()
    with pytest.raises(TransientError) as caught:
        await released.run("canary_deploy", version="1.0.0")
    assert caught.value.code == "no_controller"
    assert "fairway up" in (caught.value.hint or "")
    assert 5 <= released.clock.monotonic() - before < 10


async def test_a_controller_that_dies_in_the_middle_leaves_the_rollout_and_says_so(released) -> None:
    released.clock.walk(Phase.PREPARING, Phase.STEPPING)
    released.clock.script.append(lambda: setattr(released.clock, "alive", False))
    with pytest.raises(TransientError, match="no controller is alive"):
        await released.run("canary_deploy", version="1.0.0")
    assert not [r for r in released.ledger.pending(released.clock.route) if r.verb is Verb.ABORT]


async def test_a_paused_rollout_is_waited_for_until_time_is_up(released) -> None:
    released.commit(settings="canary_deploy: {timeout: 1m}")
    found(released, *CHECKS)
    await released.run("build_image", version="1.0.1")
    manifest = released.ledger.find_release("shop", "1.0.1").manifest
    released.clock.arm = replace(released.clock.arm, release=manifest.release_digest)
    released.clock.walk(Phase.PREPARING, Phase.STEPPING)
    delivery = released.delivery(version="1.0.1")
    delivery.waiting_for = lambda _: "ada paused: launch in an hour"
    with pytest.raises(TransientError) as caught:
        await released.run("canary_deploy", delivery=delivery)
    assert caught.value.code == "watch_timeout"
    assert released.said.count("now: ada paused: launch in an hour") == 1  # said once, not every tick


def stopped(released) -> RouteState:
    reason = "undecided after 20s"
    return released.clock.at(None, rollout=rollout_state(Phase.STEPPING, candidate=released.clock.arm, paused=reason))


async def test_a_pause_only_a_person_ends_is_said_with_its_commands_and_where_nobody_sees_it_not_waited_out(
    released,
) -> None:
    released.clock.walk(Phase.PREPARING)
    released.clock.script.append(released.clock.say(stopped(released), "pause"))
    with pytest.raises(TransientError) as caught:
        await released.run("canary_deploy", version="1.0.0")
    assert caught.value.code == "rollout_paused"
    assert "undecided after 20s" in caught.value.message
    ways = "fairway rollout resume | fairway rollout skip --reason '…' | fairway rollout abort"
    assert ways in (caught.value.hint or "")
    assert released.said.count(f"paused, a person is needed: {ways}") == 1
    assert 600 <= (released.clock.now() - EPOCH).total_seconds() < 660


async def test_a_pause_somebody_sees_is_waited_out_and_one_that_ended_in_time_costs_nothing(released) -> None:
    released.clock.walk(Phase.PREPARING)
    released.clock.script.append(released.clock.say(stopped(released), "pause"))
    delivery = released.delivery(version="1.0.0")
    delivery.attended = True
    idle = [lambda: None] * 4000  # 800 seconds of pause
    released.clock.script += [*idle, released.clock.say(released.clock.at(Phase.PROMOTING))]
    assert (await released.run("canary_deploy", delivery=delivery)).status is StageStatus.PASSED


async def test_ctrl_c_on_a_paused_rollout_does_not_say_that_it_goes_on(released) -> None:
    released.clock.walk(Phase.PREPARING)
    released.clock.script.append(released.clock.say(stopped(released), "pause"))
    delivery = released.delivery(version="1.0.0")
    delivery.attended = True
    task = asyncio.create_task(released.run("canary_deploy", delivery=delivery))
    while released.clock.script:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError, match="does not go on by itself: fairway rollout resume"):
        await task


def soaks(released, phase: Phase = Phase.SOAKING) -> RouteState:
    """After a switch that nothing was compared before: gates of the soak have to pass."""
    plan = canary_plan(steps=(), soak_gates=tuple(replace(gate, must_pass=True) for gate in GATES))
    rollout = rollout_state(phase, candidate=released.clock.arm, plan=plan, cause_text="failed after promotion")
    serves = released.clock.arm if phase in (Phase.SOAKING, Phase.DONE) else STABLE
    return released.clock.at(None, rollout=rollout, stable=serves)


async def test_a_switch_nothing_was_compared_before_is_no_pass_until_its_soak_has_shown_something(released) -> None:
    released.clock.walk(Phase.PREPARING)
    released.clock.script.append(released.clock.say(soaks(released)))
    canary = await released.run("canary_deploy", version="1.0.0")
    assert canary.status is StageStatus.SKIPPED
    assert canary.summary.startswith("not judged yet: 1.0.0 is compared with stable only after the switch")
    back = [
        released.clock.say(soaks(released, phase), "roll_back") for phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    ]
    released.clock.script = [*[lambda: None] * 20, *back]
    production = await released.run("production_deploy", version="1.0.0")
    assert (production.status, production.summary) == (StageStatus.FAILED, "rolled back: failed after promotion")


async def test_a_switch_whose_soak_passed_is_a_pass_and_one_compared_before_says_what_is_still_to_come(
    released,
) -> None:
    released.clock.walk(Phase.PREPARING)
    released.clock.script += [released.clock.say(soaks(released)), released.clock.say(soaks(released, Phase.DONE))]
    proved = await released.run("canary_deploy", version="1.0.0")
    production = await released.run("production_deploy", version="1.0.0")
    assert (proved.status, production.status) == (StageStatus.SKIPPED, StageStatus.PASSED)
    released.clock.say(released.clock.at(Phase.PROMOTING))()
    released.clock.script = [released.clock.say(released.clock.at(Phase.SOAKING))]
    compared = await released.run("production_deploy", version="1.0.0")
    assert compared.status is StageStatus.PASSED
    assert "it soaks for" in compared.summary
    assert "goes back if that fails" in compared.summary


async def test_a_release_that_was_never_cut_is_not_deployed(released) -> None:
    for stage in ("canary_deploy", "production_deploy", "sla_snapshot"):
        with pytest.raises(NotFoundError) as caught:
            await released.run(stage, version="2.0.0")
        assert caught.value.code == "release_not_cut"


async def test_other_files_than_the_release_are_not_deployed_under_its_name(released) -> None:
    released.commit({"server.py": "x = 'altered'\n"})
    with pytest.raises(NotFoundError, match="is not what is checked out"):
        await released.run("canary_deploy", version="1.0.0")


async def test_no_traffic_is_watching_and_not_a_pass(released) -> None:
    outcome = await released.run("sla_snapshot", version="1.0.0")
    assert outcome.status is StageStatus.SKIPPED
    assert outcome.summary.startswith("watching: no traffic")
    assert outcome.artifacts["sla_snapshot"].is_file()


async def test_what_traffic_showed_is_judged_by_the_projects_limits_and_kept_as_evidence(released) -> None:
    text = (
        released.root / "fairway.yaml"
    ).read_text() + "sla: {success: 90%, minimum_requests: 10, failed_traces: 5}\n"
    released.write({"fairway.yaml": text})
    released.git("commit", "-qam", "sla")
    found(released, *CHECKS)
    await released.run("build_image", version="1.1.0")
    manifest = released.ledger.find_release(AgentName("shop"), "1.1.0").manifest
    arm = ArmBlock(role=Role.STABLE, assigned=40, finished=40, failed=10)
    now = released.clock.now().timestamp()
    block = Block(t0=now, seconds=10, fence=Fence(term=1, seq=1), arms={manifest.release_digest: arm})
    route = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
    released.ledger.add_blocks(route, [block.to_wire()])
    outcome = await released.run("sla_snapshot", version="1.1.0")
    assert (outcome.status, outcome.details["status"], outcome.details["action"]) == (
        StageStatus.FAILED,
        "blocked",
        "mask",
    )
    kept = [one for one in released.ledger.list_evidence(manifest.release_digest) if one.kind == "sla_snapshot"]
    assert [(one.verdict, one.figures["success_rate"]) for one in kept] == [(Verdict.FAIL, 0.75)]


async def test_a_missing_approval_fails_and_says_how_to_give_it(released) -> None:
    text = (released.root / "fairway.yaml").read_text() + "rollout: {approval: required}\n"
    released.write({"fairway.yaml": text})
    released.git("commit", "-qam", "approval")
    found(released, *CHECKS)
    await released.run("build_image", version="1.1.0")
    outcome = await released.run("approval_gate", version="1.1.0")
    assert (outcome.status, outcome.details["code"]) == (StageStatus.FAILED, "approval_missing")
    assert "fairway rollout approve 1.1.0" in outcome.details["hint"]
    assert released.ledger.routes() == ()  # nothing was asked for


async def test_one_of_two_approvals_is_not_enough_and_the_gate_says_who_gave_it(released) -> None:
    policy = "rollout: {approval: {quorum: 2, steps: [first, 50%]}}\n"
    text = (released.root / "fairway.yaml").read_text() + policy
    released.write({"fairway.yaml": text})
    released.git("commit", "-qam", "approval")
    found(released, *CHECKS)
    await released.run("build_image", version="1.1.0")
    manifest = next(one.manifest for one in released.ledger.list_releases("shop") if one.manifest.tag == "v1.1.0")
    (plan,) = possible_plans(released.delivery().project, "production")
    for people, status in ((("grace",), StageStatus.FAILED), (("grace", "linus"), StageStatus.PASSED)):
        given = tuple(
            Approval(
                actor=person,
                at=EPOCH,
                release=manifest.release_digest,
                effective=manifest.effective[released.clock.route.environment],
                policy_digest=plan.policy_digest,
            )
            for person in people
        )
        released.clock.say(released.clock.at(None, approvals=given))()
        outcome = await released.run("approval_gate", version="1.1.0")
        assert outcome.status is status, outcome
        assert outcome.details["approved_by"] == list(people)
    assert outcome.summary == "approved by grace, linus"


async def test_where_no_approval_is_required_the_gate_says_so(released) -> None:
    text = (released.root / "fairway.yaml").read_text() + "rollout: {approval: none}\n"
    released.write({"fairway.yaml": text})
    outcome = await released.run("approval_gate", version="1.0.0")
    assert (outcome.status, outcome.summary) == (StageStatus.PASSED, "not required")


def test_the_scripted_controller_is_a_clock() -> None:
    clock: Clock = ScriptedController()
    assert clock.now() == EPOCH
