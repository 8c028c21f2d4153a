"""A gateway worker in this process, its parent's end of the channel, and a raw client: for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from fairway.gateway.channel import receive, send
from fairway.gateway.listening import Listening, listening_socket
from fairway.gateway.tls import KeyPair
from fairway.gateway.worker import Worker, WorkerSettings
from fairway.observe.blocks import Batch, Increment
from fairway.traffic.pin import load_pin_key
from fairway.traffic.table import Role, RouteTable
from fairway.units import Digest


class Harness:
    """A worker in this process, and its parent's end of the channel.

    Attributes:
        listening: What the worker does with a connection before its first request.
        tls: What it serves TLS with.
        listener: Until the start, when it is the worker's.
    """

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", listening: Listening | None = None, tls: KeyPair | None = None
    ) -> None:
        self._folder = folder
        self.listening = replace(listening or Listening(), secure=tls is not None)
        self.tls = tls
        self.listener = listening_socket(host, 0, backlog=256)
        self.port = self.listener.getsockname()[1]
        self.batches: list[Batch] = []
        self.acks: list[str] = []
        self._got = asyncio.Event()

    async def start(
        self,
        first: RouteTable,
        *,
        drain_seconds: float = 5.0,
        withheld: tuple[Digest, ...] = (),
        arms_known: bool = True,
        access_log: str = "",
    ) -> None:
        """Start the worker with its first table, and wait until that is in force."""
        load_pin_key(self._folder / "key")
        ours, theirs = socket.socketpair()
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)
        self.worker = Worker(
            WorkerSettings(
                listen_fd=self.listener.detach(),
                channel_fd=theirs.detach(),
                worker=0,
                gateway="g",
                boot="b",
                pin_key=str(self._folder / "key"),
                memory=str(self._folder / "memory"),
                drain_seconds=drain_seconds,
                access_log=access_log,
                samples=str(self._folder / "samples.sock"),
                listening=self.listening.to_wire(),
            )
        )
        self._generation = 0
        self._listening = asyncio.create_task(self._listen())
        self._running = asyncio.create_task(self.worker.run())
        await self.install(first, withheld=withheld, arms_known=arms_known)

    async def reported(self) -> list[Batch]:
        """What came by the next flush of everything there is to tell."""
        seen = len(self.batches)
        async with asyncio.timeout(30):
            while len(self.batches) < seen + 2:
                self._got.clear()
                await self._got.wait()
        return self.batches

    async def install(self, new: RouteTable, *, withheld: tuple[Digest, ...] = (), arms_known: bool = True) -> None:
        """Put another table in force; ``arms_known``: the controller has named arms since the gateway began."""
        self._generation += 1
        seen = len(self.acks)
        message = {"type": "table", "generation": self._generation, "table": new.to_wire(), "withheld": list(withheld)}
        message["arms_known"] = arms_known
        if self.tls is not None:
            message["tls"] = self.tls.to_wire()
        send(self.writer, message)
        async with asyncio.timeout(30):
            while len(self.acks) == seen:
                self._got.clear()
                await self._got.wait()

    async def _listen(self) -> None:
        while (message := await receive(self.reader)) is not None:
            if message["type"] == "batch":
                self.batches.append(Batch.from_wire(message["batch"]))
            elif message["type"] == "ack":
                self.acks.append(message["fence"])
            self._got.set()

    async def drained(self) -> None:
        """Ask for a drain and wait for its end."""
        send(self.writer, {"type": "drain"})
        async with asyncio.timeout(30):
            await self._running
            await self._listening
        self.writer.close()

    async def counted(self) -> dict[Role, Increment]:
        """Drain, then everything that was reported, folded by role."""
        await self.drained()
        assert self.batches[-1].last
        assert [batch.seq for batch in self.batches] == list(range(1, len(self.batches) + 1))
        return fold(self.batches)

    async def close(self) -> None:
        """End the worker."""
        for task in (self._running, self._listening):
            task.cancel()
        await asyncio.gather(self._running, self._listening, return_exceptions=True)
        self.writer.close()
        await asyncio.sleep(0.01)  # lets closed transports say so before the loop goes


def fold(batches: list[Batch]) -> dict[Role, Increment]:
    """Everything that was reported, by role."""
    folded: dict[Role, Increment] = {}
    for increment in (increment for batch in batches for increment in batch.increments):
        known = folded.get(increment.role)
        if known is None:
            folded[increment.role] = replace(increment, t0=0.0)
            continue
        marks = {kind: set(units) for kind, units in known.marks.items()}
        for kind, units in increment.marks.items():
            marks.setdefault(kind, set()).update(units)
        folded[increment.role] = replace(
            known,
            **{name: getattr(known, name) + getattr(increment, name)
               for name in ("assigned", "served", "finished", "failed", "unknown")},
            by=dict(Counter(known.by) + Counter(increment.by)),
            sums=dict(Counter(known.sums) + Counter(increment.sums)),
            marks={kind: tuple(sorted(units)) for kind, units in marks.items()},
            histograms={
                name: dict(Counter(known.histograms.get(name, {})) + Counter(increment.histograms.get(name, {})))
                for name in ("latency_ms", "first_byte_ms")
            },
            exemplars=(*known.exemplars, *increment.exemplars),
        )  # fmt: skip
    return folded


class Client:
    """A raw HTTP/1.1 client on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, *headers: str, target: str = "/", method: str = "GET", body: bytes = b"") -> Reply:
        """Send a request and read its answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: agent", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await self.reply(head=method == "HEAD")

    async def reply(self, *, head: bool = False) -> Reply:
        """The next answer; ``head``: to a HEAD, which has no body."""
        async with asyncio.timeout(30):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
            pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            found = dict(pairs)
            status = int(first.split(" ")[1])
            body = b""
            if head or status < 200 or status in (204, 304):
                pass
            elif "transfer-encoding" in found:
                while size := int((await self.reader.readline()).strip(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
            elif "content-length" in found:
                body = await self.reader.readexactly(int(found["content-length"]))
            else:
                body = await self.reader.read()
            return Reply(status, found, body)

    async def closed(self) -> bool:
        """Whether nothing more comes before the connection is closed."""
        async with asyncio.timeout(30):
            return await self.reader.read() == b""


class Reply:
    """A whole answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def version(self) -> str | None:
        """The release that served it."""
        return self.headers.get("x-fairway-release")


@contextlib.asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A client on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
