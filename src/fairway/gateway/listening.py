"""How a gateway listens: the socket, and what is done with a connection before its first request."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.gateway.forwarding import Networks, Peer, peer_at, plain_address

BACKLOG = 4096
"""Connections the kernel holds until a worker accepts them; it takes no more than ``net.core.somaxconn``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What a worker does with a connection before its first request.

    Attributes:
        trusted_proxies: Networks whose ``x-forwarded-for`` and the like are believed.
        proxy_protocol: Networks that begin each connection with a PROXY header, without which none is served; empty:
            nobody does.
        secure: Whether clients speak TLS.
    """

    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: tuple[str, ...] = ()
    secure: bool = False
    _proxies: Networks = field(init=False, repr=False, compare=False)
    _senders: Networks = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the networks.

        Raises:
            ValueError: When one is none.
        """
        object.__setattr__(self, "_proxies", Networks(self.trusted_proxies))
        object.__setattr__(self, "_senders", Networks(self.proxy_protocol))

    def peer(self, address: str) -> Peer:
        """What is known of a client at an address."""
        return peer_at(address, secure=self.secure, proxies=self._proxies)

    def sends_header(self, address: str) -> bool:
        """Whether a connection from an address is served, given that each begins with a PROXY header."""
        return plain_address(address) in self._senders

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return {
            "trusted_proxies": list(self.trusted_proxies),
            "proxy_protocol": list(self.proxy_protocol),
            "secure": self.secure,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Listening:
        """Read what :meth:`to_wire` wrote."""
        return cls(
            trusted_proxies=tuple(wire.get("trusted_proxies", ())),
            proxy_protocol=tuple(wire.get("proxy_protocol", ())),
            secure=bool(wire.get("secure", False)),
        )


def listening_socket(host: str, port: int, *, backlog: int = BACKLOG) -> socket.socket:
    """A bound TCP socket that listens.

    ``::`` takes IPv4 as well, whatever the system's default is; any other IPv6 address is that address alone.

    Args:
        host: Address or name, an IPv6 address with or without brackets.
        port: 0 takes a free one.
        backlog: Connections held until they are accepted.

    Raises:
        OSError: When it cannot be bound.
    """
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
