"""The sockets a gateway listens on: opened, inherited from a supervisor or from the gateway before, and handed on."""

from __future__ import annotations

import socket

from fairway.gateway.listening import listening_socket
from fairway.gateway.succession import Succession


class Sockets:
    """The listening socket, and that of the admin port."""

    def __init__(
        self, *, host: str, port: int, fd: int | None, admin_port: int | None, given: Succession | None
    ) -> None:
        """Open what is not inherited.

        Args:
            host: Where to listen.
            port: The same; 0 takes a free one.
            fd: Inherited from a supervisor, instead.
            admin_port: On loopback; ``None``: none.
            given: Inherited from the gateway before, instead of all of these.

        Raises:
            OSError: When a port cannot be bound; its ``filename`` says which.
        """
        inherited = fd if given is None else given.listener
        self.traffic = _opened(host, port, "--port") if inherited is None else _inherited(inherited)
        self.traffic.setblocking(False)
        self.admin: socket.socket | None = None
        if given is not None and given.admin is not None:
            self.admin = socket.socket(fileno=given.admin)
        elif admin_port is not None:
            self.admin = _opened("127.0.0.1", admin_port, "--admin-port")

    @property
    def port(self) -> int:
        """Where traffic is served."""
        return int(self.traffic.getsockname()[1])

    @property
    def admin_port(self) -> int | None:
        """Where the admin API is, on loopback."""
        return None if self.admin is None else int(self.admin.getsockname()[1])

    def descriptors(self) -> dict[str, int]:
        """What whoever takes over listens on, as :class:`Succession` names it."""
        found = {"listener": self.traffic.fileno()}
        if self.admin is not None:
            found["admin"] = self.admin.fileno()
        return found

    def leave_open(self) -> None:
        """The descriptors are somebody else's from now on."""
        self.traffic.detach()
        if self.admin is not None:
            self.admin.detach()

    def close(self) -> None:
        """Stop listening, unless another process does too."""
        self.traffic.close()
        if self.admin is not None:
            self.admin.close()


def _opened(host: str, port: int, option: str) -> socket.socket:
    try:
        return listening_socket(host, port)
    except OSError as error:
        error.filename = f"{option}, {host}:{port}"
        raise


def _inherited(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        error.filename = f"--fd {descriptor}"
        raise
