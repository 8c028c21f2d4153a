"""Whether what was deployed answers, and is what was deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fairway.errors import FairwayError
from fairway.evals.subjects.arm import HttpAgent, chat_mapping
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.release.values import Evidence
from fairway.stages.config import SmokeTestSection
from fairway.stages.context import DeliveryContext
from fairway.stages.ready_service import ReadyService
from fairway.stages.smoke_cases import CasesFound, play, smoke_suites
from fairway.targets.local.probe import Answer, ProbeError, fetch
from fairway.units import Verdict, short

_PROBE_SECONDS = 2.0
_CHAT_SECONDS = 60.0


class SmokeTest:
    """Asks for health until it is healthy, reads the digest back, says one thing to an agent, plays its smoke cases."""

    id = "smoke_test"
    title = "Smoke test"
    after = ("deploy_staging",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Try until healthy, at most as often as configured."""
        settings = context.settings(SmokeTestSection)
        running = context.delivery.staging
        if running is None:
            return StageOutcome(status=StageStatus.ERROR, summary="nothing is deployed to staging")
        tries, problem = await _until_healthy(context, running, settings)
        if problem is not None:
            words = {"log": str(running.log), "url": running.url}
            return _failed(context, running, f"not healthy after {tries} tries: {problem}", words)
        ready = await _ask(running, running.service.ready)
        problem = _wrong_release(ready, running)
        if problem is not None:
            return _failed(context, running, problem, {"tries": tries})
        chat = settings.chat if settings.chat is not None else context.project.document.has(("service", "chat"))
        if chat:
            context.progress("saying one thing to it")
            problem = await _chat(context, running)
            if problem is not None:
                return _failed(context, running, problem, {"tries": tries})
        played = await _cases(context, running)
        if played.verdict is Verdict.FAIL:
            return _failed(context, running, played.text, {"tries": tries})
        if played.verdict is Verdict.ERROR:
            return StageOutcome(status=StageStatus.ERROR, summary=played.text, details={"tries": tries})
        said = " and answered a message" if chat else ""
        said += f"; {played.text}" if played.cases else ""
        figures: dict[str, object] = {"tries": tries, "attested_by": running.attested_by, "chat": chat}
        figures |= {"cases": played.cases} if played.cases else {}
        return StageOutcome(
            status=StageStatus.PASSED,
            summary=f"healthy{said}, serves {short(running.release)} (attested by {running.attested_by})",
            details=figures,
            evidence=(_evidence(context, running, Verdict.PASS, figures),),
        )


async def _cases(context: DeliveryContext, running: ReadyService) -> CasesFound:
    """The cases of the examined suites that are tagged for it."""
    bundle, project = context.bundle, context.project
    suites = smoke_suites([file.path for file in bundle.files], bundle.read, project.evals.suites)
    if suites:
        context.progress("playing the smoke cases")
    run_id = f"smoke-{context.delivery.run_id}"
    return await play(running.url, project, suites, clock=context.clock, seconds=_CHAT_SECONDS, run_id=run_id)


def _failed(
    context: DeliveryContext, running: ReadyService, summary: str, details: Mapping[str, object]
) -> StageOutcome:
    return StageOutcome(
        status=StageStatus.FAILED,
        summary=summary,
        details=details,
        evidence=(_evidence(context, running, Verdict.FAIL, {"problem": summary}),),
    )


def _evidence(
    context: DeliveryContext, running: ReadyService, verdict: Verdict, figures: Mapping[str, object]
) -> Evidence:
    return context.found(verdict, figures=figures, environment=running.environment, effective=running.effective)


async def _until_healthy(
    context: DeliveryContext, running: ReadyService, settings: SmokeTestSection
) -> tuple[int, str | None]:
    """How many tries it took, and what is wrong when it never was healthy."""
    problem: str | None = None
    for attempt in range(1, settings.tries + 1):
        answer = await _ask(running, running.service.health)
        if isinstance(answer, Answer) and answer.status == 200:
            return attempt, None
        problem = answer if isinstance(answer, str) else f"{running.service.health} answers {answer.status}"
        if not running.served.running():
            return attempt, f"the service ended ({problem})"
        context.progress(f"try {attempt}: {problem}")
        await context.clock.sleep(settings.interval)
    return settings.tries, problem


async def _ask(running: ReadyService, path: str) -> Answer | str:
    try:
        return await fetch(running.served.host, running.served.port, path, timeout=_PROBE_SECONDS)
    except ProbeError as error:
        return str(error)


def _wrong_release(ready: Answer | str, running: ReadyService) -> str | None:
    """Why what answers is not what was deployed; a service that does not report its release is taken at our word."""
    if isinstance(ready, str) or ready.status != 200:
        return f"healthy but not ready: {ready if isinstance(ready, str) else ready.status}"
    try:
        said = json.loads(ready.body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    for name, wanted in (("release", running.release), ("effective", running.effective)):
        if name in said and said[name] != wanted:
            return f"it says it serves {name} {short(str(said[name]))}, deployed was {short(wanted)}"
    return None


async def _chat(context: DeliveryContext, running: ReadyService) -> str | None:
    mapping = chat_mapping(context.project.evals, path=running.service.chat)
    try:
        async with HttpAgent(running.url, mapping, clock=context.clock, timeout_seconds=_CHAT_SECONDS) as agent:
            reply = await agent.ask("Hello", thread=f"smoke-{context.delivery.run_id}")
    except FairwayError as error:
        return f"{running.service.chat}: {error.message}"
    return None if reply.text.strip() else f"{running.service.chat}: it answered nothing"
