"""Who a request comes from: what the arm is told of it, and which of a client's own words about it are passed on.

A header such as ``x-forwarded-for`` is worth what its sender is worth. From a client it is replaced, because anybody
can write one; from a trusted proxy it is kept, and the proxy's own address appended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fairway.gateway.framing import RequestHead

FORWARDED_FOR = b"x-forwarded-for"
_PREFIXES = (b"x-forwarded-", b"x-real-")
_forwarded_for = re.compile(rb"\r\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE).findall
_MOST_CACHED = 4096


class Peer(NamedTuple):
    """The other end of a client's connection.

    Attributes:
        address: IP address as the socket says it, or as a PROXY header does; empty for a unix socket.
        secure: Whether the client speaks TLS to this gateway.
        trusted: Whether what it says of others is believed.
        lines: What an arm is told of it, as header lines.
    """

    address: str
    secure: bool
    trusted: bool
    lines: bytes


NOBODY = Peer("", False, False, b"")
"""Before a connection is made."""


class Networks:
    """Networks whose addresses are trusted."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take them as ``10.0.0.0/8``, ``2001:db8::/32`` or single addresses.

        Raises:
            ValueError: When one is none of these, or has host bits set.
        """
        self._networks = tuple(ip_network(network) for network in networks)
        self._seen: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        found = self._seen.get(address)
        if found is None:
            found = self._look(address)
            if len(self._seen) >= _MOST_CACHED:
                self._seen.clear()
            self._seen[address] = found
        return found

    def _look(self, address: str) -> bool:
        try:
            given = ip_address(address)
        except ValueError:
            return False
        return any(given.version == network.version and given in network for network in self._networks)


def plain_address(address: str) -> str:
    """An address without zone, and an IPv4 one as such: a socket for both says ``::ffff:192.0.2.1``."""
    address = address.partition("%")[0]
    if address[:7].lower() == "::ffff:" and "." in address:
        return address[7:]
    return address


def peer_at(address: str, *, secure: bool, proxies: Networks) -> Peer:
    """What is known of a connection from an address, and what its requests gain.

    A trusted proxy speaks for its clients: of its own only the address is added, and nothing of how it speaks to us.
    """
    address = plain_address(address)
    if not address:
        return Peer("", secure, False, b"x-forwarded-proto: https\r\n" if secure else b"x-forwarded-proto: http\r\n")
    trusted = address in proxies
    line = f"x-forwarded-for: {address}\r\n"
    if not trusted:
        line += "x-forwarded-proto: https\r\n" if secure else "x-forwarded-proto: http\r\n"
    return Peer(address, secure, trusted, line.encode())


def speaks_for(lower: bytes) -> bool:
    """Whether a header of that lower-case name says who somebody else is; to WSGI ``_`` and ``-`` spell the same."""
    name = lower.replace(b"_", b"-")
    return name == b"forwarded" or name.startswith(_PREFIXES)


def may_speak(lower: bytes, *, trusted: bool) -> bool:
    """Whether such a header passes: only a trusted proxy's, spelt as it should be, and not what is written anew."""
    return trusted and lower != FORWARDED_FOR and b"_" not in lower


def forwarded_lines(head: RequestHead, peer: Peer) -> bytes:
    """What an arm is told of who asks, given a head that may have words of its own about that."""
    if not peer.trusted:
        return peer.lines
    said = b", ".join(value for given in _forwarded_for(head.raw) if (value := given.strip(b" \t")))
    return b"%b: %b, %b\r\n" % (FORWARDED_FOR, said, peer.address.encode()) if said else peer.lines
