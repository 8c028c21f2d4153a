"""What is known of a request before it is assigned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairway.traffic.json_pointer import find_text


class Facts(Protocol):
    """What is known about a request before it is assigned."""

    @property
    def path(self) -> str:
        """Path without the query."""
        ...

    def header(self, name: str) -> str | None:
        """Value of the first header of that lower-case name."""
        ...

    def pointed(self, pointer: str) -> str | None:
        """The text or whole number a JSON pointer finds at the beginning of the body."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFacts:
    """Facts written down: for `explain` and tests. Header names in lower case; ``body``: its first 64 KiB, as JSON."""

    path: str = "/"
    headers: Mapping[str, str]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Value of that header."""
        return self.headers.get(name)

    def pointed(self, pointer: str) -> str | None:
        """What the pointer finds in the body."""
        return find_text(self.body, pointer)


def cookie_value(facts: Facts, name: str) -> str | None:
    """Value of a cookie of the request, ``None`` when it has none of that name."""
    header = facts.header("cookie")
    if header is None or name not in header:
        return None
    for part in header.split(";"):
        found, equals, value = part.strip().partition("=")
        if equals and found == name:
            return value.strip('"')
    return None
