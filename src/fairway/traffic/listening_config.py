"""How the gateway listens, as ``gateway`` of ``fairway.yaml`` says it: TLS, and whose word about clients counts."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

from fairway.section import Section


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"is no network: {error}; write for example 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7") from error


def _file(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("is no path of a file")
    return text


Network = Annotated[str, Field(strict=True), AfterValidator(_network)]
Networks = Annotated[tuple[Network, ...], Field(max_length=256)]
FilePath = Annotated[str, Field(strict=True), AfterValidator(_file)]
"""Absolute, or relative to the project."""


class TlsSection(Section):
    """Clients speak TLS; without this section they do not.

    Attributes:
        certificate: PEM of the server's certificate, its chain after it.
        key: PEM of its private key, not encrypted.
    """

    certificate: FilePath
    key: FilePath


class ProxyProtocolSection(Section):
    """Each connection begins with a PROXY header (version 1 or 2), and only these networks may connect."""

    senders: Annotated[tuple[Network, ...], Field(alias="from", min_length=1, max_length=256)]
