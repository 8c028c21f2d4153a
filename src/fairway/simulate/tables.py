"""Studies as tables: for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.simulate.rollout import Ending
from fairway.simulate.study import Delays, Rate, Study
from fairway.units import format_share

_HEAD = (
    "effect",
    "shape",
    "/min",
    "plan",
    "rollouts",
    "rolled back",
    "promoted",
    "paused",
    "median delay",
    "p10 - p90",
)


def text_of(studies: Sequence[Study]) -> str:
    """Everything there is, for a terminal: Fairway's outcomes, then everybody's rollbacks and delays."""
    outcomes = [_HEAD, *(_row(study) for study in studies)]
    beside = [("rolled back (median delay)", *_BESIDE), *((_short(study), *_beside(study)) for study in studies)]
    notes = [f"{_short(study)}: {study.broken_promise()}" for study in studies if study.broken_promise()]
    exposed = [
        f"{_short(study)}: {_percent(middle)} (p90 {_percent(p90)})"
        for study in studies
        for middle, p90 in (study.exposed(),)
        if middle is not None
    ]
    parts = [columns(outcomes), columns(beside)]
    if exposed:
        parts.append(
            "Of the users active in that time, on the candidate until it was rolled back (median):\n"
            + "\n".join(f"  {line}" for line in exposed)
        )
    if notes:
        parts.append("Disproved at 95 %:\n" + "\n".join(f"  {line}" for line in notes))
    return "\n\n".join(parts)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; the first row is the head."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table of a page; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def rate(value: Rate) -> str:
    """``2 of 90 (0.3-7.8%)``: hits and the exact 95 % interval."""
    low, high = value.interval
    return f"{value.hits} of {value.of} ({100 * low:.1f}-{100 * high:.1f}%)"


def seconds(value: float | None) -> str:
    """``50 s``, ``6.5 min``; a dash when it did not come to that in the simulated time."""
    if value is None:
        return "-"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def spread(delays: Delays) -> str:
    """From the 10th to the 90th percentile."""
    if delays.p10 is None:
        return "-"
    return f"{seconds(delays.p10)} - {'more' if delays.p90 is None else seconds(delays.p90)}"


def _row(study: Study) -> tuple[str, ...]:
    scenario, delays = study.scenario, study.delays
    return (
        scenario.effect.value,
        scenario.shape.value,
        f"{scenario.per_minute:g}",
        plan_of(study),
        str(len(study.outcomes)),
        rate(study.ended(Ending.ROLLED_BACK)),
        rate(study.ended(Ending.PROMOTED)),
        ", ".join(f"{count} {code}" for code, count in study.paused_by().items()) or "0",
        median(delays),
        spread(delays),
    )


_BESIDE = ("Fairway", "best possible", "Argo limit 0", "Argo limit 3", "Flagger 5", "Flagger 10")


def _beside(study: Study) -> tuple[str, ...]:
    best = study.best
    others = [study.delays, *([best] if best else [None]), *study.rivals().values()]
    return tuple("-" if delays is None else stopped(delays) for delays in others)


def stopped(delays: Delays) -> str:
    """``97% (50 s)``: the share stopped, and the median delay over all rollouts."""
    share = 100 * delays.stopped.hits / max(1, delays.stopped.of)
    early = f", {delays.early} before the fault" if delays.early else ""
    return f"{share:.0f}% ({seconds(delays.median)}{early})"


def median(delays: Delays) -> str:
    """The median with its exact 95 % interval."""
    if delays.median is None:
        return "-"
    low, high = seconds(delays.low), "more" if delays.high is None else seconds(delays.high)
    return f"{seconds(delays.median)} ({low} - {high})"


def plan_of(study: Study) -> str:
    """How the candidate is exposed."""
    held = study.scenario.held
    return "stepped" if held is None else f"held at {format_share(held)}"


def _short(study: Study) -> str:
    scenario = study.scenario
    return f"{scenario.effect.value}, {scenario.shape.value}, {scenario.per_minute:g}/min, {plan_of(study)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}%"
