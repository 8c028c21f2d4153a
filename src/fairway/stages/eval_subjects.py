"""Who an evaluation asks and who measures: a started agent as a subject, judges, scripts, webhooks and embeddings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from fairway.clock import Clock
from fairway.costs.prices import price_table
from fairway.evals.assertions.check import needs_measuring
from fairway.evals.assertions.embeddings import Similarity, is_similarity
from fairway.evals.assertions.measuring import Measurers
from fairway.evals.assertions.scripts import Scripts
from fairway.evals.assertions.webhooks import Webhooks
from fairway.evals.config import EvalsSection
from fairway.evals.judges.judge import JudgePanel
from fairway.evals.judges.kept import AnswerCache
from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.running.spend import Pricing, SpendCap
from fairway.evals.subjects.arm import ArmSubject, chat_mapping
from fairway.evals.trials import JudgeHealth, Measuring, Subject, SubjectInfo
from fairway.evals.values import Assertion, Suite
from fairway.http_client.client import HttpClient
from fairway.stages.eval_embeddings import similarity_by
from fairway.stages.examining import Examination
from fairway.stages.judge_panel import JudgePlan, seat_judges, try_judges
from fairway.stages.ready_service import ReadyService
from fairway.state_dir import StateDir


async def agent_subject(served: ReadyService, evals: EvalsSection, stack: AsyncExitStack, *, version: str) -> Subject:
    """A started agent, to be asked.

    Its answers are kept in no cache: what is known by its digests is asked again, and adds to what is known.

    Args:
        served: The agent.
        evals: How it is talked to, by the project it was started from.
        stack: Closes the connections.
        version: As reports show it.
    """
    info = SubjectInfo(
        kind="arm",
        name=f"{version} in {served.environment}",
        release=served.release,
        effective=served.effective,
    )
    mapping = chat_mapping(evals, path=served.service.chat)
    return await stack.enter_async_context(ArmSubject(served.url, mapping, info, timeout_seconds=evals.timeout))


def case_seconds(evals: EvalsSection, suites: Sequence[Suite]) -> float:
    """Longest time of one run of a case: each turn's, and two attempts of the judge each time it is asked.

    Args:
        evals: The limits of one turn, and of one judgement.
        suites: What is played; the longest conversation and the most judgements of a case set the limit.
    """
    cases = [case for suite in suites for case in suite.cases]
    turns = max((len(case.turns) for case in cases), default=1)
    judge = evals.judge
    if judge is None or not judge.enabled:
        return evals.timeout * turns
    judged = max((sum(map(is_judged, case.checks)) for case in cases), default=1)
    return evals.timeout * turns + 2 * judge.timeout * judge.repeats * max(1, judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBy:
    """Who measures.

    Attributes:
        measuring: ``None``: no assertion needs it.
        health: Tries the judges on their calibration set; ``None``: there is none.
        prices: Of the project's models.
    """

    measuring: Measuring | None
    health: Callable[[], Awaitable[JudgeHealth | None]] | None
    prices: Pricing


async def measuring_of(
    examined: Examination,
    suites: Sequence[Suite],
    stack: AsyncExitStack,
    *,
    clock: Clock,
    state: StateDir,
    spend: SpendCap | None,
    mock_url: str | None,
    folder: Path,
    cache: AnswerCache | None = None,
) -> MeasuredBy:
    """Who measures the assertions of some suites; without rubrics no judge is asked for its key.

    Args:
        examined: The project, and its judges.
        suites: What is played.
        stack: Closes the connections.
        clock: Time.
        state: Where the secret of the judges' nonces is kept.
        spend: The run's cap; judges count.
        mock_url: ``…/v1`` of the mock model server, when one runs.
        folder: Where scripts of assertions are looked for, and run.
        cache: Grades by question; ``None``: each is asked for.

    Raises:
        UserError: A judge's or the embedding model's key cannot be resolved, or its provider has no address.
    """
    prices = price_table(examined.project.models, examined.project.costs.prices)
    wanted = [one for suite in suites for case in suite.cases for one in case.checks if needs_measuring(one)]
    if not wanted:
        return MeasuredBy(measuring=None, health=None, prices=prices)
    panel: JudgePanel | None = None
    judges = examined.judges
    if judges is not None and any(map(is_judged, wanted)):
        panel = await seat_judges(
            judges,
            stack,
            clock=clock,
            state=state,
            prices=prices,
            mock_url=mock_url,
            concurrency=examined.evals.concurrency,
            spend=spend,
            cache=cache,
        )
    http = HttpClient(proxies=True)
    stack.push_async_callback(http.aclose)
    similarity: Similarity | None = None
    if examined.embeddings is not None and any(map(is_similarity, wanted)):
        similarity = similarity_by(
            examined.embeddings,
            http,
            clock=clock,
            prices=prices,
            concurrency=examined.evals.concurrency,
            spend=spend,
        )
    measuring = Measurers(judge=panel, scripts=Scripts(folder), webhooks=Webhooks(http), similarity=similarity)
    health = None if panel is None or judges is None else _health(judges, panel)
    return MeasuredBy(measuring=measuring, health=health, prices=prices)


def is_judged(assertion: Assertion) -> bool:
    """Whether a judge has a say in it."""
    return assertion.type in JUDGE_KINDS or any(map(is_judged, assertion.members))


def _health(judges: JudgePlan, panel: JudgePanel) -> Callable[[], Awaitable[JudgeHealth | None]]:
    async def tried() -> JudgeHealth | None:
        found = await try_judges(judges, panel)
        return None if found is None else found.health

    return tried
