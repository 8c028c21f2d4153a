"""Proxies as the environment names them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fairway.http_client.address import Origin
from fairway.http_client.errors import HttpAddressError


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is, and who we are to it (never shown)."""

    origin: Origin
    user: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """What the proxy itself is told."""
        if self.user is None:
            return {}
        return {"proxy-authorization": "Basic " + base64.b64encode(self.user.encode()).decode()}

    def __repr__(self) -> str:
        return f"Proxy({self.origin.authority})"


def proxy_of(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for an origin; ``None``: it is asked directly. This machine always is.

    ``https_proxy``, ``http_proxy`` and ``all_proxy`` in small letters come before those in capitals; ``HTTP_PROXY`` in
    capitals is not read below a CGI server (``REQUEST_METHOD``), where a client sets it.

    Raises:
        HttpAddressError: What the variable says is no address of an HTTP proxy.
    """
    if origin.is_loopback or _excepted(origin, _variable(environment, "no_proxy") or ""):
        return None
    text = _variable(environment, f"{origin.scheme}_proxy") or _variable(environment, "all_proxy")
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as error:
        raise HttpAddressError(f"{origin.scheme}_proxy is not an address") from error
    if parts.scheme != "http" or not parts.hostname:
        raise HttpAddressError(f"{origin.scheme}_proxy must be the http:// address of a proxy")
    user = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(Origin("http", parts.hostname, port or 80), user)


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    if name in environment:
        return environment[name]
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        return None
    return environment.get(name.upper())


def _excepted(origin: Origin, rules: str) -> bool:
    for rule in rules.split(","):
        name, _, port = rule.strip().lower().removeprefix(".").partition(":")
        if not name or (port and port != str(origin.port)):
            continue
        if name == "*" or origin.host == name or origin.host.endswith("." + name):
            return True
    return False
