"""When a gateway runs a request that failed on another release again on stable, once. Pure.

Written with the stdlib alone, because the data plane imports it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods of which a repetition does no more than the first (RFC 9110, 9.2.2)."""

ENTRY = re.compile(r"^(POST|PATCH) (/[\x21-\x7e]*)$")
"""How a policy declares a request idempotent whose method does not say so: ``POST /search``."""


class RerunWhen(StrEnum):
    """Which failures are run again on stable."""

    NEVER = "never"
    MASKED = "masked"
    """Of a release that has been taken away since the request was sent to it: masked, tripped, rolled back."""
    ON_FAILURE = "on_failure"
    """Of any release but stable, from its first failure on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """What is run again.

    Attributes:
        when: Which failures.
        also: Requests declared idempotent, each ``POST /path`` or ``PATCH /path``: without the query, matched whole.
    """

    when: RerunWhen = RerunWhen.MASKED
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.also:
            if not ENTRY.fullmatch(entry) or "?" in entry or "#" in entry:
                raise ValueError(f"{entry!r} is not POST or PATCH and a path, such as POST /search")

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        return {"when": self.when.value, "also": list(self.also)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Rerun:
        """Read it.

        Raises:
            KeyError: When a key is missing.
            ValueError: On a value out of range.
        """
        return cls(when=RerunWhen(wire["when"]), also=tuple(wire["also"]))

    def may_repeat(self, method: bytes, target: bytes, key: bytes | None) -> bool:
        """Whether a request may be run twice.

        Args:
            method: Of the request.
            target: Path with the query, as sent.
            key: Its ``Idempotency-Key``, ``None`` or empty without: the client says that the key makes it one.
        """
        if method in IDEMPOTENT:
            return True
        if method not in (b"POST", b"PATCH"):
            return False
        if key:
            return True
        return bool(self.also) and f"{method.decode()} {target.split(b'?', 1)[0].decode('latin-1')}" in self.also


DEFAULT_RERUN = Rerun()
