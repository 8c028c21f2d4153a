"""The Python that runs the project: found on the path a service would get, or made from the lock file."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairway.targets.local.path import agent_path

ENVIRONMENT_COMPLETE = ".fairway-complete"
"""Written last into an environment of Fairway's."""
_DROPPED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "COVERAGE_FILE",
    "COVERAGE_PROCESS_START",
    "PYTEST_ADDOPTS",
    "PYTEST_CURRENT_TEST",
)
"""Variables of whoever called Fairway that would change what the project's tests do."""
_MARKS = (".dist-info", ".egg-info", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Where ``python`` is looked up.

    Attributes:
        path: The ``PATH`` of the project's commands.
        python: The interpreter on it; ``None`` when there is none (a project in another language).
        made_from: Digest of the lock file and the interpreter it is made from, for an environment of Fairway's.
    """

    path: str
    python: Path | None
    made_from: str | None = None

    @property
    def is_made(self) -> bool:
        """Whether an environment of Fairway's is there, whole."""
        return self.python is not None and (self.python.parent.parent / ENVIRONMENT_COMPLETE).exists()

    def environment(self, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables for a command of the project: the caller's, with this path and without what would mislead it."""
        given = os.environ if inherited is None else inherited
        values = {name: value for name, value in given.items() if name not in _DROPPED and not _is_inner(name)}
        values["PATH"] = self.path
        values.setdefault("PYTHONUNBUFFERED", "1")
        values["PYTHONDONTWRITEBYTECODE"] = "1"
        return values

    def fingerprint(self) -> str:
        """A digest of the interpreter and of every package installed for it, read without starting it.

        An environment made from a lock file is named by its content, so its name stands for what will be in it.
        """
        if self.made_from is not None:
            return self.made_from
        if self.python is None:
            return "none"
        parts = [str(self.python.resolve())]
        for folder in site_folders(self.python):
            parts.extend(sorted(name for name in _names(folder) if name.endswith(_MARKS)))
        return "sha256:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_inner(name: str) -> bool:
    """Whether a variable is one arm's, not the caller's: a pipeline inside a service must not mistake itself for it."""
    return name.startswith("FAIRWAY_") and name not in ("FAIRWAY_PROJECT",)


def site_folders(python: Path) -> tuple[Path, ...]:
    """Where packages of an interpreter stand: of its virtual environment, or of the installation."""
    prefix = python.parent.parent
    return tuple(sorted(prefix.glob("lib/python3*/*-packages")))


def current_interpreter() -> Interpreter:
    """The one a service started here would get."""
    path = agent_path(os.environ.get("PATH", os.defpath))
    return _on(path)


def environment_interpreter(envs: Path, lock: bytes) -> Interpreter:
    """The one of the virtual environment that belongs to a lock file; the folder is named by both, made or not.

    Args:
        envs: Where environments are kept.
        lock: Content of the lock file.
    """
    current = current_interpreter()
    made_of = hashlib.sha256(str(current.python.resolve() if current.python else "").encode() + b"\0" + lock)
    folder = envs / made_of.hexdigest()[:16]
    return Interpreter(
        path=os.pathsep.join((str(folder / "bin"), current.path)),
        python=folder / "bin" / "python",
        made_from=f"sha256:{made_of.hexdigest()}",
    )


def _on(path: str) -> Interpreter:
    found = shutil.which("python", path=path) or shutil.which("python3", path=path)
    return Interpreter(path=path, python=Path(found) if found else None)
