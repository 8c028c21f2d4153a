"""``fairway sla``: how each release keeps its promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.incident.sla_records import MonthlyReport
    from fairway.release.values import Manifest
    from fairway.verdict.sla import SlaSnapshot
    from fairway.verdict.sla_figures import SlaFigures

EPILOG = """\b
Examples:
  fairway sla report
  fairway sla report --version 1.2.0 -o json
  fairway sla report --figures
  fairway sla report --month 2026-11
"""


@click.group("sla", cls=Listing, epilog=EPILOG)
def command() -> None:
    """How each release keeps its promise, by what the gateways saw."""


@command.command("report", epilog="Example: fairway sla report --version 1.2.0 -o json")
@click.option("--version", default=None, help="Of this release; by default what production serves.")
@click.option("--month", default=None, help="All releases of a month, such as 2026-11, by what was archived.")
@click.option("--figures", is_flag=True, help="P99, tokens, cost and more beside the snapshot, and what is not known.")
@click.option("--archive", is_flag=True, help="Keep the snapshot as evidence of the release.")
@project_option
@output_option
def report(
    version: str | None, month: str | None, figures: bool, archive: bool, project_dir: str | None, output: str
) -> None:
    """The SLA snapshot of a release, or the report of a month.

    A figure nobody could measure is null, and a release with one is never called verified. `fairway up` archives
    snapshots by itself. With --figures the JSON is {"snapshot": …, "figures": …}, and says why a figure is null.
    """
    from fairway.bootstrap import open_workspace
    from fairway.errors import UserError
    from fairway.incident.sla_records import monthly

    if month is not None and (version is not None or archive or figures):
        raise UserError("--month stands alone", code="bad_option")
    workspace = open_workspace(project_dir)
    try:
        if month is not None:
            found = monthly(workspace.ledger, workspace.project.name, month)
            emit(found.to_wire(), output=output, text=lambda: _month_text(found))
            return
        taken, known = _taken(workspace, _release(workspace, version), archive=archive)
    finally:
        workspace.close()
    wire = {"snapshot": taken.to_wire(), "figures": known.to_wire()} if figures else taken.to_wire()
    emit(wire, output=output, text=lambda: "\n".join([_text(taken), *(_figures_text(known) if figures else ())]))


def _release(workspace: Workspace, version: str | None) -> Manifest:
    from fairway.errors import NotFoundError

    if version is not None:
        return workspace.ledger.find_release(workspace.project.name, version).manifest
    stable = (workspace.ledger.head(workspace.route).state or {}).get("stable")
    if not stable:
        raise NotFoundError(
            "nothing serves in production yet", code="no_stable", hint="name a release with --version, or deploy one"
        )
    return workspace.ledger.find_release(workspace.project.name, str(stable["release"])).manifest


def _taken(workspace: Workspace, manifest: Manifest, *, archive: bool) -> tuple[SlaSnapshot, SlaFigures]:
    from fairway import __version__
    from fairway.incident.sla_records import SlaSource, as_evidence, take_report

    now = workspace.clock.now()
    source = SlaSource(ledger=workspace.ledger, route=workspace.route, policy=workspace.project.sla.policy())
    taken, known = take_report(source, manifest, now=now)
    if archive:
        found = as_evidence(taken, manifest, workspace.route, at=now, produced_by=f"fairway {__version__}")
        workspace.ledger.add_evidence([found])
    return taken, known


def _text(taken: SlaSnapshot) -> str:
    lines = [
        f"{taken.agent_group} {taken.version}: {taken.status.value}"
        + ("" if taken.action is None else f", {taken.action.value.replace('_', ' ')}"),
        f"  because         {taken.reason}",
        f"  live since      {'never' if taken.start_ts is None else f'{taken.start_ts:%Y-%m-%d %H:%M:%S} UTC'}",
        f"  success         {_share(taken.success_rate)}",
        f"  P95             {'unknown' if taken.p95_latency_ms is None else f'{taken.p95_latency_ms:.0f} ms'}",
        f"  error traces    {_share(taken.error_trace_ratio)}",
        f"  callbacks lost  {_share(taken.callback_fail_rate)}",
        f"  seen            {taken.requests} requests, {taken.failed} failed, {taken.unknown} of unknown outcome",
    ]
    return "\n".join(lines)


def _figures_text(known: SlaFigures) -> list[str]:
    """One line a figure: its value, or why there is none."""
    width = max(map(len, known.values))
    lines = []
    for name, value in known.values.items():
        if name in known.unknown:
            told = f"unknown: {known.unknown[name]}"
        elif isinstance(value, dict):
            told = ", ".join(f"{count} {reason}" for reason, count in value.items()) or "none"
        else:
            told = f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
        lines.append(f"  {name:<{width}}  {told}")
    return lines


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3%}"


def _month_text(found: MonthlyReport) -> str:
    if not found.snapshots:
        return f"nothing was archived in {found.month}"
    wire: dict[str, Any] = found.to_wire()
    counts = ", ".join(f"{count} {status}" for status, count in wire["statuses"].items() if count)
    rows = [
        f"  {one.version:<20} {one.status.value:<14} {_share(one.success_rate):>10}"
        f"  {'unknown' if one.p95_latency_ms is None else f'{one.p95_latency_ms:.0f} ms':>9}  {one.requests} requests"
        for one in found.snapshots
    ]
    return "\n".join([f"{found.month}: {counts}; success {_share(wire['success_rate'])}", *rows])
