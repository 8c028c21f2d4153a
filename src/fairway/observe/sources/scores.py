"""Scores of sampled replies, from the files of the process that scores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairway.observe.port import ScoresSeen
from fairway.traffic.sampling import SCORES, STATUS
from fairway.units import Digest, UnitHash

_WHOLE = 1_000_000

Key = tuple[float, Digest]


class ScoreFiles:
    """Follows the segments of scores; reads each line once."""

    def __init__(self, state: Path) -> None:
        """Take the project's state folder."""
        self._folder = state / SCORES
        self._status = state / STATUS
        self._read: dict[int, int] = {}  # bytes by segment
        self._scores: dict[Key, dict[UnitHash, tuple[int, int]]] = {}
        self._since = float("-inf")

    def look(self, *, since: float) -> ScoresSeen:
        """What is known now; scores of blocks before ``since`` are forgotten until asked for again."""
        if since < self._since:
            self._read.clear()
            self._scores.clear()
        self._since = since
        # the state first: what it says is done is in the files by now
        at, oldest = self._state()
        for number in sorted(int(path.stem) for path in self._folder.glob("*.jsonl") if path.stem.isdecimal()):
            self._follow(number)
        for key in [key for key in self._scores if key[0] < since]:
            del self._scores[key]
        return ScoresSeen(at=at, oldest=oldest, scores=self._scores)

    def _state(self) -> tuple[float, float | None]:
        try:
            state = json.loads(self._status.read_bytes())
            oldest = state["oldest"]
            return float(state["at"]), None if oldest is None else float(oldest)
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0, None

    def _follow(self, number: int) -> None:
        start = self._read.get(number, 0)
        try:
            with (self._folder / f"{number}.jsonl").open("rb") as file:
                file.seek(start)
                content = file.read()
        except OSError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._read[number] = start + len(whole)
        for line in whole.split(b"\n"):
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            value: Any = json.loads(line)
            score = value["score"]
            if type(score) is not int or not 0 <= score <= _WHOLE:
                return  # no score: missing
            key = float(value["t0"]), Digest(str(value["release"]))
            unit = UnitHash(str(value["unit"]))
        except (ValueError, KeyError, TypeError):
            return
        by_unit = self._scores.setdefault(key, {})
        total, count = by_unit.get(unit, (0, 0))
        by_unit[unit] = total + score, count + 1
