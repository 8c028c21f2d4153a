"""A stage of one's own: a command whose exit code is the verdict."""

from __future__ import annotations

from fairway.pipeline.config import UserStageSection
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.stages.context import DeliveryContext
from fairway.stages.process import run_command
from fairway.units import Verdict, format_duration


class CommandStage:
    """Runs a command in a folder with the examined files; 0 is passed, anything else failed.

    It finds ``FAIRWAY_RELEASE`` and ``FAIRWAY_WORKDIR`` (kept with the run) in its environment, and
    ``FAIRWAY_STAGING_URL`` when it comes after ``deploy_staging``.
    """

    def __init__(self, stage: str, section: UserStageSection) -> None:
        self._section = section
        self.id = stage
        self.title = section.title or stage
        self.after = section.after

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Run it to its end, or to its time limit."""
        section = self._section
        variables = {
            **section.environment,
            "FAIRWAY_RELEASE": context.release,
            "FAIRWAY_WORKDIR": str(context.workdir),
        }
        if context.delivery.staging is not None:
            variables["FAIRWAY_STAGING_URL"] = context.delivery.staging.url
        command = tuple(section.command)
        context.progress(f"running {' '.join(command)}")
        ended = await run_command(
            command,
            cwd=await context.tree(),
            environment=context.environment(**variables),
            output=context.log,
            limit=section.timeout,
        )
        if ended.code is None:
            limit = format_duration(section.timeout)
            return StageOutcome(
                status=StageStatus.ERROR,
                summary=f"did not end within {limit}",
                details={"last_words": ended.last_words()},
            )
        passed = ended.code == 0
        words = ended.last_words(1).strip()
        return StageOutcome(
            status=StageStatus.PASSED if passed else StageStatus.FAILED,
            summary=words[:200] or f"exit code {ended.code}" if passed else f"exit code {ended.code}: {words[:200]}",
            details={"exit_code": ended.code, "last_words": ended.last_words()},
            evidence=(context.found(Verdict.PASS if passed else Verdict.FAIL, figures={"exit_code": ended.code}),),
        )
