"""Checklists in three phases (SPEC J4), answered by evidence. Pure; unknown is not yes.

An item is answered by what the ledger holds - evidence, approvals, rehearsals, SLA snapshots - and, where no tool can
know, by a person's word, which is kept as evidence too. A finding outranks a word: nobody can confirm away a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from fairway.incident.rehearsal import Rehearsed
from fairway.release.required import DISABLED
from fairway.release.values import Evidence
from fairway.units import Verdict
from fairway.verdict.sla import SlaAction, SlaSnapshot, SlaStatus

CONFIRMED = "checklist_"
"""Beginning of the evidence kind of a person's word: ``checklist_docs``."""

BENCHMARKS = ("benchmark_gate", "benchmark", "load_test")
"""Kinds of evidence that are a benchmark."""


class ChecklistPhase(StrEnum):
    """When a list is asked."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Answered(StrEnum):
    """The answer; only yes is yes."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answered item; ``evidence`` says by what, or why it is not known."""

    id: str
    question: str
    answer: Answered
    evidence: str

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "id": self.id,
            "question": self.question,
            "answer": self.answer.value,
            "evidence": self.evidence,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a release on a route.

    Attributes:
        evidence: About it, oldest first.
        authors: Who wrote or published it.
        approvers: Who approved it on the route.
        indicators: Gates its rollout must pass; ``None``: no rollout of it is on record.
        way_back: Version that would be gone back to; ``None``: there is none.
        intact: Whether that one verifies.
        running: Whether it runs and is ready.
        rehearsal: Of going back to it; ``None``: there is nothing to rehearse.
        database: ``declared``, ``none`` or ``unknown``.
        backup_at: When the last good backup was made; ``None``: never, or not known.
        backup_failed: Whether the last backup is known to have gone wrong.
        started_at: When its rollout started; ``None``: it did not.
        live_at: When all traffic was on it; ``None``: it is not.
        sla: Its snapshot now; ``None``: none could be taken.
    """

    evidence: tuple[Evidence, ...] = ()
    authors: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    indicators: tuple[str, ...] | None = None
    way_back: str | None = None
    intact: bool = False
    running: bool = False
    rehearsal: Rehearsed | None = None
    database: str = "unknown"
    backup_at: datetime | None = None
    backup_failed: bool = False
    started_at: datetime | None = None
    live_at: datetime | None = None
    sla: SlaSnapshot | None = None


_Found = tuple[Answered, str]
_YES, _NO, _UNKNOWN = Answered.YES, Answered.NO, Answered.UNKNOWN


def answer(phase: ChecklistPhase, facts: Facts) -> tuple[Item, ...]:
    """Every item of a phase, in its order."""
    items = []
    for id_, (question, look) in _ITEMS[phase].items():
        found, why = look(facts)
        if found is _UNKNOWN:
            found, why = _word(id_, facts) or (found, why)
        items.append(Item(id=id_, question=question, answer=found, evidence=why))
    return tuple(items)


def item_ids() -> tuple[str, ...]:
    """Every item of every phase."""
    return tuple(id_ for items in _ITEMS.values() for id_ in items)


def all_yes(items: Iterable[Item]) -> bool:
    """Whether every item is answered yes; a list without items is not."""
    known = list(items)
    return bool(known) and all(item.answer is _YES for item in known)


def _newest(facts: Facts, kinds: Iterable[str], *, since: datetime | None = None) -> Evidence | None:
    found = [one for one in facts.evidence if one.kind in kinds and (since is None or one.at >= since)]
    return max(found, key=lambda one: one.at, default=None)


def _word(id_: str, facts: Facts) -> _Found | None:
    """What a person said; ``None`` when nobody said anything."""
    said = _newest(facts, (CONFIRMED + id_,))
    if said is None:
        return None
    note = str(said.figures.get("note", ""))
    told = f"{said.produced_by} says so, {said.at:%Y-%m-%d %H:%M} UTC: {note}"
    return (_YES if said.verdict is Verdict.PASS else _NO), told


def _by_verdict(one: Evidence, what: str) -> _Found:
    told = f"{what}: {one.verdict.value}, {one.at:%Y-%m-%d %H:%M} UTC"
    if one.verdict is Verdict.PASS:
        return _YES, told
    return (_NO if one.verdict is Verdict.FAIL else _UNKNOWN), told


def _review(facts: Facts) -> _Found:
    others = [who for who in facts.approvers if who not in facts.authors]
    if others:
        return _YES, f"approved by {', '.join(dict.fromkeys(others))}, who did not write it"
    return _UNKNOWN, "no approval by anybody who did not write it is on record"


def _coverage(facts: Facts) -> _Found:
    found = _newest(facts, ("unit_test",))
    if found is None:
        return _UNKNOWN, "no unit test of this content is on record"
    if DISABLED in found.figures:
        return _NO, f"unit tests are switched off: {found.figures[DISABLED]}"
    if found.verdict is not Verdict.PASS:
        return _by_verdict(found, "unit_test")
    measured = found.figures.get("coverage")
    if not isinstance(measured, int | float) or isinstance(measured, bool):
        return _UNKNOWN, "unit tests passed, their coverage was not measured"
    return _YES, f"unit tests passed, coverage {measured:g} %"


def _benchmark(facts: Facts) -> _Found:
    found = _newest(facts, BENCHMARKS)
    return (_UNKNOWN, "no benchmark of this content is on record") if found is None else _by_verdict(found, found.kind)


def _docs(facts: Facts) -> _Found:
    found = _newest(facts, ("docs",))
    return (_UNKNOWN, "nobody has said that the docs are up to date") if found is None else _by_verdict(found, "docs")


def _rollback_plan(facts: Facts) -> _Found:
    if facts.way_back is None:
        return _NO, "there is no earlier release to go back to"
    if not facts.intact:
        return _NO, f"{facts.way_back} does not verify"
    rehearsal = facts.rehearsal
    if rehearsal is None or rehearsal.verdict is Verdict.NO_DATA:
        return _UNKNOWN, f"going back to {facts.way_back} was never rehearsed"
    told = f"back to {facts.way_back}: {rehearsal.reason}"
    return (_YES if rehearsal.verdict is Verdict.PASS else _NO), told


def _nobody_told(_: Facts) -> _Found:
    return _UNKNOWN, "nobody has said that people were told"


def _indicators(facts: Facts) -> _Found:
    if facts.indicators is None:
        return _UNKNOWN, "no rollout of it is on record"
    if not facts.indicators:
        return _NO, "its rollout has no gate that must pass"
    return _YES, f"gates that must pass: {', '.join(facts.indicators)}"


def _rollback_ready(facts: Facts) -> _Found:
    if facts.way_back is not None and facts.intact and facts.running:
        return _YES, f"{facts.way_back} runs, is ready and verifies"
    return _rollback_plan(facts)


def _backup(facts: Facts) -> _Found:
    if facts.database == "none":
        return _YES, "rollback.database is none: the agent has no database of its own"
    if facts.database != "declared":
        return _UNKNOWN, "fairway.yaml does not say whether there is a database (rollback.database)"
    if facts.backup_failed:
        return _NO, "the last backup is not known to have gone well"
    if facts.backup_at is None:
        return _NO, "no backup is on record"
    told = f"backup of {facts.backup_at:%Y-%m-%d %H:%M} UTC"
    if facts.started_at is not None and facts.backup_at < facts.started_at - _BACKUP_AGE:
        return _NO, f"{told} is more than a day older than the rollout"
    return _YES, told


def _errors_watched(facts: Facts) -> _Found:
    taken = facts.sla
    if taken is None or taken.success_rate is None:
        return _UNKNOWN, "no request of known outcome was seen on it"
    told = f"SLA {taken.status.value}: {taken.reason}"
    if taken.status in (SlaStatus.BLOCKED, SlaStatus.ROLLBACKED) or taken.action is SlaAction.ALERT:
        return _NO, told
    return (_YES if taken.status is SlaStatus.VERIFIED else _UNKNOWN), told


def _benchmark_again(facts: Facts) -> _Found:
    if facts.live_at is None:
        return _UNKNOWN, "it is not live"
    found = _newest(facts, BENCHMARKS, since=facts.live_at)
    if found is None:
        return _UNKNOWN, "no benchmark since it went live is on record"
    return _by_verdict(found, found.kind)


def _feedback(_: Facts) -> _Found:
    return _UNKNOWN, "nobody has said what users say"


_BACKUP_AGE = timedelta(days=1)

_ITEMS: Mapping[ChecklistPhase, Mapping[str, tuple[str, Callable[[Facts], _Found]]]] = {
    ChecklistPhase.BEFORE: {
        "review": ("Was it reviewed by somebody else?", _review),
        "coverage": ("Do its unit tests pass with enough coverage?", _coverage),
        "benchmark": ("Was it benchmarked?", _benchmark),
        "docs": ("Are the docs up to date?", _docs),
        "rollback_plan": ("Was going back rehearsed?", _rollback_plan),
    },
    ChecklistPhase.DURING: {
        "people_told": ("Were the people concerned told?", _nobody_told),
        "indicators": ("Are the indicators set?", _indicators),
        "rollback_ready": ("Can it be taken back now?", _rollback_ready),
        "backup": ("Was the database saved?", _backup),
    },
    ChecklistPhase.AFTER: {
        "errors_watched": ("Are its errors watched, and within limits?", _errors_watched),
        "benchmark_again": ("Was it benchmarked again since?", _benchmark_again),
        "feedback": ("Was feedback collected?", _feedback),
        "rollback_still_ready": ("Can it still be taken back?", _rollback_ready),
    },
}
