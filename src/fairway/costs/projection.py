"""What a day and a month will cost by what the last days cost, and whether that is within budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from fairway.costs.spending import Spending, Unit
from fairway.units import Verdict

DAILY_USD, MONTHLY_USD = Decimal(500), Decimal(10_000)
"""Compared with where the project declares no budget of its own."""

DAYS_A_MONTH = 30
UNREADABLE = 0.01
"""Share of rows that may be unreadable, and always one: a log that is being written ends in half a row."""

_Z95 = 1.959963984540054
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionPolicy:
    """What a projection needs, and what it is compared with.

    Attributes:
        requests_per_day: Declared volume; ``None``: as observed.
        calls_per_request: Declared; with more than one a row that names no request is only a part of one.
        daily, monthly: USD.
        minimum_requests, minimum_days: Less is NO_DATA.
    """

    requests_per_day: int | None = None
    calls_per_request: int = 1
    daily: Decimal = DAILY_USD
    monthly: Decimal = MONTHLY_USD
    minimum_requests: int = 100
    minimum_days: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the projection rests on.

    Attributes:
        days: Of the window.
        days_seen: With a request; a day in between without one was a quiet day, or lost its log.
        requests: In the window.
        unknown: Rows whose cost nobody knows.
        unreadable: Rows that are none.
    """

    days: int
    days_seen: int
    requests: int
    unknown: int
    unreadable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What is to be expected, in USD.

    Attributes:
        verdict: PASS within both budgets; FAIL: beyond one, also by what is known alone; NO_DATA: the log does not say
            enough. Nothing else.
        reasons: Why it is no PASS; or what a reader should know of one.
        per_request: Average, and its 95 % interval over tasks; ``None`` while anything is not known, as all figures.
        requests_per_day: The volume it is multiplied with.
        declared: Whether that volume was declared; else it is the average of the days with requests.
        near: Within budget, but the interval is not.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    coverage: Coverage
    per_request: Decimal | None = None
    interval: tuple[Decimal, Decimal] | None = None
    requests_per_day: Decimal | None = None
    declared: bool = False
    per_day: Decimal | None = None
    per_month: Decimal | None = None
    near: bool = False


def project_spend(spending: Spending, policy: ProjectionPolicy) -> Projection:
    """The average cost of a request times the volume, a day and in 30 days, against the budgets.

    The volume is the declared one, else requests per day *with* requests: a lost day of the log does not make a
    service cheaper. The interval is that of a ratio of sums over tasks (linearised, cluster-robust): requests of one
    conversation are no independent evidence.
    """
    coverage = _coverage(spending)
    reasons = missing(spending, coverage, policy)
    if reasons:
        over = _over_anyhow(spending, coverage, policy)
        return Projection(
            verdict=Verdict.FAIL if over else Verdict.NO_DATA, reasons=(*over, *reasons), coverage=coverage
        )
    total = spending.total
    average = Decimal(total.cost_micros) / total.requests / 1_000_000
    half = Decimal(_half_width(spending.units, total.cost_micros / total.requests)) / 1_000_000
    volume = _volume(spending, coverage, policy)
    per_day = average * volume
    over = _over(per_day, policy)
    upper = (average + half) * volume
    near = not over and bool(_over(upper, policy))
    if near:
        reasons = (f"within budget on average; the upper end of its interval is not ({upper:.2f} USD a day)",)
    return Projection(
        verdict=Verdict.FAIL if over else Verdict.PASS,
        reasons=over or reasons,
        coverage=coverage,
        per_request=average.quantize(_MICRO),
        interval=(max(Decimal(0), average - half).quantize(_MICRO), (average + half).quantize(_MICRO)),
        requests_per_day=volume.quantize(Decimal("0.1")),
        declared=policy.requests_per_day is not None,
        per_day=per_day.quantize(Decimal("0.01")),
        per_month=(per_day * DAYS_A_MONTH).quantize(Decimal("0.01")),
        near=near,
    )


