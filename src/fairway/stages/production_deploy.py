"""The release at 100 % of production, confirmed by every gateway."""

from __future__ import annotations

from fairway.ledger.records import DeploymentRecord, DeploymentStatus
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.stages.config import RolloutStageSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import RolloutWatcher, Standing, find_manifest, rolled_back
from fairway.units import format_duration


class ProductionDeploy:
    """Follows the promotion to its end; says so at once when the release serves already.

    Where nothing compared the release before the switch, its end is that of the soak, which does.
    """

    id = "production_deploy"
    title = "Production"
    after = ("canary_deploy",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """Never: what serves is read each time."""
        return None

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Wait until all traffic is on it."""
        settings = context.settings(RolloutStageSection)
        manifest = find_manifest(context)
        route = context.project.route(settings.environment)
        watcher = RolloutWatcher(context, manifest, route)
        canary = context.delivery.results.get("canary_deploy")
        already = watcher.standing() is Standing.SERVING
        details = {"release": manifest.release_digest, "release_version": manifest.release_version}
        if already and (canary is None or canary.status is StageStatus.CACHED):
            return StageOutcome(
                status=StageStatus.CACHED, summary=f"{manifest.release_version} serves already", details=details
            )
        began = context.clock.now()
        watched = await watcher.follow(frozenset({Standing.SERVING}), limit=settings.timeout, paused=settings.paused)
        serves = watched.standing is Standing.SERVING
        context.ledger.record_deployment(
            DeploymentRecord(
                id=f"{context.delivery.run_id}-{settings.environment}",
                agent=context.project.name,
                environment=route.environment,
                namespace=settings.environment,
                release=manifest.release_digest,
                image_tag=manifest.release_version,
                status=DeploymentStatus.SUCCEEDED if serves else DeploymentStatus.ROLLED_BACK,
                operator=context.delivery.actor,
                started_at=began,
                ended_at=context.clock.now(),
            )
        )
        if not serves:
            return rolled_back(watched)
        serving = f"{manifest.release_version} serves 100% of {settings.environment}"
        return StageOutcome(
            status=StageStatus.PASSED,
            summary=f"{serving}{_by_hand(watcher)}{_soak(watcher)}",
            details={**details, **watched.details},
        )


def _soak(watcher: RolloutWatcher) -> str:
    """What is still to come."""
    seconds = watcher.soak()
    return f"; it soaks for {format_duration(seconds)}, and goes back if that fails" if seconds else ""


def _by_hand(watcher: RolloutWatcher) -> str:
    """Who took it there past its gates, so that it does not read like a pass; empty when evidence did."""
    past = next((one for one in watcher.overrides() if one.whole), None)
    return "" if past is None else f", promoted past its gates by {past.actor}"
