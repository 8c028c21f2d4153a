from __future__ import annotations

import asyncio
from pathlib import Path

from fairway.canonical import value_digest
from fairway.clock import SystemClock
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.playing_out import Measured, Playing, play_out
from fairway.evals.running.cache import CallCache
from fairway.evals.running.options import RunOptions
from fairway.evals.trials import JudgeHealth, Observed, Question, SubjectInfo
from fairway.evals.values import Assertion, AssertionResult, Case, Found, Reply, Suite


class Answering:
    """A subject that costs 5 millionths a reply."""

    info = SubjectInfo(kind="prompt", name="s", identity={"s": 1}, stateless=True)

    async def ask(self, question: Question) -> Reply:
        return Reply(text="Hello", cost_micros=5)


class Judging:
    """A judge that costs 11 millionths a grade, and keeps none."""

    async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
        return AssertionResult(type=assertion.name, found=Found.HELD, score=1.0, cost_micros=11, calls=1)


class Hanging(Answering):
    async def ask(self, question: Question) -> Reply:
        await asyncio.sleep(9)
        raise AssertionError("it is cut before")


async def spent(
    folder: Path, cache: CallCache, health: JudgeHealth | None, candidate: Answering | None = None
) -> int | None:
    folder.mkdir()
    suite = Suite(name="s", file="s.yaml", cases=(Case(id="a", name="a", turns=("hi",), rubric="Friendly."),))
    playing = Playing(
        measured=Measured(suites=(suite,), plan=(("s", "a"),), instrument=value_digest(1)),
        candidate=candidate or Answering(),
        options=RunOptions(case_timeout_seconds=0.1 if candidate else 60.0),
        policy=EvalPolicy(),
        measuring=Judging(),
        cache=cache,
    )
    return (await play_out(folder, playing, clock=SystemClock(), health=health)).spent_micros


async def test_replies_judges_and_the_trial_of_the_judge_are_counted_and_only_cached_replies_cost_nothing(tmp_path):
    health = JudgeHealth(items=1, sensitivity=1.0, specificity=1.0, cost_micros=70)
    with CallCache(tmp_path / "cache.db") as cache:
        assert await spent(tmp_path / "first", cache, health) == 5 + 11 + 70
        assert await spent(tmp_path / "second", cache, None) == 11


async def test_where_nobody_knows_what_trying_the_judge_cost_the_sum_is_unknown(tmp_path):
    health = JudgeHealth(items=1, sensitivity=1.0, specificity=1.0, cost_micros=None)
    with CallCache(tmp_path / "cache.db") as cache:
        assert await spent(tmp_path / "first", cache, health) is None


async def test_what_a_call_that_was_cut_cost_is_not_nothing(tmp_path):
    with CallCache(tmp_path / "cache.db") as cache:
        assert await spent(tmp_path / "first", cache, None, Hanging()) is None
