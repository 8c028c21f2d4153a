"""What both arms suffer is not the candidate's fault; what only it suffers is."""

from __future__ import annotations

from dataclasses import replace

from fairway.observe.fold import ArmBlock, Block
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash, Verdict
from fairway.verdict.shared_cause import shared_cause, suffers
from fairway.verdict.values import GateFinding, GateKind

CANDIDATE, STABLE = Digest("sha256:" + "c" * 64), Digest("sha256:" + "a" * 64)


def finding(kind: GateKind, verdict: Verdict, *, stable_fails_too: bool = False) -> GateFinding:
    return GateFinding(
        gate=kind.value, kind=kind, verdict=verdict, margin=0.9, reason="why", stable_fails_too=stable_fails_too
    )


LIMIT = finding(GateKind.SUCCESS, Verdict.FAIL, stable_fails_too=True)


def test_a_limit_that_stable_breaks_as_well_is_a_shared_cause() -> None:
    assert "stable breaks the limit as well" in shared_cause([LIMIT], [], candidate=CANDIDATE, stable=STABLE)
    own = finding(GateKind.SUCCESS, Verdict.FAIL)
    assert shared_cause([own], [], candidate=CANDIDATE, stable=STABLE) == ""


def test_it_excuses_nothing_once_a_gate_that_compares_both_has_failed() -> None:
    for verdict in Verdict:
        compared = finding(GateKind.FAILURES, verdict)
        found = shared_cause([LIMIT, compared], [], candidate=CANDIDATE, stable=STABLE)
        assert (found == "") is (verdict is Verdict.FAIL), verdict


def test_a_release_compared_with_itself_has_nobody_to_share_with() -> None:
    assert shared_cause([LIMIT], [], candidate=STABLE, stable=STABLE) == ""


def test_a_limit_shown_beside_stable_is_no_shared_cause_though_stable_breaks_it_by_habit() -> None:
    worse = replace(LIMIT, worse_than_stable=True)
    assert shared_cause([worse], [], candidate=CANDIDATE, stable=STABLE) == ""
    unshown = replace(LIMIT, worse_than_stable=False)
    assert "stable breaks" in shared_cause([unshown], [], candidate=CANDIDATE, stable=STABLE)


def test_a_candidate_that_overloads_what_both_use_is_not_excused_by_the_jump_of_stable() -> None:
    units = [UnitHash(f"{number:016x}") for number in range(1000)]
    calm = [_block(10.0 * n, units[50 * n : 50 * n + 50], 0) for n in range(12)]
    jumped = [_block(120.0 + 10.0 * n, units[600 + 50 * n : 650 + 50 * n], 10) for n in range(6)]
    arms = {"candidate": CANDIDATE, "stable": STABLE}
    assert "jumped" in shared_cause([finding(GateKind.FAILURES, Verdict.INCONCLUSIVE)], calm + jumped, **arms)
    assert shared_cause([finding(GateKind.FAILURES, Verdict.FAIL)], calm + jumped, **arms) == ""


def test_one_unlucky_unit_is_no_outage_and_two_of_a_few_are() -> None:
    few = [UnitHash(f"{number:016x}") for number in range(8)]
    assert not suffers(0.005, [frozenset(few[:1])], [frozenset(few[:2])])
    assert suffers(0.005, [frozenset(few[:1]), frozenset(few[1:2])], [frozenset(few[:4]), frozenset(few)])
    assert not suffers(0.25, [frozenset(few[:2])], [frozenset(few)])
    calm = frozenset(UnitHash(f"{number:016x}") for number in range(100, 900))
    struck = [frozenset[UnitHash](), frozenset(few[:2])]
    assert suffers(0.005, struck, [calm, frozenset(few)]), "a calm minute before hides no outage"
    assert not suffers(0.005, struck, [frozenset(few), calm])
    assert not suffers(0.005, [], [])


def _block(t0: float, units: list[UnitHash], failed: int) -> Block:
    arm = ArmBlock(role=Role.STABLE, assigned=len(units), active=tuple(units), failed_units=tuple(units[:failed]))
    return Block(t0=t0, seconds=10.0, arms={STABLE: arm}, split=5000, fence=ZERO_FENCE)
