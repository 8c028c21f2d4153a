"""What a supervisor writes down about each instance, so that the next one finds it: one small file an instance."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from fairway.targets.local.process import ProcessIdentity
from fairway.targets.local.service import LocalService, Placement
from fairway.targets.port import InstanceState
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

RECORD_VERSION: Literal[1] = 1


class Goal(StrEnum):
    """What is wanted of an instance; it only ever moves down this list."""

    SERVE = "serve"
    DRAIN = "drain"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """One instance as it was last seen.

    Attributes:
        id: Unique in the project: environment, release, configuration and number.
        process: ``None`` before its first start and between two.
        started_at: Epoch seconds of the running process's start.
        state, detail: For those who look from outside; a supervisor finds out anew.
    """

    id: str
    route: RouteId
    placement: Placement
    service: LocalService
    port: int
    log: Path
    process: ProcessIdentity | None = None
    started_at: float = 0.0
    restarts: int = 0
    goal: Goal = Goal.SERVE
    state: InstanceState = InstanceState.STARTING
    detail: str = ""

    @property
    def endpoint(self) -> str:
        """``host:port`` where it listens."""
        return f"127.0.0.1:{self.port}"


class RecordFolder:
    """The records of a project; every write is atomic and readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: InstanceRecord) -> None:
        """Write or replace one."""
        wire = {"version": RECORD_VERSION, **asdict(record)}
        write_json(self.folder / f"{record.id}.json", wire)

    def remove(self, record_id: str) -> None:
        """Forget one; nothing happens when it is gone."""
        (self.folder / f"{record_id}.json").unlink(missing_ok=True)

    def read_all(self) -> list[InstanceRecord]:
        """Every record that can be read, by id. One that cannot is left out: its process is found by its marker."""
        records = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                records.append(_from_wire(json.loads(path.read_text("utf-8"))))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return records

    def remove_unreadable(self) -> None:
        """Remove what :meth:`read_all` leaves out."""
        readable = {record.id for record in self.read_all()}
        for path in self.folder.glob("*.json"):
            if path.stem not in readable:
                path.unlink(missing_ok=True)


def _from_wire(wire: Any) -> InstanceRecord:
    """A record from its file.

    Raises:
        KeyError, TypeError, ValueError: When it is not one of this version.
    """
    if not isinstance(wire, dict) or wire.pop("version") != RECORD_VERSION:
        raise ValueError("another version")
    placement, service, process, route = wire["placement"], wire["service"], wire["process"], wire["route"]
    return replace(
        InstanceRecord(
            **{
                **wire,
                "route": RouteId(agent=AgentName(route["agent"]), environment=EnvironmentName(route["environment"])),
                "placement": Placement(
                    environment=EnvironmentName(placement["environment"]),
                    release=Digest(placement["release"]),
                    effective=Digest(placement["effective"]),
                    release_version=placement["release_version"],
                    tree=Path(placement["tree"]),
                    bundle=Path(placement["bundle"]),
                ),
                "service": LocalService(
                    **{
                        **service,
                        "command": tuple(service["command"]),
                        "secrets": None if service.get("secrets") is None else tuple(service["secrets"]),
                    }
                ),
                "process": None if process is None else ProcessIdentity(**process),
            }
        ),
        log=Path(wire["log"]),
        goal=Goal(wire["goal"]),
        state=InstanceState(wire["state"]),
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one; mode 600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, default=str)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
