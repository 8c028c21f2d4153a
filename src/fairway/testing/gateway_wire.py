"""A gateway worker between two wires that are only lists of bytes: for tests of what it writes, thousands a second.

Everything of the worker is real - the short way and the general way, both ends of a connection, the counting - but
no socket is opened: the arm is llhttp, which says when a request is whole, and a scripted answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import httptools

from fairway.gateway.client import ClientConnection
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker, WorkerSettings
from fairway.testing.framing_oracle import DisagreementError, Heard
from fairway.traffic.pin import load_pin_key
from fairway.traffic.table import RouteTable

_TURNS = 50
"""Of the loop, that a connection to an arm takes at most."""


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.open = True
        self.reading = True

    def write(self, data: bytes) -> None:
        """Keep it."""
        if self.open:
            self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Keep them."""
        self.write(b"".join(pieces))

    def close(self) -> None:
        """No more comes."""
        self.open = False

    abort = close

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return not self.open

    def can_write_eof(self) -> bool:
        """As on a socket without TLS."""
        return True

    def write_eof(self) -> None:
        """The other side sees that by :attr:`open` soon enough."""

    def pause_reading(self) -> None:
        """Nothing is read from now on."""
        self.reading = False

    def resume_reading(self) -> None:
        """It is read again."""
        self.reading = True

    def get_write_buffer_size(self) -> int:
        """What is written is gone at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is none to limit."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Who is at the other end."""
        return ("127.0.0.1", 4711) if name == "peername" else default


class PieceWire(Wire):
    """One that also keeps what was written at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        super().write(data)
        self.pieces.append(data)


class SlowWire(Wire):
    """A wire whose other end reads only when it is told to; what it has not read yet is bounded by who writes.

    Attributes:
        room: Bytes that may wait before the writer is asked to stop.
        most: That ever waited.
        reset: The writer ended it so that its other end knows something is missing.
    """

    def __init__(self, room: int, told: Callable[[bool], None]) -> None:
        """``told``: called with whether to stop, and with ``False`` when to go on."""
        super().__init__()
        self.room = room
        self.waiting = self.most = 0
        self.reset = False
        self.stopped = False
        self._told = told

    def write(self, data: bytes) -> None:
        """Keep it."""
        if not self.open:
            return
        super().write(data)
        self.waiting += len(data)
        self.most = max(self.most, self.waiting)
        if self.waiting > self.room and not self.stopped:
            self.stopped = True
            self._told(True)

    def read(self) -> None:
        """The other end reads all there is."""
        self.waiting = 0
        if self.stopped:
            self.stopped = False
            self._told(False)

    def get_write_buffer_size(self) -> int:
        """What has not been read."""
        return self.waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Who is at the other end; as a socket it is this, to be told of a reset."""
        return self if name == "socket" else super().get_extra_info(name, default)

    def setsockopt(self, *_: object) -> None:
        """The next end is a reset."""
        self.reset = True


class HeardRequest(Heard):
    """A request as an arm reads it."""

    __slots__ = ("method",)

    method: bytes


class _ArmWire(Wire):
    """An arm's end: reads requests with llhttp as they are written."""

    def __init__(self, arm: WireArm) -> None:
        super().__init__()
        self._arm = arm
        self.upstream: Upstream | None = None
        self.due = 0
        """Answers it owes."""
        self._begin()

    def close(self) -> None:
        """No more comes, and the gateway's end is told so, soon, as by a socket."""
        if self.open and self.upstream is not None:
            asyncio.get_running_loop().call_soon(self.upstream.connection_lost, None)
        self.open = False

    abort = close

    def _begin(self) -> None:
        self._heard = HeardRequest()
        self._parser = httptools.HttpRequestParser(self._heard)

    def write(self, data: bytes) -> None:
        """Bytes of requests."""
        if not self.open:
            return
        self.written += data
        if self._arm.deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserInvalidMethodError:
            self._arm.deaf = True
        except httptools.HttpParserError as error:
            raise DisagreementError(f"the arm cannot read it ({error}): {self.written!r}") from error
        if self._heard.begun > 1:
            raise DisagreementError(f"the arm reads more than one request: {self.written!r}")
        if self._heard.messages:
            self._heard.method = self._parser.get_method()
            self._arm.requests.append(self._heard)
            self.due += 1
            self._begin()


