"""Modelled traffic of two arms as mature blocks: seeded, with the weather that real traffic has.

For tests and simulations of verdicts and rollouts. Nothing here is measured; what is modelled is stated:
conversations of one or several turns, sticky heavy users, load that drifts, an outage both arms suffer, failures and
latencies by arm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash

MODELLED_STABLE = Digest("sha256:" + "5" * 64)
MODELLED_CANDIDATE = Digest("sha256:" + "c" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmModel:
    """How one release behaves.

    Attributes:
        failure: Probability that a conversation has a failed turn at all, in calm weather.
        excess: Added to that probability whatever the weather: the release's own fault.
        latency_ms: Median of a request's latency, lognormal.
        spread: Standard deviation of the log latency.
        unknown: Probability that a turn has no known outcome.
    """

    failure: float = 0.01
    excess: float = 0.0
    latency_ms: float = 400.0
    spread: float = 0.5
    unknown: float = 0.0


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
        failures: Weather of failure rates, for both arms alike, by the block's index.
        load: Weather of latencies, for both arms alike.
        load_noise: Standard deviation of an AR(.9) process added to the log of the load.
        block_seconds: Length of a block.
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
    block_seconds: float = 10.0
    index: int = field(default=0, init=False)
    _rng: random.Random = field(init=False)
    _noise: float = field(default=0.0, init=False)
    _running: list[tuple[int, UnitHash, Role]] = field(default_factory=list, init=False)
    _heavy: list[tuple[UnitHash, float, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 - modelled traffic, not a secret
        self._heavy = [
            (self._new_unit(), self._rng.random(), 10.0 if self._rng.random() < 0.25 else 1.0)
            for _ in range(self.heavy_users)
        ]

    def next_block(self, *, split: float, theta: Mapping[Role, float] | None = None, fence: int = 1) -> Block:
        """The next block.

        Args:
            split: Candidate's share of conversations that begin now, in [0, 1].
            theta: Limit in ms by role beyond which a request marks its unit slow; ``None``: nothing is marked.
            fence: Sequence number of the table in force.
        """
        rng = self._rng
        self._noise = 0.9 * self._noise + rng.gauss(0.0, self.load_noise * math.sqrt(1 - 0.81))
        for _ in range(_poisson(rng, self.units_per_block)):
            role = Role.CANDIDATE if rng.random() < split else Role.STABLE
            self._running.append((self.turns, self._new_unit(), role))
        arms = {Role.STABLE: self._counting(Role.STABLE, theta), Role.CANDIDATE: self._counting(Role.CANDIDATE, theta)}
        for left, unit, role in self._running:
            older = self.aging * (self.turns - left) / max(1, self.turns - 1)
            arms[role].turn(unit, self.first_turn if left == self.turns else 1.0, older)
        for unit, bucket, proneness in self._heavy:
            if rng.random() < 0.9:
                arms[Role.CANDIDATE if bucket < split else Role.STABLE].turn(unit, proneness)
        self._running = [(left - 1, unit, role) for left, unit, role in self._running if left > 1]
        block = Block(
            t0=self.index * self.block_seconds,
            seconds=self.block_seconds,
            fence=Fence(term=1, seq=fence),
            arms={arm.release: arm.done() for arm in arms.values() if arm.active},
        )
        self.index += 1
        return block

    def _counting(self, role: Role, theta: Mapping[Role, float] | None) -> _Counting:
        stable = role is Role.STABLE
        model = self.stable if stable else self.candidate
        shares = self.turns - 1 + self.first_turn
        return _Counting(
            role=role,
            release=MODELLED_STABLE if stable else MODELLED_CANDIDATE,
            rng=self._rng,
            failure=_per_share(model.failure, shares) * self.failures(self.index) + _per_share(model.excess, shares),
            unknown=model.unknown,
            log_latency=math.log(model.latency_ms * self.load(self.index)) + self._noise,
            spread=model.spread,
            slow_above=None if theta is None else theta[role],
        )

    def _new_unit(self) -> UnitHash:
        return UnitHash(f"{self._rng.getrandbits(64):016x}")


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
    active: list[UnitHash] = field(default_factory=list)
    failed: list[UnitHash] = field(default_factory=list)
    slow: list[UnitHash] = field(default_factory=list)
    lost: list[UnitHash] = field(default_factory=list)
    latency: dict[int, int] = field(default_factory=dict)

    def turn(self, unit: UnitHash, proneness: float, older: float = 0.0) -> None:
        rng = self.rng
        self.active.append(unit)
        if rng.random() < self.failure * proneness:
            self.failed.append(unit)
        elif self.unknown and rng.random() < self.unknown:
            self.lost.append(unit)
        if self.spread <= 0:
            return
        latency = math.exp(rng.gauss(self.log_latency + older, self.spread))
        index = bin_of(latency)
        self.latency[index] = self.latency.get(index, 0) + 1
        if self.slow_above is not None and latency > self.slow_above:
            self.slow.append(unit)

    def done(self) -> ArmBlock:
        return ArmBlock(
            role=self.role,
            assigned=len(self.active),
            served=len(self.active),
            finished=len(self.active),
            failed=len(self.failed),
            unknown=len(self.lost),
            by={"hash": len(self.active)},
            latency_ms=dict(sorted(self.latency.items())),
            active=tuple(sorted(self.active)),
            failed_units=tuple(sorted(self.failed)),
            slow_units=tuple(sorted(self.slow)),
            unknown_units=tuple(sorted(self.lost)),
        )


def _per_share(probability: float, shares: float) -> float:
    return 1.0 - math.pow(1.0 - min(1.0, probability), 1.0 / shares)


def _poisson(rng: random.Random, mean: float) -> int:
    """A Poisson draw: exact up to a mean of 30, by the rounded normal beyond."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count
