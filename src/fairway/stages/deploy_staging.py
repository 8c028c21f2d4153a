"""The release running as it would in staging, for as long as the run needs it."""

from __future__ import annotations

from fairway.ledger.records import DeploymentRecord, DeploymentStatus
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.release.materialise import verify_release
from fairway.release.trust import trusted_keys
from fairway.stages.config import DeployStagingSection
from fairway.stages.context import DeliveryContext
from fairway.stages.ready_service import ReadyService
from fairway.stages.serving import serving
from fairway.units import Verdict


class DeployStaging:
    """Starts a fresh process of what is examined; it ends with the run, also when that is cancelled.

    A release is verified first: signature, and every file against the digest that was signed.
    """

    id = "deploy_staging"
    title = "Deploy to staging"
    after = ("build_image",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Start it and wait until it is ready."""
        environment = context.settings(DeployStagingSection).environment
        packaged = context.delivery.packaged
        if packaged is not None:
            verify_release(packaged, context.store, trusted_keys(context.state.keys))
        began = context.clock.now()
        running = await context.delivery.hold(serving(context, environment))
        context.delivery.staging = running
        if packaged is not None:
            context.ledger.record_deployment(
                DeploymentRecord(
                    id=f"{context.delivery.run_id}-{environment}",
                    agent=context.project.name,
                    environment=running.environment,
                    namespace=environment,
                    release=packaged.manifest.release_digest,
                    image_tag=packaged.manifest.release_version,
                    status=DeploymentStatus.SUCCEEDED,
                    operator=context.delivery.actor,
                    started_at=began,
                    ended_at=context.clock.now(),
                    figures={"ready_seconds": round(running.ready_after, 3), "ephemeral": True},
                )
            )
        return _outcome(context, running)


def _outcome(context: DeliveryContext, running: ReadyService) -> StageOutcome:
    figures = {"attested_by": running.attested_by, "ready_seconds": round(running.ready_after, 3)}
    mock = ", with the mock model" if running.mock_llm_url else ""
    return StageOutcome(
        status=StageStatus.PASSED,
        summary=f"ready after {running.ready_after:.1f}s as in {running.environment}{mock}",
        details={
            "environment": running.environment,
            "release": running.release,
            "effective": running.effective,
            **figures,
        },
        evidence=(
            context.found(Verdict.PASS, figures=figures, environment=running.environment, effective=running.effective),
        ),
        artifacts={"service_log": running.log},
    )
