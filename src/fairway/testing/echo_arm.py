"""An arm as a process of its own, which says its release and what it was asked: for endurance.

``python -m fairway.testing.echo_arm <release> <port>``; a GET or POST is answered with ``<release> <conversation>
<target>``, ``/stream/<n>`` with so many server-sent events of the same, twenty a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path
from typing import cast

import uvloop

from fairway.testing.gateway_process import until

EVENTS_A_SECOND = 20
_KEY = b"\r\nx-conversation-id: "
_LENGTH = b"\r\ncontent-length: "


class _Serving(asyncio.Protocol):
    def __init__(self, release: bytes) -> None:
        self._release = release
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[: end + 2]
            length = int(_value(head, _LENGTH) or 0)
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            target = head.split(b" ", 2)[1]
            said = b"%b %b %b" % (self._release, _value(head, _KEY), target)
            if target.startswith(b"/stream/"):
                self._stream(said, int(target.rpartition(b"/")[2]))
                return
            lines = b"HTTP/1.1 200 OK\r\nfairway-outcome: status=ok\r\ncontent-length: %d\r\n\r\n%b"
            self._transport.write(lines % (len(said), said))

    def _stream(self, said: bytes, count: int) -> None:
        lines = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self._transport.write(lines)
        loop = asyncio.get_running_loop()

        def tell(number: int) -> None:
            if self._transport.is_closing():
                return
            if number == count:
                end = b": fairway-outcome status=ok\n\n"
                self._transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(end), end))
                return
            event = b"data: %d %b\n\n" % (number, said)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
            loop.call_later(1 / EVENTS_A_SECOND, tell, number + 1)

        tell(0)


def _value(head: bytes, name: bytes) -> bytes:
    at = head.lower().find(name)
    if at < 0:
        return b""
    at += len(name)
    return head[at : head.index(b"\r\n", at)]


class EchoArm:
    """One such process, which may be killed and started again on its port."""

    def __init__(self, release: str, log: Path) -> None:
        """Take the release it says, and where it writes what goes wrong."""
        self.release = release
        self._log = log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: asyncio.subprocess.Process | None = None

    @property
    def endpoint(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    async def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Start it and wait until it accepts."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *prefix, sys.executable, "-m", "fairway.testing.echo_arm", self.release, str(self.port), stderr=log
            )

        async def accepts() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return True
            return False

        await until(accepts, 20)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


def main(arguments: list[str]) -> None:
    """Serve until killed."""
    release, port = arguments

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, loop.stop)
        server = await loop.create_server(lambda: _Serving(release.encode()), "127.0.0.1", int(port), backlog=1024)
        await server.serve_forever()

    with contextlib.suppress(RuntimeError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main(sys.argv[1:])
