"""What is read of an answer while it passes: when its tokens came, and how many its model says there were.

Time to the first token is that of the first event with something for the user in it, which is neither the first byte
of the head nor an event that only says that an answer begins. A gap is the time between two pieces of a stream that
bring data; a comment that keeps the connection alive is none. After the first token a piece costs one look for
``data:`` and two additions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fairway.gateway.telemetry import bin_of_us
from fairway.gateway.usage import TAIL_BYTES, Usage, event_usage, usage_in_events, usage_in_json

if TYPE_CHECKING:
    from fairway.gateway.telemetry import Cell

GAPS_A_SECOND = 10_000
"""Gaps are counted in whole parts of a second: tenths of a millisecond."""

_MOST_HELD = 16_384
"""Bytes of an event before the first token that are read; a longer one has something in it."""

_BEGINNING = frozenset((
    "ping", "message_start", "content_block_start",
    "response.created", "response.queued", "response.in_progress", "response.output_item.added",
    "response.content_part.added",
))  # fmt: skip
"""Types of events that say that something begins: Anthropic's, and the Responses API's."""


class Ending:
    """The last bytes of an answer that comes in pieces."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def came(self, payload: bytes, _now: float = 0.0) -> None:
        """Some more of it."""
        self._parts.append(payload)
        self._size += len(payload)
        if self._size > 4 * TAIL_BYTES:
            kept = self.tail
            self._parts = [kept]
            self._size = len(kept)

    @property
    def tail(self) -> bytes:
        """At most :data:`TAIL_BYTES`."""
        return b"".join(self._parts)[-TAIL_BYTES:]

    def usage(self) -> Usage | None:
        """Tokens, now that all of it is here."""
        return usage_in_json(self.tail)


class StreamReading:
    """A stream of events being passed on.

    Attributes:
        cell: Where gaps are counted.
        ending: Its last bytes; ``None``: nobody asks for its tokens.
        first_token: Seconds from the request's start; ``None``: nothing for the user has come yet.
        largest_gap: Seconds; ``None``: there was none.
    """

    __slots__ = (
        "_held", "_remarkable", "_stall", "_started", "_usage_at_start", "cell", "ending", "first_token", "largest_gap",
        "last",
    )  # fmt: skip

    def __init__(self, cell: Cell, *, started: float, stall: float, usage: bool) -> None:
        """Begin.

        Args:
            cell: Where gaps are counted.
            started: When the request began, ``perf_counter()`` seconds.
            stall: Seconds; a longer gap is counted as one.
            usage: Whether tokens are asked for.
        """
        self.cell = cell
        self._started = started
        self._stall = stall
        self._remarkable = -1.0
        self.last = 0.0
        """When data came last, ``perf_counter()`` seconds."""
        self._held = b""
        self._usage_at_start: Usage | None = None
        self.ending = Ending() if usage else None
        self.first_token: float | None = None
        self.largest_gap: float | None = None

    def came(self, payload: bytes, now: float) -> None:
        """Some more of the stream; ``now`` in ``perf_counter()`` seconds."""
        if self.first_token is None:
            if self.ending is not None:
                self.ending.came(payload)
            self._look(payload, now)
        else:
            self.went_on(payload, now)

    def went_on(self, payload: bytes, now: float) -> None:
        """The same after the first token: this is paid by every piece of every stream."""
        ending = self.ending
        if ending is not None:
            ending.came(payload)
        if payload.find(b"data:") >= 0:  # half as dear as ``in``, which first takes what it looks for for a number
            gap = now - self.last
            self.last = now
            self.cell.gaps[int(gap * GAPS_A_SECOND)] += 1
            if gap > self._remarkable:
                self._remark(gap)

    def _remark(self, gap: float) -> None:
        """A gap is the largest so far, or a stall."""
        if self.largest_gap is None or gap > self.largest_gap:
            self.largest_gap = gap
        if gap > self._stall:
            self.cell.sums["stalls"] = self.cell.sums.get("stalls", 0) + 1
        self._remarkable = min(self.largest_gap, self._stall)

    def _look(self, payload: bytes, now: float) -> None:
        """Look for the first token in what came."""
        lines = (self._held + payload).splitlines(keepends=True)
        self._held = lines.pop() if lines and lines[-1][-1] not in b"\r\n" else b""
        for line in lines:
            if line.startswith(b"data:") and self._has_content(line[5:].strip()):
                self._found(now)
                return
        if len(self._held) > _MOST_HELD:
            self._found(now)

    def _has_content(self, data: bytes) -> bool:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return bool(data) and data != b"[DONE]"
        if isinstance(event, dict) and self._usage_at_start is None and event.get("type") == "message_start":
            self._usage_at_start = event_usage(data)
        return has_content(event)

    def _found(self, now: float) -> None:
        self.first_token = now - self._started
        self.last = now
        self._held = b""
        self.cell.first_token[bin_of_us(int(self.first_token * 1e6))] += 1

    def usage(self) -> Usage | None:
        """Tokens, now that all of it is here."""
        return None if self.ending is None else usage_in_events(self.ending.tail, self._usage_at_start)


def has_content(event: Any) -> bool:
    """Whether an event has something for the user: what is not known to be only a beginning has.

    Args:
        event: The JSON of its data.
    """
    if not isinstance(event, dict):
        return bool(event)
    if event.get("type") in _BEGINNING:
        return False
    choices = event.get("choices")
    if isinstance(choices, list):  # of the chat completions API: the first chunk only names the role
        return any(_choice_has_content(choice) for choice in choices)
    return bool(event)


def _choice_has_content(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
