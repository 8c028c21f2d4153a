"""The listening socket handed to whoever supervises the gateway next, so that it outlives a crash of this one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from pathlib import Path

from fairway.state_dir import StateDir

log = logging.getLogger("fairway.gateway")

_SECONDS = 1.0
_GREETING = b"listener"


def listener_socket(state: StateDir) -> Path:
    """Where a project's gateway hands its listening socket over."""
    return state.socket("gateway-listener")


class Handover:
    """Gives a descriptor of the listening socket to each process that asks at a unix socket only its owner can open."""

    def __init__(self, listener: socket.socket, path: Path) -> None:
        """Take what is handed out, and where; nothing is opened yet."""
        self._listener = listener
        self._path = path
        self._server: socket.socket | None = None

    def open(self) -> None:
        """Begin to answer; on the running event loop.

        Raises:
            OSError: When the socket cannot be bound.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.bind(str(self._path))
            os.chmod(self._path, 0o600)
            server.listen(4)
            server.setblocking(False)
        except OSError:
            server.close()
            raise
        self._server = server
        asyncio.get_running_loop().add_reader(server.fileno(), self._hand_over)

    def close(self) -> None:
        """Stop answering."""
        if self._server is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop may be gone
            asyncio.get_running_loop().remove_reader(self._server.fileno())
        self._server.close()
        self._server = None
        self._path.unlink(missing_ok=True)

    def _hand_over(self) -> None:
        assert self._server is not None
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        with connection:
            connection.setblocking(False)
            try:
                socket.send_fds(connection, [_GREETING], [self._listener.fileno()])
            except OSError as error:
                log.warning("the listening socket could not be handed over: %s", error)


def take_listener(path: Path, *, port: int) -> socket.socket | None:
    """The listening socket of a running gateway; ``None`` when it does not hand it over.

    Args:
        path: Where it answers.
        port: That it has to listen on.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(_SECONDS)
        try:
            asking.connect(str(path))
            said, descriptors, _, _ = socket.recv_fds(asking, len(_GREETING), 1)
        except OSError:
            return None
    if not descriptors:
        return None
    taken = socket.socket(fileno=descriptors[0])
    listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    if said != _GREETING or not listens or taken.getsockname()[1] != port:
        taken.close()
        return None
    taken.set_inheritable(False)
    return taken
