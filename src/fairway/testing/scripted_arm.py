"""An arm for tests: a raw HTTP/1.1 server whose every answer is a script, down to the byte and the pause."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRequest:
    """A request as the arm read it: names in lower case, chunks joined."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of the first header of that name."""
        return next((value for found, value in self.headers if found == name), None)


Script = Callable[[ArmRequest, asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes = b"ok", *, status: str = "200 OK", headers: tuple[str, ...] = (), outcome: str | None = "status=ok"
) -> bytes:
    """A whole answer with a Content-Length, and an outcome unless ``None``."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    if outcome is not None:
        lines.append(f"Fairway-Outcome: {outcome}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(raw: bytes) -> Script:
    """A script that writes the same bytes for each request."""

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return script


@dataclass(slots=True)
class ScriptedArm:
    """Serves a script on a free loopback port; use as ``async with``.

    Attributes:
        script: Writes the answer; may pause, close the writer, or write nothing.
        requests: Those that arrived whole.
        connections: Accepted so far.
        lost: Connections the other side closed while a script ran.
    """

    script: Script
    requests: list[ArmRequest] = field(default_factory=list)
    connections: int = 0
    lost: int = 0
    endpoint: str = ""
    _server: asyncio.Server | None = None
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> ScriptedArm:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop at once, as a killed process does."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.sleep(0)  # lets closed transports say so before the loop goes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                request = await _read(reader)
                self.requests.append(request)
                await self._play(request, reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._running.discard(task)
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()

    async def _play(self, request: ArmRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the script, cancelling it when the other side hangs up."""
        script = asyncio.ensure_future(self.script(request, writer))
        gone = asyncio.ensure_future(_closed(reader, script))
        await asyncio.wait({script, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not script.done():
            self.lost += 1
            script.cancel()
        gone.cancel()
        await asyncio.gather(script, gone, return_exceptions=True)
        if not script.cancelled() and (error := script.exception()) is not None:
            raise error
        await writer.drain()


async def _closed(reader: asyncio.StreamReader, script: asyncio.Future[None]) -> None:
    while not script.done():
        if reader.at_eof() or reader.exception() is not None:
            return
        await asyncio.sleep(0.01)


async def _read(reader: asyncio.StreamReader) -> ArmRequest:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    found = dict(pairs)
    body = b""
    if "transfer-encoding" in found:
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(found.get("content-length", "0")))
    return ArmRequest(method=method, target=target, headers=pairs, body=body)


HANG, CUT = b"hang", b"cut"
"""Instead of an answer: none at all, or the connection closed."""


def serving(*answers: bytes) -> ScriptedArm:
    """An arm that gives these answers, one a request; :data:`HANG` and :data:`CUT` among them."""
    left = list(answers)

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        raw = left.pop(0)
        if raw == HANG:
            await asyncio.sleep(60)
        if raw == CUT:
            writer.close()
        else:
            writer.write(raw)

    return ScriptedArm(script)
