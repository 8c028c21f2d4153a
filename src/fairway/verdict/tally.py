"""What a gate remembers: a frozen, JSON-able value, folded block by block by :mod:`fairway.verdict.gates`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fairway.stats.paired import Paired
from fairway.units import UnitHash
from fairway.verdict.ages import Ages

STATE_VERSION: Literal[1] = 1

_HEX = frozenset("0123456789abcdef")
_HASH_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTally:
    """One arm, over the blocks a gate used.

    Attributes:
        units: Distinct units with a known outcome.
        fresh: New units in each of the last ``settle_blocks`` blocks, the newest last.
        bad: Units whose first bad event was here.
        finished, unknown, unfinished: Requests (see ``observe.fold.ArmBlock``).
        latency_ms: Histogram of requests; only kept by a latency gate.
    """

    units: frozenset[UnitHash] = frozenset()
    fresh: tuple[int, ...] = ()
    bad: int = 0
    finished: int = 0
    unknown: int = 0
    unfinished: int = 0
    latency_ms: Mapping[int, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Distinct units."""
        return len(self.units)

    @property
    def settled(self) -> int:
        """Units that count as good or bad for a claim of health: not new any more, or bad already."""
        return max(self.count - sum(self.fresh), self.bad)

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "units": _pack(self.units),
            "fresh": list(self.fresh),
            "bad": self.bad,
            "finished": self.finished,
            "unknown": self.unknown,
            "unfinished": self.unfinished,
            "latency_ms": {str(index): count for index, count in sorted(self.latency_ms.items())},
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ArmTally:
        """Read an arm's tally."""
        return cls(
            units=_unpack(wire["units"]),
            fresh=tuple(int(count) for count in wire["fresh"]),
            bad=int(wire["bad"]),
            finished=int(wire["finished"]),
            unknown=int(wire["unknown"]),
            unfinished=int(wire["unfinished"]),
            latency_ms={int(index): int(count) for index, count in wire["latency_ms"].items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Units of both arms that were first seen in one block: alike in everything but the release."""

    candidate: frozenset[UnitHash]
    stable: frozenset[UnitHash]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """The moment a verdict was reached, kept as its evidence: start of the block, log e-value, and counts then."""

    t0: float
    log_e: float
    bad_candidate: int
    units_candidate: int
    bad_stable: int
    units_stable: int

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """The evidence of one gate so far.

    Attributes:
        since: Blocks that start earlier only teach the ages of units; ``None``: all blocks count.
        ages: When units were first seen; only kept by a gate that compares arms.
        spent: Units that had their first bad event, on whichever arm: no longer at risk.
        fail_ratios: Log likelihood ratios of T1 towards FAIL, one for each alternative of the grid.
        pass_ratios: The same towards PASS.
        paired: T2.
        cohorts: Units first seen in each of the last ``settle_blocks`` blocks, by arm, not scored by T2 yet.
        pass_start: Log wealth of the absolute e-value when part of it was put on T1 and T2; ``None`` before that.
        expected_bad: Bad units the candidate would have had at stable's rate in the same blocks.
        blocks, skipped: Blocks used; blocks left out because they were a gap or mixed.
        seconds: Length of the used blocks.
        last_t0: Start of the newest block looked at; an older one changes nothing. ``None`` at the start.
        failed, passed: Set once, never taken back.
    """

    candidate: ArmTally = ArmTally()
    stable: ArmTally = ArmTally()
    since: float | None = None
    ages: Ages = Ages()  # noqa: RUF009 - frozen
    spent: frozenset[UnitHash] = frozenset()
    fail_ratios: tuple[float, ...] = ()
    pass_ratios: tuple[float, ...] = ()
    paired: Paired = field(default_factory=Paired)
    cohorts: tuple[Cohort, ...] = ()
    pass_start: float | None = None
    expected_bad: float = 0.0
    blocks: int = 0
    skipped: int = 0
    seconds: float = 0.0
    last_t0: float | None = None
    failed: Latch | None = None
    passed: Latch | None = None
    version: Literal[1] = STATE_VERSION

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse, to the last bit."""
        return {
            "version": self.version,
            "candidate": self.candidate.to_wire(),
            "stable": self.stable.to_wire(),
            "since": self.since,
            "ages": self._ages_to_wire(),
            "spent": _pack(self.spent),
            "fail_ratios": list(self.fail_ratios),
            "pass_ratios": list(self.pass_ratios),
            "paired": {name: getattr(self.paired, name) for name in Paired.__slots__},
            "cohorts": [[_pack(cohort.candidate), _pack(cohort.stable)] for cohort in self.cohorts],
            "pass_start": self.pass_start,
            "expected_bad": self.expected_bad,
            "blocks": self.blocks,
            "skipped": self.skipped,
            "seconds": self.seconds,
            "last_t0": self.last_t0,
            "failed": None if self.failed is None else self.failed.to_wire(),
            "passed": None if self.passed is None else self.passed.to_wire(),
        }

    def _ages_to_wire(self) -> dict[str, Any]:
        """The ages; of the units ever seen only those that no arm counts, because the others are written anyway."""
        return {
            "present": None if self.ages.present is None else _pack(self.ages.present),
            "recent": [[t0, _pack(units)] for t0, units in self.ages.recent],
            "uncounted": _pack(self.ages.seen - self.candidate.units - self.stable.units),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> GateState:
        """Read a state.

        Raises:
            ValueError: When it is malformed or of a version this code does not know.
        """
        if wire.get("version") != STATE_VERSION:
            raise ValueError(f"gate state version {wire.get('version')!r} is not supported")
        try:
            candidate, stable = ArmTally.from_wire(wire["candidate"]), ArmTally.from_wire(wire["stable"])
            return cls(
                candidate=candidate,
                stable=stable,
                since=wire["since"],
                ages=_ages_from_wire(wire["ages"], candidate.units | stable.units),
                spent=_unpack(wire["spent"]),
                fail_ratios=_finite(wire["fail_ratios"]),
                pass_ratios=_finite(wire["pass_ratios"]),
                paired=Paired(**wire["paired"]),
                cohorts=tuple(Cohort(candidate=_unpack(c), stable=_unpack(s)) for c, s in wire["cohorts"]),
                pass_start=wire["pass_start"],
                expected_bad=float(wire["expected_bad"]),
                blocks=int(wire["blocks"]),
                skipped=int(wire["skipped"]),
                seconds=float(wire["seconds"]),
                last_t0=wire["last_t0"],
                failed=None if wire["failed"] is None else Latch(**wire["failed"]),
                passed=None if wire["passed"] is None else Latch(**wire["passed"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"gate state is malformed: {type(error).__name__}: {error}") from error


def _ages_from_wire(wire: Mapping[str, Any], counted: frozenset[UnitHash]) -> Ages:
    present = wire["present"]
    if present is None:
        return Ages()
    return Ages(
        present=_unpack(present),
        recent=tuple((float(t0), _unpack(units)) for t0, units in wire["recent"]),
        seen=_unpack(wire["uncounted"]) | counted,
    )


def _finite(values: Iterable[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("gate state holds a number that is not finite")
    return numbers


def _pack(units: frozenset[UnitHash]) -> str | list[str]:
    """Hashes of 16 hex digits as one string, anything else as a list: a rollout may hold a million."""
    ordered = sorted(units)
    if all(len(unit) == _HASH_LENGTH and _HEX.issuperset(unit) for unit in ordered):
        return "".join(ordered)
    return list(ordered)


def _unpack(packed: str | list[str]) -> frozenset[UnitHash]:
    if isinstance(packed, str):
        return frozenset(UnitHash(packed[i : i + _HASH_LENGTH]) for i in range(0, len(packed), _HASH_LENGTH))
    return frozenset(UnitHash(unit) for unit in packed)
