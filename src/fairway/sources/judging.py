"""From answers to a finding: how long the limit has held or been broken, without a gap. Pure and total.

A point comparison: nothing here knows how often it is wrong. ``for`` alone stands between one bad scrape and a
rollback.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from fairway.sources.values import NO_DATA, Answered, SourceAnswer, SourceFinding, SourceGate, SourceReading
from fairway.units import Verdict, format_duration

_CLOCK_SLACK = 1.0
"""Seconds an answer may lie in the future, by how clocks are rounded."""


class _Side(Enum):
    WITHIN = "within"
    BEYOND = "beyond"
    UNKNOWN = "unknown"


def take_in(
    gate: SourceGate, before: SourceReading, *, at: float, answer: SourceAnswer, stable: SourceAnswer | None = None
) -> SourceReading:
    """One more answer.

    Args:
        gate: Whose question it was.
        before: What there was; of the same gate.
        at: When it was asked, epoch seconds. One that was asked earlier than the last changes nothing.
        answer: About the candidate.
        stable: About stable, asked at the same time, where the gate compares.
    """
    if before.at is not None and at < before.at:
        return before
    whole = before.at is not None and at - before.at <= gate.stale_after
    stable = stable if gate.compares else None
    side = _side(gate, answer, stable)
    broken = any(each is not None and _is_error(each) for each in (answer, stable))
    return replace(
        before,
        at=at,
        answer=answer,
        stable=stable,
        holds_since=_since(before.holds_since, at, on=side is _Side.WITHIN, whole=whole),
        breaks_since=_since(before.breaks_since, at, on=side is _Side.BEYOND, whole=whole),
        errors=before.errors + 1 if broken else 0,
    )


def _since(before: float | None, at: float, *, on: bool, whole: bool) -> float | None:
    if not on:
        return None
    return before if before is not None and whole else at


def _is_error(answer: SourceAnswer) -> bool:
    return answer.outcome is not Answered.VALUE and answer.outcome not in NO_DATA


def judge_source(gate: SourceGate, reading: SourceReading | None, *, now: float) -> SourceFinding:
    """What a custom gate says at ``now`` (epoch seconds).

    PASS when every answer of the last ``holds_for`` seconds kept the limit, FAIL when every one broke it, INCONCLUSIVE
    in between. NO_DATA without an answer, with one that is too old, or where the source knows nothing; ERROR where it
    could not be asked or read. Only a figure counts for or against the candidate.
    """
    if reading is None or reading.at is None or reading.answer is None:
        return _finding(gate, Verdict.NO_DATA, "it has not answered yet")
    age = now - reading.at
    if not -_CLOCK_SLACK <= age <= gate.stale_after:
        return _finding(
            gate, Verdict.NO_DATA, f"its last answer is {format_duration(abs(age))} old", reading=reading, age=age
        )
    unclear = _unclear(gate, reading)
    if unclear is not None:
        verdict = Verdict.ERROR if _is_error(unclear) else Verdict.NO_DATA
        again = f" ({reading.errors} times in a row)" if reading.errors > 1 else ""
        return _finding(gate, verdict, f"{unclear.detail}{again}", reading=reading, age=age, outcome=unclear.outcome)
    return _by_limit(gate, reading, age)


def _by_limit(gate: SourceGate, reading: SourceReading, age: float) -> SourceFinding:
    assert reading.at is not None
    since = reading.holds_since if reading.holds_since is not None else reading.breaks_since
    seconds = 0.0 if since is None else reading.at - since
    within = reading.holds_since is not None
    long_enough = since is not None and seconds >= gate.holds_for
    verdict = Verdict.INCONCLUSIVE
    if long_enough:
        verdict = Verdict.PASS if within else Verdict.FAIL
    return _finding(
        gate, verdict, _told(gate, reading, seconds, within=within), reading=reading, age=age, seconds=seconds
    )


def _finding(
    gate: SourceGate,
    verdict: Verdict,
    reason: str,
    *,
    reading: SourceReading | None = None,
    age: float | None = None,
    seconds: float = 0.0,
    outcome: Answered | None = None,
) -> SourceFinding:
    answer = None if reading is None else reading.answer
    stable = None if reading is None else reading.stable
    errors = 0 if reading is None else reading.errors
    last = outcome or (None if answer is None else answer.outcome)
    return SourceFinding(
        gate=gate.name,
        verdict=verdict,
        reason=reason,
        outcome="" if last is None else last.value,
        value=None if answer is None else answer.value,
        stable=None if stable is None else stable.value,
        age=age,
        seconds=seconds,
        errors=errors,
        stops=errors >= gate.errors,
        on_fail=gate.on_fail,
    )


def _unclear(gate: SourceGate, reading: SourceReading) -> SourceAnswer | None:
    """The answer that is no figure, the candidate's first; ``None`` when all that is needed is there."""
    if reading.answer is None or reading.answer.outcome is not Answered.VALUE:
        return reading.answer
    if not gate.compares:
        return None
    if reading.stable is None:
        return SourceAnswer(outcome=Answered.EMPTY, detail="nothing is known of stable")
    if reading.stable.outcome is not Answered.VALUE:
        return replace(reading.stable, detail=f"stable: {reading.stable.detail}")
    if reading.stable.value is not None and reading.stable.value < 0:
        text = f"stable's figure is {reading.stable.value:g}: a margin of what is negative means nothing"
        return SourceAnswer(outcome=Answered.NOT_COMPARABLE, detail=text)
    return None


