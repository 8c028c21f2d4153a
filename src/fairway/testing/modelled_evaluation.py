"""An evaluation as large as one likes, made from a seed: for tests and benchmarks of what shows or judges one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fairway.evals.trials import EvalRun, SubjectInfo, Trial
from fairway.evals.values import (
    AssertionResult,
    Case,
    CaseOutcome,
    CaseResult,
    ExpectedTool,
    Found,
    Reply,
    ToolCall,
    Violation,
)
from fairway.units import Digest

INSTRUMENT = Digest("sha256:" + "1" * 64)
_SENTENCES = (
    "Thank you for getting in touch about order {order}.",
    "I can see that the parcel left our warehouse on {day} and is with the carrier now.",
    "Before I can refund {amount} euros, please confirm that the address on file is still right.",
    "Refunds above {amount} euros are looked at by a colleague, who will write to you within two working days.",
    "The item is covered by the guarantee, so you may choose between a replacement and your money back.",
    "I have looked up your account and found {count} open requests, the oldest from {day}.",
    "If the package does not arrive by {day}, answer this message and we will send a new one at no cost.",
    "Our shop accepts returns within thirty days as long as the goods are unused and in their original box.",
    "Is there anything else I can do for you today?",
)
_QUESTIONS = (
    "Where is my order {order}? It was supposed to arrive on {day} and the tracking page shows nothing at all.",
    "I want my {amount} euros back for order {order}, the lamp arrived broken and nobody answered my last mail.",
    "Can I still change the delivery address of {order}? I will be travelling from {day} for {count} weeks.",
)
_SUITES = ("refunds", "orders", "tone", "policy", "tools")
_TAGS = ("smoke", "billing", "returns", "chat", "slow-path")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelled:
    """The two sides of a modelled evaluation."""

    candidate: EvalRun
    baseline: EvalRun


def modelled_evaluation(cases: int, *, repeats: int = 1, worse: float = 0.05, seed: int = 7) -> Modelled:
    """Two runs over the same cases.

    Args:
        cases: How many.
        repeats: Of each case.
        worse: By how much the candidate's pass rate is below the baseline's 0.9.
        seed: The same gives the same.
    """
    chance = random.Random(seed)  # noqa: S311 - texts and outcomes of a model, not secrets
    listed = [_case(number, repeats, chance) for number in range(cases)]
    baseline = _run("baseline", listed, 0.9, chance)
    candidate = _run("candidate", listed, 0.9 - worse, chance, against=baseline)
    return Modelled(candidate=candidate, baseline=baseline)


def evaluation_saying(text: str) -> Modelled:
    """Two runs in which everything that somebody else can write is ``text``: to see that no report is broken by it."""

    def result(outcome: CaseOutcome, found: Found) -> CaseResult:
        assertion = AssertionResult(
            type="llm-rubric", found=found, score=0.3, metric=text, message=text, subject=text, reason=text,
            detail={text: [text]},
        )  # fmt: skip
        return CaseResult(
            suite=text,
            case_id=f"{outcome.value}{text}",
            name=text,
            outcome=outcome,
            critical=True,
            rule=text,
            tools_called=(text,),
            response_preview=text,
            violations=(Violation(check=text, message=text, subject=text),) if outcome is CaseOutcome.FAILED else (),
            undecided=text if outcome is CaseOutcome.ERROR else None,
            notes=(text,),
            judge_reason=text,
            assertions=(assertion,),
        )

    def run(name: str, outcomes: Sequence[CaseOutcome]) -> EvalRun:
        results = [result(one, Found.HELD if one is CaseOutcome.PASSED else Found.VIOLATED) for one in outcomes]
        # the ids are those of the candidate's outcomes, so that the sides have the same cases
        named = [replace(one, case_id=f"{number}{text}") for number, one in enumerate(results)]
        call = ToolCall(name=text, arguments={text: name + text})
        reply = Reply(
            text=name + text, tools=(call,), status=text, state={text: text}, finish_reason=text, model=text,
            context=(text,),
        )  # fmt: skip
        return EvalRun(
            run_id=text,
            created_at=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
            subject=SubjectInfo(kind="url", name=name + text),
            instrument=INSTRUMENT,
            cases=tuple(
                (text, Case(id=one.case_id, name=text, turns=(text,), tags=(text,), rule=text, rubric=text))
                for one in named
            ),
            trials=tuple(Trial(suite=text, case_id=one.case_id, replies=(reply,), error=text) for one in named),
            results=tuple(named),
        )

    passed, failed, error = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR
    return Modelled(candidate=run("now ", (failed, error, passed)), baseline=run("then ", (passed, passed, failed)))


def _fill(template: str, chance: random.Random) -> str:
    return template.format(
        order=f"A-{chance.randrange(1000, 9999)}",
        day=chance.choice(_DAYS),
        amount=chance.randrange(5, 400),
        count=chance.randrange(2, 9),
    )


def _case(number: int, repeats: int, chance: random.Random) -> tuple[str, Case]:
    suite = _SUITES[number % len(_SUITES)]
    case = Case(
        id=f"{suite}-{number:05d}",
        name=f"Customer {number} asks about an order",
        turns=tuple(_fill(chance.choice(_QUESTIONS), chance) for _ in range(1 + (number % 7 == 0))),
        expected_tools=(ExpectedTool(name="lookup_order"),),
        expected_keywords=("order",),
        tags=tuple(sorted(chance.sample(_TAGS, 1 + number % 2))),
        critical=number % 50 == 0,
        repeat=repeats,
        at_least=repeats,
        rubric="The reply is friendly, names the order and promises nothing that the policy does not allow.",
        rule="Never promise a refund before you looked up the order.",
    )
    return suite, case


def _run(
    name: str, cases: Sequence[tuple[str, Case]], rate: float, chance: random.Random, against: EvalRun | None = None
) -> EvalRun:
    trials, results = [], []
    earlier = {trial.key: trial for trial in against.trials} if against else {}
    for suite, case in cases:
        for index in range(case.repeat):
            trial = _trial(suite, case, index, chance, earlier.get((suite, case.id, index)))
            trials.append(trial)
            results.append(_result(suite, case, trial, rate, chance))
    return EvalRun(
        run_id=f"2026-11-20-{name}",
        created_at=datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
        subject=SubjectInfo(kind="arm", name=f"support 1.{3 if against else 2}.0"),
        instrument=INSTRUMENT,
        cases=tuple(cases),
        trials=tuple(trials),
        results=tuple(results),
        spent_micros=sum(result.cost_micros or 0 for result in results),
    )


def _trial(suite: str, case: Case, index: int, chance: random.Random, earlier: Trial | None) -> Trial:
    replies = []
    for turn in range(len(case.turns)):
        sentences = [_fill(one, chance) for one in chance.sample(_SENTENCES, 5)]
        if earlier is not None:
            # mostly the baseline's words, so that differences look like those of a changed prompt
            kept = earlier.replies[turn].text.split("\n")
            sentences = [old if chance.random() < 0.7 else new for old, new in zip(kept, sentences, strict=True)]
        arguments = {"order": f"A-{1000 + index}", "limit": chance.choice([10, 10, 10, 20])}
        tools = [ToolCall(name="lookup_order", arguments=arguments)]
        if chance.random() < 0.2:
            tools.append(ToolCall(name="request_refund", arguments={"order": "A-1", "amount": chance.randrange(5, 50)}))
        words = sum(len(sentence.split()) for sentence in sentences)
        replies.append(
            Reply(
                text="\n".join(sentences),
                tools=tuple(tools),
                tokens_in=300 + chance.randrange(200),
                tokens_out=words,
                cost_micros=40 * words,
                latency_seconds=0.4 + chance.random(),
            )
        )
    seconds = sum(reply.latency_seconds or 0.0 for reply in replies)
    return Trial(suite=suite, case_id=case.id, index=index, replies=tuple(replies), duration_seconds=seconds)


def _result(suite: str, case: Case, trial: Trial, rate: float, chance: random.Random) -> CaseResult:
    drawn = chance.random()
    undecided = drawn > 0.995
    passed = drawn < rate
    score = 1.0 if passed else 0.4
    reason = (
        "It names the order and asks before it acts, in a friendly tone throughout."
        if passed
        else f"It promises {_fill('{amount}', chance)} euros before the order was looked up, which the policy forbids."
    )
    rubric = AssertionResult(
        type="llm-rubric",
        found=Found.INVALID if undecided else Found.HELD if passed else Found.VIOLATED,
        score=None if undecided else score,
        metric="helpfulness",
        message="" if passed else "the judge's answer is not valid" if undecided else "the judge says partly_meets",
        reason=None if undecided else reason,
    )
    outcome = CaseOutcome.PASSED if passed else CaseOutcome.INVALID if undecided else CaseOutcome.FAILED
    violation = Violation(check="judge/score", message=f"the judge says partly_meets: {reason}")
    return CaseResult(
        suite=suite,
        case_id=case.id,
        name=case.name,
        outcome=outcome,
        critical=case.critical,
        rule=case.rule,
        tools_called=tuple(call.name for reply in trial.replies for call in reply.tools or ()),
        response_preview=trial.replies[-1].text[:300],
        token_count=sum((reply.tokens_in or 0) + (reply.tokens_out or 0) for reply in trial.replies),
        violations=(violation,) if outcome is CaseOutcome.FAILED else (),
        score=rubric.score,
        undecided="judge: the answer is not valid" if undecided else None,
        judge_reason=rubric.reason,
        duration_seconds=trial.duration_seconds,
        runs_passed=int(passed),
        tools_expected=1,
        tools_met=1,
        assertions=(AssertionResult(type="contains", found=Found.HELD, score=1.0), rubric),
        cost_micros=sum(reply.cost_micros or 0 for reply in trial.replies),
    )
