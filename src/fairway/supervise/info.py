"""Who runs: ``run/up.json`` tells other commands where things are, and the next ``fairway up`` what it left."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from fairway.errors import UserError
from fairway.state_dir import StateDir
from fairway.targets.local.process import ProcessIdentity, is_running
from fairway.targets.local.records import write_json

INFO_VERSION: Literal[1] = 1


class ChildState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    BACKING_OFF = "backing_off"
    CRASH_LOOP = "crash_loop"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInfo:
    """One child.

    Attributes:
        process: ``None`` between two starts.
        fingerprint: What it was started with; a child with another one is replaced, not adopted.
        url: Where it serves, or ``None``.
        restarts: By this ``fairway up``.
        detail: Why it is not serving.
    """

    name: str
    state: ChildState
    process: ProcessIdentity | None = None
    fingerprint: str = ""
    url: str | None = None
    restarts: int = 0
    detail: str = ""

    @classmethod
    def unknown(cls, name: str) -> ChildInfo:
        """A child of which nothing was written down."""
        return cls(name=name, state=ChildState.STARTING)

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and is_running(self.process)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpInfo:
    """A ``fairway up``.

    Attributes:
        url: Where clients call, ``http://127.0.0.1:8700``.
        admin_url: Metrics and status for people.
        mock_url: The mock model's ``…/v1``, or ``None`` when no environment uses it.
        started_at: Epoch seconds.
    """

    process: ProcessIdentity
    project: Path
    url: str
    admin_url: str
    mock_url: str | None = None
    started_at: float = 0.0
    children: Mapping[str, ChildInfo] = field(default_factory=dict)

    def serving(self) -> bool:
        """Whether every child serves."""
        return bool(self.children) and all(child.state is ChildState.SERVING for child in self.children.values())

    def to_wire(self) -> dict[str, Any]:
        """JSON-able form, as in ``run/up.json`` and ``-o json``."""
        wire = {"version": INFO_VERSION, **asdict(self)}
        wire["project"] = str(self.project)
        return wire


def _process(wire: Any) -> ProcessIdentity | None:
    """An identity from its file form."""
    return None if wire is None else ProcessIdentity(pid=int(wire["pid"]), mark=str(wire["mark"]))


def read_info(state: StateDir) -> UpInfo | None:
    """What the last ``fairway up`` wrote, alive or not; ``None`` when it ended in order or wrote nothing readable."""
    try:
        wire = json.loads(state.pid_file("up").read_text("utf-8"))
        if wire["version"] != INFO_VERSION:
            return None
        process = _process(wire["process"])
        if process is None:
            return None
        children = {
            name: ChildInfo(
                name=name,
                state=ChildState(child["state"]),
                process=_process(child["process"]),
                fingerprint=child["fingerprint"],
                url=child["url"],
                restarts=child["restarts"],
                detail=child["detail"],
            )
            for name, child in wire["children"].items()
        }
        return UpInfo(
            process=process,
            project=Path(wire["project"]),
            url=wire["url"],
            admin_url=wire["admin_url"],
            mock_url=wire["mock_url"],
            started_at=wire["started_at"],
            children=children,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def running(state: StateDir) -> UpInfo | None:
    """The ``fairway up`` that serves this project now, or ``None``."""
    info = read_info(state)
    return info if info is not None and is_running(info.process) else None


def write_info(state: StateDir, info: UpInfo) -> None:
    """Tell others; atomic."""
    write_json(state.pid_file("up"), info.to_wire())


class UpLock:
    """Only one ``fairway up`` a project; the system takes the lock back when its process dies."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._descriptor: int | None = None

    def take(self) -> None:
        """Become the one.

        Raises:
            UserError: ``already_up``, saying who runs and where.
        """
        path = self._state.pid_file("up").with_name("up.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            info = running(self._state)
            where = f" (pid {info.process.pid}) and serves {info.url}" if info else ""
            raise UserError(
                f"fairway up already runs for this project{where}",
                code="already_up",
                hint="use it as it is, or end it with Ctrl-C there or `fairway up --stop`",
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another take it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
