"""Whether a person has said yes to exactly this release, in exactly this configuration, under exactly this policy."""

from __future__ import annotations

from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import RouteState
from fairway.rollout.wire import state_from_wire
from fairway.stages.config import ApprovalGateSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import Standing, find_manifest, standing_of
from fairway.units import Digest, short


class ApprovalGate:
    """Fails, with how to approve, when an approval is required and none counts. Nothing is deployed by it."""

    id = "approval_gate"
    title = "Approval"
    after = ("e2e_test",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """Never: an approval may be given or revoked at any time."""
        return None

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Read the ledger."""
        environment = context.settings(ApprovalGateSection).environment
        project = context.project
        if not project.approval_required(environment):
            return StageOutcome(status=StageStatus.PASSED, summary="not required", details={"required": False})
        manifest = find_manifest(context)
        route = project.route(environment)
        plan = compile_plan(project.rollout, replicas=project.environment(environment).replicas, approval=True)
        head = context.ledger.head(route)
        state = None if head.state is None else state_from_wire(head.state)
        if standing_of(state, manifest.release_digest) is Standing.SERVING:
            return StageOutcome(status=StageStatus.CACHED, summary="it serves already", details={"required": True})
        effective = manifest.effective.get(route.environment, Digest(""))
        given = approvers(state, release=manifest.release_digest, effective=effective, policy_digest=plan.policy_digest)
        if given:
            names = ", ".join(given)
            return StageOutcome(
                status=StageStatus.PASSED,
                summary=f"approved by {names}",
                details={"required": True, "approved_by": list(given)},
            )
        return StageOutcome(
            status=StageStatus.FAILED,
            summary=f"nobody has approved {manifest.release_version} ({short(manifest.release_digest)})",
            details={
                "required": True,
                "code": "approval_missing",
                "hint": f"somebody who did not write it says: fairway rollout approve {manifest.release_version}; "
                f"then: fairway run --resume {context.delivery.run_id}",
            },
        )


def approvers(
    state: RouteState | None, *, release: Digest, effective: Digest, policy_digest: Digest
) -> tuple[str, ...]:
    """Pure: who approved exactly this; an approval of anything else does not count.

    Args:
        state: Of the route; ``None``: nothing has ever happened there.
        release: What is to be deployed.
        effective: In which configuration.
        policy_digest: Under which plan.
    """
    if state is None:
        return ()
    wanted = (release, effective, policy_digest)
    return tuple(a.actor for a in state.approvals if (a.release, a.effective, a.policy_digest) == wanted)
