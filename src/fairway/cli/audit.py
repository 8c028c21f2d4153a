"""``fairway audit``: the tamper-evident record of who did what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.replaying import a_copy, ledger_path, opened, replay
from fairway.cli.steering import LAST_SEQ

if TYPE_CHECKING:
    from fairway.ledger.records import AuditEntry, AuditReport

EPILOG = """\b
Examples:
  fairway audit verify
  fairway audit log --limit 20
  fairway audit replay
"""


@click.group(name="audit", cls=Listing, epilog=EPILOG)
def command() -> None:
    """The tamper-evident record of who did what: read it, prove it, decide again."""


command.add_command(replay)


@command.command("log", epilog="Example: fairway audit log --after 100 --limit 20 -o json")
@click.option("--after", type=click.IntRange(0, LAST_SEQ), help="Begin after this row; by default show the last ones.")
@click.option("--limit", type=click.IntRange(min=1, max=10_000), default=50, show_default=True, help="Rows at most.")
@click.option("--kind", help="Only this kind: event, request, release, evidence, deployment, run, lease, erase …")
@output_option
@project_option
def log(after: int | None, limit: int, kind: str | None, output: str, project_dir: str | None) -> None:
    """Rows of the chain, oldest first, with what each records.

    Deployments with their operator, times and status: --kind deployment -o json.
    """
    with opened(project_dir) as ledger:
        entries = ledger.audit_log(after, limit, kind=kind)
    emit([_entry(entry) for entry in entries], output=output, text=lambda: "\n".join(map(_entry_line, entries)))


@command.command(
    "verify", epilog="Example: fairway audit verify --ledger /safe/place/ledger.db --head /safe/place/ledger.heads"
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Signed heads kept elsewhere (copies of .fairway/ledger.heads); may be given several times.",
)
@click.option(
    "--ledger",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of a ledger, such as a backup, instead of the project's; it is only read.",
)
@output_option
@project_option
def verify(heads: tuple[Path, ...], file: Path | None, output: str, project_dir: str | None) -> int:
    """Prove that every record is as it was written, and say up to where.

    A copy (--ledger) is proved by the heads in it, those in a .heads file beside it, and the keys in a folder `keys`
    beside it, else those of the project. Exits 1 when something was altered, removed, reordered or inserted.
    """
    from fairway.ledger.heads import read_heads

    anchors = [head for one in heads for head in read_heads(one)]
    if file is not None and (beside := file.with_suffix(".heads")).is_file():
        anchors += read_heads(beside, torn=True)
    with opened(project_dir) if file is None else a_copy(file, keys=_keys_for(file, project_dir)) as ledger:
        report = ledger.verify_audit(anchors=anchors)
    emit(_report(report), output=output, text=lambda: _report_text(report))
    return 0 if report.ok else 1


def _keys_for(file: Path, project_dir: str | None) -> Path:
    """The keys that prove a copy of a ledger.

    Raises:
        UserError: ``keys_unknown``: without keys nothing could be proved.
    """
    from fairway.errors import NotFoundError, UserError

    beside = file.parent / "keys"
    if beside.is_dir():
        return beside
    try:
        return ledger_path(project_dir).parent / "keys"
    except NotFoundError as error:
        raise UserError(
            f"whose keys sign {file} is not known here",
            code="keys_unknown",
            hint="run it in the project, name that with --project, or put its folder .fairway/keys beside the copy;"
            " public keys are enough: keys/trusted/<name>.pub",
        ) from error


@command.command("note", epilog="Example: fairway audit note 41 'provider outage, ticket 12; gates were blind'")
@click.argument("event", type=click.IntRange(1, LAST_SEQ))
@click.argument("text")
@click.option(
    "--if-version",
    type=click.IntRange(0, LAST_SEQ),
    default=None,
    help="Refuse unless the route's last event is this one.",
)
@output_option
@project_option
def note(event: int, text: str, if_version: int | None, output: str, project_dir: str | None) -> None:
    """Explain why glass was broken by EVENT (its seq); until then status shows that a note is owed."""
    from fairway.cli.steering import request_verb

    request_verb(
        "note",
        project_dir=project_dir,
        output=output,
        reason=text,
        if_version=if_version,
        args=lambda _: {"event": event},
    )


@command.command("backup", epilog="Example: fairway audit backup /safe/place/ledger.db")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@output_option
@project_option
def backup(file: Path, output: str, project_dir: str | None) -> None:
    """Copy the ledger, as of now, to a new file; what uses it goes on meanwhile."""
    with opened(project_dir) as ledger:
        ledger.backup(file)
        rows = ledger.last_row()
    emit({"file": str(file), "rows": rows}, output=output, text=lambda: f"{file}: {rows} rows")


@command.command("restore", epilog="Example: fairway audit restore /safe/place/ledger.db --yes")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@project_option
def restore(file: Path, yes: bool, output: str, project_dir: str | None) -> None:
    """Put a backup in the place of the ledger. The ledger that is there is moved aside, not deleted."""
    from fairway.ledger import restore_ledger
    from fairway.release.history import identity

    target = ledger_path(project_dir)
    if not yes:
        click.confirm(f"Replace {target} by {file}? What was recorded since the backup is lost to it", abort=True)
    aside = restore_ledger(file, target, actor=identity(target.parent.parent))
    if aside is not None:
        say(f"the ledger that was there is now {aside}")
    emit({"ledger": str(target), "replaced": aside and str(aside)}, output=output, text=lambda: f"restored {target}")


def _entry(entry: AuditEntry) -> dict[str, Any]:
    row = entry.row
    return {
        "seq": row.seq,
        "at": row.at,
        "kind": row.kind,
        "subject": row.subject,
        "actor": row.actor,
        "payload_digest": row.payload_digest,
        "prev_hash": row.prev_hash,
        "hash": row.hash,
        "payload": entry.payload,
    }


def _entry_line(entry: AuditEntry) -> str:
    row = entry.row
    note = ""
    if entry.payload is None:
        note = "  (erased)"
    elif row.kind == "event":
        answers = entry.payload.get("answers") or ()
        refused = bool(answers) and all(answer["kind"] == "refused" for answer in answers)
        kind = "refused" if refused and entry.payload["kind"] == "obey" else entry.payload["kind"]
        note = f"  {kind}: {entry.payload['reason']}"
    elif row.kind == "gateway":
        said = entry.payload["payload"]
        found = said.get("evidence") or {}
        counts = f", {found['bad']} of {found['units']} bad" if {"bad", "units"} <= found.keys() else ""
        note = f"  {said['did']} {said['release'] or 'stable'} at {entry.payload['at'][:19]}{counts}"
    elif row.kind == "request":
        note = f"  {entry.payload['verb']} {entry.payload['route']['environment']}"
    return f"{row.seq:>6}  {row.at[:19]}  {row.kind:<10} {row.subject}  by {row.actor}{note}"


def _report(report: AuditReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {"ok": report.ok, **asdict(report)}


def _report_text(report: AuditReport) -> str:
    lines = [f"row {problem.seq}: {problem.message}" for problem in report.problems]
    if report.ok:
        lines.append(f"{report.rows} rows, none altered, removed, reordered or inserted")
    else:
        lines.append(f"{len(report.problems)} problems in {report.rows} rows")
    lines.append(
        f"proved up to row {report.proved_to} by {report.heads} signed heads; {report.unsigned} rows not signed yet"
    )
    if report.erased:
        lines.append(f"{report.erased} bodies were erased on purpose, on record")
    return "\n".join(lines)
