"""What the release did since it went live; no traffic yet is *watching*, not a pass."""

from __future__ import annotations

import json

from fairway.observe.fold import Block
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.rollout.values import RouteState
from fairway.rollout.wire import state_from_wire
from fairway.stages.config import SlaSnapshotSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import find_manifest
from fairway.verdict.sla import SlaSnapshot as Snapshot
from fairway.verdict.sla import SlaStatus, snapshot

_STATUS = {
    SlaStatus.VERIFIED: StageStatus.PASSED,
    SlaStatus.WATCHING: StageStatus.SKIPPED,
    SlaStatus.BLOCKED: StageStatus.FAILED,
    SlaStatus.ROLLBACKED: StageStatus.FAILED,
    SlaStatus.MANUAL_REVIEW: StageStatus.FAILED,
}


class SlaSnapshot:
    """Writes the snapshot as an artifact; watching is shown as skipped, for nothing is proved yet."""

    id = "sla_snapshot"
    title = "SLA snapshot"
    after = ("production_deploy",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """Never: traffic goes on."""
        return None

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Fold the ledger's blocks of the release."""
        manifest = find_manifest(context)
        route = context.project.route(context.settings(SlaSnapshotSection).environment)
        head = context.ledger.head(route)
        state = None if head.state is None else state_from_wire(head.state)
        began = state.rollout.started_at if state is not None and _is_of(state, context) else context.clock.now()  # type: ignore[union-attr]
        blocks = [Block.from_wire(wire) for wire in context.ledger.blocks(route, since=began.timestamp() - 60.0)]
        found = snapshot(
            blocks,
            manifest.release_digest,
            version=manifest.release_version,
            start_ts=began,
            agent_group=context.project.name,
        )
        report = context.workdir / "sla-snapshot.json"
        report.write_text(json.dumps(found.to_wire(), indent=2) + "\n", encoding="utf-8")
        return StageOutcome(
            status=_STATUS[found.status],
            summary=_summary(found),
            details={**found.to_wire(), "requests": found.requests, "observed_seconds": found.seconds},
            artifacts={"sla_snapshot": report},
        )


def _is_of(state: RouteState, context: DeliveryContext) -> bool:
    return state.rollout is not None and state.rollout.candidate.release == context.release


def _summary(found: Snapshot) -> str:
    if found.success_rate is None:
        return f"{found.status.value}: no traffic measured yet"
    p95 = "unknown" if found.p95_latency_ms is None else f"{found.p95_latency_ms:.0f} ms"
    return f"{found.status.value}: {found.requests} requests, {found.success_rate * 100:.2f}% good, P95 {p95}"
