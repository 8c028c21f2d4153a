"""What was spent: calls added up by request, task, release, tenant, feature and model. A pure fold over the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fairway.costs.calls import Call
from fairway.costs.logs import Unreadable

DIMENSIONS = ("release", "tenant", "feature", "model", "day")
"""What spending is told by."""

_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Calls of one kind, added up.

    Attributes:
        requests: Distinct; a row that names no request is one of its own.
        tokens_in, tokens_out, cached: Of the calls that say so.
        cost_micros: Of the calls whose cost is known, in millionths of a US dollar.
        unknown: Rows whose cost nobody knows: whoever reads ``cost_micros`` must look at this first.
    """

    requests: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    cost_micros: int = 0
    unknown: int = 0

    @property
    def micros_per_request(self) -> float | None:
        """Average; ``None`` without a request, and as long as any cost is unknown."""
        return None if self.unknown or not self.requests else self.cost_micros / self.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A task, or a request of no task: what varies by itself.

    Attributes:
        requests, calls: Of it.
        cost_micros: ``None``: of some call unknown.
        named: Whether the log says what belongs together; a row by itself says nothing of calls per task.
    """

    requests: int
    calls: int
    cost_micros: int | None
    named: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSeen:
    """A release in the log: when it first and last made a call, and its tasks; a task belongs to where it began."""

    first: datetime
    last: datetime
    units: tuple[Unit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """A window of the call logs.

    Attributes:
        since, until: The window.
        total: All of it.
        by: By dimension, then name; the most expensive first.
        units: Every task.
        releases: By name; ``""``: calls of which the log names no release.
        first: Of the first call; ``None``: there is none.
        days_seen: Days, counted back from ``until`` in 24 hours each, with a call.
        unpriced: Models without a price, and how many rows each cost that.
        rows: Read, in the window.
        nameless: Of them, those that name no request.
        unreadable: Rows that are none, of any time.
        broken: Files that could not be read to their end.
        examples: The first of them.
    """

    since: datetime
    until: datetime
    total: Spent = field(default_factory=Spent)
    by: Mapping[str, Mapping[str, Spent]] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    releases: Mapping[str, ReleaseSeen] = field(default_factory=dict)
    first: datetime | None = None
    days_seen: int = 0
    unpriced: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    nameless: int = 0
    unreadable: int = 0
    broken: tuple[Unreadable, ...] = ()
    examples: tuple[Unreadable, ...] = ()


def add_up(rows: Iterable[Call | Unreadable], *, since: datetime, until: datetime) -> Spending:
    """Everything a log tells of a window.

    Takes about 600 bytes for each request of the window and holds no row.
    """
    adding = _Adding(until)
    for row in rows:
        if isinstance(row, Unreadable):
            adding.skip(row)
        else:
            adding.add(row)
    return adding.found(since)


@dataclass(slots=True)
class _Sum:
    """A :class:`Spent` that grows."""

    requests: set[str | int] = field(default_factory=set)
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    cost: int = 0
    unknown: int = 0

    def add(self, call: Call, request: str | int) -> None:
        self.requests.add(request)
        self.calls += call.calls
        self.tokens_in += call.tokens_in or 0
        self.tokens_out += call.tokens_out or 0
        self.cached += call.cached
        if call.cost_micros is None:
            self.unknown += 1
        else:
            self.cost += call.cost_micros

    def spent(self) -> Spent:
        return Spent(
            requests=len(self.requests),
            calls=self.calls,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cached=self.cached,
            cost_micros=self.cost,
            unknown=self.unknown,
        )


@dataclass(slots=True)
class _Task:
    """A :class:`Unit` that grows, and where it began."""

    began: datetime
    release: str
    named: bool
    total: _Sum = field(default_factory=_Sum)


class _Adding:
    def __init__(self, until: datetime) -> None:
        self._until = until
        self._days: set[int] = set()
        self._total = _Sum()
        self._by: dict[str, dict[str, _Sum]] = {dimension: {} for dimension in DIMENSIONS}
        self._tasks: dict[str | int, _Task] = {}
        self._seen: dict[str, tuple[datetime, datetime]] = {}
        self._unpriced: dict[str, int] = {}
        self._rows = self._nameless = self._unreadable = 0
        self._examples: list[Unreadable] = []
        self._broken: list[Unreadable] = []

    def skip(self, row: Unreadable) -> None:
        self._unreadable += 1
        if row.rest:
            self._broken.append(row)
        if len(self._examples) < _TOLD:
            self._examples.append(row)

    def add(self, call: Call) -> None:
        self._rows += 1
        self._nameless += not call.request
        request: str | int = f"{call.task}\n{call.request}" if call.request else self._rows
        self._total.add(call, request)
        self._days.add((self._until - call.at).days)
        names = (call.release, call.tenant, call.feature, call.model, call.at.date().isoformat())
        for dimension, name in zip(DIMENSIONS, names, strict=True):
            by_name = self._by[dimension]
            if name not in by_name:
                by_name[name] = _Sum()
            by_name[name].add(call, request)
        if call.cost_micros is None:
            self._unpriced[call.model] = self._unpriced.get(call.model, 0) + 1
        self._add_task(call, request)

    def _add_task(self, call: Call, request: str | int) -> None:
        key: str | int = call.unit or self._rows
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = _Task(began=call.at, release=call.release, named=bool(call.unit))
        elif call.at < task.began:
            task.began, task.release = call.at, call.release
        task.total.add(call, request)
        first, last = self._seen.get(call.release, (call.at, call.at))
        self._seen[call.release] = min(first, call.at), max(last, call.at)

    def found(self, since: datetime) -> Spending:
        by_release: dict[str, list[Unit]] = {name: [] for name in self._seen}
        units = []
        for task in self._tasks.values():
            spent = task.total.spent()
            cost = None if spent.unknown else spent.cost_micros
            unit = Unit(requests=spent.requests, calls=spent.calls, cost_micros=cost, named=task.named)
            units.append(unit)
            by_release[task.release].append(unit)
        return Spending(
            since=since,
            until=self._until,
            total=self._total.spent(),
            by={dimension: _sorted(sums, dimension) for dimension, sums in self._by.items()},
            units=tuple(units),
            releases={
                name: ReleaseSeen(first=first, last=last, units=tuple(by_release[name]))
                for name, (first, last) in sorted(self._seen.items())
            },
            first=min((first for first, _ in self._seen.values()), default=None),
            days_seen=len(self._days),
            unpriced=dict(sorted(self._unpriced.items())),
            rows=self._rows,
            nameless=self._nameless,
            unreadable=self._unreadable,
            broken=tuple(self._broken),
            examples=tuple(self._examples),
        )


def _sorted(sums: Mapping[str, _Sum], dimension: str) -> dict[str, Spent]:
    order = sorted(sums) if dimension == "day" else sorted(sums, key=lambda name: (-sums[name].cost, name))
    return {name: sums[name].spent() for name in order}
