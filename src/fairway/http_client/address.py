"""Where a request goes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

from fairway.http_client.errors import HttpAddressError

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.%A-Za-z]{2,64}\])$")
_SAFE = "/?:@!$&'()*+,;=~-._%[]"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a connection is with; ``host`` without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As the ``Host`` header names it: without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """This machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


@dataclass(frozen=True, slots=True)
class Address:
    """An origin and what is asked of it: path and query, as the request line carries them."""

    origin: Origin
    target: str


@lru_cache(maxsize=256)
def parse_address(url: str) -> Address:
    """Read a URL.

    Raises:
        HttpAddressError: Not ``http`` or ``https``, no host, a port that is none, a user in it, or characters that have
            no place in a URL.
    """
    if not url.isprintable() or any(char.isspace() for char in url):
        raise HttpAddressError(f"{url[:80]!r} is not an address")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise HttpAddressError(f"{url[:80]!r} is not an address ({error})") from error
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise HttpAddressError(f"{url[:80]!r} is not an http:// or https:// address")
    if "@" in parts.netloc:
        raise HttpAddressError("an address must not carry a user or a password")
    netloc_host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc.removesuffix(":")
    if not _HOST.match(netloc_host):
        raise HttpAddressError(f"{url[:80]!r} names no host")
    target = quote(parts.path or "/", safe=_SAFE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_SAFE)
    host = netloc_host.strip("[]").lower()
    return Address(Origin(scheme, host, _PORTS[scheme] if port is None else port), target)
