"""The flags in force as a small file beside the arms, for what is decided outside a request. Stdlib alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from fairway.traffic.flags import TableFlag

VARIABLE = "FAIRWAY_FLAGS"
"""Where an arm finds the file's path."""
_VERSION = 1


def write_flags(path: Path, flags: Iterable[TableFlag]) -> None:
    """Replace the file whole, so that no reader ever sees half of it.

    Raises:
        OSError: When it cannot be written; the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    body = {"version": _VERSION, "flags": [flag.to_wire() for flag in flags]}
    temporary.write_text(json.dumps(body), encoding="utf-8")
    temporary.replace(path)


def read_flags(path: Path) -> dict[str, TableFlag]:
    """The flags by name.

    Raises:
        OSError: When there is no such file.
        ValueError: When it cannot be read as one, or another version wrote it.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["version"] != _VERSION:
            raise ValueError(f"version {body['version']!r} is not known here")
        flags = [TableFlag.from_wire(wire) for wire in body["flags"]]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a file of flags") from error
    return {flag.name: flag for flag in flags}
