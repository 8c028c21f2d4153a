"""The ``PATH`` of a service: a module of its own, because what only asks for it must not load a supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_TOOL_ENVIRONMENT_MARKS = ("uv-receipt.toml", "pipx_metadata.json")


def agent_path(path: str, *, prefix: str | None = None, activated: bool | None = None) -> str:
    """The ``PATH`` of a service: with Fairway's own virtual environment in front where that is the project's as well.

    It is the project's when Fairway was called from a virtual environment that is not activated
    (``.venv/bin/fairway up``) and that is not one of its own made by pipx or ``uv tool``. An activated one is on the
    path already.

    Args:
        path: The path of this process.
        prefix: Folder of the virtual environment; ``None``: the running interpreter's.
        activated: Whether one is activated; ``None``: look at ``VIRTUAL_ENV``.
    """
    root = Path(prefix if prefix is not None else sys.prefix)
    is_activated = "VIRTUAL_ENV" in os.environ if activated is None else activated
    if is_activated or not (root / "pyvenv.cfg").is_file():
        return path
    if any((root / mark).exists() for mark in _TOOL_ENVIRONMENT_MARKS):
        return path
    programs = str(root / "bin")
    return path if programs in path.split(os.pathsep) else os.pathsep.join((programs, path))
