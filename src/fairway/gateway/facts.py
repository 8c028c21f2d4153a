"""What a request says about itself, read from its head only when a rule or an extractor asks."""

from __future__ import annotations

from fairway.gateway.framing import RequestHead
from fairway.traffic.json_pointer import find_text


class HeadFacts:
    """:class:`fairway.traffic.rules.Facts` over a request's head."""

    __slots__ = ("_body", "_cookie", "_head")

    def __init__(self, head: RequestHead, body: bytes = b"") -> None:
        """Take the head, and the beginning of the body when an extractor needs that."""
        self._head = head
        self._body = body
        self._cookie = ""

    @property
    def path(self) -> str:
        """Path without the query."""
        return self._head.target.partition(b"?")[0].decode("ascii")

    def header(self, name: str) -> str | None:
        """Value of a header, without the white space around it."""
        value = self._head.value(name.encode("latin-1", "replace"))
        text = None if value is None else value.decode("utf-8", "surrogateescape")
        if name == "cookie" and self._cookie:
            return f"{text}; {self._cookie}" if text else self._cookie
        return text

    def pointed(self, pointer: str) -> str | None:
        """What the pointer finds in the beginning of the body, as far as that was waited for."""
        return find_text(self._body, pointer) if self._body else None

    def issue(self, name: str, value: str) -> None:
        """From now on the request has this cookie, which its answer will set."""
        self._cookie = f"{name}={value}"
