"""Measures the judges' assertions: asks each model of the panel, reads strictly, and counts the votes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from fairway.errors import PermanentError, TransientError
from fairway.evals.judges.answer import ClaimVerdict, Graded, Invalid, completion_problem, read_claims, read_grade
from fairway.evals.judges.kept import AnswerCache, answer_key, answer_to_keep, kept_answer
from fairway.evals.judges.kinds import JUDGE_KINDS, Form, JudgeKind
from fairway.evals.judges.nonces import Nonces
from fairway.evals.judges.question import (
    JudgeQuestion,
    claims_question,
    grade_question,
    pair_question,
    passages_of,
)
from fairway.evals.judges.settings import JudgeSettings
from fairway.evals.judges.threshold import threshold_of
from fairway.evals.judges.voting import Tally, Vote, tally
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, AssertionResult, Found
from fairway.llm.values import Completion, CompletionRequest, ModelClient

_ATTEMPTS = 2
_NO_PASSAGES = "the agent does not say which passages it answered from, and the case declares none"
_NO_CLAIMS = "the text makes no claim"
_NO_CLAIMS_SCORE = {"pass": 1.0, "fail": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMember:
    """One model of a panel.

    Attributes:
        model: As `JudgeSettings.models` names it.
        client: Who asks it; a spend cap or a cache stands inside.
        cost_micros: What an answer cost, in millionths of a US dollar, ``None``: not known. Without it no cost is.
        identity: Whom it asks, as JSON: with the request, all an answer depends on. ``None``: not known, and then no
            answer is taken from a cache.
    """

    model: str
    client: ModelClient
    cost_micros: Callable[[Completion], int | None] | None = None
    identity: Mapping[str, Any] | None = None

    def cost_of(self, completion: Completion) -> int | None:
        """What an answer cost; ``None``: not known."""
        return self.cost_micros(completion) if self.cost_micros is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What each member is to do: one question, or a pair's in both orders."""

    kind: JudgeKind
    assertion: Assertion
    questions: tuple[JudgeQuestion, ...]


class JudgePanel:
    """`Measuring` for the kinds of `JUDGE_KINDS`; ``not-`` is applied here."""

    def __init__(
        self,
        members: Sequence[JudgeMember],
        settings: JudgeSettings,
        *,
        nonces: Nonces,
        cache: AnswerCache | None = None,
    ) -> None:
        """Seat a panel.

        Args:
            members: One for each of ``settings.models``, in any order.
            settings: How they grade.
            nonces: What delimiters and ids are made of.
            cache: Valid grades by question; one that is invalid is asked for again in the next run. ``None``: none.

        Raises:
            ValueError: The members are not the models of the settings.
        """
        by_model = {member.model: member for member in members}
        if len(by_model) != len(members) or set(by_model) != set(settings.models):
            raise ValueError("a panel has one member for each model of its settings")
        self._members = tuple(by_model[model] for model in settings.models)
        self._nonces = nonces
        self._cache = cache
        self.settings = settings

    def uncached(self) -> JudgePanel:
        """The same panel without its cache: a grade kept from before says nothing about the judge of today."""
        return JudgePanel(self._members, self.settings, nonces=self._nonces)

    async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
        """What the panel says; trouble of a model is a result, ``error`` or ``invalid``.

        Args:
            assertion: Of a kind of `JUDGE_KINDS`.
            observed: What it is about.
            repeat: Which repeat of the case; the same text in another repeat is another question.

        Raises:
            KeyError: It is of no such kind.
            FairwayError: What is no trouble of a model: no room below the spend cap, a price nobody knows.
        """
        task = self._task(assertion, observed)
        if task is None:
            return _unasked(assertion, Found.UNKNOWN, _NO_PASSAGES)
        threshold = threshold_of(assertion, self.settings)
        scores = task.questions[0].scale.values()
        if scores and min(scores) >= threshold:
            message = f"every grade of its scale reaches {threshold:g}, so that nothing could fail"
            return _unasked(assertion, Found.ERROR, message)
        votes = await self._votes(task, repeat)
        counted = tally(votes, rule=self.settings.rule, threshold=threshold, negated=assertion.negated)
        return _result(assertion, votes, counted, threshold)

    def _task(self, assertion: Assertion, observed: Observed) -> _Task | None:
        """What to ask; ``None``: passages are asked for, and there are none."""
        kind = JUDGE_KINDS[assertion.type]
        match kind.form:
            case Form.GRADE:
                questions = [grade_question(kind, assertion, observed, self.settings)]
            case Form.CLAIMS:
                passages = passages_of(kind, assertion, observed)
                if passages is None:
                    return None
                questions = [claims_question(kind, assertion, observed, self.settings, passages=passages)]
            case Form.PAIR:
                own, reference = observed.text, str(assertion.value)
                questions = [
                    pair_question(kind, assertion, observed, self.settings, first=first, second=second)
                    for first, second in ((own, reference), (reference, own))
                ]
            case _:  # pragma: no cover
                assert_never(kind.form)
        return _Task(kind=kind, assertion=assertion, questions=tuple(questions))

    async def _votes(self, task: _Task, repeat: int) -> list[Vote]:
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._vote(member, task, repeat, number))
                    for member in self._members
                    for number in range(self.settings.repeats)
                ]
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return [one.result() for one in asked]

    async def _vote(self, member: JudgeMember, task: _Task, repeat: int, number: int) -> Vote:
        votes = [
            await self._ask(member, task, question, (repeat, number, order))
            for order, question in enumerate(task.questions)
        ]
        return votes[0] if task.kind.form is not Form.PAIR else _paired(votes[0], votes[1])

    async def _ask(
        self, member: JudgeMember, task: _Task, question: JudgeQuestion, repeat: tuple[int, int, int]
    ) -> Vote:
        """One question; an answer that is invalid is asked for once more, under another nonce."""
        vote = Vote(model=member.model, repeat=repeat[1])
        problem = ""
        for attempt in range(_ATTEMPTS):
            request, answer_id = question.with_nonces(self._nonces, member.model, (*repeat, attempt))
            kept = self._kept(member, request)
            found = _read(task, question, kept, answer_id) if kept is not None else None
            if isinstance(found, Graded):
                return replace(vote, grade=replace(found, attempts=attempt + 1))
            try:
                completion = await member.client.complete(request)
            except (TransientError, PermanentError) as error:
                return replace(vote, missing=Found.ERROR, problem=error.message)
            vote = replace(vote, calls=vote.calls + 1, cost_micros=_sum(vote.cost_micros, member.cost_of(completion)))
            found = _read(task, question, completion, answer_id)
            if isinstance(found, Graded):
                self._keep(member, request, completion)
                return replace(vote, grade=replace(found, attempts=attempt + 1))
            if found is None:
                return replace(vote, missing=Found.UNKNOWN, problem=_NO_CLAIMS)
            problem = found.problem
        return replace(vote, missing=Found.INVALID, problem=problem)

    def _kept(self, member: JudgeMember, request: CompletionRequest) -> Completion | None:
        if self._cache is None or member.identity is None:
            return None
        return kept_answer(self._cache.get(answer_key(member.identity, request)))

    def _keep(self, member: JudgeMember, request: CompletionRequest, completion: Completion) -> None:
        if self._cache is not None and member.identity is not None:
            self._cache.put(answer_key(member.identity, request), answer_to_keep(completion))


