"""Everything at once between fake wires: clients, arms, tables and time do as they like; each byte has an owner.

Whatever reaches somebody it was not meant for is seen by its word (see :mod:`fairway.testing.storm_talk`), in whatever
order things happen: hang-ups, resets, pieces, requests one behind the other, clients and arms that do not read, answers
before requests are whole, answers that are cut, too long, or never come, time limits, other tables. What seems whole
has to be whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Self, cast

import httptools

from fairway.gateway.access_log import AccessLog
from fairway.gateway.client import ClientConnection
from fairway.gateway.forwarding import NOBODY, Peer
from fairway.gateway.proxied import ProxyConnection
from fairway.gateway.serving import unusual
from fairway.gateway.upstream import Upstream
from fairway.gateway.worker import Worker, WorkerSettings
from fairway.testing.framing_oracle import DisagreementError
from fairway.testing.gateway_wire import SlowWire, Wire
from fairway.testing.storm_talk import Asked, Talk, read_answer, words_in
from fairway.traffic.pin import load_pin_key
from fairway.traffic.table import RouteTable

_AFTER_ALL = 10_000.0
TRUSTED = Peer("127.0.0.1", False, True, b"x-forwarded-for: 127.0.0.1\r\n")
_AHEAD = 6  # pieces of requests that a client has ready
_AT_ONCE = 4_096  # bytes of one piece that a worker may write to who does not read
_ATTEMPTS = 3  # at one request: sent, sent anew, and run again on stable
_PROBLEM = b'{"error":'
_LATER = (0.0, 0.0, 0.0, 0.0, 20.0, 100.0)


class ClientEnd:
    """One client: what it asked, and what it got."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.asked: list[Asked] = []
        self.coming: list[bytes] = []
        self.gone = self.left = False
        self.reads = storm.rng.random() < 0.8
        self.patient = storm.rng.random() < 0.7
        self.odd = storm.rng.choice((0.0, 0.0, 0.1, 0.5))
        made = ClientConnection if storm.rng.random() < 0.7 else ProxyConnection
        self.client = made(storm.worker, storm.rng.choice((NOBODY, TRUSTED)))
        self.wire = SlowWire(storm.rng.choice((50, 400, 1 << 20)), self._tell)
        self.client.connection_made(cast(asyncio.Transport, self.wire))

    def _tell(self, stop: bool) -> None:
        (self.client.pause_writing if stop else self.client.resume_writing)()

    def ask(self) -> None:
        """Have one more request ready to be sent; most clients wait for the last answer."""
        if self.patient and (self.coming or self.client.exchange is not None):
            return
        asked = self.storm.talk.request(len(self.storm.asked), odd=self.odd)
        self.storm.asked.append(asked)
        self.asked.append(asked)
        self.coming += self.storm.talk.pieces(asked.raw)

    def send(self) -> None:
        """Some of what is ready."""
        if self.coming and self.wire.reading and self.wire.open:
            self.client.data_received(self.coming.pop(0))

    def leave(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        if not self.gone:
            self.gone = True
            self.wire.open = False
            self.client.connection_lost(error)

    def settle(self) -> None:
        """What the worker closed is gone a moment later."""
        if not self.wire.open:
            self.leave()


class ArmEnd(Wire):
    """One connection to an arm, which reads requests with llhttp and answers as it likes."""

    def __init__(self, storm: Storm, upstream: Upstream) -> None:
        super().__init__()
        self._storm = storm
        self.upstream = upstream
        self.coming: list[bytes] = []
        self.running: Asked | None = None
        self.ending = ""
        self.lost = self.full = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self.copy = False

    # --- as llhttp calls it --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request."""
        if self.running is not None:
            raise DisagreementError(f"a request before the last one was answered: {self.written!r}")
        self._body, self.copy = b"", False

    def on_url(self, url: bytes) -> None:
        """Its target."""
        self.running = self._storm.asked[int(words_in(url)[0][3:-1])]

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        assert self.running is not None
        self.copy = self.copy or name == b"x-fairway-shadow"
        if not set(words_in(value)) <= {self.running.asks}:
            raise DisagreementError(f"a header of another request: {self.written!r}")

    def on_headers_complete(self) -> None:
        """Its head is here; some answer already."""
        if self._storm.rng.random() < 0.2:
            self._answer()

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """It is whole."""
        asked = self.running
        assert asked is not None
        if self._body != asked.body:
            raise DisagreementError(f"an arm reads {self._body!r} as the body of {asked!r}: {self.written!r}")
        asked.arrived += not self.copy
        if not self.coming and not self.ending:
            self._answer()

    # --- answering -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Bytes of requests."""
        if not self.open:
            return
        self.written += data
        if not self.full and self._storm.rng.random() < 0.1:
            self.full = True
            self.upstream.pause_writing()
        if self.ending:
            return  # it reads no further
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, DisagreementError):
                raise error.__context__ from None
            raise DisagreementError(f"the arm cannot read it ({error}): {self.written!r}") from error

    def _answer(self) -> None:
        assert self.running is not None
        answer = self._storm.talk.answer(self.running, copy=self.copy)
        self.coming += answer.pieces
        self.ending = answer.ending

    def step(self) -> None:
        """Read on, send some of an answer, or end."""
        if self.full and self.open:
            self.full = False
            self.upstream.resume_writing()
        if not self.open or not self.reading:
            return
        if self.coming:
            piece = self.coming.pop(0)
            if not self.coming and not self.ending:
                self.running = None
            self.upstream.data_received(piece)
        elif self.ending == "cut":
            self._end(None)
        elif self.ending == "reset":
            self._end(ConnectionResetError())

    def close(self) -> None:
        """The worker ends it."""
        if self.open:
            self.open = False
            asyncio.get_running_loop().call_soon(self._end, None)

    abort = close

    def _end(self, error: Exception | None) -> None:
        self.open = False
        if not self.lost:
            self.lost = True
            if error is None:
                self.upstream.eof_received()
            self.upstream.connection_lost(error)


