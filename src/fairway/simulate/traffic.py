"""Modelled traffic of two arms as mature blocks: seeded, with the weather that real traffic has.

Nothing here is measured; what is modelled is stated: conversations of one or several turns, sticky heavy users, load
that drifts, an outage both arms suffer, a fault that begins late, failures and latencies by arm. A draw is made for
each event and each latency, not for each decision of each request, so that an hour costs milliseconds.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist

from fairway.observe.blocks import GAMMA
from fairway.observe.fold import ArmBlock, Block
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import WHOLE, Digest, UnitHash

MODELLED_STABLE = Digest("sha256:" + "5" * 64)
MODELLED_CANDIDATE = Digest("sha256:" + "c" * 64)

_QUANTILES = 4096
"""Latencies are drawn from this many equally likely quantiles of the lognormal law; the highest is at 3.7 sigma."""
_HEAVY_PRONENESS = 10.0
_LOG_GAMMA = math.log(GAMMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """How one release behaves.

    Attributes:
        failure: Probability that a conversation has a failed turn at all, in calm weather.
        excess: Added to that probability whatever the weather: the release's own fault.
        latency_ms: Median of a request's latency, lognormal.
        spread: Standard deviation of the log latency; 0: no latency is recorded.
        unknown: Probability that a turn has no known outcome.
        marks: ``{mark: probability}`` that a turn is marked so: what an outcome says beside success (``tool_error``,
            ``callback_failed``, ``guardrail``, ``looped``), whatever the weather.
    """

    failure: float = 0.01
    excess: float = 0.0
    latency_ms: float = 400.0
    spread: float = 0.5
    unknown: float = 0.0
    marks: Mapping[str, float] = field(default_factory=dict)


def calm(_: int) -> float:
    """Weather that changes nothing."""
    return 1.0


def outage(first: int, last: int, factor: float) -> Callable[[int], float]:
    """Weather that multiplies by ``factor`` from block ``first`` to block ``last``, and by 1 else."""
    return lambda block: factor if first <= block <= last else 1.0


def drift(factor: float, period: int) -> Callable[[int], float]:
    """Weather that swings like a sine between 1 and ``factor`` over ``period`` blocks."""
    return lambda block: 1.0 + (factor - 1.0) * 0.5 * (1.0 - math.cos(2 * math.pi * block / period))


@dataclass(slots=True, kw_only=True)
class ModelledTraffic:
    """A source of blocks, one after the other; the same seed and the same calls give the same blocks.

    Attributes:
        seed: Of everything random.
        units_per_block: Mean number of conversations that begin in a block (Poisson).
        stable, candidate: The two releases.
        turns: Turns of a conversation, one a block; it stays where it began.
        aging: The log latency grows by this much from the first turn to the last (a longer context is slower).
        first_turn: The first turn fails this many times as often as the others.
        heavy_users: Users with a turn in nearly every block, whose bucket decides their arm as the split grows. One in
            four fails ten times as often as a conversation's turn, the rest as often.
        failures: Weather of failure rates, for both arms alike, by the number of the block from 0.
        load: Weather of latencies, for both arms alike.
        load_noise: Standard deviation of an AR(.9) process added to the log of the load.
        onset: Number of the block from which the candidate behaves as modelled; as stable before.
        beside: Model the time to the first byte (.4 of the latency) and the tokens of a request (lognormal around 900)
            too; only gates about them need it.
        delay: Blocks after which a block is mature: outcomes are known that much later. Whoever drives the traffic
            holds them back.
        block_seconds: Length of a block.
        began: Epoch seconds of the first block.
    """

    seed: int
    units_per_block: float
    stable: ArmModel = field(default_factory=ArmModel)
    candidate: ArmModel = field(default_factory=ArmModel)
    turns: int = 1
    aging: float = 0.0
    first_turn: float = 1.0
    heavy_users: int = 0
    failures: Callable[[int], float] = calm
    load: Callable[[int], float] = calm
    load_noise: float = 0.0
    onset: int = 0
    beside: bool = False
    delay: int = 0
    block_seconds: float = 10.0
    began: float = 0.0
    index: int = field(default=0, init=False)
    _rng: random.Random = field(init=False)
    _noise: float = field(default=0.0, init=False)
    _limits: Mapping[Role, Mapping[str, float]] = field(default_factory=dict, init=False)
    _told: object = field(default=None, init=False)
    _units: int = field(default=0, init=False)
    _running: dict[Role, list[tuple[int, list[UnitHash]]]] = field(init=False)
    _heavy: list[tuple[UnitHash, float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 - modelled traffic, not a secret
        self._running = {Role.STABLE: [], Role.CANDIDATE: []}
        self._heavy = [
            (unit, self._rng.random(), _HEAVY_PRONENESS if self._rng.random() < 0.25 else 1.0)
            for unit in self._new_units(self.heavy_users)
        ]

    def next_block(
        self,
        *,
        split: float,
        theta: Mapping[Role, float] | None = None,
        limits: Mapping[str, Mapping[Role, float]] | Mapping[str, Mapping[str, float]] | None = None,
        fence: int = 1,
    ) -> Block:
        """The next block.

        Args:
            split: Candidate's share of conversations that begin now, in [0, 1].
            theta: Limit in ms by role beyond which a request marks its unit slow; ``None``: nothing is marked.
            limits: ``{threshold: {role: limit}}`` of the other marks, as in ``Desired.thresholds``.
            fence: Sequence number of the table in force.
        """
        if limits is not self._told:
            self._told, self._limits = limits, _by_role(limits or {})
        rng = self._rng
        if self.load_noise:
            self._noise = 0.9 * self._noise + rng.gauss(0.0, self.load_noise * math.sqrt(1 - 0.81))
        began = _poisson(rng, self.units_per_block)
        chosen = _binomial(rng, began, split)
        for role, count in ((Role.STABLE, began - chosen), (Role.CANDIDATE, chosen)):
            self._running[role].append((self.turns, self._new_units(count)))
        arms = {role: self._counting(role, theta) for role in (Role.STABLE, Role.CANDIDATE)}
        for role, arm in arms.items():
            for left, units in self._running[role]:
                older = self.aging * (self.turns - left) / max(1, self.turns - 1)
                arm.turns(units, self.first_turn if left == self.turns else 1.0, older)
            self._running[role] = [(left - 1, units) for left, units in self._running[role] if left > 1]
        self._heavy_turns(arms, split)
        block = Block(
            t0=self.began + self.index * self.block_seconds,
            seconds=self.block_seconds,
            fence=Fence(term=1, seq=fence),
            arms={arm.release: arm.done() for arm in arms.values() if arm.active},
            split=round(split * WHOLE),
        )
        self.index += 1
        return block

    def model_of(self, role: Role, index: int) -> ArmModel:
        """How an arm behaves in a block."""
        return self.candidate if role is Role.CANDIDATE and index >= self.onset else self.stable

    def failure_of(self, role: Role, index: int) -> float:
        """Probability that a conversation of one turn fails in a block, weather included."""
        model = self.model_of(role, index)
        return min(1.0, model.failure * self.failures(index) + model.excess)

    def _heavy_turns(self, arms: Mapping[Role, _Counting], split: float) -> None:
        """Active heavy users, by arm and by how prone to failures they are."""
        groups: dict[tuple[Role, float], list[UnitHash]] = {}
        for unit, bucket, proneness in self._heavy:
            if self._rng.random() < 0.9:
                role = Role.CANDIDATE if bucket < split else Role.STABLE
                groups.setdefault((role, proneness), []).append(unit)
        for (role, proneness), units in sorted(groups.items()):
            arms[role].turns(units, proneness)

    def _counting(self, role: Role, theta: Mapping[Role, float] | None) -> _Counting:
        model = self.model_of(role, self.index)
        shares = self.turns - 1 + self.first_turn
        calm_rate, own = _per_share(model.failure, shares), _per_share(model.excess, shares)
        return _Counting(
            role=role,
            release=MODELLED_STABLE if role is Role.STABLE else MODELLED_CANDIDATE,
            rng=self._rng,
            failure=calm_rate * self.failures(self.index) + own,
            unknown=model.unknown,
            log_latency=math.log(model.latency_ms * self.load(self.index)) + self._noise,
            spread=model.spread,
            slow_above=None if theta is None else theta[role],
            model=model,
            limits=self._limits.get(role, _NO_LIMITS),
            steady=self.load is calm and not self.load_noise,
            beside=self.beside,
        )

    def _new_units(self, count: int) -> list[UnitHash]:
        units = _numbered(self._units, self._units + count)
        self._units += count
        return units


class LateHistogram(Mapping[int, int]):
    """A histogram that is counted when somebody looks: most of a block's are never looked at."""

    __slots__ = ("_bins", "_counts")

    def __init__(self) -> None:
        """Nothing yet."""
        self._bins: list[Iterable[int]] = []
        self._counts: dict[int, int] = {}

    def later(self, bins: Iterable[int]) -> None:
        """Count these values, too, once it is looked at."""
        self._bins.append(bins)

    def counts(self) -> dict[int, int]:
        """``{bin: count}``."""
        while self._bins:
            _count(self._counts, self._bins.pop())
        return self._counts

    def __getitem__(self, index: int) -> int:
        return self.counts()[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts())

    def __len__(self) -> int:
        return len(self.counts())

    def items(self) -> ItemsView[int, int]:
        """As of a dictionary."""
        return self.counts().items()

    def values(self) -> ValuesView[int]:
        """As of a dictionary."""
        return self.counts().values()


