"""What ``fairway rollback`` keeps on record: list, show, close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option
from fairway.cli.workspaces import opened

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.incident.procedure import Procedure


@click.command("list", epilog="Example: fairway rollback list -o json")
@project_option
@output_option
def list_rollbacks(project_dir: str | None, output: str) -> None:
    """Every rollback on record, the last one first."""
    from fairway.recovery.record import read_procedures

    with opened(project_dir) as workspace:
        known = read_procedures(workspace)
    rows = [_summary(one) for one in known]
    emit(rows, output=output, text=lambda: "\n".join(_row(row) for row in rows) or "nothing was rolled back")


@click.command("show", epilog="Example: fairway rollback show")
@click.argument("incident", required=False)
@project_option
@output_option
def show(incident: str | None, project_dir: str | None, output: str) -> None:
    """One rollback step by step, by default the last: what was seen, who is suspected, whether it helped."""
    with opened(project_dir) as workspace:
        known = _procedure(workspace, incident)
    steps = [
        {"step": entry.step.value, "at": entry.at.isoformat(), "by": entry.actor, **entry.details}
        for entry in known.entries
    ]
    wire = {**_summary(known), "steps": steps}
    emit(wire, output=output, text=lambda: "\n".join(_procedure_lines(known)))


@click.command("close", epilog="Example: fairway rollback close --note 'the prompt dropped the return window'")
@click.argument("incident", required=False)
@click.option("--note", required=True, help="The root cause.")
@click.option("--reason", default="", help="Why it was rolled back, where that was not said then.")
@click.option("--unverified", is_flag=True, help="Close it although nobody knows that it helped.")
@project_option
@output_option
def close(incident: str | None, note: str, reason: str, unverified: bool, project_dir: str | None, output: str) -> None:
    """Close a rollback, by default the last: with its root cause, once it is known to have helped."""
    from fairway.cli.verbs import actor_of
    from fairway.incident.procedure import close as closing
    from fairway.recovery.by_flag import verified_now
    from fairway.recovery.record import write_entry

    with opened(project_dir) as workspace:
        known = verified_now(workspace, _procedure(workspace, incident))
        actor, now = actor_of(workspace.project.root), workspace.clock.now()
        entry = closing(known, actor=actor, at=now, reason=reason, note=note, unverified=unverified)
        write_entry(workspace, entry)
    wire = {"incident": known.incident, **entry.details}
    emit(wire, output=output, text=lambda: f"{known.incident} is closed: {note}")


def _procedure(workspace: Workspace, incident: str | None) -> Procedure:
    from fairway.errors import NotFoundError
    from fairway.recovery.record import find_procedure

    found = find_procedure(workspace, incident)
    if found is None:
        named = "nothing was rolled back" if incident is None else f"there is no rollback {incident!r}"
        raise NotFoundError(named, code="no_rollback", hint="fairway rollback list shows what there is")
    return found


def _summary(known: Procedure) -> dict[str, Any]:
    from fairway.incident.procedure import Step

    detected, located, verified = (known.done(step) for step in (Step.DETECT, Step.LOCATE, Step.VERIFY))
    told = {} if detected is None else dict(detected.details)
    return {
        "incident": known.incident,
        "at": told.get("at"),
        "from": told.get("from"),
        "to": told.get("to"),
        "reason": told.get("reason"),
        "situation": told.get("situation"),
        "suspect": "unknown" if located is None else located.details["named"],
        "recovery": "NO_DATA" if verified is None else verified.details["verdict"],
        "status": "closed" if known.closed else "rollbacked" if known.marked else "open",
        "next": None if known.next is None else known.next.value,
    }


def _row(row: dict[str, Any]) -> str:
    return (
        f"{row['incident']:<26} {str(row['at'])[:19]}  {_ways(row)}  {row['status']:<10}"
        f" suspect {row['suspect']}: {row['reason']}"
    )


def _ways(row: dict[str, Any]) -> str:
    """From what to what; the first release is gone back from to no release at all."""
    return f"{row['from'] or 'no release'} -> {row['to'] or 'no release'}"


def _procedure_lines(known: Procedure) -> list[str]:
    summary = _summary(known)
    lines = [f"{known.incident}: {_ways(summary)}, {summary['status']}"]
    for entry in known.entries:
        lines.append(f"  {entry.at:%H:%M:%S}  {entry.step.value:<10} {_told_step(entry.step.value, entry.details)}")
        for group in entry.details.get("groups", ()):
            own = "" if group["own"] else ", stable too or not seen"
            examples = ", ".join(group["examples"])
            lines.append(f"{'':<23}{group['described']} x {group['code']} ({group['status']}){own}: {examples}")
    if known.next is not None:
        lines.append(f"  next: {known.next.value}")
    return lines


def _told_step(step: str, details: Any) -> str:
    match step:
        case "detect":
            return f"{details['situation']}: {details['reason']}"
        case "locate":
            return f"suspect {details['named']}: {details['why']}"
        case "choose":
            return f"{details['kind']}: {details['why']}" + (f"; {details['then']}" if details["then"] else "")
        case "roll_back":
            took = details["seconds"]
            return "asked for" if took is None else f"every gateway confirmed after {took:.1f} s"
        case "notify":
            return "told" if details["told"] else f"nobody was told: {details['why']}"
        case "verify":
            return f"{details['verdict']}: {details['reason']}"
        case "mark":
            return f"{details['version']} is rollbacked"
        case _:
            return str(details.get("root_cause", ""))
