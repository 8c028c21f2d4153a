"""``fairway audit``: the tamper-evident record of who did what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.ledger import SqlLedger
    from fairway.ledger.records import AuditEntry, AuditReport
    from fairway.rollout.port import JournalEntry
    from fairway.units import RouteId

_PAGE = 500

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
@click.option("--after", type=click.IntRange(min=0), help="Begin after this row; by default show the last ones.")
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


@command.command("replay", epilog="Example: fairway audit replay --environment production")
@click.option("--environment", help="Only the routes of this environment.")
@output_option
@project_option
def replay(environment: str | None, output: str, project_dir: str | None) -> int:
    """Take every recorded decision again from what it looked at, and compare.

    Figures count as equal up to a relative 1e-9. Exits 1 when a decision comes out differently.
    """
    with _open(project_dir) as ledger:
        routes = [route for route in ledger.routes() if environment in (None, route.environment)]
        results = [_replay_event(ledger, route, entry) for route in routes for entry in _events(ledger, route)]
    different = [result for result in results if result["difference"]]
    replayed = [result for result in results if result["replayed"]]
    body = {"events": len(results), "replayed": len(replayed), "different": different}
    emit(body, output=output, text=lambda: _replay_text(body))
    return 1 if different else 0


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


def _events(ledger: SqlLedger, route: RouteId) -> Iterator[JournalEntry]:
    after = 0
    while page := ledger.events(route, after=after, limit=_PAGE):
        yield from page
        after = page[-1].fence.seq


def _replay_event(ledger: SqlLedger, route: RouteId, entry: JournalEntry) -> dict[str, Any]:
    from fairway.canonical import canonical_json
    from fairway.errors import FairwayError, NotFoundError
    from fairway.ledger.comparison import first_difference
    from fairway.release.wire import plain, read_json
    from fairway.rollout.replay import replay as decide_again

    result: dict[str, Any] = {"route": str(route), "seq": entry.fence.seq, "replayed": False, "difference": None}
    try:
        snapshot = ledger.snapshot(route, entry.fence.seq)
    except NotFoundError:
        return result
    recorded = {"decision": entry.decision, "state": entry.state}
    try:
        again = read_json(canonical_json(plain(decide_again(snapshot))))
    except (FairwayError, ValueError) as error:
        return result | {"difference": {"path": "", "recorded": None, "replayed": f"cannot be replayed: {error}"}}
    found = first_difference(recorded, {key: again.get(key) for key in recorded})
    difference = found and {"path": found.path, "recorded": found.recorded, "replayed": found.replayed}
    return result | {"replayed": True, "difference": difference}


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
        note = f"  {entry.payload['kind']}: {entry.payload['reason']}"
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


def _replay_text(body: dict[str, Any]) -> str:
    lines = []
    for result in body["different"]:
        found = result["difference"]
        place = f" at {found['path']}" if found["path"] else ""
        lines.append(
            f"{result['route']} event {result['seq']}{place}: recorded {found['recorded']!r}, now {found['replayed']!r}"
        )
    lines.append(
        f"{body['replayed']} of {body['events']} events replayed, {len(body['different'])} came out differently"
    )
    return "\n".join(lines)
