"""Whether people have said yes to exactly this release, in exactly this configuration, under exactly this policy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.project.load import Project
from fairway.release.values import Manifest
from fairway.rollout.approvals import Asked, Subject, asked
from fairway.rollout.choose import POSSIBLE
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Plan, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.stages.config import ApprovalGateSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import Standing, find_manifest, standing_of
from fairway.units import Digest, short


class ApprovalGate:
    """Fails, with how to approve, when a quorum is required and not met. Nothing is deployed by it."""

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
        plans = possible_plans(project, environment)
        if not any(plan.approval for plan in plans):
            later = any(step.approval for plan in plans for step in plan.steps)
            summary = "not required before the first exposure; the rollout asks later" if later else "not required"
            return StageOutcome(status=StageStatus.PASSED, summary=summary, details={"required": False})
        manifest = find_manifest(context)
        route = project.route(environment)
        head = context.ledger.head(route)
        state = None if head.state is None else state_from_wire(head.state)
        if standing_of(state, manifest.release_digest) in (Standing.PROVING, Standing.SERVING):
            return StageOutcome(status=StageStatus.CACHED, summary="it serves already", details={"required": True})
        effective = manifest.effective.get(route.environment, Digest(""))
        found = best(standing_before_exposure(state, manifest, effective, plan, context.clock.now()) for plan in plans)
        details = {"required": True, "needed": found.needed, "approved_by": list(found.given)}
        if found.met:
            summary = f"approved by {', '.join(found.given)}"
            return StageOutcome(status=StageStatus.PASSED, summary=summary, details=details)
        return StageOutcome(
            status=StageStatus.FAILED,
            summary=_missing(found, manifest),
            details={
                **details,
                "code": "approval_missing",
                "hint": f"somebody who did not write it says: fairway rollout approve {manifest.release_version}; "
                f"then: fairway run --resume {context.delivery.run_id}",
            },
        )


def _missing(found: Asked, manifest: Manifest) -> str:
    named = f"{manifest.release_version} ({short(manifest.release_digest)})"
    if not found.given and found.needed == 1:
        return f"nobody has approved {named}"
    given = f", by {', '.join(found.given)}" if found.given else ""
    return f"{len(found.given)} of {found.needed} approvals of {named}{given}"


def possible_plans(project: Project, environment: str) -> tuple[Plan, ...]:
    """The plan of the project, or under ``auto`` each it may choose: which one, only the controller knows in time."""
    asks = project.approval_required(environment)
    replicas = project.environment(environment).replicas
    if project.rollout.strategy != "auto":
        return (compile_plan(project.rollout, replicas=replicas, approval=asks),)
    return tuple(
        compile_plan(project.rollout, replicas=replicas, approval=asks, choice=choice)
        for choice in POSSIBLE
        if asks or not choice.approval  # what only one choice asks for is asked by the rollout that made it
    )


def standing_before_exposure(
    state: RouteState | None, manifest: Manifest, effective: Digest, plan: Plan, now: datetime
) -> Asked:
    """Pure: who approved exactly this; an approval of anything else does not count, nor one that was used or expired.

    Args:
        state: Of the route; ``None``: nothing has ever happened there.
        manifest: What is to be deployed, and who wrote it.
        effective: In which configuration.
        plan: Under which policy.
        now: Decides what has expired.
    """
    rollout = None if state is None else state.rollout
    ours = rollout is not None and rollout.live and rollout.candidate.release == manifest.release_digest
    subject = Subject(
        release=manifest.release_digest,
        effective=effective,
        policy_digest=plan.policy_digest,
        quorum=plan.quorum,
        authors=(*manifest.authors, manifest.publisher),
        rollout=rollout.id if ours and rollout is not None else None,
    )
    return asked(() if state is None else state.approvals, subject, step=None, now=now)


def best(found: Iterable[Asked]) -> Asked:
    """The quorum that is furthest: met if any is."""
    return max(found, key=lambda one: len(one.given) - one.needed)
