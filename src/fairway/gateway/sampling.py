"""Requests of sampled conversations, told to whoever listens: bounded, sent without waiting, dropped otherwise.

Nothing is written here and nothing is looked at: redaction and scoring are another process's, which the data plane
never waits for. Without a listener a sample costs one system call.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from fairway.gateway.comparing import Side
from fairway.gateway.telemetry import Cell
from fairway.traffic.outcome import format_outcome
from fairway.traffic.sampling import LiveSample, Sampling, pack, sample_hash
from fairway.traffic.table import Arm

if TYPE_CHECKING:
    from fairway.units import UnitHash

MAX_SAMPLES = 64
"""Samples a worker has under way; a request beyond is not sampled."""

_SEND_BYTES = 1 << 20


class SamplePlan:
    """Which conversations are sampled."""

    __slots__ = ("_below", "body_bytes")

    def __init__(self, sampling: Sampling) -> None:
        self._below = sampling.below
        self.body_bytes = sampling.body_bytes

    def takes(self, key: bytes) -> bool:
        """Whether the conversation with this key is one of those."""
        return sample_hash(key) < self._below


class Sample:
    """One request being sampled; stands where a mirrored request's pair stands."""

    __slots__ = ("_answer", "_cell", "_ended", "_facts", "_limit", "_request", "_sampler")

    copied = False
    """Nothing runs twice: the request may still run again on stable when it fails."""

    def __init__(self, sampler: Sampler, limit: int, cell: Cell, facts: dict[str, object]) -> None:
        self._sampler = sampler
        self._limit = limit
        self._cell = cell
        self._facts = facts
        self._request: bytes | None = None
        self._answer: bytearray | None = bytearray()
        self._ended = False

    def sent(self, data: bytes | None) -> None:
        """All of the request has been sent; ``None``: it was too large to be kept."""
        head = -1 if data is None else data.find(b"\r\n\r\n")
        self._request = data if data is not None and len(data) - head - 4 <= self._limit else None

    def primary_data(self, payload: bytes) -> None:
        """Some of the answer's body."""
        answer = self._answer
        if answer is None or self._ended:
            return
        if len(answer) + len(payload) > self._limit:
            self._answer = None
        else:
            answer += payload

    def primary_ended(self, side: Side) -> None:
        """What became of it."""
        if self._ended:
            return
        self._ended = True
        self._facts |= {
            "status": side.status,
            "verdict": side.verdict,
            "reason": side.code,
            "seconds": round(side.seconds, 6),
            "outcome": "" if side.outcome is None else format_outcome(side.outcome),
        }
        self._sampler.soon(self, self._cell)

    def packed(self) -> bytes:
        """As it is sent."""
        answer = self._answer
        return pack(LiveSample(dict(self._facts), self._request, None if answer is None else bytes(answer)))


class Sampler:
    """What a worker samples."""

    def __init__(self, path: str) -> None:
        """Send to the socket at ``path``, where somebody may listen."""
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self.under_way = 0
        """Samples whose request has no answer yet."""

    def begin(
        self, plan: SamplePlan, cell: Cell, arm: Arm, *, request: bytes, unit: UnitHash, now: float, trace: str = ""
    ) -> Sample | None:
        """A request of a sampled conversation begins; ``None`` when too many are under way, which is counted.

        Args:
            plan: Of the table in force.
            cell: Where the request is counted.
            arm: That serves it.
            request: Its id.
            unit: Hash of its key.
            now: Epoch seconds.
            trace: Id of the trace it is part of; empty: of none.
        """
        if self.under_way >= MAX_SAMPLES:
            _count(cell, "samples_dropped")
            return None
        self.under_way += 1
        facts: dict[str, object] = {
            "request": request.decode(), "unit": unit, "release": arm.release, "version": arm.version,
            "role": arm.role.value, "at": round(now, 3), "t0": cell.t0,
        }  # fmt: skip
        if trace:
            facts["trace"] = trace
        return Sample(self, plan.body_bytes, cell, facts)

    def soon(self, sample: Sample, cell: Cell) -> None:
        """Send a sample once nobody waits for this turn of the loop."""
        self.under_way -= 1
        self._loop.call_soon(self._send, sample, cell)

    def _send(self, sample: Sample, cell: Cell) -> None:
        _count(cell, "samples" if self._sent(sample.packed()) else "samples_dropped")

    def _sent(self, data: bytes) -> bool:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
            self._socket.sendto(data, self._path)
        except OSError:  # nobody listens, or too slowly
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _count(cell: Cell, name: str) -> None:
    cell.dirty = True
    cell.sums[name] = cell.sums.get(name, 0) + 1
