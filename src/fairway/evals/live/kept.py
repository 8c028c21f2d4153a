"""Lines kept on disk for a while: a few segments, the oldest goes first. One writer, any number of readers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SEGMENTS = 8


class KeptLines:
    """A folder of ``<number>.jsonl`` segments with JSON lines, bounded; readable by its owner alone."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """Open the folder for writing.

        Args:
            folder: Made when it is missing.
            most_bytes: Of all segments together, by and large.

        Raises:
            OSError: It cannot be made.
        """
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # the mode is that of the last folder alone
        folder.mkdir(exist_ok=True, mode=0o700)
        self._folder = folder
        self._segment_bytes = max(1, most_bytes // _SEGMENTS)
        self._number = max(_numbers(folder), default=1)

    def add(self, value: Mapping[str, Any]) -> None:
        """Keep one line more.

        Raises:
            OSError: The disk does not take it; a half-written line is skipped by readers.
        """
        line = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        path = self._folder / f"{self._number}.jsonl"
        if path.exists() and path.stat().st_size + len(line) > self._segment_bytes:
            self._number += 1
            path = self._folder / f"{self._number}.jsonl"
            for number in _numbers(self._folder)[: -(_SEGMENTS - 1)]:
                (self._folder / f"{number}.jsonl").unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line)


def kept_lines(folder: Path) -> Iterator[Mapping[str, Any]]:
    """What is kept, the oldest first; nothing where there is no folder. Half-written lines are skipped."""
    for number in _numbers(folder):
        try:
            content = (folder / f"{number}.jsonl").read_bytes()
        except FileNotFoundError:
            continue  # it was the oldest, and went meanwhile
        for line in content.split(b"\n"):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdecimal())
