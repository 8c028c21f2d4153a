"""How a child of ``fairway up`` notices that its supervisor was killed.

The supervisor keeps the write end of a pipe and says nothing; each child inherits the read end. When the supervisor
dies, by whatever signal, the system closes its end and the child reads the end of file.
"""

from __future__ import annotations

import asyncio
import os

from fairway.targets.local.service import LEASH_VARIABLE


class Leash:
    """The supervisor's side; kept open for as long as it lives."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe()

    def environment(self) -> dict[str, str]:
        """What a child finds in its environment; ``read_fd`` has to be passed as well."""
        return {LEASH_VARIABLE: str(self.read_fd)}

    def close(self) -> None:
        """Let go: every child reads the end."""
        os.close(self.read_fd)
        os.close(self._write_fd)


def leash_fd() -> int | None:
    """The child's end, or ``None`` when nobody supervises this process."""
    value = os.environ.get(LEASH_VARIABLE, "")
    if not value.isdigit():
        return None
    try:
        os.fstat(int(value))
    except OSError:
        return None
    return int(value)


async def leash_cut() -> None:
    """Wait until the supervisor has died; for ever when there is none.

    Example::

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve())
            await leash_cut()   # ended by kill -9: leave the arms running and go
    """
    descriptor = leash_fd()
    loop = asyncio.get_running_loop()
    cut = asyncio.Event()
    if descriptor is None:
        await cut.wait()
        return
    loop.add_reader(descriptor, cut.set)
    try:
        await cut.wait()
    finally:
        loop.remove_reader(descriptor)