@dataclass(slots=True, kw_only=True)
class _Counting:
    role: Role
    release: Digest
    rng: random.Random
    failure: float
    unknown: float
    log_latency: float
    spread: float
    slow_above: float | None
    model: ArmModel
    limits: Mapping[str, float]
    beside: bool
    steady: bool
    active: list[UnitHash] = field(default_factory=list)
    failed: list[UnitHash] = field(default_factory=list)
    slow: list[UnitHash] = field(default_factory=list)
    lost: list[UnitHash] = field(default_factory=list)
    latency: dict[int, int] = field(default_factory=dict)
    first_byte: LateHistogram = field(default_factory=LateHistogram)
    tokens: LateHistogram = field(default_factory=LateHistogram)
    marked: dict[str, list[UnitHash]] = field(default_factory=dict)

    def turns(self, units: Sequence[UnitHash], proneness: float, older: float = 0.0) -> None:
        """One turn of each of these conversations, alike in age and proneness."""
        if not units:
            return
        self.active.extend(units)
        failed = _hits(self.rng, len(units), self.failure * proneness)
        self.failed.extend([units[place] for place in failed])
        if self.unknown:
            known = set(failed)
            lost = _hits(self.rng, len(units), self.unknown)
            self.lost.extend([units[place] for place in lost if place not in known])
        for mark, probability in self.model.marks.items():
            if places := _hits(self.rng, len(units), probability):
                self.marked.setdefault(mark, []).extend([units[place] for place in places])
        if self.spread > 0:
            self._latencies(units, self.log_latency + older)
        if self.beside:
            drawn = self.rng.choices(_PLACES, k=len(units))
            self.tokens.later(self._bins(drawn, _LOG_TOKENS, _TOKEN_SPREAD))
            if (limit := self.limits.get("tokens")) is not None:
                self._mark(units, drawn, [("tokens_high", limit, _LOG_TOKENS)], _TOKEN_SPREAD)

    def _latencies(self, units: Sequence[UnitHash], middle: float) -> None:
        drawn = self.rng.choices(_PLACES, k=len(units))
        _count(self.latency, self._bins(drawn, middle, self.spread))
        if self.slow_above is None and not self.limits:
            limits = []
        else:
            limits = [
                (mark, limit, middle)
                for threshold, mark in _LATENCY_MARKS
                if (limit := self.limits.get(threshold)) is not None
            ]
            if self.slow_above is not None:
                limits.append(("", self.slow_above, middle))
        if self.beside:
            first_byte = middle + _LOG_FIRST_BYTE
            self.first_byte.later(self._bins(drawn, first_byte, self.spread))
            if (limit := self.limits.get("first_byte_ms")) is not None:
                limits.append(("first_byte_slow", limit, first_byte))
        self._mark(units, drawn, limits, self.spread)

    def _bins(self, drawn: Sequence[int], middle: float, spread: float) -> Iterable[int]:
        """Bins of the histogram for these quantiles of a lognormal law; by a table where the law stays."""
        if self.steady:
            return map(_bin_table(middle, spread).__getitem__, drawn)
        normal, ceil, scale, shift = _normal_quantiles(), math.ceil, spread / _LOG_GAMMA, middle / _LOG_GAMMA
        return [ceil(normal[place] * scale + shift) for place in drawn]

    def _mark(
        self, units: Sequence[UnitHash], drawn: Sequence[int], limits: list[tuple[str, float, float]], spread: float
    ) -> None:
        """Mark the units whose value lies beyond a limit; ``limits``: mark, limit, and middle of what it is about."""
        normal = _normal_quantiles()
        firsts = [(mark, bisect_left(normal, (math.log(limit) - middle) / spread)) for mark, limit, middle in limits]
        lowest = min([first for _, first in firsts], default=_QUANTILES)
        if lowest >= _QUANTILES:
            return
        high = [(unit, place) for unit, place in zip(units, drawn, strict=True) if place >= lowest]
        for mark, first in firsts if high else ():
            found = [unit for unit, place in high if place >= first]
            if not mark:
                self.slow.extend(found)
            elif found:
                self.marked.setdefault(mark, []).extend(found)

    def done(self) -> ArmBlock:
        return ArmBlock(
            role=self.role,
            assigned=len(self.active),
            served=len(self.active),
            finished=len(self.active),
            failed=len(self.failed),
            unknown=len(self.lost),
            reported=len(self.active) - len(self.lost),
            by={"hash": len(self.active)},
            latency_ms=self.latency,
            first_byte_ms=self.first_byte,
            tokens=self.tokens,
            active=tuple(sorted(self.active)),
            failed_units=tuple(sorted(self.failed)),
            slow_units=tuple(sorted(self.slow)),
            unknown_units=tuple(sorted(self.lost)),
            marks={mark: tuple(sorted(units)) for mark, units in sorted(self.marked.items())},
        )


