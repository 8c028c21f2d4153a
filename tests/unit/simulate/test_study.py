"""What a study counts, and that it counts the same again."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import islice

import pytest

from fairway.errors import UserError
from fairway.observe.blocks import GAMMA
from fairway.simulate.plot import svg_of
from fairway.simulate.rollout import BEGIN, Ending, ModelledRun
from fairway.simulate.scenario import Effect, Scenario, Shape, held_at
from fairway.simulate.study import Delays, Study, simulate
from fairway.simulate.suite import FAILING_STABLE, policy_of, scenario_of
from fairway.simulate.traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.units import Parts


def bad(**changes: object) -> Scenario:
    scenario = scenario_of(
        policy_of(**FAILING_STABLE), effect=Effect.ERRORS_10, per_minute=600.0, held=Parts(10_000), seconds=1200.0
    )
    return replace(scenario, **changes)  # type: ignore[arg-type]


def study(scenario: Scenario, rollouts: int, seed: int = 1) -> Study:
    found = Study(scenario=scenario, wanted=rollouts)
    list(found.run(seed))
    return found


def test_the_same_seed_gives_the_same_bytes_and_the_same_picture() -> None:
    one, other, third = study(bad(), 2), study(bad(), 2), study(bad(), 2, seed=2)
    assert json.dumps(one.to_wire()) == json.dumps(other.to_wire())
    assert svg_of([one]) == svg_of([other])
    assert one.outcomes != third.outcomes


def test_a_study_that_was_stopped_goes_on_where_it_was() -> None:
    halted = Study(scenario=bad(), wanted=3)
    list(islice(halted.run(1), 1))
    list(halted.run(1))
    assert halted.outcomes == study(bad(), 3).outcomes


def test_a_bad_candidate_is_rolled_back_and_its_delay_counts_from_its_exposure() -> None:
    outcome = simulate(bad(), 1)
    course = outcome.course
    assert course.ending is Ending.ROLLED_BACK
    assert course.exposed_at == 120.0
    assert course.ended_at is not None
    assert outcome.delay == course.ended_at - 120.0 > 0
    assert 0 < course.exposed < course.active
    assert outcome.share_exposed == pytest.approx(course.exposed / (600 * 20), rel=0.2)
    assert all(rival is None or rival % 60 == 0 for rival in outcome.rivals)


def test_the_delay_of_a_late_fault_counts_from_the_fault() -> None:
    outcome = simulate(bad(shape=Shape.LATE), 3)
    assert outcome.course.ended_at is not None
    assert outcome.delay == outcome.course.ended_at - 120.0 - 400.0


def test_outcomes_known_a_minute_late_are_acted_upon_a_minute_later() -> None:
    def stopped(delay: int) -> float:
        traffic = replace(bad().traffic(1), candidate=ArmModel(failure=0.4), delay=delay)
        run = ModelledRun(traffic=traffic, plan=bad().plan)
        run.start()
        while not run.over:
            run.block()
        course = run.course()
        assert course.stopped_after is not None
        return course.stopped_after

    assert stopped(6) - stopped(0) == 60.0


def test_nobody_is_exposed_beyond_the_split() -> None:
    run = ModelledRun(traffic=bad(effect=Effect.SAME).traffic(1), plan=bad().plan)
    run.start()
    for _ in range(60):
        run.block()
    assert len(run.exposed) / len(run.active) == pytest.approx(0.1, abs=0.02)


def test_latencies_in_another_unit_give_the_same_course() -> None:
    def course(factor: float, slower: float):
        arms = {"stable": ArmModel(latency_ms=400 * factor), "candidate": ArmModel(latency_ms=400 * factor * slower)}
        run = ModelledRun(traffic=ModelledTraffic(seed=4, units_per_block=80, **arms), plan=bad().plan)
        run.start()
        for _ in range(60):
            if not run.over:
                run.block()
        return run.course()

    for slower in (1.0, 3.0):
        assert course(1.0, slower) == course(GAMMA**400, slower)
    assert course(1.0, 3.0).ending is Ending.ROLLED_BACK


def test_a_median_counts_those_never_stopped_as_longer_than_any() -> None:
    delays = Delays.of([10.0, None, 30.0, None, 20.0])
    assert (delays.median, delays.p10, delays.p90) == (30.0, 10.0, None)
    assert (delays.stopped.hits, delays.stopped.of) == (3, 5)
    assert Delays.of([10.0, None, None]).median is None
    assert Delays.of([]).median is None


def test_what_was_stopped_before_its_fault_is_no_detection() -> None:
    delays = Delays.of([-50.0, 10.0, 20.0, None])
    assert (delays.early, delays.stopped.hits, delays.median) == (1, 2, 20.0)


def test_the_interval_of_a_median_holds_the_true_one_in_95_of_100_samples() -> None:
    rng, inside = random.Random(1), 0
    for _ in range(400):
        delays = Delays.of([rng.random() for _ in range(25)])
        inside += (delays.low or 0.0) <= 0.5 <= (delays.high if delays.high is not None else 1.0)
    assert 0.93 <= inside / 400 <= 0.995


def test_a_promise_is_called_broken_only_when_the_interval_says_so() -> None:
    outcome = simulate(bad(effect=Effect.SAME), 1)
    against = replace(outcome, course=replace(outcome.course, ending=Ending.ROLLED_BACK))
    broken = Study(scenario=bad(effect=Effect.SAME), wanted=40, outcomes=[against] * 6 + [outcome] * 34)
    unlucky = Study(scenario=bad(effect=Effect.SAME), wanted=40, outcomes=[against] * 2 + [outcome] * 38)
    assert broken.broken_promise() == "6 of 40 rolled back, the policy promises at most 4.0%"
    assert unlucky.broken_promise() == ""


def test_holding_at_a_share_the_policy_has_no_step_for_is_refused() -> None:
    with pytest.raises(UserError, match="no step of 7%") as refused:
        held_at(scenario_of(policy_of()).plan, Parts(7_000))
    assert refused.value.hint == "its steps are 5%, 10%, 30%, 50%"


def test_the_clock_is_virtual_and_begins_where_it_says() -> None:
    run = ModelledRun(traffic=bad().traffic(1), plan=bad().plan)
    run.start()
    assert run.blocks[0].t0 == BEGIN.timestamp()
    assert set(run.blocks[0].arms) == {MODELLED_STABLE}
    run.block()
    assert MODELLED_CANDIDATE in run.blocks[-1].arms


def test_a_step_whose_gates_have_passed_is_left_when_its_dwell_is_observed() -> None:
    policy = policy_of(
        steps=["50%", "100%"],
        dwell="200s",
        gates={"failures": {"margins": ["5pt"]}, "p95": {"enabled": False}, "success": "97%"},
    )
    run = ModelledRun(traffic=ModelledTraffic(seed=1, units_per_block=100), plan=scenario_of(policy).plan)
    run.start()
    while not run.over:
        run.block()
    left = next(event for event in run.events if event.code == "gates_passed")
    assert left.at == 120.0 + 200.0


@pytest.mark.parametrize(
    "changes",
    [{"approval": "required"}, {"strategy": "shadow"}, {"replicas": 3}, {"strategy": "rolling", "replicas": 4}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_is_not_modelled_of_a_policy_keeps_nobody_from_being_exposed(changes: dict[str, object]) -> None:
    run = ModelledRun(traffic=ModelledTraffic(seed=1, units_per_block=50), plan=scenario_of(policy_of(**changes)).plan)
    run.start()
    run.block()
    run.block()
    assert run.split > 0
    assert run.course().exposed_at == 120.0
    assert run.blocks[-1].arms[MODELLED_CANDIDATE].active


def test_a_policy_that_exposes_nobody_step_by_step_is_refused() -> None:
    with pytest.raises(UserError, match="nothing is compared") as refused:
        scenario_of(policy_of(strategy="blue-green"))
    assert refused.value.code == "nothing_to_simulate"


def test_an_outage_of_both_arms_pauses_and_says_so() -> None:
    scenario = scenario_of(policy_of(), shape=Shape.OUTAGE, per_minute=600.0, seconds=900.0)
    found = study(scenario, 1)
    assert found.ended(Ending.PAUSED).hits == 1
    assert found.paused_by() == {"shared_cause": 1}
    assert found.stopped_by() == {}
