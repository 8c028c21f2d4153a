from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.clock import SystemClock
from fairway.errors import BusyError, PermanentError, TransientError
from fairway.evals.running.cache import CallCache
from fairway.evals.running.calling import Caller, CallRules
from fairway.evals.running.journal import Journal, read_trials
from fairway.evals.running.limiting import AdaptiveLimit
from fairway.evals.running.options import RunOptions
from fairway.evals.running.runner import EvalRunner
from fairway.evals.running.spend import SpendCap
from fairway.evals.trials import Observed, Question, SubjectInfo, Trial, Trouble
from fairway.evals.values import Assertion, AssertionResult, Case, Found, Reply, Suite

STATELESS = SubjectInfo(kind="openai", name="m", identity={"model": "m"}, stateless=True)
AGENT = SubjectInfo(kind="arm", name="agent", identity={"release": "1"})


class Scripted:
    """Answers by the message: ``slow N`` waits, ``error``/``refused`` raise, anything else is echoed."""

    def __init__(self, info: SubjectInfo = AGENT, *, cost: int | None = None) -> None:
        self.info, self.cost = info, cost
        self.active = self.most = 0
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            return await self.answered(question)
        finally:
            self.active -= 1

    async def answered(self, question: Question) -> Reply:
        message = question.message
        await asyncio.sleep(float(message.split()[1]) if message.startswith("slow") else 0)
        if message == "error":
            raise TransientError("the agent answered 500")
        if message == "refused":
            raise PermanentError("the agent answered 404", code="x")
        return Reply(text=f"echo {message}", tools=(), cost_micros=self.cost)


def suite(*messages: str, **changes) -> Suite:
    cases = tuple(
        Case(id=f"c{index}", name="", turns=(message,), **({"expected_keywords": ("echo",)} | changes))
        for index, message in enumerate(messages)
    )
    return Suite(name="s", file="s.yaml", cases=cases)


def runner(*subjects: Scripted, suites: Suite, journal=None, cache=None, spend=None, **changes) -> EvalRunner:
    extra = {name: changes.pop(name) for name in ("measuring", "next_wave", "on_trial", "prices") if name in changes}
    names = ("candidate", "baseline", "third")
    return EvalRunner(
        list(zip(names, subjects, strict=False)),
        [suites],
        RunOptions(**changes),
        clock=SystemClock(),
        journal=journal,
        cache=cache,
        spend=spend,
        **extra,
    )


def texts(trials: tuple[Trial, ...]) -> list[str]:
    return [trial.replies[-1].text if trial.replies else str(trial.trouble) for trial in trials]


async def test_trials_keep_the_order_of_the_suites_whatever_the_order_they_end_in():
    seen: list[tuple[str, int, int]] = []
    engine = runner(
        Scripted(),
        suites=suite("slow 0.05", "a", "slow 0.02", "b"),
        on_trial=lambda side, trial, done, total: seen.append((trial.case_id, done, total)),
    )
    found = (await engine.run())["candidate"]
    assert [trial.case_id for trial in found] == ["c0", "c1", "c2", "c3"]
    assert [done for _, done, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][0] == "c0"
    assert engine.complete


