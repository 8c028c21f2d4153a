"""Baselines of a folder without a project: a file, one record a line, append-only."""

from __future__ import annotations

import json
from pathlib import Path

from fairway.errors import PermanentError
from fairway.evals.history.baseline import Baseline
from fairway.evals.wire import WireError, decode, encode


class BaselineFile:
    """Implements :class:`fairway.evals.history.baseline.BaselineStore`."""

    def __init__(self, path: Path) -> None:
        """Take the file; it is made by the first record."""
        self._path = path

    def bless(self, baseline: Baseline) -> None:
        """Append a record."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(encode(baseline)) + "\n")

    def all(self) -> tuple[Baseline, ...]:
        """Every record, oldest first.

        Raises:
            PermanentError: ``eval_baselines``: the file cannot be read; which baseline counts is then not known.
        """
        if not self._path.exists():
            return ()
        found = []
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found.append(decode(Baseline, json.loads(line)))
            except (ValueError, WireError) as error:
                raise PermanentError(f"{self._path}:{number} is no baseline: {error}", code="eval_baselines") from error
        return tuple(found)
