"""Server-sent events passing through: the outcome comment is read and taken out, every other byte goes on at once."""

from __future__ import annotations

from fairway.traffic.outcome import COMMENT_PREFIX, MAX_LENGTH

_MAX_COMMENT = len(COMMENT_PREFIX) + MAX_LENGTH + 16


class OutcomeFilter:
    """Takes ``: fairway-outcome …`` lines out of a stream of bytes.

    A byte is held back only while the line it is on could still become such a comment, so an event is never delayed.
    """

    __slots__ = ("_held", "_midline", "comment")

    def __init__(self) -> None:
        self._held = b""
        self._midline = False
        self.comment: bytes | None = None
        """The last outcome comment seen, without its line end."""

    def feed(self, data: bytes) -> bytes:
        """What of the stream can go on now."""
        if self._held:
            data = self._held + data
            self._held = b""
        if not data:
            return b""
        if not self._midline and b"\n:" not in data and data[0] != 58:  # 58 is ":"
            self._midline = data[-1] != 10
            return data
        return self._by_line(data)

    def end(self) -> bytes:
        """What was held back and turned out to be ordinary; an unfinished outcome comment counts as one."""
        held, self._held = self._held, b""
        if held.startswith(COMMENT_PREFIX):
            self.comment = held.rstrip(b"\r\n")
            return b""
        return held

    def _by_line(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for line in data.splitlines(keepends=True) if b"\r" not in data else _split(data):
            complete = line[-1] == 10
            if self._midline:
                out.append(line)
                self._midline = not complete
            elif line.startswith(COMMENT_PREFIX) and len(line) <= _MAX_COMMENT:
                if complete:
                    self.comment = line.rstrip(b"\r\n")
                else:
                    self._held = line
            elif not complete and COMMENT_PREFIX.startswith(line):
                self._held = line
            else:
                out.append(line)
                self._midline = not complete
        return b"".join(out)


def _split(data: bytes) -> list[bytes]:
    """Lines by LF only, ends kept (``splitlines`` would also split at a lone CR)."""
    lines = data.split(b"\n")
    rest = lines.pop()
    return [line + b"\n" for line in lines] + ([rest] if rest else [])
