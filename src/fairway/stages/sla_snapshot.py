"""What the release did since it went live; no traffic yet is *watching*, not a pass."""

from __future__ import annotations

import json

from fairway import __version__
from fairway.incident.sla_records import SlaSource, as_evidence, take_snapshot
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.stages.config import SlaSnapshotSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import find_manifest
from fairway.verdict.sla import SlaSnapshot as Snapshot
from fairway.verdict.sla import SlaStatus

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
        source = SlaSource(ledger=context.ledger, route=route, policy=context.project.sla.policy())
        now = context.clock.now()
        found = take_snapshot(source, manifest, now=now)
        if found.start_ts is not None:  # kept beside what the stage says: whatever becomes of the run
            made = as_evidence(found, manifest, route, at=now, produced_by=f"fairway {__version__}")
            context.ledger.add_evidence([made])
        report = context.workdir / "sla-snapshot.json"
        report.write_text(json.dumps(found.to_wire(), indent=2) + "\n", encoding="utf-8")
        return StageOutcome(
            status=_STATUS[found.status],
            summary=_summary(found),
            details={**found.to_wire(), "requests": found.requests, "observed_seconds": found.seconds},
            artifacts={"sla_snapshot": report},
        )


def _summary(found: Snapshot) -> str:
    if found.success_rate is None:
        return f"{found.status.value}: {found.reason}" if found.requests else f"{found.status.value}: no traffic yet"
    p95 = "unknown" if found.p95_latency_ms is None else f"{found.p95_latency_ms:.0f} ms"
    return f"{found.status.value}: {found.requests} requests, {found.success_rate * 100:.2f}% good, P95 {p95}"
