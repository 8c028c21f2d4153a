"""The procedure of a rollback: its steps, recovery that is never assumed, and what closing it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RefusedError
from fairway.incident.procedure import (
    RECOVERY_REQUESTS,
    Entry,
    Procedure,
    Step,
    close,
    entry_from_wire,
    entry_to_wire,
    procedures,
    recovery,
)
from fairway.incident.rehearsal import REHEARSAL, rehearsed
from fairway.observe.fold import ArmBlock, Block
from fairway.release.values import Evidence
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict
from fairway.verdict.sla import SlaPolicy

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
GOOD = Digest("sha256:" + "b" * 64)


def entry(step: Step, seconds: int = 0, incident: str = "r-1", **details: object) -> Entry:
    return Entry(incident=incident, step=step, at=NOW + timedelta(seconds=seconds), actor="controller", details=details)


def procedure(*more: Entry, verdict: str | None = "PASS") -> Procedure:
    entries = [entry(Step.DETECT, reason="gate failed"), entry(Step.ROLL_BACK, 1)]
    if verdict is not None:
        entries.append(entry(Step.VERIFY, 2, verdict=verdict))
    return Procedure(incident="r-1", entries=(*entries, *more))


def block(t0: float, *, failed: int = 0, unknown: int = 0, role: Role = Role.STABLE, gap: bool = False) -> Block:
    arm = ArmBlock(role=role, assigned=10, finished=10, failed=failed, unknown=unknown)
    return Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms={GOOD: arm}, gap=gap)


def test_the_last_rollback_comes_first_and_its_next_step_is_known() -> None:
    known = procedures([entry(Step.DETECT), entry(Step.DETECT, 9, "r-2"), entry(Step.LOCATE, 10, "r-1")])
    assert [one.incident for one in known] == ["r-2", "r-1"]
    assert (known[0].next, known[1].next) == (Step.LOCATE, Step.CHOOSE)
    assert not known[0].marked


def test_of_a_step_done_twice_the_last_counts() -> None:
    twice = Procedure(incident="r-1", entries=(entry(Step.NOTIFY, told=False), entry(Step.NOTIFY, 5, told=True)))
    done = twice.done(Step.NOTIFY)
    assert done is not None
    assert done.details == {"told": True}


@given(st.sampled_from(Step), st.dictionaries(st.text(max_size=5), st.integers()))
def test_a_step_reads_back_as_it_was_written(step: Step, details: dict[str, int]) -> None:
    written = entry(step) if not details else Entry(
        incident="r-1", step=step, at=NOW, actor="ada", details=details
    )  # fmt: skip
    assert entry_from_wire(entry_to_wire(written), at=written.at, actor=written.actor) == written


@pytest.mark.parametrize("wire", [None, {}, {"version": 2}, {"version": 1, "incident": "x", "step": "fly"}, 7])
def test_a_record_nobody_understands_is_no_step(wire: object) -> None:
    assert entry_from_wire(wire, at=NOW, actor="ada") is None  # type: ignore[arg-type]


# -- recovery --


def recovered(*blocks: Block, since: float = 100.0, back: Digest | None = GOOD) -> Verdict:
    return recovery(blocks, back_to=back, since=since, policy=SlaPolicy()).verdict


def test_recovery_is_judged_only_by_enough_complete_requests_since() -> None:
    assert recovered() is Verdict.NO_DATA
    assert recovered(block(100)) is Verdict.NO_DATA, f"10 of {RECOVERY_REQUESTS}"
    assert recovered(block(100), block(110)) is Verdict.PASS
    assert recovered(block(80), block(90)) is Verdict.NO_DATA, "before traffic was back"
    assert recovered(block(100), block(110, gap=True)) is Verdict.NO_DATA
    assert recovered(block(100), block(110, unknown=10)) is Verdict.NO_DATA, "an unknown outcome is no success"
    assert recovered(block(100), block(110, role=Role.SHADOW)) is Verdict.NO_DATA
    assert recovered(block(100), block(110), back=None) is Verdict.NO_DATA


def test_a_release_that_fails_too_has_not_recovered() -> None:
    assert recovered(block(100, failed=1), block(110)) is Verdict.FAIL


# -- closing --


def test_closing_keeps_the_reason_the_root_cause_and_the_recovery() -> None:
    closed = close(procedure(), actor="ada", at=NOW, reason="", note=" a prompt ")
    assert closed.step is Step.CLOSE
    assert closed.details == {"reason": "gate failed", "root_cause": "a prompt", "recovery": "PASS"}


@pytest.mark.parametrize(
    ("known", "note", "unverified", "code"),
    [
        (procedure(), "  ", False, "note_needed"),
        (procedure(verdict=None), "x", False, "recovery_unknown"),
        (procedure(verdict="FAIL"), "x", False, "recovery_unknown"),
        (procedure(entry(Step.CLOSE, 9)), "x", True, "rollback_closed"),
        (Procedure(incident="r-1", entries=(entry(Step.DETECT),)), "x", True, "rollback_open"),
        (Procedure(incident="r-1", entries=(entry(Step.ROLL_BACK),)), "x", True, "reason_needed"),
    ],
)
def test_what_is_missing_keeps_a_rollback_open(known: Procedure, note: str, unverified: bool, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        close(known, actor="ada", at=NOW, reason="", note=note, unverified=unverified)
    assert refused.value.code == code


def test_closing_without_known_recovery_says_so_on_record() -> None:
    closed = close(procedure(verdict=None), actor="ada", at=NOW, reason="", note="x", unverified=True)
    assert closed.details["recovery"] == "NO_DATA"


# -- rehearsals --


def rehearsal(verdict: Verdict = Verdict.PASS, *, hours: float = 0, **changes: object) -> Evidence:
    values: dict[str, object] = {
        "kind": REHEARSAL,
        "release": GOOD,
        "verdict": verdict,
        "produced_by": "test",
        "at": NOW + timedelta(hours=hours),
        "effective": GOOD,
        "figures": {"seconds": 2.0, "problem": "no answer"},
        "expires": NOW + timedelta(hours=hours, days=7),
    }
    return Evidence(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([], Verdict.NO_DATA),
        ([rehearsal()], Verdict.PASS),
        ([rehearsal(), rehearsal(Verdict.FAIL, hours=1)], Verdict.FAIL),
        ([rehearsal(Verdict.FAIL), rehearsal(hours=1)], Verdict.PASS),
        ([rehearsal(hours=-24 * 8)], Verdict.FAIL),
        ([rehearsal(effective=None)], Verdict.NO_DATA),
        ([rehearsal(release=Digest("sha256:" + "c" * 64))], Verdict.NO_DATA),
        ([rehearsal(hours=48)], Verdict.NO_DATA),
    ],
)
def test_the_newest_rehearsal_of_this_very_release_and_configuration_counts(
    evidence: list[Evidence], verdict: Verdict
) -> None:
    assert rehearsed(evidence, GOOD, GOOD, now=NOW + timedelta(hours=2)).verdict is verdict
