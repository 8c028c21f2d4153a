"""Which evidence a release needs, and whether what was found is enough: pure (law 9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fairway.release.values import Evidence
from fairway.units import Digest, EnvironmentName, Verdict

CHECKS = ("static_analysis", "unit_test", "prompt_regression", "tool_integration", "security_scan", "cost_gate")
"""What every release is asked for before it is cut."""

REHEARSALS = ("smoke_test", "e2e_test")
"""What every release is asked for, beside the checks, before production."""

MAY_HAVE_NOTHING = frozenset({"tool_integration", "e2e_test"})
"""Kinds that may find nothing to look at (no tool, no declared request), and then say so."""

SKIPPED, DISABLED = "skipped", "disabled"
"""Figures of evidence that is none: why a stage had nothing to look at, or why the release switches it off."""

_HOLDS_IF_FOUND = ("deploy_staging",)
"""Not asked for by name, because the rehearsals need it; but when it was tried last and broke, nothing newer holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """What a release needs.

    Attributes:
        kinds: Kinds of evidence, in their order.
        off: Kinds the release's own ``fairway.yaml`` switches off, with the reason it gives; never one of ``kinds``.
    """

    kinds: tuple[str, ...]
    off: Mapping[str, str] = field(default_factory=dict)


def for_release(*, also: Iterable[str] = (), off: Mapping[str, str] | None = None) -> Required:
    """What must be found before a release is cut.

    Args:
        also: Further kinds: stages of the project's own, and what ``build_image.evidence`` adds.
        off: Kinds that are switched off, with reasons.
    """
    return _required(CHECKS, also, off or {})


def for_production(*, also: Iterable[str] = (), off: Mapping[str, str] | None = None) -> Required:
    """What must be found before a release may take production traffic; arguments as :func:`for_release`."""
    return _required((*CHECKS, *REHEARSALS), also, off or {})


def _required(kinds: Iterable[str], also: Iterable[str], off: Mapping[str, str]) -> Required:
    explained = {kind: reason for kind, reason in off.items() if reason.strip()}
    wanted = [kind for kind in kinds if kind not in explained]
    added = list(also)
    return Required(
        kinds=tuple(dict.fromkeys((*wanted, *added))),
        off={kind: reason for kind, reason in explained.items() if kind not in added},
    )


def lacking(
    required: Required,
    evidence: Iterable[Evidence],
    *,
    release: Digest,
    effective: Mapping[EnvironmentName, Digest],
    now: datetime,
) -> dict[str, str]:
    """Why each required kind is not satisfied, in their order; empty when the release may go on.

    Args:
        required: What is asked for.
        evidence: Everything known; what is bound to other content or another configuration is ignored.
        release: Digest of the release.
        effective: What it resolves to in each environment.
        now: Decides what has expired.
    """
    newest = newest_evidence(evidence, release=release, effective=effective, now=now)
    found = {kind: why_not(kind, newest.get(kind), now=now) for kind in required.kinds}
    broken = {kind: why_not(kind, newest[kind], now=now) for kind in _HOLDS_IF_FOUND if kind in newest}
    return {kind: why for kind, why in (found | broken).items() if why is not None and kind not in required.off}


def newest_evidence(
    evidence: Iterable[Evidence], *, release: Digest, effective: Mapping[EnvironmentName, Digest], now: datetime
) -> dict[str, Evidence]:
    """The newest finding of each kind bound to this content: an old PASS does not outlive a newer FAIL.

    A finding that names an effective configuration counts only when the release resolves to it; one from the future
    does not count. Of two at the same instant the later in the list is the newer.
    """
    newest: dict[str, Evidence] = {}
    for finding in evidence:
        if finding.release != release or finding.at > now or not _is_effective(effective, finding):
            continue
        if finding.kind not in newest or finding.at >= newest[finding.kind].at:
            newest[finding.kind] = finding
    return newest


def why_not(kind: str, finding: Evidence | None, *, now: datetime) -> str | None:
    """Why a finding does not count; ``None`` when it does.

    Only PASS does, and that there was nothing to look at where that can be.
    """
    if finding is None:
        return "nothing was found on this content"
    if has_nothing(finding):
        return None if kind in MAY_HAVE_NOTHING else f"skipped ({finding.figures[SKIPPED]}), which it may not be"
    if finding.verdict is not Verdict.PASS:
        return finding.verdict.value
    if finding.expires is not None and finding.expires <= now:
        return f"PASS expired at {finding.expires:%Y-%m-%d %H:%M} UTC"
    return None


def has_nothing(finding: Evidence) -> bool:
    """Whether a finding says that there was nothing to look at, and why."""
    reason = finding.figures.get(SKIPPED)
    return finding.verdict is Verdict.NO_DATA and isinstance(reason, str) and bool(reason.strip())


def waiver_of(kind: str, reason: str, *, release: Digest, produced_by: str, at: datetime) -> Evidence:
    """The record, in a manifest, that a kind was not asked for, because the release switches it off."""
    return Evidence(
        kind=kind,
        release=release,
        verdict=Verdict.NO_DATA,
        produced_by=produced_by,
        at=at,
        figures={DISABLED: reason},
    )


def _is_effective(effective: Mapping[EnvironmentName, Digest], finding: Evidence) -> bool:
    if finding.effective is None:
        return True
    if finding.environment is None:
        return finding.effective in effective.values()
    return effective.get(finding.environment) == finding.effective
