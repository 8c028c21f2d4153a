"""What both arms suffer is not the candidate's fault; what only it suffers is."""

from __future__ import annotations

from fairway.units import Digest, Verdict
from fairway.verdict.shared_cause import shared_cause
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
