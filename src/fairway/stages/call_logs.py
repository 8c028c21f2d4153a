"""What the call logs of a project say to its cost gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.costs.comparison import Compared
from fairway.costs.examination import Asked, Examined, examine_logs, projection_policy
from fairway.costs.judging import told
from fairway.costs.prices import price_table
from fairway.costs.report import logs_report
from fairway.pipeline.port import Finding
from fairway.project.load import Project
from fairway.stages.context import DeliveryContext
from fairway.units import Verdict

UNKNOWN = "cost/unknown"


def examine_calls(
    context: DeliveryContext, project: Project, requests_per_day: int | None, calls_per_request: int
) -> Examined | None:
    """The logs beside the examined content; ``None``: it names none.

    The candidate is what is examined, where it has already made calls (in staging, in a load test); else the newest
    release of the logs.

    Raises:
        NotFoundError: A log that is named is not there.
    """
    if not project.costs.logs:
        return None
    delivery = context.delivery
    names = (delivery.release_version or "", delivery.shown_version, delivery.bundle.digest)
    asked = Asked(
        candidates=tuple(name for name in names if name),
        requests_per_day=requests_per_day,
        calls_per_request=calls_per_request,
    )
    prices = price_table(project.models, project.costs.prices)
    return examine_logs(context.root, project.costs, project.budgets, prices, asked, now=context.clock.now())


def log_findings(examined: Examined, *, required: bool, files: str = "fairway.yaml") -> Iterator[Finding]:
    """What is over budget, near it, or not known; and a release that calls models more often for a task.

    Calls a task of the examined content are an error. Those of a release that is live already are a warning: an error
    would hold up the release that mends it.
    """
    projection, pair = examined.projection, examined.pair
    for reason in projection.reasons:
        severity, rule = {
            Verdict.FAIL: ("error", "cost/over-budget"),
            Verdict.NO_DATA: ("error" if required else "warning", UNKNOWN),
        }.get(projection.verdict, ("warning", "cost/near-budget"))
        hint = "see costs in fairway.yaml" if projection.verdict is Verdict.NO_DATA else None
        yield Finding(severity=severity, rule=rule, message=f"call logs: {reason}", file=files, hint=hint)
    if pair is None:
        return
    severity = "error" if pair.chosen else "warning"
    yield from _more(severity, "cost/calls", pair.candidate, pair.baseline, pair.calls, files)
    yield from _more("warning", "cost/dearer", pair.candidate, pair.baseline, pair.cost, files)


def _more(severity: str, rule: str, candidate: str, baseline: str, compared: Compared, file: str) -> Iterator[Finding]:
    """A rise that was shown; one that could not be ruled out is a note."""
    if compared.verdict is Verdict.PASS:
        return
    shown = compared.verdict is Verdict.FAIL
    yield Finding(
        severity=severity if shown else "note",
        rule=rule,
        message=told(candidate, baseline, compared),
        file=file,
        hint="a loop of tools that did not end, or a retry, shows like this"
        if shown and rule == "cost/calls"
        else None,
    )


def calls_report(examined: Examined | None, project: Project, requests_per_day: int | None) -> dict[str, Any]:
    """The part of ``cost.json`` about the logs."""
    if examined is None:
        return {"verdict": Verdict.NO_DATA.value, "reason": "costs.logs is not set, so nothing is projected from logs"}
    policy = projection_policy(project.costs, project.budgets, Asked(requests_per_day=requests_per_day))
    return logs_report(examined, policy)
