"""The call logs of a project, read and judged: the one way the pipeline and the command line do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from fairway.bundle.config import BudgetsSection
from fairway.costs.comparison import ReleasePair, compare_releases, releases_to_compare
from fairway.costs.config import CostsSection
from fairway.costs.logs import log_files, read_calls
from fairway.costs.prices import PriceTable
from fairway.costs.projection import (
    DAILY_USD,
    MONTHLY_USD,
    Projection,
    ProjectionPolicy,
    project_spend,
)
from fairway.costs.spending import Spending, add_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be looked at besides the section's own settings.

    Attributes:
        logs: Instead of the section's; ``None``: those.
        days: Instead of the section's.
        candidates: Names the candidate may have in the log (a version, a digest); empty: the newest release there.
        baseline: ``None``: the release before the candidate.
        requests_per_day: Declared volume; ``None``: as observed.
        calls_per_request: Model calls of a request, as declared.
    """

    logs: tuple[str, ...] | None = None
    days: int | None = None
    candidates: tuple[str, ...] = ()
    baseline: str | None = None
    requests_per_day: int | None = None
    calls_per_request: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What the call logs say.

    Attributes:
        files: That were read, relative to the project.
        pair: ``None``: the logs do not hold two releases to compare.
    """

    files: tuple[str, ...]
    spending: Spending
    projection: Projection
    pair: ReleasePair | None


def examine_logs(
    root: Path, section: CostsSection, budgets: BudgetsSection, prices: PriceTable, asked: Asked, *, now: datetime
) -> Examined:
    """Read the logs of the last days and judge them.

    Args:
        root: Of the project; logs are below it.
        section: ``costs`` of ``fairway.yaml``.
        budgets: ``budgets`` of ``fairway.yaml``.
        prices: Of the project.
        asked: What somebody asked for.
        now: Aware; the window ends here.

    Raises:
        NotFoundError: A log that was named is not there.
    """
    since = now - timedelta(days=asked.days or section.days)
    files = log_files(root, section.logs if asked.logs is None else asked.logs)
    spending = add_up(read_calls(root, files, prices, since=since, until=now), since=since, until=now)
    return Examined(
        files=tuple(str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in files),
        spending=spending,
        projection=project_spend(spending, projection_policy(section, budgets, asked)),
        pair=_pair(spending, section, asked),
    )


def projection_policy(section: CostsSection, budgets: BudgetsSection, asked: Asked) -> ProjectionPolicy:
    """What a projection needs and is compared with."""
    return ProjectionPolicy(
        requests_per_day=asked.requests_per_day,
        calls_per_request=asked.calls_per_request,
        daily=_usd(budgets.cost_per_day, DAILY_USD),
        monthly=_usd(budgets.cost_per_month, MONTHLY_USD),
        minimum_requests=section.minimum_requests,
        minimum_days=min(section.minimum_days, asked.days or section.days),
    )


def _usd(declared: float | None, default: Decimal) -> Decimal:
    return default if declared is None else Decimal(str(declared))


def _pair(spending: Spending, section: CostsSection, asked: Asked) -> ReleasePair | None:
    candidate = _named(spending, asked.candidates)
    found = releases_to_compare(spending, candidate, asked.baseline)
    if found is None:
        return None
    return compare_releases(
        spending,
        *found,
        chosen=candidate is not None,
        margin=section.calls_margin,
        minimum_tasks=section.minimum_tasks,
    )


def _named(spending: Spending, candidates: Sequence[str]) -> str | None:
    """The candidate by the name the log knows it by; a single name stands for itself, whether it is there or not."""
    if len(candidates) == 1:
        return candidates[0]
    return next((name for name in candidates if name in spending.releases), None)
