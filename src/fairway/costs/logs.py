"""Call logs on disk: JSONL files of a project, read one row after the other."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from fairway.costs.calls import Call, read_call
from fairway.costs.prices import PriceTable
from fairway.errors import NotFoundError

LONGEST_ROW = 1 << 20
"""Bytes; a longer row is unreadable, and what follows it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row that is none.

    Attributes:
        line: 1-based.
        rest: Whether the rest of the file is lost with it: nobody knows how many calls that were.
    """

    file: str
    line: int
    why: str
    rest: bool = False


def log_files(root: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """The files the patterns mean, each once, by name; relative ones below ``root``.

    Raises:
        NotFoundError: A name without ``*`` is no file.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = _meant(root, pattern)
        if not paths and not any(sign in pattern for sign in "*?["):
            raise NotFoundError(
                f"there is no call log {pattern}", code="call_log_not_found", hint="see costs.logs in fairway.yaml"
            )
        found |= dict.fromkeys(paths)
    return tuple(found)


def _meant(root: Path, pattern: str) -> list[Path]:
    named = root / pattern
    if named.is_file():
        return [named]
    base = Path(named.anchor)
    try:
        return sorted(path for path in base.glob(str(named.relative_to(base))) if path.is_file())
    except (ValueError, OSError):
        return []


def read_calls(
    root: Path, files: Iterable[Path], prices: PriceTable, *, since: datetime, until: datetime
) -> Iterator[Call | Unreadable]:
    """Calls that began in ``[since, until)``, and every row that cannot be read, of whatever time it is.

    Args:
        root: Of the project; an unreadable row is named relative to it.
        files: Whole files, ``.gz`` or not.
        prices: For rows that do not say what they cost.
        since: Aware.
        until: Aware.
    """
    for path in files:
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        for number, line in _lines(path):
            if line is None:
                yield Unreadable(file=name, line=number, why="cannot be read, nor what follows it", rest=True)
                continue
            if not line.strip():
                continue
            try:
                if len(line) > LONGEST_ROW:
                    raise ValueError("is longer than 1 MiB")
                call = read_call(json.loads(line, parse_float=Decimal), prices)
            except (ValueError, ArithmeticError, RecursionError) as error:
                why = _why(error)
                yield Unreadable(file=name, line=number, why=why)
                continue
            if since <= call.at < until:
                yield call


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "is no JSON"
    return "holds a number no decimal can hold" if isinstance(error, ArithmeticError) else str(error)


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Lines by number; of one that is too long its beginning; ``None``: it and the rest of the file are lost."""
    number = 1
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(LONGEST_ROW + 1):
                whole = line
                while whole and not whole.endswith(b"\n") and len(line) > LONGEST_ROW:
                    whole = file.readline(LONGEST_ROW)
                yield number, line
                number += 1
    except (EOFError, OSError, zlib.error):  # a damaged archive, a disk that fails, a file somebody else owns
        yield number, None