def _side(gate: SourceGate, answer: SourceAnswer, stable: SourceAnswer | None) -> _Side:
    value = answer.value if answer.outcome is Answered.VALUE else None
    if value is None:
        return _Side.UNKNOWN
    if gate.asks_yes_or_no:
        return _Side.WITHIN if value == 1.0 else _Side.BEYOND
    most, least = gate.at_most, gate.at_least
    if gate.compares:
        yardstick = stable.value if stable is not None and stable.outcome is Answered.VALUE else None
        if yardstick is None or yardstick < 0:
            return _Side.UNKNOWN
        most = None if gate.most_of_stable is None else yardstick * gate.most_of_stable
        least = None if gate.least_of_stable is None else yardstick * gate.least_of_stable
    kept = (most is None or value <= most) and (least is None or value >= least)
    return _Side.WITHIN if kept else _Side.BEYOND


def limit_words(gate: SourceGate) -> str:
    """What a custom gate asks for, in words."""
    if gate.asks_yes_or_no:
        return "true"
    parts = []
    if gate.at_most is not None:
        parts.append(f"at most {gate.at_most:g}")
    if gate.at_least is not None:
        parts.append(f"at least {gate.at_least:g}")
    if gate.most_of_stable is not None:
        parts.append(f"at most stable's {(gate.most_of_stable - 1) * 100:+.4g}%")
    if gate.least_of_stable is not None:
        parts.append(f"at least stable's {(gate.least_of_stable - 1) * 100:+.4g}%")
    return " and ".join(parts)


def _told(gate: SourceGate, reading: SourceReading, seconds: float, *, within: bool) -> str:
    assert reading.answer is not None
    value = reading.answer.value or 0.0
    figure = ("true" if value == 1.0 else "false") if gate.asks_yes_or_no else f"{value:.6g}"
    beside = ""
    if gate.compares and reading.stable is not None:
        beside = f" against {reading.stable.value or 0.0:.6g} on stable"
    how = "kept" if within else "broken"
    lasted = f" for {format_duration(seconds)}" if gate.holds_for else ""
    rest = f" of {format_duration(gate.holds_for)}" if seconds < gate.holds_for else ""
    return f"{figure}{beside}, asked for {limit_words(gate)}: {how}{lasted}{rest}"
