"""Whole conversations with what was deployed: tagged cases of the suites, declared requests, or a short chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import httpx

from fairway.errors import FairwayError
from fairway.evals.running.options import RunOptions
from fairway.evals.running.plain_run import play_suites
from fairway.evals.subjects.arm import ArmSubject, HttpAgent
from fairway.evals.subjects.mapping import chat_mapping
from fairway.evals.suites.load import load_suites
from fairway.evals.trials import SubjectInfo
from fairway.evals.values import CaseOutcome, CaseResult, Suite
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.stages.config import E2eRequest, E2eTestSection
from fairway.stages.context import DeliveryContext
from fairway.stages.ready_service import ReadyService
from fairway.stages.stopwatch import Stopwatch, Timed
from fairway.units import Verdict

TAG = "e2e"
_SHORT_CHAT = ("Hello", "What can you help me with?")
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One request or conversation.

    Attributes:
        problem: Empty when it went as expected.
        broken: It could not be told whether it did.
    """

    name: str
    problem: str = ""
    broken: bool = False


class E2eTest:
    """Fails with what was expected and what came; nothing declared is skipped, and said."""

    id = "e2e_test"
    title = "End-to-end test"
    after = ("smoke_test",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Send what is declared."""
        settings = context.settings(E2eTestSection)
        suites = tagged_suites(context)
        chat = context.project.document.has(("service", "chat"))
        if not (settings.requests or suites or chat):
            return context.nothing_to_look_at(
                f"no requests in pipeline.stages.{self.id}, no case tagged {TAG}, no service.chat"
            )
        running = context.delivery.staging
        if running is None:
            return StageOutcome(status=StageStatus.ERROR, summary="nothing is deployed to staging")
        watch = Stopwatch(context.clock)
        checks = await _requests(context, running, settings, watch)
        if suites:
            checks += await _cases(context, running, suites, settings, watch)
        elif chat and not settings.requests:
            checks.append(await _short_chat(context, running, settings, watch))
        return _outcome(context, running, checks, watch)


def tagged_suites(context: DeliveryContext) -> tuple[Suite, ...]:
    """The cases of the examined suites that are tagged for the deployed service."""
    paths = [file.path for file in context.bundle.files]
    suites = load_suites(paths, context.bundle.read, context.project.evals.suites)
    tagged = (replace(suite, cases=tuple(case for case in suite.cases if TAG in case.tags)) for suite in suites)
    return tuple(suite for suite in tagged if suite.cases)


def _outcome(
    context: DeliveryContext, running: ReadyService, checks: Sequence[_Check], watch: Stopwatch
) -> StageOutcome:
    failed = [check for check in checks if check.problem and not check.broken]
    broken = [check for check in checks if check.broken]
    findings = tuple(
        Finding(severity="error", rule="e2e", message=f"{check.name}: {check.problem}") for check in (*failed, *broken)
    )
    figures = {"checks": len(checks), "failed": len(failed), "errors": len(broken), **watch.figures()}
    status, verdict = StageStatus.PASSED, Verdict.PASS
    summary = f"{len(checks)} of {len(checks)} as expected"
    if failed or broken:
        status, verdict = (StageStatus.FAILED, Verdict.FAIL) if failed else (StageStatus.ERROR, Verdict.ERROR)
        summary = f"{len(failed)} failed, {len(broken)} broken of {len(checks)}"
    return StageOutcome(
        status=status,
        summary=summary,
        details={**figures, "environment": running.environment},
        findings=findings,
        evidence=(
            context.found(
                verdict,
                figures=figures,
                environment=running.environment,
                effective=running.effective,
                instrument=True,
            ),
        ),
        artifacts={"service_log": running.log},
    )


async def _requests(
    context: DeliveryContext, running: ReadyService, settings: E2eTestSection, watch: Stopwatch
) -> list[_Check]:
    """Declared requests, in their order: one may build on another."""
    checks: list[_Check] = []
    async with httpx.AsyncClient(base_url=running.url, timeout=settings.timeout, trust_env=False) as client:
        for request in settings.requests:
            context.progress(f"{request.method} {request.path}")
            with watch.request():
                checks.append(await _request(client, request))
    return checks


async def _request(client: httpx.AsyncClient, request: E2eRequest) -> _Check:
    name = request.name or f"{request.method} {request.path}"
    try:
        answer = await client.request(
            request.method,
            request.path,
            json=request.body if request.body is not None else None,
            headers=dict(request.headers),
        )
    except httpx.HTTPError as error:
        return _Check(name=name, problem=f"no answer ({type(error).__name__})")
    if answer.status_code != request.expect.status:
        said = answer.text[:_SHOWN]
        return _Check(name=name, problem=f"answers {answer.status_code}, expected {request.expect.status}: {said}")
    missing = [text for text in request.expect.texts() if text not in answer.text]
    if missing:
        return _Check(name=name, problem=f"the answer does not contain {missing[0]!r}: {answer.text[:_SHOWN]}")
    return _Check(name=name)


async def _cases(
    context: DeliveryContext, running: ReadyService, suites: Sequence[Suite], settings: E2eTestSection, watch: Stopwatch
) -> list[_Check]:
    """Tagged cases, scored as in the evaluation but without a judge."""
    total = sum(len(suite.cases) for suite in suites)
    context.progress(f"playing {total} conversations")
    options = RunOptions(
        concurrency=context.project.evals.concurrency,
        case_timeout_seconds=settings.timeout,
        run_id=context.delivery.run_id,
    )
    mapping = chat_mapping(context.project.evals, path=running.service.chat)
    info = SubjectInfo(kind="arm", name=running.url, release=running.release, effective=running.effective)
    async with ArmSubject(running.url, mapping, info, timeout_seconds=settings.timeout) as subject:
        result = await play_suites(Timed(subject, watch), suites, options, clock=context.clock)
    return [_check_of(one) for one in result.details]


def _check_of(result: CaseResult) -> _Check:
    name = f"{result.suite}/{result.case_id}"
    if result.passed:
        return _Check(name=name)
    if result.outcome is CaseOutcome.FAILED:
        violations = "; ".join(violation.message for violation in result.violations)
        return _Check(name=name, problem=violations or "failed")
    return _Check(name=name, problem=result.undecided or result.outcome.value, broken=True)


async def _short_chat(
    context: DeliveryContext, running: ReadyService, settings: E2eTestSection, watch: Stopwatch
) -> _Check:
    """Two turns on one thread that must each be answered."""
    context.progress("a short conversation")
    thread = f"e2e-{context.delivery.run_id}"
    mapping = chat_mapping(context.project.evals, path=running.service.chat)
    try:
        async with HttpAgent(running.url, mapping, clock=context.clock, timeout_seconds=settings.timeout) as agent:
            for message in _SHORT_CHAT:
                with watch.request():
                    reply = await agent.ask(message, thread=thread)
                if not reply.text.strip():
                    return _Check(name="short chat", problem=f"no answer to {message!r}")
    except FairwayError as error:
        return _Check(name="short chat", problem=error.message)
    return _Check(name="short chat")
