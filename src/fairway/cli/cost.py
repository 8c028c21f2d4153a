"""``fairway cost``: what model calls cost, by the call logs, and whether that stays within budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.costs.examination import Examined
    from fairway.costs.projection import ProjectionPolicy

EPILOG = """\b
Examples:
  fairway cost report --by release --by feature
  fairway cost check
  fairway cost check --candidate 1.3.0 --baseline 1.2.0 -o json
"""
DIMENSIONS = ("release", "tenant", "feature", "model", "day")

days_option = click.option("--days", type=click.IntRange(1, 366), default=None, help="Of the last so many days.")
log_option = click.option(
    "--log", "logs", multiple=True, metavar="GLOB", help="Instead of costs.logs in fairway.yaml; may be repeated."
)
volume_option = click.option(
    "--requests-per-day",
    type=click.IntRange(min=1),
    default=None,
    help="Declared volume; by default that of the cost gate, else as observed.",
)


@click.group("cost", cls=Listing, epilog=EPILOG)
def command() -> None:
    """What model calls cost: by request, release, tenant and feature, and projected against the budgets."""


@command.command("report", epilog="Example: fairway cost report --days 30 --by tenant -o json")
@click.option("--by", "dimensions", multiple=True, type=click.Choice(DIMENSIONS), help="May be repeated; all in JSON.")
@days_option
@log_option
@volume_option
@project_option
@output_option
def report(
    dimensions: tuple[str, ...],
    days: int | None,
    logs: tuple[str, ...],
    requests_per_day: int | None,
    project_dir: str | None,
    output: str,
) -> None:
    """What was spent, and what a day and a month will cost.

    Reads call logs: JSON lines of {at, release, tenant, feature, task, request, model, tokens_in, tokens_out, cached,
    cost, calls}, or rows with a provider's usage. A price nobody declared is unknown, never nothing. Judges nothing:
    see fairway cost check.
    """
    examined, policy = _examined(project_dir, logs, days=days, requests_per_day=requests_per_day)
    shown = dimensions or ("release",)
    emit(_wire(examined, policy), output=output, text=lambda: _shown(_text(examined, policy, shown)))


@command.command("check", epilog="Example: fairway cost check --candidate 1.3.0 --baseline 1.2.0")
@click.option("--candidate", default=None, help="A release of the log; by default its newest.")
@click.option("--baseline", default=None, help="What it is compared with; by default the release before it.")
@days_option
@log_option
@volume_option
@project_option
@output_option
def check(
    candidate: str | None,
    baseline: str | None,
    days: int | None,
    logs: tuple[str, ...],
    requests_per_day: int | None,
    project_dir: str | None,
    output: str,
) -> int:
    """Say no when spending is beyond budget, or a task takes more calls than in the release before.

    Exits 0 only when the projected day and month are shown to be within budget and no release calls models more
    often for a task. Too little data is NO_DATA and exits 1, as does an unknown price. A comparison that was asked for
    (--candidate, --baseline) has to pass; another only must not have failed.
    """
    if candidate is not None and candidate == baseline:
        raise click.UsageError("--candidate and --baseline are the same release: compared with itself it always passes")
    examined, policy = _examined(
        project_dir, logs, days=days, requests_per_day=requests_per_day, candidate=candidate, baseline=baseline
    )
    asked = candidate is not None or baseline is not None
    verdict, reasons = _verdict(examined, asked=asked)
    wire = {"verdict": verdict, "reasons": reasons, **_wire(examined, policy)}
    lines = [verdict, *(f"  {reason}" for reason in reasons)]
    emit(wire, output=output, text=lambda: _shown([*lines, *_text(examined, policy, ())]))
    return 0 if verdict == "PASS" else 1


def _verdict(examined: Examined, *, asked: bool) -> tuple[str, list[str]]:
    from fairway.costs.judging import judge_logs

    verdict, reasons = judge_logs(examined, compare=asked)
    return verdict.value, list(reasons)


def _examined(
    project_dir: str | None,
    logs: tuple[str, ...],
    *,
    days: int | None,
    requests_per_day: int | None,
    candidate: str | None = None,
    baseline: str | None = None,
) -> tuple[Examined, ProjectionPolicy]:
    from pathlib import Path

    from fairway.clock import SystemClock
    from fairway.costs.examination import Asked, examine_logs, projection_policy
    from fairway.costs.prices import price_table
    from fairway.errors import UserError
    from fairway.project.load import load_project
    from fairway.stages.cost_gate import CostGateSection

    project = load_project(None if project_dir is None else Path(project_dir))
    if not logs and not project.costs.logs:
        raise UserError(
            "no call log is named",
            code="no_call_log",
            hint="set costs.logs in fairway.yaml to where your agents log model calls, or give --log",
        )
    declared = project.stage_config("cost_gate", CostGateSection)
    asked = Asked(
        logs=tuple(str(Path.cwd() / one) for one in logs) or None,
        days=days,
        candidates=() if candidate is None else (candidate,),
        baseline=baseline,
        requests_per_day=requests_per_day or declared.requests_per_day,
        calls_per_request=declared.calls_per_request,
    )
    prices = price_table(project.models, project.costs.prices)
    now = SystemClock().now()
    examined = examine_logs(project.root, project.costs, project.budgets, prices, asked, now=now)
    return examined, projection_policy(project.costs, project.budgets, asked)


def _wire(examined: Examined, policy: ProjectionPolicy) -> dict[str, Any]:
    from fairway.costs.report import logs_report

    return logs_report(examined, policy)


def _text(examined: Examined, policy: ProjectionPolicy, dimensions: tuple[str, ...]) -> list[str]:
    wire = _wire(examined, policy)
    total, projection, coverage = wire["total"], wire["projection"], wire["coverage"]
    budget = projection["budget"]
    lines = [
        f"{coverage['requests']} requests, {total['calls']} calls on {coverage['days_with_requests']} of "
        f"{coverage['days']} days; {total['usd']} USD, {total['usd_per_request']} a request",
        f"  a day           {projection['usd_per_day']} USD projected, budget {budget['usd_per_day']}",
        f"  a month         {projection['usd_per_month']} USD projected, budget {budget['usd_per_month']}",
    ]
    if coverage["unreadable_rows"]:
        lines.append(f"  not read        {coverage['unreadable_rows']} rows; {'; '.join(coverage['unreadable'][:3])}")
    if projection["verdict"] == "NO_DATA":
        lines += [f"  not projected   {reason}" for reason in projection["reasons"]]
    if examined.pair is not None:
        pair = wire["comparison"]
        lines.append(f"  {pair['candidate']} against {pair['baseline']}")
        for name, label in (("calls_per_task", "calls a task"), ("usd_per_task", "USD a task")):
            one = pair[name]
            lines.append(f"  {label:<15} {one['verdict']}: {one['baseline']} -> {one['candidate']} ({one['reason']})")
    for dimension in dimensions:
        lines += _table(dimension, wire["by"][dimension])
    return lines


def _shown(lines: list[str]) -> str:
    """The lines for a terminal: a log may hold any name."""
    from fairway.evals.plain_text import plain

    return "\n".join(plain(line).replace("\n", " ") for line in lines)


def _table(dimension: str, by_name: dict[str, Any]) -> list[str]:
    width = max([len(dimension), *(len(name or "(not said)") for name in by_name)])
    lines = [f"{dimension:<{width}}  {'requests':>10}  {'calls':>10}  {'USD':>14}  {'USD a request':>14}"]
    for name, one in by_name.items():
        if "more" in one:
            lines.append(f"and {one['more']} more")
            continue
        lines.append(
            f"{name or '(not said)':<{width}}  {one['requests']:>10}  {one['calls']:>10}  {one['usd']:>14}  "
            f"{one['usd_per_request']:>14}"
        )
    return lines
