"""What passes between a gateway and the one that takes over from it: sockets by inheritance, the rest as messages.

A restart in place goes twice over this: the running process *P* starts a bridge *N* of the code that is installed now,
gives it everything, drains, replaces itself by that code (``exec``, so that its pid stays and whoever supervises it
notices nothing), and gets everything back from *N*. Whatever fails in new code fails in *N*, while *P* still serves.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairway.gateway.channel import receive, send

VARIABLE = "FAIRWAY_GATEWAY_SUCCESSION"
"""Environment variable by which a gateway is told that it takes over from a running one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """File descriptors a gateway inherits from the one it takes over from.

    Attributes:
        channel: Stream socket to the one before.
        listener: The listening socket.
        admin: The listening socket of the admin port.
        back: Stream socket to the one after, for a bridge.
        stderr: Where to write; until it is used, the one before reads what is written.
        child: Pid of the one before when that is a child of this process.
    """

    channel: int
    listener: int
    admin: int | None = None
    back: int | None = None
    stderr: int | None = None
    child: int | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Everything that has to be inherited."""
        found = (self.channel, self.listener, self.admin, self.back, self.stderr)
        return tuple(descriptor for descriptor in found if descriptor is not None)

    def environment(self) -> dict[str, str]:
        """What tells the next process of it."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def taken(cls, environment: MutableMapping[str, str]) -> Succession | None:
        """What this process was told, taken out so that none of its children is; ``None`` when it begins by itself."""
        told = environment.pop(VARIABLE, None)
        if told is None:
            return None
        known = {field.name for field in fields(cls)}
        found = cls(**{name: value for name, value in json.loads(told).items() if name in known})
        for descriptor in found.descriptors:
            os.set_inheritable(descriptor, False)
        return found

    def speak(self) -> None:
        """From now on this process writes where the one before does, instead of to it."""
        if self.stderr is not None:
            os.dup2(self.stderr, 2)
            os.close(self.stderr)


class Link:
    """One end of the conversation between two gateway processes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connected stream."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """Speak over a socket, which is this link's from now on."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def tell(self, message: dict[str, Any]) -> bool:
        """Send without waiting; ``False`` when the other side is gone."""
        return send(self._writer, message)

    async def hear(self) -> dict[str, Any] | None:
        """The next message; ``None`` when the other side is gone."""
        return await receive(self._reader)

    async def close(self) -> None:
        """Close once everything is sent; at most five seconds."""
        try:
            async with asyncio.timeout(5.0):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # the other side is gone: nobody is left to tell
