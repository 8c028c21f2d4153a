"""The log of one process: bounded, readable at its end, without the secrets of its environment."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

LOG_LIMIT_BYTES = 5_000_000
"""Beyond this a log moves to ``<name>.1``: a process keeps at most twice this on disk."""

_TAIL_BYTES = 8192
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH|DSN", re.IGNORECASE)
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
_SHORTEST_SECRET = 6  # shorter values would blank out ordinary words


def rotate(log: Path, *, limit: int = LOG_LIMIT_BYTES) -> bool:
    """Copy a log that passed ``limit`` bytes to ``<name>.1`` and empty it; returns whether it did.

    The process keeps its file open in append mode, so it is emptied in place; lines written between the copy and the
    cut, microseconds, are lost.
    """
    try:
        if log.stat().st_size <= limit:
            return False
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    except FileNotFoundError:
        return False
    return True


def tail(log: Path, *, lines: int = 5, since: int = 0) -> str:
    """The last lines of a log, from byte ``since`` on; empty when there is none.

    Args:
        log: The file.
        lines: At most so many, of its last 8 KiB; empty lines are skipped.
        since: Where the present process began to write; ignored when the log was emptied since.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(since if since <= size else 0, size - _TAIL_BYTES)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])


def looks_secret(name: str, value: str = "") -> bool:
    """Whether a variable's name looks like a secret's, or its value is an address with a password in it."""
    return bool(_SECRET_NAME.search(name) or _PASSWORD_IN_ADDRESS.search(value))


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the variables whose name looks like a secret's, longest first."""
    found = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET and not value.startswith("/")
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """``text`` with each secret replaced by ``[redacted]``."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text