class WireArm:
    """Arms of a worker: every connection goes here.

    Attributes:
        answers: What requests are answered with, in turn; the last one again and again. Each in pieces.
        requests: Those that were whole, in order.
        deaf: One had a method llhttp does not know, so that the rest is not known either.
        wires: Connections that are open.
    """

    def __init__(self, *answers: list[bytes]) -> None:
        """Answer requests with these."""
        self.answers = list(answers)
        self.requests: list[HeardRequest] = []
        self.deaf = False
        self.wires: list[_ArmWire] = []

    def __getattr__(self, name: str) -> Any:
        """Whatever else a loop is asked."""
        return getattr(asyncio.get_running_loop(), name)

    async def create_connection(self, made: Callable[[], Upstream], *_: object) -> tuple[_ArmWire, Upstream]:
        """As a loop does, but to this arm."""
        upstream = made()
        wire = _ArmWire(self)
        wire.upstream = upstream
        self.wires.append(wire)
        upstream.connection_made(cast(asyncio.Transport, wire))
        return wire, upstream

    def hang_up(self) -> None:
        """Close every connection that still owes something of an answer, or is idle."""
        for wire in self.wires:
            wire.close()
        self.wires = []

    def reply(self) -> bool:
        """Give the answers that are owed; whether there were any."""
        owing = [wire for wire in self.wires if wire.due and wire.open]
        for wire in owing:
            wire.due -= 1
            for piece in self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]:
                if wire.open and wire.upstream is not None:
                    wire.upstream.data_received(piece)
        self.wires = [wire for wire in self.wires if wire.open]
        return bool(owing)


class WiredWorker:
    """A worker whose clients and arms are wires; to be made while a loop runs."""

    def __init__(self, folder: Path, table: RouteTable, *answers: list[bytes]) -> None:
        """Put a table in force; its arms give these answers, as :class:`WireArm` does."""
        load_pin_key(folder / "key")
        self.arm = WireArm(*answers)
        self.worker = Worker(
            WorkerSettings(
                listen_fd=-1, channel_fd=-1, worker=0, gateway="g", boot="b", pin_key=str(folder / "key"),
                memory=str(folder / "memory"), drain_seconds=1.0,
            )
        )  # fmt: skip
        self.worker._loop = cast(asyncio.AbstractEventLoop, self.arm)
        self.worker._install({"table": table.to_wire(), "generation": 1})

    async def said(self, pieces: Iterable[bytes]) -> tuple[list[HeardRequest], bytes]:
        """A client says this on a connection of its own, and hangs up once all is answered.

        Returns:
            The requests arms have read of it, and the bytes the client got.
        """
        self.arm.requests = []
        self.arm.deaf = False
        wire = Wire()
        client = ClientConnection(self.worker)
        client.connection_made(cast(asyncio.Transport, wire))
        for piece in pieces:
            await self._settle(client)
            if not wire.open:
                break
            if not wire.reading:
                raise DisagreementError("the gateway reads no further, though all that came is answered")
            client.data_received(piece)
        await self._settle(client)
        if client.exchange is not None:
            self.arm.hang_up()
        await asyncio.sleep(0)  # what was closed hears of it
        client.connection_lost(None)
        await asyncio.sleep(0)
        return self.arm.requests, wire.written

    async def _settle(self, client: ClientConnection) -> None:
        """Until nothing more happens without more bytes."""
        for _ in range(_TURNS):
            if self.arm.reply():
                continue
            exchange = client.exchange
            if exchange is None or exchange.upstream is not None:
                return
            await asyncio.sleep(0)  # a connection is being opened

    def left_open(self) -> dict[str, int]:
        """What the worker still counts as under way: requests, clients, and connections to arms that are not idle."""
        pools = [pool for arm in self.worker.fleet.values() for pool in arm.pools.values()]
        places = sum(arm.places for arm in self.worker.fleet.values())
        return {
            "requests": self.worker.in_flight,
            "clients": len(self.worker.clients),
            "in use": places - sum(len(pool.idle) for pool in pools),
        }

    def close(self) -> None:
        """Let go of what the worker holds."""
        self.worker._close()
