"""Load whose every answer is checked: whole, the caller's own, from the release its conversation has to be served by.

Conversations wander over the connections, so that each worker meets those that began at another one. Fast enough to
check some 10,000 answers a second on one core.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import cast

from fairway.traffic.bucket import bucket
from fairway.traffic.table import Role, RouteTable

TURNS = 5
STREAM_EVENTS = 40
PATIENCE_SECONDS = 30.0
_LENGTH = b"content-length: "
_PIN = b"x-fairway-pin: "


def _new_name() -> str:
    """A load's own, so that no other one's conversations, which the gateway remembers, are taken for its."""
    return token_hex(6)


class TablesInForce:
    """Which tables a request may have been assigned by: those in force at some moment of it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._published: list[float] = []
        self._until: list[float] = []
        self._tables: list[RouteTable] = []

    def publish(self, table: RouteTable) -> None:
        """A table may be in force from now on."""
        self._published.append(perf_counter())
        self._until.append(float("inf"))
        self._tables.append(table)

    def confirmed(self) -> None:
        """Every table but the last one is in force no longer."""
        now = perf_counter()
        for index in range(len(self._until) - 1):
            self._until[index] = min(self._until[index], now)

    def between(self, begun: float, ended: float) -> Iterator[RouteTable]:
        """Those in force at some moment of a request."""
        for index in range(bisect_right(self._published, ended)):
            if self._until[index] >= begun:
                yield self._tables[index]


def starts_on(table: RouteTable, key: str) -> str:
    """Version of the release a new conversation begins on."""
    candidate = table.arm(Role.CANDIDATE)
    if candidate is not None and bucket(table.salt, key) < table.split:
        return candidate.version
    stable = table.arm(Role.STABLE)
    assert stable is not None
    return stable.version


@dataclass(slots=True)
class _Conversation:
    key: bytes
    turn: int = 0
    release: bytes = b""
    pin: bytes = b""
    brings_pin: bool = False


