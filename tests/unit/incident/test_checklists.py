"""Checklists: answered by evidence, and unknown is not yes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.incident.checklists import (
    CONFIRMED,
    Answered,
    ChecklistPhase,
    Facts,
    all_yes,
    answer,
    item_ids,
)
from fairway.incident.rehearsal import Rehearsed
from fairway.release.values import Evidence
from fairway.units import Digest, Verdict
from fairway.verdict.sla import SlaAction, SlaSnapshot, SlaStatus

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
RELEASE = Digest("sha256:" + "1" * 64)
REHEARSED = Rehearsed(verdict=Verdict.PASS, at=NOW, seconds=2.0, reason="rehearsed today, took 2.0 s")


def found(kind: str, verdict: Verdict = Verdict.PASS, *, at: datetime = NOW, **figures: object) -> Evidence:
    return Evidence(kind=kind, release=RELEASE, verdict=verdict, produced_by="ada", at=at, figures=figures)


def sla(status: SlaStatus, *, rate: float | None = 1.0, action: SlaAction | None = None) -> SlaSnapshot:
    return SlaSnapshot(
        version="1.2.0",
        start_ts=NOW,
        agent_group="shop",
        success_rate=rate,
        p95_latency_ms=None,
        error_trace_ratio=None,
        callback_fail_rate=None,
        status=status,
        action=action,
        reason="because",
    )


GOOD = Facts(
    evidence=(
        found("unit_test", coverage=91.5),
        found("benchmark_gate"),
        found("benchmark", at=NOW + timedelta(hours=2)),
        found(CONFIRMED + "docs", note="written"),
        found(CONFIRMED + "people_told", note="in the channel"),
        found(CONFIRMED + "feedback", note="three good words"),
    ),
    authors=("ada",),
    approvers=("grace",),
    indicators=("failures", "p95"),
    way_back="1.1.0",
    intact=True,
    running=True,
    rehearsal=REHEARSED,
    database="declared",
    backup_at=NOW - timedelta(hours=1),
    started_at=NOW,
    live_at=NOW + timedelta(hours=1),
    sla=sla(SlaStatus.VERIFIED),
)


def answers(facts: Facts) -> dict[str, Answered]:
    return {item.id: item.answer for phase in ChecklistPhase for item in answer(phase, facts)}


def test_with_all_the_evidence_every_item_is_yes_and_says_by_what() -> None:
    for phase in ChecklistPhase:
        items = answer(phase, GOOD)
        assert all_yes(items), [item for item in items if item.answer is not Answered.YES]
        assert all(item.evidence for item in items)


def test_with_no_evidence_no_item_is_yes() -> None:
    assert Answered.YES not in answers(Facts()).values()
    assert not any(all_yes(answer(phase, Facts())) for phase in ChecklistPhase)
    assert not all_yes([])


@pytest.mark.parametrize(
    ("item", "change", "expected"),
    [
        ("review", {"approvers": ("ada",)}, Answered.UNKNOWN),
        ("review", {"approvers": ()}, Answered.UNKNOWN),
        ("coverage", {"evidence": (found("unit_test"),)}, Answered.UNKNOWN),
        ("coverage", {"evidence": (found("unit_test", coverage=True),)}, Answered.UNKNOWN),
        ("coverage", {"evidence": (found("unit_test", Verdict.FAIL, coverage=99.0),)}, Answered.NO),
        ("coverage", {"evidence": (found("unit_test", Verdict.ERROR),)}, Answered.UNKNOWN),
        ("coverage", {"evidence": (found("unit_test", Verdict.NO_DATA, disabled="later"),)}, Answered.NO),
        ("benchmark", {"evidence": (found("load_test", Verdict.FAIL),)}, Answered.NO),
        ("benchmark", {"evidence": (found("load_test", Verdict.INCONCLUSIVE),)}, Answered.UNKNOWN),
        ("rollback_plan", {"rehearsal": replace(REHEARSED, verdict=Verdict.FAIL)}, Answered.NO),
        ("rollback_plan", {"rehearsal": replace(REHEARSED, verdict=Verdict.NO_DATA)}, Answered.UNKNOWN),
        ("rollback_plan", {"way_back": None}, Answered.NO),
        ("rollback_plan", {"intact": False}, Answered.NO),
        ("indicators", {"indicators": ()}, Answered.NO),
        ("indicators", {"indicators": None}, Answered.UNKNOWN),
        ("rollback_ready", {"running": False}, Answered.YES),
        ("rollback_ready", {"running": False, "rehearsal": None}, Answered.UNKNOWN),
        ("rollback_ready", {"intact": False}, Answered.NO),
        ("backup", {"database": "none", "backup_at": None}, Answered.YES),
        ("backup", {"database": "unknown"}, Answered.UNKNOWN),
        ("backup", {"backup_at": None}, Answered.NO),
        ("backup", {"backup_failed": True}, Answered.NO),
        ("backup", {"backup_at": NOW - timedelta(days=2)}, Answered.NO),
        ("errors_watched", {"sla": None}, Answered.UNKNOWN),
        ("errors_watched", {"sla": sla(SlaStatus.WATCHING, rate=None)}, Answered.UNKNOWN),
        ("errors_watched", {"sla": sla(SlaStatus.WATCHING)}, Answered.UNKNOWN),
        ("errors_watched", {"sla": sla(SlaStatus.WATCHING, action=SlaAction.ALERT)}, Answered.NO),
        ("errors_watched", {"sla": sla(SlaStatus.MANUAL_REVIEW)}, Answered.UNKNOWN),
        ("errors_watched", {"sla": sla(SlaStatus.BLOCKED)}, Answered.NO),
        ("benchmark_again", {"evidence": (found("benchmark"),)}, Answered.UNKNOWN),
        ("benchmark_again", {"live_at": None}, Answered.UNKNOWN),
        ("feedback", {"evidence": ()}, Answered.UNKNOWN),
        ("feedback", {"evidence": (found(CONFIRMED + "feedback", Verdict.FAIL, note="angry"),)}, Answered.NO),
    ],
)
def test_each_item_is_answered_by_its_own_evidence(item: str, change: dict[str, object], expected: Answered) -> None:
    assert answers(replace(GOOD, **change))[item] is expected  # type: ignore[arg-type]


def test_a_persons_word_answers_what_no_tool_knows_and_overrules_no_finding() -> None:
    said = found(CONFIRMED + "benchmark", note="by hand")
    assert answers(Facts(evidence=(said,)))["benchmark"] is Answered.YES
    assert answers(Facts(evidence=(said, found("benchmark", Verdict.FAIL))))["benchmark"] is Answered.NO
    taken_back = found(CONFIRMED + "benchmark", Verdict.FAIL, at=NOW + timedelta(hours=1), note="wrong file")
    assert answers(Facts(evidence=(said, taken_back)))["benchmark"] is Answered.NO


@given(
    drop=st.sets(st.sampled_from(list(Facts.__dataclass_fields__))),
    kinds=st.lists(st.tuples(st.sampled_from(["unit_test", "benchmark", "docs"]), st.sampled_from(list(Verdict)))),
)
def test_taking_evidence_away_never_turns_an_answer_into_yes(drop: set[str], kinds: list[tuple[str, Verdict]]) -> None:
    empty = Facts()
    less = replace(GOOD, **{name: getattr(empty, name) for name in drop})
    before, after = answers(GOOD), answers(less)
    assert all(before[item] is Answered.YES for item in item_ids() if after[item] is Answered.YES)
    judged = replace(empty, evidence=tuple(found(kind, verdict, coverage=90.0) for kind, verdict in kinds))
    if not any(verdict is Verdict.PASS for _, verdict in kinds):
        assert Answered.YES not in answers(judged).values()
