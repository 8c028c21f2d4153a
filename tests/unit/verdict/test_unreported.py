"""What agents do not say of their requests is no clean record, and is told by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.observe.fold import Block
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.units import Digest, Verdict
from fairway.verdict.panel import Panel
from fairway.verdict.values import GateFinding, GateKind, GateSpec

REPORTED = [GateKind.GUARDRAIL, GateKind.TOOL_ERRORS, GateKind.CALLBACK_FAILURES, GateKind.LOOPS]


def gate(kind: GateKind) -> GateSpec:
    return GateSpec(name=kind.value, kind=kind, margin=0.05, alpha_fail=0.01, alpha_pass=0.05)


def blocks(*silent: Digest) -> list[Block]:
    """Half and half of two healthy releases, some of which never report an outcome."""
    model = ArmModel(failure=0.0)
    traffic = ModelledTraffic(seed=1, units_per_block=40, stable=model, candidate=model)
    found = []
    for _ in range(20):
        block = traffic.next_block(split=0.5)
        arms = {one: replace(arm, reported=0) if one in silent else arm for one, arm in block.arms.items()}
        found.append(replace(block, arms=arms))
    return found


def finding(kind: GateKind, seen: list[Block]) -> GateFinding:
    panel = Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=0.0)
    for block in seen:
        panel.take(block)
    return panel.judge([gate(kind)], step_from=0.0)[0]


@pytest.mark.parametrize("kind", REPORTED)
def test_where_neither_release_says_what_became_of_its_requests_that_is_said_and_holds_nothing(kind: GateKind) -> None:
    found = finding(kind, blocks(MODELLED_CANDIDATE, MODELLED_STABLE))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "neither release says what became of its requests, so this cannot be measured"
    assert found.units_needed is None
    assert (found.units_candidate, found.units_stable) == (0, 0)  # which holds nothing up


@pytest.mark.parametrize("kind", REPORTED)
def test_a_candidate_that_says_nothing_beside_a_stable_that_does_is_no_data_by_name_and_holds(kind: GateKind) -> None:
    found = finding(kind, blocks(MODELLED_CANDIDATE))
    assert found.verdict is Verdict.NO_DATA
    assert found.reason.startswith("the candidate says of none of its ")
    assert found.reason.endswith(" requests what became of it, stable does")
    assert found.units_candidate == 0
    assert found.units_stable > 0  # which is blind, and holds


@pytest.mark.parametrize("kind", REPORTED)
def test_where_both_say_it_and_nothing_was_hit_the_gate_passes(kind: GateKind) -> None:
    assert finding(kind, blocks()).verdict is Verdict.PASS
