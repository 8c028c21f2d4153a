"""The ladder of environments: what a candidate must have shown in the one before, and that none is laxer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fairway.bundle.environment import ApprovalMode, Environment
from fairway.release.required import REHEARSALS, Required, has_nothing, why_not
from fairway.release.values import Evidence
from fairway.units import Digest, EnvironmentName, Verdict

REGRESSION = "prompt_regression"
"""Kind of evidence with the figure ``tool_accuracy``."""
LATENCY = "e2e_test"
"""Kind of evidence with the figure ``latency_p95_ms``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """An environment a candidate must have passed, and what that takes.

    Attributes:
        kinds: Kinds of evidence that must have been found *there*.
        tool_accuracy: Least share of expected tool calls; ``None``: nothing is asked.
        latency_p95_ms: Most a P95 may be; ``None``: nothing is asked.
        regression_off: The release switches the regression off, with a reason on record.
    """

    environment: EnvironmentName
    kinds: tuple[str, ...]
    tool_accuracy: float | None = None
    latency_p95_ms: float | None = None
    regression_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Laxer:
    """A setting in which an environment asks less than one before it.

    Attributes:
        setting: As ``fairway.yaml`` writes it.
    """

    environment: EnvironmentName
    before: EnvironmentName
    setting: str
    message: str


def rungs_below(
    environments: Mapping[EnvironmentName, Environment], name: EnvironmentName, required: Required
) -> tuple[Rung, ...]:
    """The environments right before one that a candidate is rehearsed in, and what each takes.

    Only staging and production rehearse a release as a whole; in dev and test its checks are what counts, and those
    are asked for wherever they were taken.
    """
    rehearsed = tuple(kind for kind in REHEARSALS if kind in required.kinds)
    found = []
    for before in environments[name].after:
        environment = environments[before]
        if environment.kind.value in ("dev", "test"):
            continue
        p95 = environment.latency_p95_seconds
        found.append(
            Rung(
                environment=before,
                kinds=rehearsed,
                tool_accuracy=environment.tool_accuracy,
                latency_p95_ms=None if p95 is None else p95 * 1000,
                regression_off=REGRESSION in required.off,
            )
        )
    return tuple(found)


def not_passed(
    rung: Rung,
    evidence: Iterable[Evidence],
    *,
    release: Digest,
    effective: Mapping[EnvironmentName, Digest],
    now: datetime,
) -> dict[str, str]:
    """Why a candidate has not passed an environment, by what is missing; empty when it has.

    Args:
        rung: The environment.
        evidence: Everything known; only what was found on exactly this content counts, and of each kind the newest.
        release: Digest of the candidate.
        effective: What it resolves to in each environment.
        now: Decides what has expired; what is from the future does not count.
    """
    about = [one for one in evidence if one.release == release and one.at <= now and _fits(one, effective)]
    there = _newest(one for one in about if one.environment == rung.environment)
    anywhere = _newest(about)
    taken = {kind: there.get(kind) or _nothing_anywhere(anywhere.get(kind)) for kind in rung.kinds}
    lacks = {kind: why_not(kind, finding, now=now) for kind, finding in taken.items()}
    if not rung.regression_off and rung.tool_accuracy is not None:
        lacks["tool accuracy"] = _too_few_tools(anywhere.get(REGRESSION), rung.tool_accuracy, now)
    if rung.latency_p95_ms is not None:
        lacks["latency SLA"] = _too_slow(there.get(LATENCY), rung.latency_p95_ms, now)
    return {what: why for what, why in lacks.items() if why is not None}


def _nothing_anywhere(finding: Evidence | None) -> Evidence | None:
    """A finding that there is nothing to look at: it was not taken in any environment."""
    return finding if finding is not None and finding.environment is None and has_nothing(finding) else None


def _fits(finding: Evidence, effective: Mapping[EnvironmentName, Digest]) -> bool:
    if finding.effective is None:
        return True
    if finding.environment is None:
        return finding.effective in effective.values()
    return effective.get(finding.environment) == finding.effective


def _newest(evidence: Iterable[Evidence]) -> dict[str, Evidence]:
    newest: dict[str, Evidence] = {}
    for finding in evidence:
        if finding.kind not in newest or finding.at >= newest[finding.kind].at:
            newest[finding.kind] = finding
    return newest


def _figure(finding: Evidence | None, name: str, now: datetime) -> float | None:
    """A figure of a finding that still counts; ``None``: not measured."""
    if finding is None or (finding.expires is not None and finding.expires <= now) or finding.verdict is Verdict.ERROR:
        return None
    value = finding.figures.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _too_few_tools(finding: Evidence | None, least: float, now: datetime) -> str | None:
    found = _figure(finding, "tool_accuracy", now)
    if found is None:
        return f"not measured, at least {least:.1%} is asked"
    return None if found >= least else f"{found:.1%} of the expected tool calls, at least {least:.1%} is asked"


def _too_slow(finding: Evidence | None, most: float, now: datetime) -> str | None:
    found = _figure(finding, "latency_p95_ms", now)
    if found is None:
        return f"not measured, at most {most:g} ms is asked"
    return None if found <= most else f"P95 was {found:g} ms, at most {most:g} ms is asked"


def laxer(environments: Mapping[EnvironmentName, Environment]) -> tuple[Laxer, ...]:
    """Where an environment asks less of a candidate than one right before it; what it does not say it takes over."""
    found: list[Laxer] = []
    for environment in environments.values():
        for name in environment.after:
            before = environments.get(name)
            if before is not None:
                found.extend(_laxer_than(environment, before))
    return tuple(found)


def _laxer_than(one: Environment, before: Environment) -> Iterable[Laxer]:
    slow, slower = before.latency_p95_seconds, one.latency_p95_seconds
    if slow is not None and slower is not None and slower > slow:
        text = f"{slower:g}s is laxer than the {slow:g}s of {before.name}, which comes before"
        yield Laxer(environment=one.name, before=before.name, setting="latency_sla", message=text)
    more, less = before.tool_accuracy, one.tool_accuracy
    if more is not None and less is not None and less < more:
        text = f"{less:g} is laxer than the {more:g} of {before.name}, which comes before"
        yield Laxer(environment=one.name, before=before.name, setting="tool_accuracy", message=text)
    asked = before.approval is ApprovalMode.REQUIRED and one.approval is ApprovalMode.AUTOMATIC
    if asked and "approval" in one.declared:
        text = f"automatic is laxer than {before.name}, which comes before and asks for an approval"
        yield Laxer(environment=one.name, before=before.name, setting="approval", message=text)
