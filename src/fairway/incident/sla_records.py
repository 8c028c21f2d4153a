"""SLA snapshots of a route's releases from the ledger, and their archive as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from fairway.errors import UserError
from fairway.observe.fold import Block
from fairway.release.port import ReleaseStore
from fairway.release.values import Evidence, Manifest
from fairway.rollout.mixes import MixStanding, standing_of
from fairway.rollout.port import RolloutLedger
from fairway.rollout.values import Phase, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.traffic.table import Role
from fairway.units import AgentName, Digest, RouteId, Verdict
from fairway.verdict.sla import SlaAction, SlaPolicy, SlaSnapshot, SlaStatus, historical_p95, snapshot
from fairway.verdict.sla_figures import SlaFigures, figures

EVIDENCE_KIND = "sla_snapshot"
WINDOW_SECONDS = 6 * 3600.0
"""What a snapshot of a release that serves looks back on at most."""
HISTORY = 10
"""Earlier releases the historical mean is of."""

_VERDICTS = {
    SlaStatus.VERIFIED: Verdict.PASS,
    SlaStatus.BLOCKED: Verdict.FAIL,
    SlaStatus.ROLLBACKED: Verdict.FAIL,
    SlaStatus.WATCHING: Verdict.NO_DATA,
    SlaStatus.MANUAL_REVIEW: Verdict.INCONCLUSIVE,
}


class SlaLedger(RolloutLedger, ReleaseStore, Protocol):
    """Routes with their blocks, releases with their evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaSource:
    """Where snapshots of a route come from."""

    ledger: SlaLedger
    route: RouteId
    policy: SlaPolicy


def take_snapshot(source: SlaSource, manifest: Manifest, *, now: datetime) -> SlaSnapshot:
    """The snapshot of a release on the route, from the ledger's blocks."""
    return take_report(source, manifest, now=now)[0]


def take_report(source: SlaSource, manifest: Manifest, *, now: datetime) -> tuple[SlaSnapshot, SlaFigures]:
    """The snapshot of a release on the route and what else is known of it, from the same blocks of the ledger."""
    head = source.ledger.head(source.route)
    state = None if head.state is None else state_from_wire(head.state)
    since = manifest.created_at.timestamp() - 60.0
    if serves(state, manifest.release_digest):
        since = max(since, now.timestamp() - WINDOW_SECONDS)
    blocks = [Block.from_wire(wire) for wire in source.ledger.blocks(source.route, since=since)]
    return _of_blocks(source, manifest, state, blocks), figures(blocks, manifest.release_digest)


def _of_blocks(source: SlaSource, manifest: Manifest, state: RouteState | None, blocks: list[Block]) -> SlaSnapshot:
    release = manifest.release_digest
    return snapshot(
        blocks,
        release,
        version=manifest.release_version,
        start_ts=went_live(archived(source.ledger, release), blocks, release),
        agent_group=str(manifest.agent),
        historical_p95_ms=historical_p95(_earlier(source, manifest)),
        policy=source.policy,
        rolled_back=was_rolled_back(state, release),
        unverified=state is not None and standing_of(state, release) is MixStanding.UNVERIFIED,
    )


def serves(state: RouteState | None, release: Digest) -> bool:
    """Whether a release takes traffic now: as stable, or as the candidate of a live rollout."""
    if state is None:
        return False
    rolling = state.rollout is not None and state.rollout.live and state.rollout.candidate.release == release
    return rolling or (state.stable is not None and state.stable.release == release)


def was_rolled_back(state: RouteState | None, release: Digest) -> bool:
    """Whether the release was rolled back on the route and does not serve again since."""
    if state is None or (state.stable is not None and state.stable.release == release):
        return False
    rollout = state.rollout
    ours = rollout is not None and rollout.candidate.release == release
    if ours and rollout is not None:
        return rollout.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    return release in state.blocked


def went_live(before: Iterable[SlaSnapshot], blocks: Iterable[Block], release: Digest) -> datetime | None:
    """When a release got its first request, by what is archived or the first block that has one; ``None``: never."""
    known = [one.start_ts for one in before if one.start_ts is not None]
    if known:
        return min(known)
    from_blocks = [
        block.t0
        for block in blocks
        if release in block.arms and block.arms[release].assigned and block.arms[release].role is not Role.SHADOW
    ]
    return datetime.fromtimestamp(min(from_blocks), tz=UTC) if from_blocks else None


def _earlier(source: SlaSource, manifest: Manifest) -> list[SlaSnapshot]:
    """The last snapshot of each of the releases before."""
    found = []
    for release in source.ledger.list_releases(manifest.agent):
        other = release.manifest
        if other.created_at >= manifest.created_at or other.release_digest == manifest.release_digest:
            continue
        kept = archived(source.ledger, other.release_digest)
        if kept:
            found.append(kept[-1])
        if len(found) == HISTORY:
            break
    return found


