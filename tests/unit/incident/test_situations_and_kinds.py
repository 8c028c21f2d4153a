"""What is done in which situation, and the cheapest rollback that is sufficient."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.incident.kinds import KINDS, Kind, Possible, Risk, choose
from fairway.incident.situations import RESPONSES, Act, Situation, respond, situation_of
from fairway.recovery.cases import case_of, detected_wire
from fairway.release.values import Component
from fairway.rollout.port import JournalEntry
from fairway.rollout.values import Phase
from fairway.rollout.wire import state_to_wire
from fairway.testing.rollout_cases import ROUTE, T0, rollout_state, route_state
from fairway.traffic.fence import Fence
from fairway.verdict.values import GateKind

CODE, PROMPTS = Component.CODE, Component.PROMPTS
ROLLOUT = Path(__file__).parents[3] / "src" / "fairway" / "rollout"


def test_every_situation_has_a_response_and_none_is_empty() -> None:
    assert set(RESPONSES) == set(Situation)
    assert all(response.acts and response.why for response in RESPONSES.values())


@pytest.mark.parametrize(
    ("code", "reason", "acts", "automatic"),
    [
        ("candidate_crashed", "", (Act.REROUTE, Act.ROLL_BACK), True),
        ("candidate_not_ready", "", (Act.REROUTE, Act.ROLL_BACK), True),
        ("gate_failed", "", (Act.MASK, Act.REROUTE, Act.ROLL_BACK), True),
        ("gateway_tripped", "", (Act.MASK, Act.REROUTE, Act.ROLL_BACK), True),
        ("trigger_paused", "p95: P95 is 6 s", (Act.PAUSE, Act.REVIEW), False),
        ("trigger_fired", "memory: grew 3 times", (Act.REROUTE, Act.ROLL_BACK), True),
        ("never heard of it", "", (Act.PAUSE, Act.REVIEW), False),
    ],
)
def test_the_table_says_what_is_done(code: str, reason: str, acts: tuple[Act, ...], automatic: bool) -> None:
    response = respond(situation_of(code, reason))
    assert (response.acts, response.automatic) == (acts, automatic)


@pytest.mark.parametrize(
    ("kinds", "situation"),
    [
        ((GateKind.FAILURES,), Situation.ERROR_BURST),
        ((GateKind.SUCCESS, GateKind.LATENCY_P95), Situation.ERROR_BURST),
        ((GateKind.LATENCY_P95,), Situation.DEGRADED),
        ((GateKind.TOKENS_P95, GateKind.COST_MEAN), Situation.DEGRADED),
        ((), Situation.ERROR_BURST),
    ],
)
@pytest.mark.parametrize("code", ["gate_failed", "soak_failed"])
def test_a_failed_gate_is_an_error_burst_only_when_what_it_counts_are_failures(
    code: str, kinds: tuple[GateKind, ...], situation: Situation
) -> None:
    assert situation_of(code, "", gates=[kind.value for kind in kinds]) is situation


def test_a_trigger_on_latency_is_no_error_burst() -> None:
    assert situation_of("trigger_fired", "latency: P95 of the candidate was 6,000 ms") is Situation.DEGRADED
    assert situation_of("trigger_fired", "error_rate: 40 of 400 failed") is Situation.ERROR_BURST


def test_what_goes_on_record_of_a_rollback_reads_the_kinds_of_the_gates_that_failed() -> None:
    def recorded(*findings: tuple[GateKind, str, bool], worse: bool | None = None) -> str:
        rolling = rollout_state(Phase.ROLLING_BACK, cause="gate_failed", cause_text="a gate failed")
        event = JournalEntry(
            route=ROUTE,
            fence=Fence(term=1, seq=1),
            at=T0,
            kind="roll_back",
            code="gate_failed",
            reason="a gate failed",
            actor="controller",
            state=state_to_wire(route_state(rolling)),
            decision={
                "evidence": [
                    {
                        "gate": kind.value,
                        "kind": kind.value,
                        "verdict": verdict,
                        "stable_fails_too": shared,
                        "worse_than_stable": worse if kind is GateKind.SUCCESS else None,
                    }
                    for kind, verdict, shared in findings
                ]
            },
        )
        case = case_of(event)
        assert case is not None
        return str(detected_wire(case)["situation"])

    assert recorded((GateKind.LATENCY_P95, "FAIL", False), (GateKind.FAILURES, "PASS", False)) == "degraded"
    assert recorded((GateKind.LATENCY_P95, "FAIL", False), (GateKind.SUCCESS, "FAIL", True)) == "degraded"
    assert recorded((GateKind.FAILURES, "FAIL", False)) == "error_burst"
    outage = ((GateKind.LATENCY_P95, "FAIL", False), (GateKind.SUCCESS, "FAIL", False))
    assert recorded(*outage, worse=False) == "degraded", "a limit not shown to be broken by this release alone"
    shared = ((GateKind.LATENCY_P95, "PASS", False), (GateKind.SUCCESS, "FAIL", True))
    assert recorded(*shared, worse=True) == "error_burst"
    assert (
        recorded((GateKind.LATENCY_P95, "FAIL", False), (GateKind.SUCCESS, "FAIL", True), worse=True) == "error_burst"
    )
    assert recorded() == "error_burst"


def test_every_code_a_controller_rolls_back_with_is_a_known_situation() -> None:
    source = "".join(path.read_text() for path in ROLLOUT.glob("*.py"))
    codes = set(re.findall(r'(?:_roll_back|roll_back)\(\s*snapshot,\s*"(\w+)"', source))
    codes |= set(re.findall(r'Proof\(code="(\w+)"', source))
    assert len(codes) >= 10, "the search itself must work"
    assert {code for code in codes if situation_of(code) is Situation.UNKNOWN} == set()


# -- kinds --


def possible(**changes: object) -> Possible:
    values: dict[str, object] = {"running": True, "former": True, "changed": frozenset((CODE, PROMPTS))}
    return Possible(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (possible(), Kind.TRAFFIC),
        (possible(running=False), Kind.CODE),
        (possible(running=False, images=True), Kind.IMAGE),
        (possible(running=False, changed=frozenset((PROMPTS,))), Kind.CONFIGURATION),
        (possible(running=False, flags=("refunds",)), Kind.FLAG),
        (possible(running=True, flags=("refunds",)), Kind.TRAFFIC),
        (possible(former=False, running=False, flags=("refunds",)), Kind.FLAG),
        (possible(former=False, running=False), None),
    ],
)
def test_the_cheapest_sufficient_kind_is_chosen(given: Possible, kind: Kind | None) -> None:
    choice = choose(given)
    assert choice.kind is kind
    assert choice.why


def test_with_one_suspect_of_several_changes_the_rest_can_come_again() -> None:
    choice = choose(possible(suspects=frozenset((PROMPTS,))))
    assert choice.kind is Kind.TRAFFIC, "going back whole comes first"
    assert choice.then.startswith("code can come again without prompts")
    assert choose(possible(suspects=frozenset((PROMPTS,)), changed=frozenset((PROMPTS,)))).then == ""
    assert choose(possible(suspects=frozenset((PROMPTS, CODE)))).then == ""


@given(
    running=st.booleans(),
    former=st.booleans(),
    images=st.booleans(),
    changed=st.frozensets(st.sampled_from(list(Component))),
    suspects=st.frozensets(st.sampled_from(list(Component))),
    flags=st.sets(st.sampled_from(["one", "two"])),
)
def test_a_database_is_never_chosen_and_whatever_is_is_possible(
    running: bool, former: bool, images: bool, changed: frozenset, suspects: frozenset, flags: set[str]
) -> None:
    kind = choose(
        Possible(
            running=running and former, former=former, images=images, changed=changed, suspects=suspects, flags=flags
        )
    ).kind
    assert kind is not Kind.DATABASE
    assert (kind is None) == (not former and not flags)
    if kind is Kind.TRAFFIC:
        assert running
        assert former
    assert kind is not Kind.COMPONENT, "a mix has to be checked first: it is never the cheapest"


def test_only_the_database_asks_a_person_and_has_high_risk() -> None:
    assert {kind for kind, facts in KINDS.items() if facts.asks} == {Kind.DATABASE}
    assert {kind for kind, facts in KINDS.items() if facts.risk is Risk.HIGH} == {Kind.DATABASE}


def test_times_and_risks_are_those_promised() -> None:
    """SPEC J1: configuration < 1 min low, code 1-3 min medium, image 2-5 min medium, flag < 30 s low, database 5-10."""
    promised = {
        Kind.CONFIGURATION: ((0, 60), Risk.LOW),
        Kind.CODE: ((60, 180), Risk.MEDIUM),
        Kind.IMAGE: ((120, 300), Risk.MEDIUM),
        Kind.FLAG: ((0, 30), Risk.LOW),
        Kind.DATABASE: ((300, 600), Risk.HIGH),
        Kind.TRAFFIC: ((0, 1), Risk.LOW),
    }
    assert {kind: (KINDS[kind].seconds, KINDS[kind].risk) for kind in promised} == promised
