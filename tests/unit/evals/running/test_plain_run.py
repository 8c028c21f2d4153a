from __future__ import annotations

import pytest

from fairway.clock import SystemClock
from fairway.errors import PermanentError
from fairway.evals.running.options import RunOptions
from fairway.evals.running.plain_run import play_suites
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Case, CaseOutcome, Reply, Suite


class Echo:
    info = SubjectInfo(kind="arm", name="agent")

    async def ask(self, question: Question) -> Reply:
        if question.message == "refused":
            raise PermanentError("the agent answered 404", code="x")
        good = question.index == 0 or question.message != "once"
        return Reply(text="echo" if good else "other", tools=())


def suite(*messages: str, **changes) -> Suite:
    cases = tuple(
        Case(id=message, name="", turns=(message,), expected_keywords=("echo",), **changes) for message in messages
    )
    return Suite(name="s", file="s.yaml", cases=cases)


async def test_each_case_has_one_result_in_the_order_of_the_suites():
    result = await play_suites(Echo(), [suite("a", "refused"), suite("b")], RunOptions(), clock=SystemClock())
    assert [(one.case_id, one.outcome) for one in result.details] == [
        ("a", CaseOutcome.PASSED),
        ("refused", CaseOutcome.ERROR),
        ("b", CaseOutcome.PASSED),
    ]


@pytest.mark.parametrize(("at_least", "outcome"), [(1, CaseOutcome.PASSED), (2, CaseOutcome.FAILED)])
async def test_a_case_that_is_repeated_passes_as_often_as_it_says(at_least, outcome):
    cases = suite("once", repeat=2, at_least=at_least)
    result = await play_suites(Echo(), [cases], RunOptions(), clock=SystemClock())
    assert (result.details[0].outcome, result.details[0].runs_passed) == (outcome, 1)
    assert result.details[0].runs == 2


async def test_without_cases_there_is_nothing():
    assert (await play_suites(Echo(), [], RunOptions(), clock=SystemClock())).details == ()