@given(st.integers(0, 2**32), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_what_is_found_does_not_depend_on_the_order_in_which_answers_come(seed, concurrency):
    rng = random.Random(seed)

    class Shuffled(Scripted):
        async def answered(self, question: Question) -> Reply:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            return Reply(text=f"echo {question.message} {question.index}", tools=(), latency_seconds=0.0)

    async def play() -> dict[str, list[tuple[object, ...]]]:
        cases = suite(*"abcdef", repeat=2, at_least=1)
        found = await runner(Shuffled(), Shuffled(), suites=cases, concurrency=concurrency).run()
        return {side: [(trial.key, trial.replies) for trial in trials] for side, trials in found.items()}

    first = asyncio.run(play())
    assert [key for key, _ in first["candidate"]] == [("s", f"c{n}", index) for n in range(6) for index in range(2)]
    assert first == asyncio.run(play())


async def test_fifty_asked_for_are_fifty_in_flight_at_once_and_never_more():
    subject = Scripted()
    await runner(subject, suites=suite(*["slow 0.01"] * 120), concurrency=50).run()
    assert subject.most == 50
    assert subject.asked[49].message
    together = [Scripted(), Scripted()]
    await runner(*together, suites=suite(*["slow 0.005"] * 20), concurrency=3).run()
    assert max(one.most for one in together) <= 3


async def test_both_sides_are_asked_each_case_in_turn_and_who_is_first_changes():
    order: list[tuple[str, str]] = []

    class Noted(Scripted):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def answered(self, question: Question) -> Reply:
            order.append((question.case_id, self.name))
            return Reply(text="echo")

    await runner(Noted("new"), Noted("old"), suites=suite(*"abcd"), concurrency=1).run()
    assert [case for case, _ in order] == ["c0", "c0", "c1", "c1", "c2", "c2", "c3", "c3"]
    assert [name for _, name in order] == ["new", "old", "old", "new"] * 2


@pytest.mark.parametrize("message", ["error", "refused"])
async def test_an_agent_that_cannot_be_asked_is_trouble_and_asked_once(message):
    subject = Scripted()
    found = (await runner(subject, suites=suite("a", message)).run())["candidate"]
    assert [trial.trouble for trial in found] == [None, Trouble.PROVIDER]
    assert len(subject.asked) == 2


async def test_a_trial_that_takes_too_long_is_trouble_and_the_others_go_on():
    found = (await runner(Scripted(), suites=suite("slow 9", "a"), case_timeout_seconds=0.05, concurrency=1).run())[
        "candidate"
    ]
    assert [trial.trouble for trial in found] == [Trouble.TIMEOUT, None]
    assert found[0].error == "not finished within 0.05 s"


async def test_a_call_has_a_limit_of_its_own():
    engine = runner(Scripted(), suites=suite("slow 9"), call_timeout_seconds=0.02)
    found = (await engine.run())["candidate"]
    assert (found[0].trouble, found[0].error) == (Trouble.TIMEOUT, "no answer within 0.02 s")


async def test_when_the_total_time_is_over_what_is_missing_is_trouble():
    cases = suite("a", "slow 9", "b")
    engine = runner(Scripted(), suites=cases, total_timeout_seconds=0.1, grace_seconds=0.01, concurrency=1)
    found = (await engine.run())["candidate"]
    assert [trial.trouble for trial in found] == [None, Trouble.TIMEOUT, Trouble.TIMEOUT]
    assert not engine.complete, "what the run itself left out is no outage that a gate tolerates a share of"


@pytest.mark.parametrize(("cost", "cap"), [(45, 100), (None, 100)])
async def test_a_run_that_its_cap_cut_short_is_not_complete(cost, cap):
    engine = runner(Scripted(cost=cost), suites=suite(*"abc"), spend=SpendCap(cap), concurrency=1)
    found = (await engine.run())["candidate"]
    assert found[-1].trouble in (Trouble.SPEND, Trouble.PRICE)
    assert not engine.complete


async def test_what_is_in_flight_when_the_total_time_is_over_is_paid_for_and_kept(tmp_path):
    subject = Scripted()
    cases = suite("slow 0.15", "slow 0.15", "a", "b", "slow 9")
    with Journal(tmp_path) as journal:
        engine = runner(
            subject, suites=cases, journal=journal, total_timeout_seconds=0.1, grace_seconds=0.5, concurrency=2
        )
        found = (await engine.run())["candidate"]
    assert [trial.trouble for trial in found] == [None, None, *[Trouble.TIMEOUT] * 3]
    assert len(subject.asked) == 2, "nothing is begun after that"
    assert len(read_trials(tmp_path)["candidate"]) == 2


async def test_a_plan_that_breaks_breaks_the_run_also_with_a_total_time():
    def broken(wave, trials):
        raise RuntimeError("no plan")

    for limit in (None, 5.0):
        with pytest.raises(RuntimeError, match="no plan"):
            await runner(Scripted(), suites=suite("a"), next_wave=broken, total_timeout_seconds=limit).run()


async def test_a_cancelled_run_keeps_what_was_done_and_goes_on_without_asking_again(tmp_path):
    subject = Scripted()
    with Journal(tmp_path) as journal:
        engine = runner(subject, suites=suite("a", "b", "slow 9", "c"), concurrency=1, journal=journal)
        task = asyncio.create_task(engine.run())
        while len(engine.finished["candidate"]) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()  # who cannot wait asks twice
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert not engine.complete
        assert [trial.case_id for trial in engine.finished["candidate"]] == ["c0", "c1"]
    again = Scripted()
    with Journal(tmp_path) as journal:
        found = await runner(again, suites=suite("a", "b", "d", "c"), journal=journal).run()
    assert texts(found["candidate"]) == ["echo a", "echo b", "echo d", "echo c"]
    assert sorted(question.case_id for question in again.asked) == ["c2", "c3"]


async def test_a_stopped_run_waits_for_the_calls_in_flight_because_they_are_paid_and_begins_no_other(tmp_path):
    subject, judge = Scripted(), Judge(wait=0.05)
    talk = Case(id="t", name="", turns=("slow 0.05", "two"), expected_keywords=("echo",))
    single = suite("slow 0.05", "slow 0.05", "b", rubric="r")
    cases = Suite(name="s", file="", cases=(talk, *single.cases))
    with Journal(tmp_path) as journal:
        engine = runner(subject, suites=cases, measuring=judge, journal=journal, concurrency=3)
        task = asyncio.create_task(engine.run())
        await asyncio.sleep(0.02)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert len(subject.asked) == 3
    assert judge.measured == []
    again, judge = Scripted(), Judge()
    with Journal(tmp_path) as journal:
        found = (await runner(again, suites=cases, measuring=judge, journal=journal).run())["candidate"]
    assert sorted(question.message for question in again.asked) == ["b", "two"]
    assert [trial.trouble for trial in found] == [None] * 4


async def test_a_stopped_run_does_not_wait_for_those_who_only_wait():
    subject = Refusing(0, retry_after=20)
    task = asyncio.create_task(runner(subject, suites=suite(*["a"] * 5), concurrency=2).run())
    await asyncio.sleep(0.02)
    task.cancel()
    started = asyncio.get_running_loop().time()
    with suppress(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize(("info", "kept", "asked_again"), [(STATELESS, False, 1), (AGENT, True, 1), (AGENT, False, 2)])
async def test_a_conversation_that_was_cut_goes_on_only_with_somebody_who_still_knows_it(
    tmp_path, info, kept, asked_again
):
    talk = Suite(name="s", file="", cases=(Case(id="t", name="", turns=("one", "slow 9")),))
    with Journal(tmp_path) as journal:
        task = asyncio.create_task(runner(Scripted(info), suites=talk, journal=journal, grace_seconds=0.01).run())
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    again = Scripted(info)
    short = Suite(name="s", file="", cases=(Case(id="t", name="", turns=("one", "two")),))
    with Journal(tmp_path) as journal:
        found = await runner(again, suites=short, journal=journal, conversations_kept=kept).run()
    assert [reply.text for reply in found["candidate"][0].replies] == ["echo one", "echo two"]
    assert len(again.asked) == asked_again


async def test_turns_share_a_thread_and_carry_what_was_said_and_every_repeat_has_its_own():
    subject = Scripted()
    talk = Case(id="t", name="", turns=("one", "two"), repeat=2, at_least=2, variables={"x": 1})
    await runner(subject, suites=Suite(name="s", file="", cases=(talk,)), concurrency=1).run()
    threads = [question.thread for question in subject.asked]
    assert threads[0] == threads[1] != threads[2] == threads[3]
    second = subject.asked[1]
    assert (second.turns, [reply.text for reply in second.replies]) == (("one", "two"), ["echo one"])
    assert second.variables == {"x": 1}


async def test_two_sides_have_no_conversation_in_common_because_they_may_share_a_memory():
    sides = Scripted(), Scripted()
    await runner(*sides, suites=suite("a", "b")).run()
    threads = [question.thread for side in sides for question in side.asked]
    assert len(set(threads)) == 4


async def test_trouble_is_tried_again_on_resume_and_results_are_not(tmp_path):
    with Journal(tmp_path) as journal:
        await runner(Scripted(), suites=suite("a", "error"), journal=journal).run()
    again = Scripted()
    with Journal(tmp_path) as journal:
        found = await runner(again, suites=suite("a", "b"), journal=journal).run()
    assert texts(found["candidate"]) == ["echo a", "echo b"]
    assert [question.case_id for question in again.asked] == ["c1"]
    assert read_trials(tmp_path)["candidate"] == found["candidate"]


# an endpoint that refuses


class Refusing(Scripted):
    """Takes so many at a time and refuses the rest."""

    def __init__(self, takes: int, *, retry_after: float | None = None) -> None:
        super().__init__()
        self.takes, self.retry_after, self.refusals = takes, retry_after, 0

    async def answered(self, question: Question) -> Reply:
        if self.active > self.takes:
            self.refusals += 1
            raise BusyError("the agent answered 429", code="x", retry_after=self.retry_after)
        await asyncio.sleep(0.005)
        return Reply(text="echo")


async def test_a_storm_of_429_is_weathered_by_asking_less_and_every_trial_has_a_result():
    subject = Refusing(4)
    found = (await runner(subject, suites=suite(*["a"] * 150), concurrency=40).run())["candidate"]
    assert [trial.trouble for trial in found] == [None] * 150
    assert subject.refusals < 150


async def test_retry_after_is_honoured_and_waiting_for_it_takes_nothing_from_a_trial():
    class Once(Scripted):
        async def answered(self, question: Question) -> Reply:
            if len(self.asked) == 1:
                raise BusyError("429", code="x", retry_after=0.3)
            return Reply(text="echo")

    started = asyncio.get_running_loop().time()
    found = (await runner(Once(), suites=suite("a"), case_timeout_seconds=0.25).run())["candidate"]
    assert found[0].trouble is None
    assert 0.3 <= asyncio.get_running_loop().time() - started < 1.0
    assert found[0].replies[0].latency_seconds is not None
    assert found[0].replies[0].latency_seconds < 0.2


async def test_two_sides_at_one_address_are_held_back_together():
    class Once(Scripted):
        async def answered(self, question: Question) -> Reply:
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                raise BusyError("429", code="x", retry_after=0.3)
            return Reply(text="echo")

    times: list[float] = []
    here, there = ({"base_url": url, "model": "m"} for url in ("http://a/v1", "http://b/v1"))
    for other, held in ((here, True), (there, False)):
        times.clear()
        subjects = [Once(replace(STATELESS, identity=identity)) for identity in (here, other)]
        await runner(*subjects, suites=suite("a", "b"), concurrency=2).run()
        assert (times[1] - times[0] >= 0.3) is held


async def test_a_retry_after_that_is_too_long_is_trouble_at_once():
    subject = Refusing(0, retry_after=3600)
    found = (await asyncio.wait_for(runner(subject, suites=suite("a")).run(), 5))["candidate"]
    assert found[0].trouble is Trouble.PROVIDER


async def test_trouble_is_waited_out_only_where_asking_twice_does_no_harm():
    class Flaky(Scripted):
        async def answered(self, question: Question) -> Reply:
            if len(self.asked) % 2:
                raise TransientError("cut")
            return Reply(text="echo")

    assert (await runner(Flaky(STATELESS), suites=suite("a")).run())["candidate"][0].trouble is None
    assert (await runner(Flaky(AGENT), suites=suite("a")).run())["candidate"][0].trouble is Trouble.PROVIDER


# the cache


async def test_a_second_run_asks_nothing_and_repeats_have_their_own_answers(tmp_path):
    class Counting(Scripted):
        async def answered(self, question: Question) -> Reply:
            return Reply(text=f"echo {len(self.asked)}")

    cases = suite("a", "b", repeat=2, at_least=1)
    first, second = Counting(STATELESS), Counting(STATELESS)
    with CallCache(tmp_path / "c.db") as cache:
        found = (await runner(first, suites=cases, cache=cache, concurrency=1).run())["candidate"]
        again = (await runner(second, suites=cases, cache=cache, concurrency=1).run())["candidate"]
    assert second.asked == []
    assert sorted(texts(found)) == ["echo 1", "echo 2", "echo 3", "echo 4"]
    assert texts(again) == texts(found)
    assert [trial.cached for trial in found + again] == [False] * 4 + [True] * 4
    assert {reply.latency_seconds for trial in again for reply in trial.replies} == {None}


async def test_a_subject_compared_with_itself_is_asked_twice_and_each_side_keeps_its_own_answers(tmp_path):
    subjects = Scripted(STATELESS), Scripted(STATELESS)
    with CallCache(tmp_path / "c.db") as cache:
        await runner(*subjects, suites=suite("a", "b"), cache=cache, concurrency=1).run()
        await runner(*subjects, suites=suite("a", "b"), cache=cache).run()
    assert [len(one.asked) for one in subjects] == [2, 2]


async def test_errors_are_never_kept_and_neither_is_somebody_of_whom_nobody_knows_the_version(tmp_path):
    for info, message in ((STATELESS, "error"), (replace(AGENT, identity=None), "a")):
        subject = Scripted(info)
        with CallCache(tmp_path / "c.db") as cache:
            for _ in range(2):
                await runner(subject, suites=suite(message), cache=cache, retries=0).run()
        assert len(subject.asked) == 2


async def test_a_conversation_half_of_which_is_known_is_played_whole_with_somebody_who_remembers(tmp_path):
    for info, asked in ((AGENT, 2), (STATELESS, 1)):
        with CallCache(tmp_path / f"{info.kind}.db") as cache:
            short = Suite(name="s", file="", cases=(Case(id="t", name="", turns=("one",)),))
            whole = Suite(name="s", file="", cases=(Case(id="t", name="", turns=("one", "two")),))
            await runner(Scripted(info), suites=short, cache=cache).run()
            again = Scripted(info)
            found = await runner(again, suites=whole, cache=cache).run()
        assert len(again.asked) == asked
        assert not found["candidate"][0].cached


# money


class Prices:
    def cost_micros(self, model: str, tokens_in: int, tokens_out: int, cached: int = 0, written: int = 0) -> int | None:
        return tokens_in + tokens_out if model == "known" else None


@given(st.integers(0, 60), st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_cap_is_kept_however_many_are_asked_at_a_time_and_the_rest_is_trouble(limit, concurrency, costs):
    class Priced(Scripted):
        def cost_at_most(self, question: Question) -> int:
            return 9

        async def answered(self, question: Question) -> Reply:
            await asyncio.sleep(0)
            return Reply(text="echo", cost_micros=costs[int(question.case_id[1:])])

    async def play() -> None:
        cap = SpendCap(limit)
        cases = suite(*["a"] * len(costs))
        found = (await runner(Priced(), suites=cases, spend=cap, concurrency=concurrency).run())["candidate"]
        paid = sum(trial.replies[0].cost_micros or 0 for trial in found if trial.replies)
        assert cap.spent_micros == paid <= limit
        stopped = [trial for trial in found if not trial.replies]
        assert {trial.trouble for trial in stopped} <= {Trouble.SPEND}
        assert not stopped or limit - paid < 9

    asyncio.run(play())


async def test_what_there_was_no_money_for_leaves_a_run_incomplete_and_trouble_of_a_provider_does_not():
    dear, broken = suite("a", "b", "c"), suite("a", "error")
    assert not await _complete(runner(Scripted(cost=10), suites=dear, spend=SpendCap(25), concurrency=1))
    assert not await _complete(runner(Scripted(), suites=suite("a"), spend=SpendCap(25))), "a price nobody knows"
    assert await _complete(runner(Scripted(cost=1), suites=broken, spend=SpendCap(25)))
    assert await _complete(runner(Scripted(), suites=suite("a"), total_timeout_seconds=5.0))


async def _complete(engine: EvalRunner) -> bool:
    await engine.run()
    return engine.complete


async def test_with_a_cap_a_price_nobody_knows_is_trouble_and_stops_the_rest_after_one_call():
    subject = Scripted(cost=None)
    found = (await runner(subject, suites=suite(*"abc"), spend=SpendCap(1000)).run())["candidate"]
    assert [trial.trouble for trial in found] == [Trouble.PRICE] * 3
    assert len(subject.asked) == 1


async def test_what_was_paid_before_a_run_was_interrupted_counts_and_is_not_asked_again(tmp_path):
    for limit, asked in ((200, 3), (300, 1)):
        cap, subject = SpendCap(limit), Scripted(STATELESS, cost=45)
        with Journal(tmp_path) as journal:
            found = (await runner(subject, suites=suite(*"abcd"), spend=cap, journal=journal, concurrency=1).run())[
                "candidate"
            ]
        assert len(subject.asked) == asked
        assert (cap.spent_micros or 0) <= limit
    assert [trial.trouble for trial in found] == [None] * 4
    assert cap.spent_micros == 180


async def test_tokens_cost_what_the_table_says():
    class Tokens(Scripted):
        async def answered(self, question: Question) -> Reply:
            return Reply(text="echo", model="known", tokens_in=10, tokens_out=5)

    cap = SpendCap(100)
    found = (await runner(Tokens(), suites=suite("a"), spend=cap, prices=Prices()).run())["candidate"]
    assert found[0].replies[0].cost_micros == 15
    assert cap.spent_micros == 15


async def test_a_call_that_was_tried_again_is_paid_again():
    class Flaky(Scripted):
        def cost_at_most(self, question: Question) -> int:
            return 10

        async def answered(self, question: Question) -> Reply:
            if len(self.asked) == 1:
                raise TransientError("cut")
            return Reply(text="echo", cost_micros=4)

    cap = SpendCap(100)
    await runner(Flaky(STATELESS), suites=suite("a"), spend=cap).run()
    assert cap.spent_micros == 14


async def test_what_came_from_a_cache_costs_nothing(tmp_path):
    cap = SpendCap(100)
    with CallCache(tmp_path / "c.db") as cache:
        await runner(Scripted(STATELESS, cost=60), suites=suite("a"), spend=cap, cache=cache).run()
        found = (await runner(Scripted(STATELESS, cost=60), suites=suite("a"), spend=cap, cache=cache).run())[
            "candidate"
        ]
    assert cap.spent_micros == 60
    assert found[0].trouble is None


# what is measured by a call


class Judge:
    def __init__(self, *, wait: float = 0.0) -> None:
        self.measured: list[tuple[str, int]] = []
        self.wait = wait

    async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
        self.measured.append((observed.case.id, repeat))
        await asyncio.sleep(self.wait)
        return AssertionResult(type=assertion.name, found=Found.HELD, score=1.0, reason=observed.text)


async def test_what_needs_a_call_is_measured_and_kept_by_its_position():
    judge = Judge()
    found = (await runner(Scripted(), suites=suite("a", "b", rubric="r"), measuring=judge).run())["candidate"]
    assert [trial.measured[0].reason for trial in found] == ["echo a", "echo b"]
    assert sorted(judge.measured) == [("c0", 0), ("c1", 0)]


async def test_what_a_busy_judge_makes_a_trial_wait_for_is_not_taken_from_its_time():
    class Panel(Judge):
        """Two votes at a time; the first try of each is refused for a while."""

        caller = Caller(
            limit=AdaptiveLimit(4, clock=SystemClock()), rules=CallRules(), clock=SystemClock(), rng=random.Random(1)
        )
        asked = 0

        async def vote(self) -> int:
            self.asked += 1
            if self.asked <= 2:
                raise BusyError("429", code="x", retry_after=0.2 * self.asked)
            return 0

        async def measure(self, assertion: Assertion, observed: Observed, *, repeat: int) -> AssertionResult:
            votes = (self.caller.call(self.vote, cost_of=lambda cost: cost) for _ in range(2))
            await asyncio.gather(*votes)
            return await super().measure(assertion, observed, repeat=repeat)

    waited = await runner(Scripted(), suites=suite("a", rubric="r"), measuring=Panel(), case_timeout_seconds=0.15).run()
    assert waited["candidate"][0].trouble is None
    slow = await runner(
        Scripted(), suites=suite("a", rubric="r"), measuring=Judge(wait=9), case_timeout_seconds=0.1
    ).run()
    assert slow["candidate"][0].trouble is Trouble.TIMEOUT, "its own slowness is"


async def test_nothing_is_measured_of_a_trial_that_failed_already():
    judge = Judge()
    cases = suite("a", rubric="r", expected_keywords=("zebra",))
    found = (await runner(Scripted(), suites=cases, measuring=judge).run())["candidate"]
    assert judge.measured == []
    assert found[0].measured == {}


async def test_a_reply_is_on_disk_before_the_judge_is_asked_and_neither_is_paid_twice(tmp_path):
    cases = suite("a", "b", rubric="r")
    slow = Judge(wait=60)
    with Journal(tmp_path) as journal:
        engine = runner(Scripted(), suites=cases, measuring=slow, journal=journal, grace_seconds=0.01)
        task = asyncio.create_task(engine.run())
        while len(slow.measured) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    again, judge = Scripted(), Judge()
    with Journal(tmp_path) as journal:
        found = (await runner(again, suites=cases, measuring=judge, journal=journal).run())["candidate"]
    assert again.asked == []
    assert sorted(judge.measured) == [("c0", 0), ("c1", 0)]
    assert texts(found) == ["echo a", "echo b"]


async def test_while_a_judge_reads_one_answer_the_next_case_is_asked():
    subject, judge = Scripted(), Judge(wait=0.05)
    started = asyncio.get_running_loop().time()
    await runner(subject, suites=suite(*["slow 0.05"] * 12, rubric="r"), measuring=judge, concurrency=2).run()
    assert asyncio.get_running_loop().time() - started < 0.5  # one after the other: 0.6
    assert subject.most == 2


# waves


@dataclass(frozen=True)
class More:
    suite: str
    case_id: str
    inclusion: float


def waves(*planned: list[More]) -> Callable[..., list[More]]:
    return lambda wave, trials: planned[wave - 1] if wave <= len(planned) else []


async def test_more_repeats_are_played_where_the_plan_wants_them_on_every_side(tmp_path):
    plan = waves([More("s", "c1", 0.5)], [More("s", "c1", 0.25), More("s", "c0", 1.0)])
    subjects = Scripted(), Scripted()
    with Journal(tmp_path) as journal:
        found = await runner(*subjects, suites=suite("a", "b"), next_wave=plan, journal=journal).run()
    for side in ("candidate", "baseline"):
        assert [(one.case_id, one.index, one.inclusion, one.wave) for one in found[side]] == [
            ("c0", 0, 1.0, 0),
            ("c0", 1, 1.0, 2),
            ("c1", 0, 1.0, 0),
            ("c1", 1, 0.5, 1),
            ("c1", 2, 0.25, 2),
        ]
    assert [len(one.asked) for one in subjects] == [5, 5]
    again = Scripted(), Scripted()
    with Journal(tmp_path) as journal:
        assert await runner(*again, suites=suite("a", "b"), next_wave=plan, journal=journal).run() == found
    assert again[0].asked == []


async def test_a_run_without_cases_finds_nothing():
    assert await runner(Scripted(), suites=suite()).run() == {"candidate": ()}


def test_each_side_needs_a_name_of_its_own():
    with pytest.raises(ValueError, match="name"):
        EvalRunner([("a", Scripted()), ("a", Scripted())], [], RunOptions(), clock=SystemClock())
