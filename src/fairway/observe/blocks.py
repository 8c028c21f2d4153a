"""Telemetry on the wire, version 1: what a gateway worker reports, in append-only batches.

A worker flushes about once a second. A :class:`Batch` carries increments for the blocks that changed; a sequence number
that never arrives is a *gap*: the blocks it could have touched are left out for both arms, never counted as zero.
Written with the stdlib alone, because the data plane imports it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash

BATCH_VERSION: Literal[1] = 1

GAMMA = 1.1 ** (1 / 10)
"""Ratio of two neighbouring histogram bounds: 0.5 % error of a quantile."""

_LOG_GAMMA = math.log(GAMMA)

OTHER_MARKS = (
    "slow_last", "slow_p99", "first_byte_slow", "too_slow", "tokens_high", "looped", "tool_error", "guardrail",
    "callback_failed",
)  # fmt: skip
"""Marks that most units never get: latency beyond the plan's last margin, beyond the P99 threshold, first byte beyond
its own, latency beyond the trigger's limit, tokens of a request beyond their threshold, more iterations than allowed;
and what an outcome said: a tool that failed, a guardrail that was hit, a callback that could not be delivered."""


Values = Mapping[str, Mapping[UnitHash, tuple[int, int]]]
"""``{kind: {unit: (sum, requests)}}`` of hash-assigned units: what their agent said of requests that means are taken of
(``traffic.outcome.VALUE_KINDS``). Whole numbers, so that no order of adding them changes anything."""


def values_to_wire(values: Values) -> dict[str, dict[str, int | list[int]]]:
    """A JSON-able value: of a unit with one request the sum alone, else ``[sum, requests]``."""
    return {
        kind: {unit: total if count == 1 else [total, count] for unit, (total, count) in by_unit.items()}
        for kind, by_unit in values.items()
    }


def values_from_wire(wire: Mapping[str, Any]) -> dict[str, dict[UnitHash, tuple[int, int]]]:
    """What :func:`values_to_wire` wrote.

    Raises:
        ValueError: When a number is none, or of no request.
    """
    return {kind: {UnitHash(u): _value(told) for u, told in by_unit.items()} for kind, by_unit in wire.items()}


def _value(told: int | list[int]) -> tuple[int, int]:
    total, count = (told, 1) if isinstance(told, int) else told
    if type(total) is not int or type(count) is not int or total < 0 or count < 1:
        raise ValueError(f"{told!r} is no value of a unit")
    return total, count


def bin_of(value: float) -> int:
    """Index of the bin that holds ``value`` (> 0): ``GAMMA**(i-1) < value <= GAMMA**i``; values ≤ 1e-6 share a bin."""
    return math.ceil(math.log(max(value, 1e-6)) / _LOG_GAMMA)


def bin_value(index: int) -> float:
    """The value a bin stands for: the geometric middle of its bounds."""
    return math.exp((index - 0.5) * _LOG_GAMMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Increment:
    """What one worker adds to one block of one release under one table.

    Requests belong to the block of their *start* and to the release they were *assigned* to, whoever served them.

    Attributes:
        t0: Start of the block, epoch seconds, a multiple of the table's ``block_seconds``.
        fence: Of the table the requests were routed by.
        assigned, finished, failed, unknown: Requests. ``assigned - finished`` are still running. ``failed`` and
            ``unknown`` are among the finished.
        served: Of the assigned, those the assigned arm itself served (the rest fell back to stable).
        by: Requests by why they were routed: ``hash``, ``rule``, ``pin``, ``fallback``, ``keyless``.
        reported: Of the finished, those whose agent said what became of them (an outcome that could be read).
        histograms: ``{name: {bin: count}}``, names ``latency_ms``, ``first_byte_ms``, ``tokens`` (of a request); of
            streams of events ``first_token_ms`` and ``gap_ms`` (between two pieces).
        sums: ``{name: total}``: tokens_in, tokens_out, tools, tool_errors, iterations, guardrail, callback_failed; of
            cost, score and feedback the sum in millionths and how often it was said: ``cost_micros``, ``cost_reports``;
            ``tokens_cached`` and ``usage_reports``: of the tokens, those from a model API's cache, and requests whose
            tokens its API said; ``stalls``: gaps beyond the table's limit.
        values: By kind and unit; at most as many units as are active.
        marks: ``{kind: units}`` of hash-assigned units: ``active`` (had a request in the block), ``failed``, ``slow``,
            ``unknown``; and those of :data:`OTHER_MARKS`.
        exemplars: Up to twenty failing requests: request id, status, reason, the id of their trace when they were part
            of one; nothing of the content.
        regime: :attr:`fairway.traffic.table.RouteTable.regime` of what was in force, with what the gateway kept from
            traffic by itself; empty from a gateway that does not say.
        split: Candidate's share in the table, parts of 100,000; ``None`` from a gateway that does not say.
    """

    t0: float
    release: Digest
    role: Role
    fence: Fence
    assigned: int = 0
    served: int = 0
    finished: int = 0
    failed: int = 0
    unknown: int = 0
    reported: int = 0
    by: Mapping[str, int] = field(default_factory=dict)
    histograms: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    sums: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, tuple[UnitHash, ...]] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    exemplars: tuple[Mapping[str, str], ...] = ()
    regime: str = ""
    split: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; empty parts are left out."""
        wire: dict[str, Any] = {
            "t0": self.t0,
            "release": self.release,
            "role": self.role.value,
            "fence": [self.fence.term, self.fence.seq],
        }
        for name in ("assigned", "served", "finished", "failed", "unknown", "reported"):
            if value := getattr(self, name):
                wire[name] = value
        if self.by:
            wire["by"] = dict(self.by)
        if self.histograms:
            wire["histograms"] = {n: {str(i): c for i, c in bins.items()} for n, bins in self.histograms.items()}
        if self.sums:
            wire["sums"] = dict(self.sums)
        if self.marks:
            wire["marks"] = {kind: list(units) for kind, units in self.marks.items()}
        if self.values:
            wire["values"] = values_to_wire(self.values)
        if self.exemplars:
            wire["exemplars"] = [dict(exemplar) for exemplar in self.exemplars]
        if self.regime:
            wire["regime"] = self.regime
        if self.split is not None:
            wire["split"] = self.split
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Increment:
        """Read an increment.

        Raises:
            ValueError: When it is malformed.
        """
        try:
            term, seq = wire["fence"]
            return cls(
                t0=float(wire["t0"]),
                release=Digest(wire["release"]),
                role=Role(wire["role"]),
                fence=Fence(term=int(term), seq=int(seq)),
                assigned=int(wire.get("assigned", 0)),
                served=int(wire.get("served", 0)),
                finished=int(wire.get("finished", 0)),
                failed=int(wire.get("failed", 0)),
                unknown=int(wire.get("unknown", 0)),
                reported=int(wire.get("reported", 0)),
                by=dict(wire.get("by", {})),
                histograms={n: {int(i): int(c) for i, c in b.items()} for n, b in wire.get("histograms", {}).items()},
                sums=dict(wire.get("sums", {})),
                marks={kind: tuple(units) for kind, units in wire.get("marks", {}).items()},
                values=values_from_wire(wire.get("values", {})),
                exemplars=tuple(wire.get("exemplars", ())),
                regime=str(wire.get("regime", "")),
                split=None if wire.get("split") is None else int(wire["split"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"increment is malformed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One flush of one worker; unique on ``(gateway, boot, worker, seq)``.

    Attributes:
        seq: 1, 2, 3, … within ``(gateway, boot, worker)``; sent even when nothing changed, as a sign of life.
        at: The worker's clock at the flush, epoch seconds: every request that started before is in this or an
            earlier batch.
        block_seconds: Of the table in force, so that a reader can fold without the table.
        timeout: ``timeouts.total`` of the table in force: a block is mature at ``t0 + block_seconds + timeout`` at
            the latest, and earlier once all its requests are finished and every worker's ``at`` has passed its end.
        last: The worker says good-bye: it drained and nothing more will come.
    """

    gateway: str
    boot: str
    worker: int
    seq: int
    at: float
    block_seconds: float
    timeout: float
    increments: tuple[Increment, ...] = ()
    last: bool = False
    version: Literal[1] = BATCH_VERSION

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "version": self.version,
            "gateway": self.gateway,
            "boot": self.boot,
            "worker": self.worker,
            "seq": self.seq,
            "at": self.at,
            "block_seconds": self.block_seconds,
            "timeout": self.timeout,
            "increments": [increment.to_wire() for increment in self.increments],
            "last": self.last,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Batch:
        """Read a batch.

        Raises:
            ValueError: When it is malformed or of a version this code does not know.
        """
        if wire.get("version") != BATCH_VERSION:
            raise ValueError(f"telemetry batch version {wire.get('version')!r} is not supported")
        try:
            return cls(
                gateway=wire["gateway"],
                boot=wire["boot"],
                worker=int(wire["worker"]),
                seq=int(wire["seq"]),
                at=float(wire["at"]),
                block_seconds=float(wire["block_seconds"]),
                timeout=float(wire["timeout"]),
                increments=tuple(Increment.from_wire(item) for item in wire["increments"]),
                last=bool(wire.get("last", False)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"telemetry batch is malformed: {type(error).__name__}: {error}") from error
