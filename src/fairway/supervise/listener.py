"""The gateway's listening socket, held by the supervisor so that a gateway that crashes loses no connection in it."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from fairway.errors import UserError
from fairway.gateway.handover import take_listener
from fairway.gateway.listening import listening_socket
from fairway.targets.local.process import listener_of

_PRIVILEGED = 1024


class Listener:
    """A TCP socket bound on first use; it listens, and whoever inherits it accepts."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port; the real one after :meth:`open` when 0 was asked for."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else self._port

    def open(self) -> int:
        """Bind and listen, once; returns the file descriptor to inherit.

        Raises:
            UserError: ``port_taken`` with who has it, ``port_refused``, ``bad_host``.
        """
        if self._socket is None:
            self._socket = self._bind()
        return self._socket.fileno()

    def share(self, path: Path) -> bool:
        """Hold the socket of a gateway that is adopted, too; whether it gave it away.

        Args:
            path: Where that gateway hands it over.
        """
        if self._socket is None:
            self._socket = take_listener(path, port=self._port)
        return self._socket is not None

    def close(self) -> None:
        """Stop listening, unless a child still does."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _bind(self) -> socket.socket:
        """A new listening socket."""
        try:
            return listening_socket(self._host, self._port)
        except OSError as error:
            raise _explained(error, self._host, self._port) from error


def _explained(error: OSError, host: str, port: int) -> UserError:
    """Why the port cannot be had."""
    if error.errno == errno.EADDRINUSE:
        who = listener_of(port)
        return UserError(
            f"port {port} on {host} is taken" + (f" by {who}" if who else ""),
            code="port_taken",
            hint="end that process, or choose another port with --port or gateway.port in fairway.yaml",
        )
    if error.errno == errno.EACCES:
        why = "ports below 1024 need rights this process does not have" if port < _PRIVILEGED else "not permitted"
        return UserError(f"port {port} on {host} is refused: {why}", code="port_refused", hint="choose another port")
    return UserError(
        f"cannot listen on {host}:{port}: {error.strerror or error}",
        code="bad_host",
        hint="gateway.host in fairway.yaml must be an address of this machine",
    )