class Storm:
    """A worker, and everybody around it.

    Attributes:
        asked: All requests ever, by number.
        events: How much happened, by what.
    """

    def __init__(self, folder: Path, tables: list[RouteTable], seed: int) -> None:
        """Put the first table in force; to be made while a loop runs."""
        load_pin_key(folder / "key")
        self.rng = Random(seed)  # noqa: S311 - the same storm for the same seed
        self.talk = Talk(self.rng)
        self.asked: list[Asked] = []
        self.events: dict[str, int] = {}
        self.clients: list[ClientEnd] = []
        self.arms: list[ArmEnd] = []
        self._tables = tables
        self.worker = Worker(
            WorkerSettings(
                listen_fd=-1, channel_fd=-1, worker=0, gateway="g", boot="b", pin_key=str(folder / "key"),
                memory=str(folder / "memory"), drain_seconds=1.0,
            )
        )  # fmt: skip
        self.worker.access_log = AccessLog(self.worker, "/dev/null")
        self.worker._loop = cast(asyncio.AbstractEventLoop, self)
        self.worker._install({"table": tables[0].to_wire(), "generation": 1})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker._close()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a loop is asked."""
        return getattr(asyncio.get_running_loop(), name)

    async def create_connection(self, made: Callable[[], Upstream], *_: object) -> tuple[Wire, Upstream]:
        """As a loop does, but to these arms."""
        if self.rng.random() < 0.3:
            await asyncio.sleep(0)
        if self.rng.random() < 0.03:
            raise ConnectionRefusedError
        upstream = made()
        wire = ArmEnd(self, upstream)
        self.arms.append(wire)
        upstream.connection_made(cast(asyncio.Transport, wire))
        return wire, upstream

    # --- what happens --------------------------------------------------------------------------------------------

    def _count(self, event: str, times: int = 1) -> None:
        self.events[event] = self.events.get(event, 0) + times

    async def blow(self, steps: int) -> None:
        """Let so much happen, then end everything, and see that nothing is left and all of it was right.

        Raises:
            DisagreementError: When something reached somebody it was not meant for, or seemed whole and was not.
        """
        self.clients, self.arms = [], []
        acts: tuple[tuple[Callable[[], None], int], ...] = (
            (self._send, 80), (self._ask, 60), (self._answer, 80), (self._connect, 6), (self._read, 8),
            (self._leave, 1), (self._switch, 1), (self._wait, 1), (self._end_idle, 1),
        )  # fmt: skip
        doing = self.rng.choices([act for act, _ in acts], [weight for _, weight in acts], k=steps)
        self._connect()
        self._switch()
        for act in doing:
            act()
            for client in self.clients:
                client.settle()
            if self.rng.random() < 0.5:
                await asyncio.sleep(0)
        await self._calm()
        self._check()

    def _connect(self) -> None:
        if sum(not client.gone for client in self.clients) < 8:
            self.clients.append(ClientEnd(self))
            self._count("clients")

    def _one(self) -> ClientEnd | None:
        there = [client for client in self.clients if not client.gone]
        return self.rng.choice(there) if there else None

    def _ask(self) -> None:
        client = self._one()
        if client is not None and len(client.coming) < _AHEAD:
            client.ask()

    def _send(self) -> None:
        if (client := self._one()) is not None:
            client.send()

    def _read(self) -> None:
        if (client := self._one()) is not None and client.reads:
            client.wire.read()

    def _leave(self) -> None:
        if (client := self._one()) is not None:
            client.left = True
            client.leave(self.rng.choice((None, ConnectionResetError())))

    def _answer(self) -> None:
        there = [arm for arm in self.arms if arm.open and (arm.full or arm.coming or arm.ending in ("cut", "reset"))]
        if there:
            self.rng.choice(there).step()

    def _end_idle(self) -> None:
        there = [arm for arm in self.arms if arm.open and arm.running is None]
        if there:
            self.rng.choice(there)._end(None)

    def _switch(self) -> None:
        table = self.rng.choice(self._tables)
        self.worker._install({"table": table.to_wire(), "generation": 1})
        self._count("tables")

    def _wait(self) -> None:
        now = perf_counter() + self.rng.choice(_LATER)
        for client in tuple(self.worker.clients):
            client.overdue(now)
        self.worker.mirror.overdue(now)
        if self.worker.access_log is not None:
            self.worker.access_log.look()

    async def _calm(self) -> None:
        """Nobody asks any more; what can still be answered is, unless the worker ends; and then everybody leaves."""
        worker, rounds = self.worker, 400
        if self.rng.random() < 0.3:
            worker.draining, rounds = True, 10
            worker.serving.usual = unusual
        for _ in range(rounds):
            for client in self.clients:
                if not client.gone:
                    client.wire.read()
                    client.send()
            for arm in self.arms:
                arm.step()
            await asyncio.sleep(0)
            for client in self.clients:
                client.settle()
            if not any((client.coming or client.client.exchange) and not client.gone for client in self.clients):
                break
        for one in tuple(worker.clients) if worker.draining else ():
            one.abort_at_drain_limit()
        for client in self.clients:
            client.settle()
            client.leave()
        worker.draining = False
        for _ in range(5):
            await asyncio.sleep(0)
            worker.mirror.overdue(perf_counter() + _AFTER_ALL)

    # --- what has to hold ----------------------------------------------------------------------------------------

    def _check(self) -> None:
        self._check_worker()
        for arm in self.arms:
            if arm.open and arm.upstream.exchange is not None:
                raise DisagreementError("a connection to an arm still works for somebody who left")
            if arm.open and (arm.upstream.held or not arm.reading):
                raise DisagreementError("an idle connection holds something of its last request")
        for client in self.clients:
            own = {word for asked in client.asked for word in (asked.asks, asked.says)}
            if not set(words_in(client.wire.written)) <= own:
                raise DisagreementError(f"somebody else's: {client.wire.written!r}, for {client.asked!r}")
            if client.wire.most > client.wire.room + _AT_ONCE:
                raise DisagreementError(f"{client.wire.most} bytes piled up")
            try:
                self._check_answers(client)
            except ValueError as error:
                raise DisagreementError(f"{error}: {client.wire.written!r} for {client.asked!r}") from error
            for asked in client.asked:
                if asked.arrived > (1 if asked.method == b"POST" else _ATTEMPTS):
                    raise DisagreementError(f"it was sent {asked.arrived} times: {asked!r}")

    def _check_worker(self) -> None:
        """Nothing is left under way, and what was counted has ended."""
        worker = self.worker
        left = {
            "requests": worker.in_flight, "clients": len(worker.clients), "samples": worker.sampler.under_way,
            "copies": worker.mirror.room.copies, "bytes of copies": worker.mirror.room.held_bytes,
        }  # fmt: skip
        if any(left.values()):
            raise DisagreementError(f"left: {left}")
        for increment in worker.telemetry.flush(block_seconds=60.0, timeout=60.0).increments:
            if increment.assigned != increment.finished:
                raise DisagreementError(f"{increment.assigned} requests, {increment.finished} of them finished")
        if any(cell.open for cell in worker.telemetry._cells.values()):
            raise DisagreementError("requests are still counted as open")

    def _check_answers(self, client: ClientEnd) -> None:
        """What reads as a whole answer is one of its own request, in order, and whole.

        Raises:
            ValueError: When not.
        """
        data, wire = client.wire.written, client.wire
        for asked in client.asked:
            head_only = asked.method == b"HEAD"
            found = read_answer(data, head_only=head_only, ended=not wire.open and not client.left and not wire.reset)
            if found is None:
                return
            data = found.rest
            self._count(f"whole {found.status}")
            if b"connection: close" in found.head and data.startswith(_PROBLEM):
                return  # of a request that nobody could read whole, so that it may be no HEAD
            ours = found.body.startswith(_PROBLEM) or (head_only and b"application/json" in found.head)
            if not ours and found.body not in asked.said:
                raise ValueError(f"no answer to {asked!r}: {found.body!r}")
            self._count("whole until the end", not found.framed)
        if data:
            raise ValueError(f"nobody asked for {data!r}")
