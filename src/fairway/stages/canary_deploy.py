"""The rollout through its steps: asked for once, followed to promotion or rollback."""

from __future__ import annotations

from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.rollout.refusals import INSTEAD
from fairway.rollout.requests import Answer, AnswerKind
from fairway.stages.config import RolloutStageSection
from fairway.stages.context import DeliveryContext
from fairway.stages.rollout_watch import RolloutWatcher, Standing, Watched, by_hand, find_manifest, rolled_back

_THROUGH = frozenset({Standing.PROMOTING, Standing.PROVING, Standing.SERVING})


class CanaryDeploy:
    """Passes when the release has gone through every step; fails with the evidence when it was rolled back."""

    id = "canary_deploy"
    title = "Canary"
    after = ("approval_gate",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """Never: what serves is read each time."""
        return None

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Ask for the rollout unless it is under way or over, and follow it."""
        settings = context.settings(RolloutStageSection)
        manifest = find_manifest(context)
        watcher = RolloutWatcher(context, manifest, context.project.route(settings.environment))
        standing = watcher.standing()
        if standing is Standing.SERVING:
            return StageOutcome(
                status=StageStatus.CACHED,
                summary=f"{manifest.release_version} serves already",
                details={"release": manifest.release_digest, "release_version": manifest.release_version},
            )
        if standing in (Standing.ABSENT, Standing.ROLLED_BACK):
            context.delivery.record_evidence()  # what staging showed, before production is asked
            context.progress(f"asking for a rollout of {manifest.release_version}")
            answer = await watcher.ask()
            if answer.kind is AnswerKind.REFUSED and answer.code not in ("already_rolling", "already_stable"):
                return _refused(answer)
        watched = await watcher.follow(_THROUGH, limit=settings.timeout, paused=settings.paused)
        if watched.standing in _THROUGH:
            return _through(manifest.release_version, watched, watcher)
        return rolled_back(watched)


def _through(version: str, watched: Watched, watcher: RolloutWatcher) -> StageOutcome:
    """Passed on evidence; what no gate has judged - past the gates, or not yet - is no pass, and does not read so."""
    overrides = watcher.overrides()
    past = next((one for one in overrides if one.whole), None)
    summary = f"{version} went through every step"
    if past is not None:
        summary = f"not judged: {past.actor} promoted {version} past its gates ({past.past}): {past.reason}"
    elif watcher.proved_in_soak():
        summary = f"not judged yet: {version} is compared with stable only after the switch, by production_deploy"
    judged = past is None and not watcher.proved_in_soak()
    status = StageStatus.PASSED if judged else StageStatus.SKIPPED
    return StageOutcome(status=status, summary=summary, details=watched.details, findings=by_hand(overrides))


def _refused(answer: Answer) -> StageOutcome:
    hints = {
        "release_refused": "fairway run, from its first stage; fairway release show says what it was cut with",
        "blocked": "fairway rollout lift-block, with a reason, or a new version",
        "rollout_live": "wait for it, or fairway rollout abort",
        "frozen": "fairway rollout status says who froze it, why and until when",
    }
    return StageOutcome(
        status=StageStatus.FAILED,
        summary=f"refused: {answer.message}",
        details={"code": answer.code, "hint": hints.get(answer.code) or INSTEAD.get(answer.code)},
    )
