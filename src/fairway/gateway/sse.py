"""Server-sent events passing through: the outcome comment is read and taken out, every other byte goes on at once."""

from __future__ import annotations

from fairway.traffic.outcome import COMMENT_PREFIX, MAX_LENGTH

_MAX_COMMENT = len(COMMENT_PREFIX) + MAX_LENGTH + 16
_TOO_LONG = COMMENT_PREFIX + b" too long"
"""What is noted of a comment that is dropped without being read: no outcome anybody could parse."""

_LF, _CR, _COLON = 10, 13, 58
_MARK = b"\xef\xbb\xbf"
"""The byte order mark that a stream may begin with (HTML Standard, 9.2.5)."""


class OutcomeFilter:
    """Takes ``: fairway-outcome …`` lines out of a stream of bytes; lines end with LF, CR or both.

    A byte is held back only while the line it is on could still become such a comment, so an event is never delayed.
    """

    __slots__ = ("_drop_lf", "_dropping", "_fresh", "_held", "_midline", "comment")

    def __init__(self) -> None:
        self._held = b""
        self._fresh = True  # at the very beginning, where a byte order mark may stand, which is part of no line
        self._midline = False
        self._dropping = False  # within a comment too long to be one of an outcome
        self._drop_lf = False  # the line that was taken out ended with CR; an LF that follows belongs to it
        self.comment: bytes | None = None
        """The last outcome comment seen, without its line end."""

    def feed(self, data: bytes) -> bytes:
        """What of the stream can go on now."""
        if self._held:
            data = self._held + data
            self._held = b""
        if self._drop_lf and data:
            self._drop_lf = False
            if data[0] == _LF:
                data = data[1:]
        if not data:
            return b""
        if self._fresh:
            return self._begin(data)
        if (
            not self._midline
            and not self._dropping
            and data[0] != _COLON
            and data.find(b"\n:") < 0
            and data.find(b"\r:") < 0
        ):
            self._midline = data[-1] not in (_LF, _CR)
            return data
        return self._by_line(data)

    @property
    def between(self) -> bool:
        """Whether it stands between two lines, and holds nothing back."""
        return not (self._held or self._fresh or self._midline or self._dropping or self._drop_lf)

    def end(self) -> bytes:
        """What was held back and turned out to be ordinary; an unfinished outcome comment counts as one."""
        held, self._held = self._held, b""
        if held.startswith(COMMENT_PREFIX):
            self.comment = held
            return b""
        return held

    def _begin(self, data: bytes) -> bytes:
        """The stream's first bytes."""
        if data != _MARK and _MARK.startswith(data):
            self._held = data
            return b""
        self._fresh = False
        return _MARK + self.feed(data[3:]) if data.startswith(_MARK) else self.feed(data)

    def _by_line(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for line in data.splitlines(keepends=True):
            complete = line[-1] in (_LF, _CR)
            if self._midline:
                out.append(line)
                self._midline = not complete
            elif self._dropping or line.startswith(COMMENT_PREFIX):
                self._take_out(line, complete=complete)
            elif not complete and COMMENT_PREFIX.startswith(line):
                self._held = line
            else:
                out.append(line)
                self._midline = not complete
        return b"".join(out)

    def _take_out(self, line: bytes, *, complete: bool) -> None:
        """A line, or what has come of it, that clients do not get."""
        if self._dropping or len(line) > _MAX_COMMENT:
            self.comment = _TOO_LONG
            self._dropping = not complete
        elif complete:
            self.comment = line.rstrip(b"\r\n")
        else:
            self._held = line
        # An LF that comes with this data is part of the line already; one at the start of the next may be.
        self._drop_lf = line[-1] == _CR
