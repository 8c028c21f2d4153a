"""Telemetry kept on disk: append-only lines in a few segments, bounded, read by cursor; survives its writer."""

from __future__ import annotations

import errno
from pathlib import Path

SEGMENT_BYTES = 4 << 20
SEGMENTS = 16
"""64 MB in all; the oldest segment goes first, and its lost sequence numbers show as gaps."""

READ_BYTES = 4 << 20
"""Bytes one read returns at most; a reader asks again."""


class Ring:
    """A folder of ``<number>.jsonl`` segments; one writer at a time."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS) -> None:
        """Open the ring, dropping a half-written last line a crash may have left.

        Raises:
            OSError: When the folder cannot be made or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments = segments
        numbers = self._numbers()
        self._number = numbers[-1] if numbers else 1
        path = self._path(self._number)
        if path.exists():
            _drop_partial_line(path)
        self._file = path.open("ab", buffering=0)

    def append(self, line: bytes) -> None:
        """Add one line (without its newline).

        Raises:
            OSError: When the disk is full, or the line is longer than a segment; nothing half-written stays readable.
        """
        size = len(line) + 1
        if size > self._segment_bytes:
            raise OSError(errno.EFBIG, f"a line of {size} bytes is longer than a segment")
        if self._file.tell() + size > self._segment_bytes:
            self._begin_segment()
        before = self._file.tell()
        rest = memoryview(line + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(before)
            raise

    def _begin_segment(self) -> None:
        """Go on in the next segment, and drop the oldest ones until it has room."""
        following = self._path(self._number + 1).open("ab", buffering=0)
        self._file.close()
        self._file = following
        self._number += 1
        room = (self._segments - 1) * self._segment_bytes
        kept = [(number, self._path(number).stat().st_size) for number in self._numbers() if number < self._number]
        for number, size in reversed(kept):
            room -= size
            if room < 0:
                self._path(number).unlink(missing_ok=True)

    def read(self, after: str | None, *, limit: int = READ_BYTES) -> tuple[list[bytes], str]:
        """Lines after a cursor and the cursor to go on from; from the oldest kept when the cursor's place is gone.

        Raises:
            ValueError: When ``after`` is not a cursor.
        """
        number, offset = _parse(after)
        numbers = self._numbers()
        if number not in numbers or offset > self._path(number).stat().st_size:
            number, offset = numbers[0], 0
        lines: list[bytes] = []
        size = 0
        for current in [n for n in numbers if n >= number]:
            if current != number:
                number, offset = current, 0
            with self._path(current).open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    if size >= limit:
                        return lines, f"{number}.{offset}"
                    lines.append(line[:-1])
                    size += len(line)
                    offset += len(line)
        return lines, f"{number}.{offset}"

    def close(self) -> None:
        """Close the segment being written."""
        self._file.close()

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("*.jsonl") if path.stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.jsonl"


def _parse(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    number, dot, offset = cursor.partition(".")
    if not (dot and number.isdecimal() and offset.isdecimal()):
        raise ValueError(f"{cursor!r} is not a cursor")
    return int(number), int(offset)


def _drop_partial_line(path: Path) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        back = min(size, 64 << 20)
        file.seek(size - back)
        tail = file.read(back)
        end = tail.rfind(b"\n")
        file.truncate(size - back + end + 1)