_PLACES = range(_QUANTILES)
_LATENCY_MARKS = (
    ("latency_last_ms", "slow_last"), ("latency_p99_ms", "slow_p99"), ("latency_limit_ms", "too_slow"),
)  # fmt: skip
"""Thresholds of the route table on latency, and what they mark."""
_LOG_FIRST_BYTE = math.log(0.4)
_LOG_TOKENS, _TOKEN_SPREAD = math.log(900.0), 0.6


def _count(histogram: dict[int, int], bins: Iterable[int]) -> None:
    """Add values to a histogram; counted in C where it is empty, as it mostly is."""
    counted = Counter(bins)
    if not histogram:
        histogram.update(counted)
        return
    for index, count in counted.items():
        histogram[index] = histogram.get(index, 0) + count


_NO_LIMITS: Mapping[str, float] = {}


def _by_role(
    limits: Mapping[str, Mapping[Role, float]] | Mapping[str, Mapping[str, float]],
) -> dict[Role, dict[str, float]]:
    """``{role: {threshold: limit}}``."""
    found: dict[Role, dict[str, float]] = {}
    for name, by in limits.items():
        for role, limit in by.items():
            found.setdefault(Role(role), {})[name] = limit
    return found


@lru_cache(maxsize=64)
def _bin_table(middle: float, spread: float) -> tuple[int, ...]:
    """The bin of every quantile of a lognormal law."""
    scale, shift = spread / _LOG_GAMMA, middle / _LOG_GAMMA
    return tuple(math.ceil(value * scale + shift) for value in _normal_quantiles())


