"""``fairway run``: the pipeline of a project, from what is checked out to production."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from pathlib import Path

    from fairway.cli.run_display import RunDisplay
    from fairway.pipeline.port import RunReport
    from fairway.project.load import Project
    from fairway.stages.options import RunOptions
    from fairway.units import RouteId

EPILOG = """\b
Examples:
  fairway run                          check what is checked out
  fairway run --version v1.2.0         release it and deploy it
  fairway run --to e2e_test            everything before production
  fairway run --only unit_test         one stage
  fairway run --resume                 go on with the last run from what passed

\b
Exit codes: 0 every stage passed, 1 a stage said no, 2 something to mend first, 3 a stage broke, 130 interrupted.
"""


@click.command("run", epilog=EPILOG)
@click.option("--from", "start", metavar="STAGE", help="Begin with this stage.")
@click.option("--to", "stop", metavar="STAGE", help="End with this stage.")
@click.option("--only", multiple=True, metavar="STAGE", help="Only this stage; may be given several times.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[RUN]",
    help="Go on with a run from what passed; by default the last one.",
)
@click.option("--version", metavar="VERSION", help="Release the commit as this version; by default its tag.")
@click.option("--environment", metavar="NAME", help="The last environment the run may reach; by default production.")
@click.option("--no-cache", is_flag=True, help="Run every stage, also where nothing changed.")
@click.option("--report-dir", type=click.Path(file_okay=False), help="Also write report.json, report.md and junit.xml.")
@project_option
@output_option
def command(
    start: str | None,
    stop: str | None,
    only: tuple[str, ...],
    resume: str | None,
    version: str | None,
    environment: str | None,
    no_cache: bool,
    report_dir: str | None,
    project_dir: str | None,
    output: str,
) -> None:
    """Run the pipeline: check, evaluate, scan, package, deploy.

    Stages run as parallel as they can; one whose inputs did not change is not run again and says so.
    Without a version tag on the commit (or --version) it is a development run, which ends before
    anything is deployed to production. Ctrl-C stops what runs and keeps what passed.
    """
    from pathlib import Path

    from fairway.stages.options import RunOptions

    options = RunOptions(
        start=start,
        stop=stop,
        only=tuple(only),
        resume=resume,
        version=version,
        environment=environment,
        cache=not no_cache,
    )
    report = _unchanged(Path(project_dir or "."), options) or _delivered(project_dir, options)
    wire = write_reports(report, [Path(report_dir)] if report_dir else [])
    emit(wire, output=output, text=lambda: _summary(report))
    raise SystemExit(report.exit_code)


def _unchanged(start: Path, options: RunOptions) -> RunReport | None:
    """The run, when nothing changed since it last passed; loads nothing heavy."""
    import time
    from dataclasses import replace
    from datetime import UTC, datetime

    from fairway.pipeline.journal import new_run_id
    from fairway.stages.options import nothing_changed

    began, now = time.monotonic(), datetime.now(UTC)
    report = nothing_changed(start.resolve(), options, run_id=new_run_id(now), now=now)
    return None if report is None else replace(report, duration_seconds=time.monotonic() - began)


def _delivered(project_dir: str | None, options: RunOptions) -> RunReport:
    """The run, through every stage that has to."""
    import asyncio
    from pathlib import Path

    from fairway.project.load import load_project

    project = load_project(None if project_dir is None else Path(project_dir))
    with _display() as display:
        report = asyncio.run(_run(project, options, display))
    write_reports(report, [project.state.runs / report.run_id])
    return report


async def _run(project: Project, options: RunOptions, display: RunDisplay) -> RunReport:
    """The run, until it ends or is interrupted."""
    import asyncio
    import signal

    from fairway.cli.verbs import actor_of
    from fairway.clock import SystemClock
    from fairway.controller.live_view import read_live_view
    from fairway.release.store import FileContentStore
    from fairway.stages.delivery import Wiring, deliver

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if not stop.is_set():
            display.say("stopping: cleaning up what runs")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    ledger: list[Any] = []

    def opened() -> Any:
        from fairway.ledger import open_ledger

        ledger.append(open_ledger(project.state.ledger))
        return ledger[0]

    def waiting_for(route: RouteId) -> str | None:
        view = read_live_view(project.state, route)
        return str(view["reason"]) if view and view.get("reason") else None

    try:
        return await deliver(
            project,
            options,
            Wiring(
                clock=SystemClock(),
                actor=actor_of(project.root),
                open_ledger=opened,
                open_store=lambda: FileContentStore(project.state.blobs),
                listeners=[display],
                stop=stop,
                waiting_for=waiting_for,
                attended=sys.stderr.isatty(),
                begun=lambda run_id, nodes: display.begin(run_id, [node.id for node in nodes]),
            ),
        )
    finally:
        for one in ledger:
            one.close()


def write_reports(report: RunReport, folders: Sequence[Path]) -> dict[str, Any]:
    """Write ``report.json``, ``report.md`` and ``junit.xml`` into each folder; returns the JSON report."""
    import json

    from fairway.pipeline.reports.json_report import report_to_wire
    from fairway.pipeline.reports.junit import render_junit
    from fairway.pipeline.reports.markdown import render_markdown

    wire = report_to_wire(report)
    texts: dict[str, Callable[[], str]] = {
        "report.json": lambda: json.dumps(wire, indent=2, ensure_ascii=False) + "\n",
        "report.md": lambda: render_markdown(report),
        "junit.xml": lambda: render_junit(report),
    }
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text(), encoding="utf-8")
    return wire


def _summary(report: RunReport) -> str:
    import os
    import shutil

    from fairway.pipeline.reports.terminal import render_terminal

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
    return render_terminal(report, colour=colour, columns=columns)


def _display() -> RunDisplay:
    from fairway.cli.run_display import LiveDisplay, PlainDisplay

    return LiveDisplay() if sys.stderr.isatty() else PlainDisplay(say)
