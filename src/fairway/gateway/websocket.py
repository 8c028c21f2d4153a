"""Frames of a WebSocket as an arm sends them: followed, not read, but for the one that closes the session (RFC 6455).

Headers are looked at to know where frames begin and end; payloads pass as they are. A close frame is small and comes
last, so it is held until it is here whole: it says how the session ended, and its reason may be the agent's outcome,
which the client does not get.
"""

from __future__ import annotations

from fairway.gateway.judging import Verdict

OUTCOME_REASON = b"fairway-outcome "
"""What a close frame's reason begins with when it is the outcome of the session."""

NO_CODE = 1005
"""A close frame that gives no code (RFC 6455, 7.4.1)."""

ENDED_WELL = frozenset((1000, 1001, NO_CODE))
"""Normal closure, going away (a page that is left), and no code."""

FAILED = frozenset((1011, 1012, 1013, 1014))
"""An internal error, a restart, an overload, a bad gateway: what statuses of 500 and above are to requests."""

_CODES = frozenset(range(1000, 1016))
"""Named one by one; what applications make up is one name."""

GOING_AWAY = b"\x88\x02\x03\xe9"
"""The close frame of a gateway that ends: 1001."""

ENDED_HERE = frozenset(("websocket_idle", "websocket_drained"))
"""Codes of sessions that the gateway closed: their clients have not left."""

_DATA = frozenset((0, 1, 2, 9, 10))  # continuation, text, binary, ping, pong
_CLOSE = 8
_MAX_CONTROL = 125


class ArmFrames:
    """What an arm sends on a WebSocket.

    Attributes:
        close: The code it closed the session with; ``None``: it has not.
        outcome: What the reason of that says after :data:`OUTCOME_REASON`.
        lost: What came is no frame an arm may send; everything passes unread from there.
    """

    __slots__ = ("_held", "_left", "close", "lost", "outcome")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        self.close: int | None = None
        self.outcome: bytes | None = None
        self.lost = False

    @property
    def between(self) -> bool:
        """Whether a frame of the gateway's own may be put here."""
        return not (self._left or self._held or self.lost or self.close is not None)

    def feed(self, data: bytes) -> bytes:
        """What of it goes on now."""
        if self._left >= len(data):
            self._left -= len(data)
            return data
        if self.lost or self.close is not None:
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        at = self._left
        self._left = 0
        while at < len(data):
            size = _frame_size(data, at)
            if size < 0:
                self.lost = True
                return data
            if size == 0 or (data[at] & 15 == _CLOSE and at + size > len(data)):
                self._held = data[at:]
                return data[:at]
            if data[at] & 15 == _CLOSE:
                end = at + size
                return data[:at] + self._closed(data[at:end]) + data[end:]
            at += size
        self._left = at - len(data)
        return data

    def rest(self) -> bytes:
        """What was still held when the arm stopped sending."""
        held, self._held = self._held, b""
        return held

    def _closed(self, frame: bytes) -> bytes:
        """The close frame as the client gets it."""
        payload = frame[2:]
        if len(payload) == 1:
            self.lost = True
            return frame
        self.close = int.from_bytes(payload[:2], "big") if payload else NO_CODE
        if not payload[2:].startswith(OUTCOME_REASON):
            return frame
        self.outcome = payload[2 + len(OUTCOME_REASON) :]
        return b"%b\x02%b" % (frame[:1], payload[:2])


def _frame_size(data: bytes, at: int) -> int:
    """Bytes of the frame that begins there, its header among them; 0: its header is not here, below 0: it is none."""
    have = len(data) - at
    if have < 2:
        return 0
    first, size = data[at], data[at + 1]
    kind = first & 15
    if size & 128:
        return -1  # an arm does not mask
    if kind == _CLOSE or kind in (9, 10):
        return 2 + size if size <= _MAX_CONTROL and first & 128 else -1
    if kind not in _DATA:
        return -1
    header = 2 if size < 126 else 4 if size == 126 else 10
    if have < header:
        return 0
    if header > 2:
        size = int.from_bytes(data[at + 2 : at + header], "big")
    return header + size if size < 1 << 63 else -1


def judge_session(close: int | None, verdict: Verdict, code: str, *, said: bool) -> tuple[Verdict, str]:
    """What a session comes to, from what its arm's answer and outcome come to.

    Args:
        close: The code its arm closed it with; ``None``: it has not, and the session goes on.
        verdict: Without that.
        code: Of the verdict.
        said: Whether the agent said what became of it.
    """
    if close in FAILED:
        return "failed", f"websocket_{close}"
    if verdict == "ok" and not said and close is not None and close not in ENDED_WELL:
        return "unknown", f"websocket_{close if close in _CODES else 'other'}"
    return verdict, code