def as_evidence(taken: SlaSnapshot, manifest: Manifest, route: RouteId, *, at: datetime, produced_by: str) -> Evidence:
    """A snapshot as evidence about its release: PASS only when verified, nothing proved while it is watched."""
    return Evidence(
        kind=EVIDENCE_KIND,
        release=manifest.release_digest,
        verdict=_VERDICTS[taken.status],
        produced_by=produced_by,
        at=at,
        effective=manifest.effective.get(route.environment),
        environment=route.environment,
        figures={
            **taken.to_wire(),
            "requests": taken.requests,
            "failed": taken.failed,
            "unknown": taken.unknown,
            "observed_seconds": taken.seconds,
            "reason": taken.reason,
        },
    )


def archived(ledger: ReleaseStore, release: Digest) -> tuple[SlaSnapshot, ...]:
    """Snapshots of a release on record, oldest first."""
    found = (read_evidence(one) for one in ledger.list_evidence(release) if one.kind == EVIDENCE_KIND)
    return tuple(one for one in found if one is not None)


def read_evidence(evidence: Evidence) -> SlaSnapshot | None:
    """The snapshot in a piece of evidence; ``None`` when it holds none that can be read."""
    figures: Mapping[str, Any] = evidence.figures
    try:
        started, action = figures["start_ts"], figures["action"]
        return SlaSnapshot(
            version=str(figures["version"]),
            start_ts=None if started is None else datetime.fromisoformat(started),
            agent_group=str(figures["agent_group"]),
            success_rate=figures["success_rate"],
            p95_latency_ms=figures["p95_latency_ms"],
            error_trace_ratio=figures["error_trace_ratio"],
            callback_fail_rate=figures["callback_fail_rate"],
            status=SlaStatus(figures["status"]),
            action=None if action is None else SlaAction(action),
            requests=int(figures.get("requests", 0)),
            failed=int(figures.get("failed", 0)),
            unknown=int(figures.get("unknown", 0)),
            seconds=float(figures.get("observed_seconds", 0.0)),
            reason=str(figures.get("reason", "")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def due(taken: SlaSnapshot, kept: tuple[SlaSnapshot, ...], *, now: datetime, within: timedelta) -> bool:
    """Whether a snapshot is to be archived: its status changed, or the release was never archived and is old enough.

    Args:
        taken: As it is now.
        kept: On record, oldest first.
        now: When.
        within: The first snapshot is taken at the latest so long after the release went live.
    """
    if taken.start_ts is None:
        return False
    if kept:
        return (kept[-1].status, kept[-1].action) != (taken.status, taken.action)
    return taken.status is not SlaStatus.WATCHING or now - taken.start_ts >= within / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReport:
    """One month: the last snapshot of each release that was archived in it, oldest first."""

    month: str
    agent_group: AgentName
    snapshots: tuple[SlaSnapshot, ...]

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; the means are of releases whose figure is known, ``None`` when of none."""
        return {
            "month": self.month,
            "agent_group": self.agent_group,
            "releases": [one.to_wire() for one in self.snapshots],
            "statuses": {status.value: sum(one.status is status for one in self.snapshots) for status in SlaStatus},
            "requests": sum(one.requests for one in self.snapshots),
            "failed": sum(one.failed for one in self.snapshots),
            "success_rate": self._success_rate(),
        }

    def _success_rate(self) -> float | None:
        known = sum(one.requests - one.unknown for one in self.snapshots)
        return 1.0 - sum(one.failed for one in self.snapshots) / known if known > 0 else None


def monthly(ledger: ReleaseStore, agent: AgentName, month: str) -> MonthlyReport:
    """The report of a month (``2026-11``, UTC) over the releases of an agent.

    Raises:
        UserError: ``bad_month`` when it is no month.
    """
    first, after = _month(month)
    found = []
    for release in {one.manifest.release_digest: one for one in ledger.list_releases(agent)}.values():
        kept = [
            taken
            for one in ledger.list_evidence(release.manifest.release_digest)
            if one.kind == EVIDENCE_KIND and first <= one.at < after and (taken := read_evidence(one)) is not None
        ]
        if kept:
            found.append(kept[-1])
    ordered = sorted(found, key=lambda one: (one.start_ts is None, one.start_ts or first, one.version))
    return MonthlyReport(month=month, agent_group=agent, snapshots=tuple(ordered))


def _month(text: str) -> tuple[datetime, datetime]:
    try:
        if len(text) != 7:
            raise ValueError(text)
        first = datetime.fromisoformat(f"{text}-01T00:00:00+00:00")
    except ValueError as error:
        raise UserError(f"{text!r} is not a month", code="bad_month", hint="write for example 2026-11") from error
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first, after
