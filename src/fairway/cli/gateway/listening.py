"""What the options of ``fairway gateway serve`` say of how it listens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fairway.errors import UserError

if TYPE_CHECKING:
    from fairway.gateway.listening import Listening
    from fairway.gateway.tls import TlsFiles


def listening_of(proxy_protocol: tuple[str, ...], trusted_proxy: tuple[str, ...]) -> Listening:
    """Who sends PROXY headers, and whose ``x-forwarded-for`` is believed.

    Raises:
        UserError: ``network``: one is no network.
    """
    from fairway.gateway.listening import Listening

    try:
        return Listening(proxy_protocol=proxy_protocol, trusted_proxies=trusted_proxy)
    except ValueError as error:
        raise UserError(str(error), code="network", hint="write for example 10.0.0.0/8 or 2001:db8::/32") from error


def tls_of(certificate: str | None, key: str | None) -> TlsFiles | None:
    """The files of certificate and key; ``None`` for plain HTTP.

    Raises:
        UserError: ``tls``: only one of them is given.
    """
    from fairway.gateway.tls import TlsFiles

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "--tls-key" if key is None else "--tls-certificate"
        raise UserError(f"{missing} is missing", code="tls", hint="TLS takes a certificate and its key")
    return TlsFiles(certificate=Path(certificate).absolute(), key=Path(key).absolute())


def url_of(host: str, port: int, *, secure: bool) -> str:
    """Where clients call, as people write it."""
    bare = host.strip("[]")
    return f"{'https' if secure else 'http'}://{f'[{bare}]' if ':' in bare else bare}:{port}"
