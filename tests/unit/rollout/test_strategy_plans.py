"""Plans of every strategy: what they are compiled to, what they forecast, and how blue-green reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.fold import ArmBlock, Block
from fairway.rollout.choose import Choice
from fairway.rollout.colours import colours_of, colours_wire
from fairway.rollout.config import RolloutSection
from fairway.rollout.describe_plan import describe_forecast, plan_report, traffic_of
from fairway.rollout.forecast import Traffic, forecast
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Colour, Exposure, Phase, Plan, Strategy
from fairway.testing.rollout_cases import CANDIDATE, STABLE, T0, plan_for, rollout_state, route_state
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import WHOLE

NAMES = ("canary", "blue-green", "rolling", "shadow")


def compiled(strategy: str, *, replicas: int = 3, **settings: object) -> Plan:
    return compile_plan(RolloutSection.model_validate({"strategy": strategy, **settings}), replicas=replicas)


@given(st.sampled_from(NAMES), st.integers(1, 12), st.one_of(st.none(), st.integers(1, 99)))
def test_whatever_the_strategy_shares_only_grow_and_each_step_has_something_to_judge_by(strategy, replicas, gray):
    plan = compiled(strategy, replicas=replicas, blue_green={} if gray is None else {"gray": f"{gray}%"})
    splits = [step.split for step in plan.steps]
    assert splits == sorted(splits)
    assert all(0 <= split < WHOLE for split in splits)
    for step in plan.steps:
        if step.split:
            assert step.exposure is Exposure.HASH
            assert any(gate.must_pass for gate in step.gates)
        else:
            assert step.exposure is Exposure.RULES_ONLY
            assert step.probe or step.mirroring is not None
    compared = any(step.split for step in plan.steps)
    assert compared or any(gate.must_pass for gate in plan.soak_gates), "something compares, or the soak has to pass"


@given(st.integers(1, 12))
def test_a_roll_replaces_one_instance_at_a_time_and_is_never_short_of_one(replicas):
    plan = compiled("rolling", replicas=replicas)
    before = replicas
    for number, step in enumerate(plan.steps, start=1):
        assert step.candidate_replicas == number
        assert step.candidate_replicas + before <= replicas + 1
        assert step.candidate_replicas + step.stable_replicas >= replicas
        assert step.stable_replicas >= 1
        before = step.stable_replicas


def test_blue_green_is_probed_then_compared_where_the_policy_has_a_gray_share_then_switched():
    plain, gray = compiled("blue-green"), compiled("blue-green", blue_green={"gray": "10%"})
    assert [step.name for step in plain.steps] == ["smoke"]
    assert [(step.name, step.split) for step in gray.steps] == [("smoke", 0), ("gray", 10_000)]
    assert (plain.prepare_timeout, plain.steps[0].dwell, plain.warm_replicas) == (300.0, 30.0, 1)
    assert [gate.must_pass for gate in plain.soak_gates if gate.name == "success"] == [True]
    assert [gate.must_pass for gate in gray.soak_gates if gate.name == "success"] == [False]


def test_shadow_is_mirrored_first_and_then_a_canary():
    shadow, canary = compiled("shadow"), compiled("canary")
    assert shadow.steps[0].mirror == 10_000
    assert [step.split for step in shadow.steps[1:]] == [step.split for step in canary.steps]


def test_auto_says_why_and_what_it_chose_is_part_of_what_is_approved():
    policy = RolloutSection.model_validate({"strategy": "auto"})
    plans = [
        compile_plan(policy, choice=Choice(strategy=strategy, shadow_first=shadow, why="because"))
        for strategy, shadow in (
            (Strategy.CANARY, False), (Strategy.ROLLING, False), (Strategy.BLUE_GREEN, False),
            (Strategy.BLUE_GREEN, True), (Strategy.SHADOW, True),
        )
    ]  # fmt: skip
    assert len({plan.policy_digest for plan in plans}) == len(plans)
    assert {plan.why for plan in plans} == {"because"}
    assert [step.name for step in plans[3].steps] == ["mirror", "smoke"]
    assert not any(plan.approval for plan in plans)
    assert compile_plan(policy).strategy is Strategy.CANARY


@pytest.mark.parametrize("settings", [{}, {"approval": "none"}, {"approval": {"quorum": 2}}], ids=str)
def test_a_choice_that_needs_a_yes_asks_for_it_whatever_the_policy_says(settings):
    policy = RolloutSection.model_validate({"strategy": "auto", **settings})
    plain, asked = (
        compile_plan(policy, choice=Choice(strategy=Strategy.CANARY, approval=approval, why="because"))
        for approval in (False, True)
    )
    assert asked.approval
    assert asked.quorum.count == max(1, settings.get("approval") == {"quorum": 2} and 2)
    assert plain.policy_digest != asked.policy_digest, "who approved a plain canary has not approved this one"


def test_a_named_strategy_heeds_no_choice():
    policy = RolloutSection.model_validate({"strategy": "canary"})
    other = Choice(strategy=Strategy.BLUE_GREEN, why="because")
    assert compile_plan(policy, choice=other) == compile_plan(policy)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"strategy": "red-black"}, "auto, canary, blue-green, rolling, shadow"),
        ({"strategy": "blue-green", "gates": {"success": {"enabled": False}}}, "nothing is ever proved"),
        ({"shadow": {"minimum_pairs": 3}}, "greater than or equal to 20"),
    ],
    ids=["unknown", "nothing proved", "too few pairs"],
)
def test_a_policy_that_cannot_be_is_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        RolloutSection.model_validate(settings)


# -- the forecast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", NAMES)
@given(low=st.floats(1, 1000), factor=st.floats(1.1, 50))
def test_more_traffic_never_takes_longer_and_shows_no_less(strategy, low, factor):
    plan = compiled(strategy)
    for slow, fast in zip(
        forecast(plan, Traffic(per_minute=low)), forecast(plan, Traffic(per_minute=low * factor)), strict=True
    ):
        assert slow.seconds is not None
        assert fast.seconds is not None
        assert fast.seconds <= slow.seconds + 1e-9
        assert fast.undecided <= slow.undecided
        for one, other in zip(slow.gates, fast.gates, strict=True):
            if one.shows is not None:
                assert other.shows is not None
                assert other.shows <= one.shows + 1e-6


@pytest.mark.parametrize("strategy", ["canary", "rolling", "shadow"])
def test_without_traffic_no_step_that_needs_some_is_ever_decided(strategy):
    found = forecast(compiled(strategy), Traffic(per_minute=0.0))
    assert all(step.undecided for step in found)
    assert plan_report(compiled(strategy), Traffic(per_minute=0.0))["seconds"] is None


def test_the_first_step_of_a_canary_needs_sixty_one_clean_conversations_at_five_points():
    plan = compiled("canary")
    first = forecast(plan, Traffic(per_minute=400))[0]
    failures = next(found for found in first.gates if found.gate.name == "failures")
    assert (failures.needs, failures.units) == (61, 200)
    assert failures.seconds == pytest.approx(183)


def test_the_error_budget_that_is_told_is_within_that_of_the_policy():
    for strategy in (*NAMES, "auto"):
        spent = plan_report(compiled(strategy), None)["budgets"]["alpha_fail"]
        assert 0 < spent <= RolloutSection().alpha_fail + 1e-9


@pytest.mark.parametrize("strategy", NAMES)
def test_the_screen_names_strategy_risk_cost_and_how_long_it_takes(strategy):
    plan = compiled(strategy)
    text = describe_forecast(plan, Traffic(per_minute=400, failing=0.001, measured=True))
    assert text.startswith(f"strategy  {strategy}")
    for word in ("risk", "cost", "error budgets", "400 new conversations a minute (measured", "in all"):
        assert word in text
    assert "say --traffic" in describe_forecast(plan, None)


def test_traffic_is_read_from_blocks_and_too_few_say_nothing():
    def block(number: int, units: int, failed: int) -> Block:
        active = tuple(f"{number}-{one}" for one in range(units))
        stable = ArmBlock(role=Role.STABLE, active=active, failed_units=active[:failed])
        return Block(t0=number * 10.0, seconds=10.0, fence=Fence(term=1, seq=1), arms={STABLE.release: stable})

    assert traffic_of([block(0, 5, 0)]) is None
    found = traffic_of([block(0, 20, 0), block(1, 20, 1), block(2, 20, 0)])
    assert (found.per_minute, found.measured) == (120.0, True)
    assert found.failing == pytest.approx(1 / 60)


# -- colours -----------------------------------------------------------------------------------------------------------

WARMED = {"stable": replace(STABLE, replicas=3), "candidate": replace(CANDIDATE, replicas=3)}


@pytest.mark.parametrize("active", Colour, ids=str)
@pytest.mark.parametrize(
    ("phase", "idle"),
    [(Phase.PREPARING, ("1.1.0", 3)), (Phase.STEPPING, ("1.1.0", 3)), (Phase.PROMOTING, ("1.1.0", 3)),
     (Phase.ROLLING_BACK, (None, 0))],
    ids=str,
)  # fmt: skip
def test_until_every_gateway_has_switched_the_old_colour_is_the_active_one(active, phase, idle):
    rollout = rollout_state(phase, plan=plan_for(Strategy.BLUE_GREEN), **WARMED)
    told = colours_wire(colours_of(route_state(rollout, stable=WARMED["stable"], active=active), T0))
    assert told["active"] == active.value
    assert (told[f"{active.value}_version"], told[f"{active.value}_replicas"]) == ("1.0.0", 3)
    other = active.other.value
    assert (told[f"{other}_version"], told[f"{other}_replicas"]) == idle
    assert list(told) == ["active", "blue_version", "green_version", "blue_replicas", "green_replicas"]


def test_other_strategies_have_no_colours():
    assert colours_of(route_state(rollout_state(Phase.STEPPING)), T0) is None