@dataclass(slots=True)
class CheckedLoad:
    """Requests from many connections until stopped.

    Attributes:
        port: Of the gateway.
        tables: What it was told to serve.
        connections: Kept at once.
        posts: Whether every fourth request is a POST, which nothing may send twice.
        rest: Seconds a connection does nothing between two requests; none: as many as there is processor time for.
        seen: What became of requests: ``ok``, or what is wrong.
        stale: Kept connections that were closed as a request was sent on them; it is sent again on a new one, as HTTP
            clients do, and only counted here when it is answered then.
        examples: Of what went wrong.
        moments: When, on the clock of the load, something went wrong.
    """

    port: int
    tables: TablesInForce
    connections: int = 48
    posts: bool = True
    rest: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    stale: int = 0
    examples: list[str] = field(default_factory=list)
    total: int = 0
    running: bool = False
    _name: str = field(default_factory=_new_name)
    _waiting: deque[_Conversation] = field(default_factory=deque)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _open: set[_Connection] = field(default_factory=set)
    _watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self.running = True
        for _ in range(self.connections):
            _Connection(self).begin()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Let running requests end."""
        self.running = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(connection.busy for connection in self._open):  # noqa: ASYNC110 - the end of a test
                await asyncio.sleep(0.01)
        for connection in tuple(self._open):
            connection.close()
        if self._watching is not None:
            self._watching.cancel()

    async def reach(self, total: int, *, each: Callable[[], None] | None = None) -> None:
        """Wait for so many requests in all."""
        while self.total < total:
            await asyncio.sleep(0.02)
            if each is not None:
                each()

    @property
    def wrong(self) -> int:
        """Requests that failed or were answered by the wrong release."""
        return sum(self.seen.values()) - self.seen["ok"]

    def next(self) -> _Conversation:
        """One that has another turn, begun long enough ago that others had theirs; or a new one."""
        if len(self._waiting) > 4 * self.connections:
            return self._waiting.popleft()
        number = next(self._numbers)
        return _Conversation(f"c-{self._name}-{number}".encode(), brings_pin=number % 4 == 0)

    def ended(self, conversation: _Conversation, what: str, detail: str = "") -> None:
        """A request has ended."""
        self.total += 1
        self.seen[what] += 1
        if what != "ok" and len(self.examples) < 20:
            self.examples.append(f"{self.total}: {what}: {detail}")
        if conversation.turn < TURNS and what == "ok":
            self._waiting.append(conversation)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = perf_counter()
            for connection in tuple(self._open):
                connection.overdue(now)


class _Connection(asyncio.Protocol):
    """One kept connection; a new one takes its place when it ends."""

    def __init__(self, load: CheckedLoad) -> None:
        self._load = load
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._conversation: _Conversation | None = None
        self._target = b""
        self._begun = 0.0
        self._held = b""
        self._answered = 0
        self._again = False
        self._replaced = False
        self._opening: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._conversation is not None

    def begin(self) -> None:
        self._load._open.add(self)
        self._opening = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._load.port)
        except OSError as error:
            conversation, self._conversation = self._conversation, None
            self._load._open.discard(self)
            if conversation is not None or self._load.running:
                self._load.ended(conversation or self._load.next(), "refused", repr(error))
                await asyncio.sleep(0.05)
                self._replace()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._again:
            self._send()
        else:
            self._go_on()

    def close(self) -> None:
        self._load._open.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        if not self._load.running:
            self.close()
            return
        conversation = self._conversation = self._load.next()
        conversation.turn += 1
        self._target = b"/%d" % self._load.total
        self._send()

    def _send(self) -> None:
        conversation = self._conversation
        assert conversation is not None
        self._begun = self._begun if self._again else perf_counter()
        posts = self._load.posts and conversation.turn % 4 == 3
        pin = b"%b%b\r\n" % (_PIN, conversation.pin) if conversation.pin else b""
        length, body = (b"content-length: 64\r\n", b"b" * 64) if posts else (b"", b"")
        head = b"%b %b HTTP/1.1\r\nHost: h\r\nx-conversation-id: %b\r\n%b%b\r\n%b"
        method = b"POST" if posts else b"GET"
        self._transport.write(head % (method, self._target, conversation.key, pin, length, body))

    def data_received(self, data: bytes) -> None:
        data = self._held + data if self._held else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._held = data
            return
        at = data.find(_LENGTH, 0, end)
        length = int(data[at + len(_LENGTH) : data.index(b"\r\n", at)]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self._held = data
            return
        self._held = b""
        conversation, self._conversation = self._conversation, None
        if conversation is None:
            self._load.ended(_Conversation(b"?"), "unasked", repr(data[:200]))
            self.close()
            self._replace()
            return
        self._again = False
        self._answered += 1
        self._check(conversation, data[:end], data[end + 4 :])
        if b"connection: close" in data[:end].lower():
            self.close()
            self._replace()
        elif self._load.rest and self._load.running:
            asyncio.get_running_loop().call_later(self._load.rest, self._rested)
        else:
            self._go_on()

    def _rested(self) -> None:
        if self in self._load._open:
            self._go_on()

    def _check(self, conversation: _Conversation, head: bytes, body: bytes) -> None:
        load = self._load
        if not head.startswith(b"HTTP/1.1 200 "):
            load.ended(conversation, head[9:12].decode(), repr(body[:200]))
            return
        said = body.split(b" ")
        if len(said) != 3 or said[1] != conversation.key or said[2] != self._target:
            load.ended(conversation, "another's answer", f"{conversation} {self._target!r} {body!r}")
            return
        release = said[0]
        if conversation.release:
            right = release == conversation.release
        else:
            tables = load.tables.between(self._begun, perf_counter())
            key = conversation.key.decode()
            right = any(starts_on(table, key) == release.decode() for table in tables)
            conversation.release = release
            if conversation.brings_pin and (at := head.lower().find(_PIN)) >= 0:
                conversation.pin = head[at + len(_PIN) :].split(b"\r\n", 1)[0]
        load.ended(conversation, "ok" if right else "misrouted", f"{conversation} {release!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._load._open.discard(self)
        conversation = self._conversation
        if conversation is None:
            if self._load.running:
                self._replace()
            return
        if self._answered and not self._held and not self._again and isinstance(exc, ConnectionError | None):
            self._load.stale += 1
            self._replaced = True
            fresh = self._replace()
            fresh._conversation, fresh._target, fresh._begun = conversation, self._target, self._begun
            fresh._again = True
            fresh.begin()
            return
        self._conversation = None
        self._load.ended(conversation, "cut off", f"{conversation} {exc!r} {self._held[:100]!r}")
        self._replace()

    def _replace(self) -> _Connection:
        """Another takes its place, once."""
        self._load._open.discard(self)
        fresh = _Connection(self._load)
        if not self._replaced and self._load.running:
            fresh.begin()
        self._replaced = True
        return fresh

    def overdue(self, now: float) -> None:
        if self._conversation is not None and self._begun and now - self._begun > PATIENCE_SECONDS:
            conversation, self._conversation = self._conversation, None
            self._load.ended(conversation, "no answer", repr(conversation))
            self.close()
            self._replace()


@dataclass(slots=True)
class CheckedStreams:
    """Streams of events one after another, each of which has to be whole, in order, and from one release.

    Attributes:
        port: Of the gateway.
        at_once: How many run at once.
        whole: Complete.
        wrong: What was wrong with the others.
    """

    port: int
    at_once: int = 8
    whole: int = 0
    wrong: list[str] = field(default_factory=list)
    _name: str = field(default_factory=_new_name)
    _running: bool = True
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        """Begin, on the running loop."""
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(self.at_once)]

    async def stop(self) -> None:
        """Let those that run end."""
        self._running = False
        await asyncio.gather(*self._tasks)

    async def _run(self, number: int) -> None:
        turn = 0
        while self._running:
            turn += 1
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._one(f"s-{self._name}-{number}-{turn}")
                self.whole += 1
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                self.wrong.append(repr(error))
                await asyncio.sleep(0.05)

    async def _one(self, key: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            target = f"/stream/{STREAM_EVENTS}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: h\r\nx-conversation-id: {key}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ValueError(f"{head!r}")
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
            lines = [line.split(b" ") for line in body.split(b"\n") if line]
            releases = {line[2] for line in lines}
            expected = [[b"data:", b"%d" % at, line[2], key.encode(), target.encode()] for at, line in enumerate(lines)]
            if len(lines) != STREAM_EVENTS or lines != expected or len(releases) != 1:
                raise ValueError(f"{key}: {len(lines)} events of {releases}")
        finally:
            writer.close()
