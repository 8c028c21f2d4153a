"""``fairway gateway serve`` in a process of its own, as operators run it: for tests and benches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fairway.errors import TransientError
from fairway.state_dir import StateDir
from fairway.traffic.local_http import LocalAnswer, LocalClient
from fairway.traffic.table import RouteTable

START_SECONDS = 120.0


class GatewayProcess:
    """One gateway.

    Attributes:
        folder: Its project's.
        state: Its state folder.
        process: As it was started; a restart in place keeps it.
        port, admin: Where it serves, and its admin port.
        said: What it wrote to stderr.
    """

    def __init__(self, folder: Path) -> None:
        """Take the project's folder; nothing is started yet."""
        self.folder = folder
        self.state = StateDir(folder / ".fairway")
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.admin = 0
        self.said = folder / "gateway.log"

    async def start(
        self,
        *arguments: str,
        listener: socket.socket | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> None:
        """Start it, and wait until its workers serve.

        Args:
            arguments: Options of the command.
            listener: Socket it inherits.
            environment: Variables beside this process's.
            prefix: What the command is run by, such as ``taskset``.
        """
        inherited = () if listener is None else (listener.fileno(),)
        where = ("--port", "0") if listener is None else ("--fd", str(listener.fileno()))
        command = ("fairway", "gateway", "serve", "--project", str(self.folder), "-o", "json", "--admin-port", "0")
        with self.said.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *prefix, sys.executable, "-m", *command, *where, *arguments,
                stdout=asyncio.subprocess.PIPE, stderr=log, pass_fds=inherited,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await self.process.stdout.readline()
        assert line, f"the gateway did not start: {self.said.read_text()}"
        said = json.loads(line)
        self.port, self.admin = said["port"], said["admin_port"]

    @property
    def pid(self) -> int:
        """Of the parent."""
        assert self.process is not None
        return self.process.pid

    def with_table(self, table: RouteTable) -> tuple[str, str]:
        """Options that give it a table from a file."""
        path = self.folder / "table.json"
        path.write_text(json.dumps(table.to_wire()))
        return "--table", str(path)

    async def stop(self, within: float = 60.0) -> int:
        """SIGTERM, and wait; its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within):
            code = await self.process.wait()
        self.process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        return code

    async def kill(self) -> None:
        """SIGKILL, and wait."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.process._transport.close()  # type: ignore[attr-defined]

    async def ask(
        self, method: str, target: str, body: dict[str, Any] | None = None, *, within: float = 40.0
    ) -> LocalAnswer:
        """One question to its admin socket.

        Raises:
            TransientError: Nobody answers there.
        """
        client = LocalClient(self.state.socket("gateway"))
        try:
            sent = b"" if body is None else json.dumps(body).encode()
            return await client.ask(method, target, body=sent, within=within)
        finally:
            client.close()

    async def status(self) -> Any:
        """What it says of itself."""
        return (await self.ask("GET", "/v1/status")).json()

    async def restart(self, what: str = "gateway", *, within: float = 120.0) -> None:
        """Restart it in place, and wait until the old one is done.

        Args:
            what: ``gateway`` or ``workers``.
            within: Seconds.
        """
        answer = await self.ask("POST", "/v1/restart", {"what": what})
        assert answer.status == 200, answer.body

        async def over() -> bool:
            return (await self.status())["restarting"] is None

        await until(over, within)


def runs(pid: int) -> bool:
    """Whether a process still does something (its body may lie unburied where nobody reaps orphans)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in ("Z", "X")


async def until(condition: Callable[[], Awaitable[bool]], within: float = 60.0) -> None:
    """Wait until it is so; a gateway that does not answer at the moment is asked again.

    Raises:
        TimeoutError: It is not within so many seconds.
    """
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(TransientError):
                if await condition():
                    return
            await asyncio.sleep(0.02)