def _read(task: _Task, question: JudgeQuestion, completion: Completion, answer_id: str) -> Graded | Invalid | None:
    """The grade of an answer; ``None``: a valid answer that says there is nothing to grade."""
    problem = completion_problem(completion)
    if problem is not None:
        return Invalid(problem=problem)
    if task.kind.form is not Form.CLAIMS:
        return read_grade(completion.text, answer_id=answer_id, scale=question.scale)
    found = read_claims(completion.text, answer_id=answer_id, passages=question.passages)
    score = _NO_CLAIMS_SCORE.get(str(task.assertion.options.get("no_claims")))
    if found is None and score is not None:
        return Graded(score=score, grade="no_claims", reason=_NO_CLAIMS)
    return found


def _paired(own_first: Vote, own_second: Vote) -> Vote:
    """One vote of a pair's two orders: what both prefer; where they disagree, the order decided, and it is a tie."""
    calls = own_first.calls + own_second.calls
    cost = _sum(own_first.cost_micros, own_second.cost_micros)
    for vote in (own_first, own_second):
        if vote.grade is None:
            return replace(vote, calls=calls, cost_micros=cost)
    one, other = own_first.grade, own_second.grade
    if one is None or other is None:  # pragma: no cover - returned above
        raise AssertionError("a vote without a grade")
    said = (one.score, 1.0 - other.score)
    grade, score = {(1.0, 1.0): ("better", 1.0), (0.0, 0.0): ("worse", 0.0)}.get(said, ("tie", 0.5))
    merged = Graded(
        score=score,
        grade=grade,
        reason=one.reason if grade != "tie" else f"{one.reason} / the other way round: {other.reason}",
        attempts=max(one.attempts, other.attempts),
    )
    return replace(own_first, grade=merged, calls=calls, cost_micros=cost)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _unasked(assertion: Assertion, found: Found, message: str) -> AssertionResult:
    """What cannot be decided, and so is not asked."""
    return AssertionResult(
        type=assertion.name, found=found, weight=assertion.weight, metric=assertion.metric, message=message
    )


def _result(assertion: Assertion, votes: Sequence[Vote], counted: Tally, threshold: float) -> AssertionResult:
    costs = [vote.cost_micros for vote in votes]
    grade = counted.shown.grade if counted.shown is not None else None
    return AssertionResult(
        type=assertion.name,
        found=counted.found,
        score=counted.score,
        weight=assertion.weight,
        metric=assertion.metric,
        message=_message(assertion, counted, threshold),
        reason=grade.reason if grade is not None else None,
        detail=_detail(votes, counted, threshold),
        cost_micros=None if None in costs else sum(cost for cost in costs if cost is not None),
        calls=sum(vote.calls for vote in votes),
    )


def _message(assertion: Assertion, counted: Tally, threshold: float) -> str:
    shown = counted.shown
    if counted.found is Found.HELD:
        return ""
    if shown is None or shown.grade is None:
        return f"judge: {shown.problem if shown is not None else 'no vote'}"
    grade = shown.grade
    needed = f"less than {threshold:g}" if assertion.negated else f"at least {threshold:g}"
    return f"the judge says {grade.grade} ({grade.score:g}, {needed} is needed): {grade.reason}"


def _detail(votes: Sequence[Vote], counted: Tally, threshold: float) -> Mapping[str, Any]:
    detail: dict[str, Any] = {
        "votes": [vote.to_json() for vote in votes],
        "agreement": counted.agreement,
        "threshold": threshold,
    }
    grade = counted.shown.grade if counted.shown is not None else None
    if grade is not None and grade.claims:
        unsupported = sum(claim.verdict is not ClaimVerdict.SUPPORTED for claim in grade.claims)
        detail["claims"] = [claim.to_json() for claim in grade.claims]
        detail["unsupported_rate"] = unsupported / len(grade.claims)
    return detail
