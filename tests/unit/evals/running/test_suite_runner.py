from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from fairway.clock import SystemClock
from fairway.errors import PermanentError, TransientError
from fairway.evals.running.suite_runner import RunOptions, SuiteRunner
from fairway.evals.values import Case, CaseOutcome, Reply, Suite


class ScriptedAgent:
    """Answers by the message: ``slow N`` waits, ``error`` raises, anything else is echoed."""

    def __init__(self) -> None:
        self.active = self.most = 0
        self.asked: list[tuple[str, str]] = []

    async def ask(self, message: str, *, thread: str) -> Reply:
        self.asked.append((thread, message))
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            if message.startswith("slow"):
                await asyncio.sleep(float(message.split()[1]))
            else:
                await asyncio.sleep(0)
            if message == "error":
                raise TransientError("the agent answered 500")
            if message == "refused":
                raise PermanentError("the agent answered 404", code="x")
            return Reply(text=f"echo {message}", tools=())
        finally:
            self.active -= 1


def suite(*messages: str, **changes) -> Suite:
    cases = tuple(
        Case(id=f"c{index}", name="", turns=(message,), **({"expected_keywords": ("echo",)} | changes))
        for index, message in enumerate(messages)
    )
    return Suite(name="s", file="s.yaml", cases=cases)


def runner(agent: ScriptedAgent, *suites: Suite, on_result=None, **options) -> SuiteRunner:
    return SuiteRunner(agent, suites, RunOptions(**options), clock=SystemClock(), on_result=on_result)


async def test_results_keep_the_order_of_the_suites_whatever_the_order_they_end_in():
    seen: list[tuple[int, int]] = []
    engine = runner(
        ScriptedAgent(),
        suite("slow 0.05", "a", "slow 0.02", "b"),
        on_result=lambda result, done, total: seen.append((done, total)),
    )
    result = await engine.run()
    assert [found.case_id for found in result.details] == ["c0", "c1", "c2", "c3"]
    assert all(found.passed for found in result.details)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


async def test_never_more_than_the_allowed_number_run_at_a_time():
    agent = ScriptedAgent()
    await runner(agent, suite(*["slow 0.005"] * 20), concurrency=3).run()
    assert agent.most == 3


@pytest.mark.parametrize("message", ["error", "refused"])
async def test_an_agent_that_cannot_be_asked_is_an_error_and_no_failure(message):
    result = await runner(ScriptedAgent(), suite("a", message)).run()
    assert [found.outcome for found in result.details] == [CaseOutcome.PASSED, CaseOutcome.ERROR]
    assert result.to_json()["errors"] == 1
    assert result.to_json()["failed"] == 0


async def test_a_case_that_takes_too_long_is_an_error_and_the_others_go_on():
    result = await runner(ScriptedAgent(), suite("slow 9", "a"), case_timeout_seconds=0.05, concurrency=1).run()
    assert [found.outcome for found in result.details] == [CaseOutcome.ERROR, CaseOutcome.PASSED]
    assert result.details[0].undecided == "not finished within 0.05 s"


async def test_when_the_total_time_is_over_what_is_missing_is_an_error():
    messages = suite("a", "slow 9", "b")
    result = await runner(ScriptedAgent(), messages, total_timeout_seconds=0.1, concurrency=1).run()
    assert [found.outcome for found in result.details] == [CaseOutcome.PASSED, CaseOutcome.ERROR, CaseOutcome.ERROR]


async def test_a_cancelled_run_keeps_what_was_done():
    engine = runner(ScriptedAgent(), suite("a", "b", "slow 9", "c"), concurrency=1)
    task = asyncio.create_task(engine.run())
    while len(engine.finished.details) < 2:
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert [found.case_id for found in engine.finished.details] == ["c0", "c1"]


async def test_turns_share_a_thread_and_every_run_of_a_case_has_its_own():
    agent = ScriptedAgent()
    talk = Case(id="t", name="", turns=("one", "two"), expected_keywords=("echo two",), repeat=2, at_least=2)
    result = await runner(agent, Suite(name="s", file="", cases=(talk,))).run()
    assert result.details[0].passed
    assert result.details[0].runs == 2
    threads = [thread for thread, _ in agent.asked]
    assert threads[0] == threads[1] != threads[2] == threads[3]


async def test_a_run_without_cases_has_no_pass_rate():
    result = await runner(ScriptedAgent()).run()
    assert result.to_json() | {"details": []} == {
        "total": 0, "passed": 0, "failed": 0, "errors": 0, "invalid": 0, "unknown": 0, "pass_rate": None,
        "tool_accuracy": None, "details": [],
    }  # fmt: skip