def _over_anyhow(spending: Spending, coverage: Coverage, policy: ProjectionPolicy) -> tuple[str, ...]:
    """What is beyond budget by the calls alone whose cost is known: what is unknown does not make it less."""
    if coverage.requests < policy.minimum_requests or coverage.days_seen < policy.minimum_days:
        return ()
    average = Decimal(spending.total.cost_micros) / spending.total.requests / 1_000_000
    over = _over(average * _volume(spending, coverage, policy), policy)
    return tuple(f"{one}, even without what is not known" for one in over)


def _volume(spending: Spending, coverage: Coverage, policy: ProjectionPolicy) -> Decimal:
    declared = policy.requests_per_day
    return _observed_volume(spending, coverage) if declared is None else Decimal(declared)


def _observed_volume(spending: Spending, coverage: Coverage) -> Decimal:
    """Requests a day, over the days that had some.

    Where the window is not full, its first day counts from its first request on: a service that began in the middle of
    a day, or a log that did, is not taken for a quieter one.
    """
    days = float(coverage.days_seen)
    if coverage.days_seen < coverage.days and spending.first is not None:
        days = min(days, (spending.until - spending.first).total_seconds() / 86_400)
    return Decimal(spending.total.requests) / Decimal(str(max(1.0, days)))


def _coverage(spending: Spending) -> Coverage:
    return Coverage(
        days=max(1, math.ceil((spending.until - spending.since).total_seconds() / 86_400)),
        days_seen=spending.days_seen,
        requests=spending.total.requests,
        unknown=spending.total.unknown,
        unreadable=spending.unreadable,
    )


def missing(spending: Spending, coverage: Coverage, policy: ProjectionPolicy) -> tuple[str, ...]:
    """What the log would have to say besides; nothing is projected as long as there is anything."""
    found = []
    if spending.unpriced:
        models = ", ".join(name or "of no name" for name in spending.unpriced)
        found.append(f"the cost of {coverage.unknown} calls is unknown: no price or no token counts for model {models}")
    found += [
        f"{row.file} cannot be read from line {row.line} on: what it says of more calls is lost"
        for row in spending.broken
    ]
    if spending.unreadable > max(1, UNREADABLE * (spending.rows + spending.unreadable)):
        first = spending.examples[0]
        found.append(
            f"{spending.unreadable} rows cannot be read, the first is {first.file}:{first.line}: it {first.why}"
        )
    if policy.requests_per_day is not None and policy.calls_per_request > 1 and spending.nameless:
        found.append(
            f"{spending.nameless} calls name no request, and one makes up to {policy.calls_per_request} calls: what a "
            "request costs is unknown, so the declared volume cannot be multiplied with it"
        )
    if coverage.requests < policy.minimum_requests:
        found.append(f"{coverage.requests} requests in {coverage.days} days, {policy.minimum_requests} are needed")
    elif coverage.days_seen < policy.minimum_days:
        seen = f"requests on {coverage.days_seen} of {coverage.days} days"
        found.append(f"{seen}, {policy.minimum_days} are needed to speak of a day")
    return tuple(found)


def _over(per_day: Decimal, policy: ProjectionPolicy) -> tuple[str, ...]:
    found = []
    if per_day > policy.daily:
        found.append(f"{per_day:.2f} USD a day are projected, the budget is {policy.daily:f}")
    if per_day * DAYS_A_MONTH > policy.monthly:
        found.append(f"{per_day * DAYS_A_MONTH:.2f} USD a month are projected, the budget is {policy.monthly:f}")
    return tuple(found)


def _half_width(units: Sequence[Unit], average: float) -> float:
    """Of the 95 % interval of the average cost of a request, in micro-dollars."""
    requests = sum(unit.requests for unit in units)
    if len(units) < 2 or not requests:
        return 0.0
    squares = math.fsum(((unit.cost_micros or 0) - average * unit.requests) ** 2 for unit in units)
    return _Z95 * math.sqrt(squares * len(units) / (len(units) - 1)) / requests
