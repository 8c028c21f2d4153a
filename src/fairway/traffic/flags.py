"""Feature flags as a gateway evaluates them: by tenant, then by a stable share of units. Stdlib alone, pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairway.traffic.bucket import bucket
from fairway.units import WHOLE, Parts

HEADER_PREFIX = "x-fairway-flag-"
"""A request carries one header a flag, ``on`` or ``off``; what a client sends under such a name is taken out."""


class Headers(Protocol):
    """What is known of a request."""

    def header(self, name: str) -> str | None:
        """Value of the first header of that lower-case name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFlag:
    """A flag in a route table.

    Attributes:
        name: Lower-case letters, digits and dashes.
        share: Share of units it is on for.
        tenant_header: Header that names the tenant.
        tenants: ``(tenant, share)`` of tenants with a share of their own.
    """

    name: str
    share: Parts
    tenant_header: str = ""
    tenants: tuple[tuple[str, Parts], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "name": self.name,
            "share": self.share,
            "tenant_header": self.tenant_header,
            "tenants": [[tenant, share] for tenant, share in self.tenants],
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TableFlag:
        """Read a flag.

        Raises:
            ValueError: When a share is none.
            KeyError, TypeError: When it is malformed.
        """
        flag = cls(
            name=str(wire["name"]),
            share=Parts(int(wire["share"])),
            tenant_header=str(wire["tenant_header"]),
            tenants=tuple((str(tenant), Parts(int(share))) for tenant, share in wire["tenants"]),
        )
        if not all(0 <= share <= WHOLE for share in (flag.share, *(value for _, value in flag.tenants))):
            raise ValueError(f"the share of flag {flag.name} must be between 0 and {WHOLE}")
        return flag


def is_on(flag: TableFlag, headers: Headers, key: str | None) -> bool:
    """Whether the flag is on for a request.

    Args:
        flag: Which.
        headers: Of the request.
        key: Of its unit; without one a share below the whole is off, for nobody could be kept in it.
    """
    share = flag.share
    if flag.tenants and flag.tenant_header:
        tenant = headers.header(flag.tenant_header)
        share = next((value for name, value in flag.tenants if name == tenant), share)
    if share in (0, WHOLE):
        return bool(share)
    return key is not None and bucket(f"flag/{flag.name}", key) < share


def flag_lines(flags: Iterable[TableFlag], headers: Headers, key: str | None) -> bytes:
    """The header lines a request carries to its arm."""
    return b"".join(
        f"{HEADER_PREFIX}{flag.name}: {'on' if is_on(flag, headers, key) else 'off'}\r\n".encode() for flag in flags
    )
