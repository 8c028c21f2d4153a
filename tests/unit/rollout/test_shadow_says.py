"""A project that declares that its agent heeds the shadow is held to it: from the policy to the table and back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import DecisionKind, Measured
from fairway.rollout.desired import RoutePolicy, desired_of, served_digest, table_of
from fairway.rollout.evidence import MirrorPairs
from fairway.rollout.next_step import next_step
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Phase, RouteState, Strategy
from fairway.testing.rollout_cases import STABLE, T0, plan_for, ready_arm, rollout_state, route_state, snapshot
from fairway.traffic.fence import Fence


def mirroring(*, says: bool) -> RouteState:
    plan = plan_for(Strategy.SHADOW)
    step = plan.steps[0]
    assert step.mirroring is not None
    first = replace(step, mirroring=replace(step.mirroring, says=says))
    return route_state(rollout_state(Phase.STEPPING, plan=replace(plan, steps=(first, *plan.steps[1:]))))


@pytest.mark.parametrize("heeded", [True, False])
def test_what_is_declared_is_asked_of_the_shadow(heeded: bool) -> None:
    policy = RolloutSection.model_validate({"strategy": "shadow", "shadow": {"heeded": heeded}})
    first = compile_plan(policy).steps[0]
    assert first.mirroring is not None
    assert first.mirroring.says is heeded


@pytest.mark.parametrize("says", [True, False])
def test_gateways_are_told_and_another_word_is_another_table(says: bool) -> None:
    state = mirroring(says=says)
    desired = desired_of(state, T0)
    assert desired.mirror
    table = table_of(state, desired, (ready_arm(STABLE),), RoutePolicy(), Fence(term=1, seq=1))
    assert table.shadow_says is says
    other = replace(desired, shadow_says=not says)
    assert served_digest(desired, (), "") != served_digest(other, (), "")
    assert desired_of(route_state(rollout_state(Phase.STEPPING)), T0).shadow_says is False


@pytest.mark.parametrize("paused", ["", "grace paused"])
def test_an_answer_without_the_word_goes_back_whatever_else_the_pairs_say(paused: str) -> None:
    state = mirroring(says=True)
    assert state.rollout is not None
    state = replace(state, rollout=replace(state.rollout, paused=paused))
    good = MirrorPairs(compared=5000, unattested=1)
    decision = next_step(snapshot(state, measured=Measured(pairs=good, mature_seconds=600.0)))
    assert (decision.kind, decision.code) == (DecisionKind.ROLL_BACK, "shadow_unattested")
    assert decision.desired.mirror == 0
    assert "shadow=1" in decision.reason