_pool: list[UnitHash] = []
"""Hashes made from a counter: shared by all traffic of the process, so that each is made and hashed once."""


def _numbered(first: int, end: int) -> list[UnitHash]:
    if end > len(_pool):
        _pool.extend([UnitHash(f"{number:016x}") for number in range(len(_pool), end + 10_000)])
    return _pool[first:end]


@lru_cache(maxsize=1)
def _normal_quantiles() -> tuple[float, ...]:
    normal = NormalDist()
    return tuple(normal.inv_cdf((place + 0.5) / _QUANTILES) for place in _PLACES)


def _per_share(probability: float, shares: float) -> float:
    return 1.0 - math.pow(1.0 - min(1.0, probability), 1.0 / shares)


def _hits(rng: random.Random, count: int, probability: float) -> list[int]:
    """Places, of so many, where something of this probability happened: a draw for each event while it is rare."""
    if probability <= 0.0 or count == 0:
        return []
    if probability > 0.2:
        draw = rng.random
        return [place for place in range(count) if draw() < probability]
    found = []
    log_miss = math.log1p(-probability)
    place = int(math.log(1.0 - rng.random()) / log_miss)
    while place < count:
        found.append(place)
        place += 1 + int(math.log(1.0 - rng.random()) / log_miss)
    return found


def _binomial(rng: random.Random, count: int, probability: float) -> int:
    """How many of ``count`` independent trials succeed."""
    if probability > 0.5:
        return count - len(_hits(rng, count, 1.0 - probability))
    return len(_hits(rng, count, probability))


def _poisson(rng: random.Random, mean: float) -> int:
    """A Poisson draw: exact up to a mean of 30, by the rounded normal beyond."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
