"""``fairway audit``: the tamper-evident record of who did what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.steering import LAST_SEQ

if TYPE_CHECKING:
    from fairway.ledger import SqlLedger
    from fairway.ledger.records import AuditEntry, AuditReport
    from fairway.ledger.replaying import Replayed
    from fairway.units import RouteId

EPILOG = """\b
Examples:
  fairway audit verify
  fairway audit log --limit 20
  fairway audit replay
"""


@click.group(name="audit", epilog=EPILOG)
def command() -> None:
    """The tamper-evident record of who did what: read it, prove it, decide again."""


def _ledger_path(project_dir: str | None) -> Path:
    from fairway.project.load import find_root
    from fairway.state_dir import StateDir

    return StateDir(find_root(Path(project_dir) if project_dir else None) / ".fairway").ledger


@contextmanager
def _open(project_dir: str | None) -> Iterator[SqlLedger]:
    from fairway.ledger import open_ledger

    with open_ledger(_ledger_path(project_dir), migrate=False) as ledger:
        yield ledger


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
    with _open(project_dir) as ledger:
        entries = ledger.audit_log(after, limit, kind=kind)
    emit([_entry(entry) for entry in entries], output=output, text=lambda: "\n".join(map(_entry_line, entries)))


@command.command("verify", epilog="Example: fairway audit verify --head /safe/place/ledger.heads")
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Signed heads kept elsewhere (copies of .fairway/ledger.heads); may be given several times.",
)
@output_option
@project_option
def verify(heads: tuple[Path, ...], output: str, project_dir: str | None) -> int:
    """Prove that every record is as it was written, and say up to where.

    Exits 1 when something was altered, removed, reordered or inserted.
    """
    from fairway.ledger.heads import read_heads

    with _open(project_dir) as ledger:
        report = ledger.verify_audit(anchors=[head for file in heads for head in read_heads(file)])
    emit(_report(report), output=output, text=lambda: _report_text(report))
    return 0 if report.ok else 1


@command.command(
    "replay",
    epilog="Example: fairway audit replay --from 120 --to 140 (a copy, anywhere: fairway audit replay --ledger c.db)",
)
@click.option("--environment", help="Only the routes of this environment.")
@click.option(
    "--from", "first", type=click.IntRange(1, LAST_SEQ), default=1, show_default=True, help="First event, by seq."
)
@click.option(
    "--to", "last", type=click.IntRange(1, LAST_SEQ), default=None, help="Last event, by seq; by default all."
)
@click.option(
    "--ledger",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of a ledger, instead of the project's; it is only read, and no project is needed.",
)
@output_option
@project_option
def replay(
    environment: str | None, first: int, last: int | None, file: Path | None, output: str, project_dir: str | None
) -> int:
    """Take every recorded decision again from what it looked at, and name the first difference.

    Each event must also begin where the one before it ended. Figures count as equal up to a relative 1e-9; a decision
    that comes out differently beside a figure that near its threshold is reported as boundary, and one that another
    version of the engine took as decided by that version, not as wrong. Exits 1 when a decision is wrong.
    """
    from fairway.ledger.replaying import replay_route

    with _a_copy(file) if file is not None else _open(project_dir) as ledger:
        routes = _to_replay(ledger, environment, first, last)
        results = [one for route in routes for one in replay_route(ledger, route, first=first, last=last)]
    wrong = [_replayed(one) for one in results if one.wrong]
    others = [_replayed(one) for one in results if one.by_other_engine]
    body = {
        "events": len(results),
        "replayed": sum(one.replayed for one in results),
        "first": wrong[0] if wrong else None,
        "different": wrong,
        "boundary": [_replayed(one) for one in results if one.edge],
        "other_engine_count": len(others),
        "other_engine": others,
    }
    emit(body, output=output, text=lambda: _replay_text(body))
    return 1 if wrong else 0


def _to_replay(ledger: SqlLedger, environment: str | None, first: int, last: int | None) -> list[RouteId]:
    """The routes with events in the range; what was asked for and selects nothing is an error, never a pass."""
    from fairway.errors import NotFoundError, UserError

    heads = {route: ledger.head(route).fence.seq for route in ledger.routes()}
    known = {str(route.environment) for route, head in heads.items() if head}
    if environment is not None and environment not in known:
        there = f"those with events are {', '.join(sorted(known))}" if known else "it has no events yet"
        raise NotFoundError(
            f"the ledger has no events of environment {environment}", code="environment_not_found", hint=there
        )
    chosen = {route: head for route, head in heads.items() if head and environment in (None, route.environment)}
    end = max(chosen.values(), default=0)
    asked = first > 1 or last is not None
    if asked and (first > end or (last is not None and last < first)):
        upto = "" if last is None else f" --to {last}"
        raise UserError(
            f"--from {first}{upto} selects no event",
            code="bad_option",
            hint=f"the last event is {end}" if end else None,
        )
    return list(chosen)


@contextmanager
def _a_copy(file: Path) -> Iterator[SqlLedger]:
    """A ledger file that stays as it is: a copy of it is opened, and brought up to date when it is older."""
    import tempfile

    from fairway.ledger import open_ledger
    from fairway.ledger.database import copy_database

    with tempfile.TemporaryDirectory(prefix="fairway-replay-") as folder:
        copied = Path(folder) / "ledger.db"
        copy_database(file, copied)
        with open_ledger(copied) as ledger:
            yield ledger


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
    with _open(project_dir) as ledger:
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

    target = _ledger_path(project_dir)
    if not yes:
        click.confirm(f"Replace {target} by {file}? What was recorded since the backup is lost to it", abort=True)
    aside = restore_ledger(file, target, actor=identity(target.parent.parent))
    if aside is not None:
        say(f"the ledger that was there is now {aside}")
    emit({"ledger": str(target), "replaced": aside and str(aside)}, output=output, text=lambda: f"restored {target}")


def _replayed(one: Replayed) -> dict[str, Any]:
    found = one.difference
    return {
        "route": str(one.route),
        "seq": one.seq,
        "code": one.code,
        "replayed": one.replayed,
        "engine": one.engine or None,
        "difference": found and {"path": found.path, "recorded": found.recorded, "replayed": found.replayed},
        "edge": [{"figure": e.figure, "value": e.value, "threshold": e.threshold} for e in one.edge],
    }


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


_SHOWN = 20
"""Differences a person is shown; the first is the one that matters."""


def _replay_text(body: dict[str, Any]) -> str:
    if not body["events"]:
        return "the ledger has no events yet, so there was nothing to replay"
    lines = []
    for result in body["different"][:_SHOWN]:
        found = result["difference"]
        first = "first difference: " if result is body["first"] else "then "
        lines.append(
            f"{first}{result['route']} event {result['seq']} ({result['code']}) at {found['path']}:"
            f" recorded {found['recorded']!r}, now {found['replayed']!r}"
        )
    if len(body["different"]) > _SHOWN:
        lines.append(f"and {len(body['different']) - _SHOWN} more")
    for result in body["boundary"]:
        edge = result["edge"][0]
        came = "comes out differently" if result["difference"] else "comes out the same"
        lines.append(
            f"boundary: {result['route']} event {result['seq']}: {edge['figure']} {edge['value']!r} is within 1e-9 of"
            f" {edge['threshold']!r}; here it {came}"
        )
    for result in body["other_engine"][:_SHOWN]:
        lines.append(
            f"decided by engine {result['engine']}: {result['route']} event {result['seq']} ({result['code']}); this"
            f" engine differs at {result['difference']['path']}"
        )
    if body["other_engine_count"] > _SHOWN:
        lines.append(f"and {body['other_engine_count'] - _SHOWN} more decided by another engine")
    unread = body["events"] - body["replayed"]
    kept = f", {unread} kept nothing to replay" if unread else ""
    lines.append(
        f"{body['replayed']} of {body['events']} events replayed, {len(body['different'])} came out differently{kept}"
        + (f", {body['other_engine_count']} decided by another engine" if body["other_engine_count"] else "")
    )
    return "\n".join(lines)
