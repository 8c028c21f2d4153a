"""Rollbacks on record in the ledger's audit chain, and telling the project's hook of one."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway.bootstrap import Workspace
from fairway.errors import FairwayError
from fairway.incident.procedure import RECORD_KIND, Entry, Procedure, entry_from_wire, entry_to_wire, procedures
from fairway.release.wire import parse_time
from fairway.stages.process import run_command


def read_procedures(workspace: Workspace) -> tuple[Procedure, ...]:
    """Every rollback on record, the last one first."""
    found = []
    for entry in workspace.ledger.audit_log(None, 10_000, kind=RECORD_KIND):
        body = entry.payload
        if body is None:
            continue
        one = entry_from_wire(body["payload"], at=parse_time(body["at"]), actor=entry.row.actor)
        if one is not None:
            found.append(one)
    return procedures(found)


def find_procedure(workspace: Workspace, incident: str | None) -> Procedure | None:
    """One rollback by its id or the beginning of it; the last one when none is named."""
    known = read_procedures(workspace)
    if incident is None:
        return known[0] if known else None
    return next((one for one in known if one.incident.startswith(incident)), None)


def write_entry(workspace: Workspace, entry: Entry) -> None:
    """Record one step."""
    workspace.ledger.append_audit(RECORD_KIND, entry.incident, entry.actor, entry_to_wire(entry), entry.at)


async def notify(
    workspace: Workspace, command: tuple[str, ...], body: Mapping[str, Any], *, limit: float
) -> dict[str, Any]:
    """Run a hook with a JSON object on its standard input, by a file; whatever happens is the result."""
    with tempfile.TemporaryDirectory(prefix="fairway-notify-") as folder:
        told = Path(folder) / "message.json"
        await asyncio.to_thread(told.write_text, json.dumps(body, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            done = await run_command(
                ("sh", "-c", 'exec "$@" < "$0"', str(told), *command),
                cwd=workspace.project.root,
                environment=dict(os.environ),
                output=Path(folder) / "output.log",
                limit=limit,
            )
        except (FairwayError, OSError) as error:
            return {"told": False, "why": str(error)}
        if done.code == 0:
            return {"told": True, "seconds": round(done.seconds, 3)}
        why = f"took longer than {limit:g} s" if done.code is None else f"exit code {done.code}"
        return {"told": False, "why": why, "last_words": done.last_words(5)}
