"""The endpoints of an arm in one worker, without sockets: who is next, who waits, who is left out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.gateway.endpoints.arm import ArmEndpoints
from fairway.gateway.endpoints.ejection import Standing, Why
from fairway.gateway.endpoints.health import Answered
from fairway.gateway.endpoints.line import LONGEST_RETRY_AFTER, Turn, WaitingLine
from fairway.gateway.upstream import Pool, Upstream
from fairway.traffic.endpoints import DEFAULT_EJECTION, Ejection
from fairway.traffic.table import Limits
from fairway.units import Digest

RELEASE = Digest("sha256:" + "a" * 64)


class _Transport:
    """Stands for an open connection."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def abort(self) -> None:
        if self._upstream.transport is not None:
            asyncio.get_running_loop().call_soon(self._upstream.connection_lost, None)


def opened(pool: Pool) -> Upstream:
    """An open connection of the pool, as :meth:`Pool.connect` leaves it."""
    upstream = Upstream(pool)
    upstream.transport = _Transport(upstream)  # type: ignore[assignment]
    upstream.counted = True
    pool.open += 1
    pool.arm.places += 1
    return upstream


def arm(*names: str, limit: int = 1024, queue: int = 16, wait: float = 5.0, **policy: Any) -> ArmEndpoints:
    made = ArmEndpoints(RELEASE, asyncio.get_running_loop())
    limits = Limits(arm_in_flight=limit, queue=queue, queue_wait=wait)
    made.follow(names, limits, Ejection(**policy) if policy else DEFAULT_EJECTION)
    return made


# --- who is next -----------------------------------------------------------------------------------------------


async def test_endpoints_with_the_same_load_serve_alike() -> None:
    found = arm("h:1", "h:2", "h:3")
    assert min(Counter(found.turn().endpoint for _ in range(3_000)).values()) > 850


async def test_the_less_loaded_of_two_gets_the_next_request() -> None:
    found = arm("h:1", "h:2")
    busy = found.pools["h:1"]
    for _ in range(5):
        opened(busy)
    assert Counter(found.turn().endpoint for _ in range(100)) == {"h:2": 100}


async def test_an_endpoint_that_is_new_gets_its_share_though_the_others_have_open_connections() -> None:
    found = arm("h:1", "h:2")
    for pool in found.pools.values():
        opened(pool).release(perf_counter())
    found.follow(("h:1", "h:2", "h:3"), Limits(), DEFAULT_EJECTION)
    assert Counter(found.turn().endpoint for _ in range(3_000))["h:3"] > 850


async def test_when_no_more_may_be_opened_any_idle_connection_is_taken() -> None:
    found = arm("h:1", "h:2", limit=1)
    idle = opened(found.pools["h:1"])
    idle.release(perf_counter())
    assert found.take(perf_counter()) is idle
    assert found.take(perf_counter()) is None


# --- how many at once ------------------------------------------------------------------------------------------


async def test_requests_beyond_the_limit_get_connections_in_the_order_they_came() -> None:
    found = arm("h:1", limit=1)
    assert await found.place() is Turn.MAY_OPEN
    found.leave()
    upstream = opened(found.pools["h:1"])
    order: list[int] = []

    async def ask(number: int) -> None:
        handed = await found.place()
        assert isinstance(handed, Upstream)
        order.append(number)
        await asyncio.sleep(0)
        handed.release(perf_counter())

    asked = []
    for number in range(8):
        asked.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(0)
    assert found.pools["h:1"].unusual, "who gives a connection back has to look at who waits"
    upstream.release(perf_counter())
    await asyncio.gather(*asked)
    assert order == list(range(8))
    assert (found.places, len(found.line), found.pools["h:1"].idle) == (1, 0, [upstream])
    assert not found.pools["h:1"].unusual, "nobody waits any more"


async def test_while_the_process_stands_still_nobody_has_waited_for_too_long() -> None:
    found = arm("h:1", limit=1, wait=0.2)
    upstream = opened(found.pools["h:1"])
    first, second = asyncio.create_task(found.place()), asyncio.create_task(found.place())
    await asyncio.sleep(0)
    time.sleep(0.6)
    await asyncio.sleep(0.05)
    upstream.release(perf_counter())
    assert await first is upstream
    assert await second is Turn.LATE, "the second wait is the last one"
    assert (len(found.line), found.line.turned_away) == (0, {Turn.LATE: 1})


async def test_one_who_gives_up_leaves_no_hole() -> None:
    found = arm("h:1", limit=1)
    upstream = opened(found.pools["h:1"])
    first, second = asyncio.create_task(found.place()), asyncio.create_task(found.place())
    await asyncio.sleep(0)
    upstream.release(perf_counter())  # handed to the first, which is cancelled before it has seen it
    first.cancel()
    assert await second is upstream
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    assert found.places == 1


async def test_a_place_granted_to_one_who_gave_up_goes_to_the_next() -> None:
    found = arm("h:1", limit=1)
    assert await found.place() is Turn.MAY_OPEN
    first, second = asyncio.create_task(found.place()), asyncio.create_task(found.place())
    await asyncio.sleep(0)
    found.leave()
    first.cancel()
    assert await second is Turn.MAY_OPEN
    assert found.places == 1


async def test_a_full_line_and_a_turn_that_does_not_come_are_told_apart() -> None:
    found = arm("h:1", limit=1, queue=1, wait=0.02)
    opened(found.pools["h:1"])
    late = asyncio.create_task(found.place())
    await asyncio.sleep(0)
    assert await found.place() is Turn.FULL
    assert await late is Turn.LATE
    assert found.line.turned_away == {Turn.FULL: 1, Turn.LATE: 1}
    assert not found.pools["h:1"].unusual


@pytest.mark.parametrize("waiting", [0, 6], ids=["idle", "requests wait"])
async def test_an_endpoint_that_joins_an_arm_at_its_limit_gets_its_share(waiting: int) -> None:
    found = arm("h:1", limit=6)
    running = [opened(found.pools["h:1"]) for _ in range(6)]
    found.follow(("h:1", "h:2"), Limits(arm_in_flight=6, queue=16), DEFAULT_EJECTION)
    tasks = [asyncio.create_task(found.place()) for _ in range(waiting)]
    await asyncio.sleep(0)
    for upstream in running:
        upstream.release(perf_counter())
    if waiting:
        turns = [await task for task in tasks]
    else:
        turns = [found.take(perf_counter()) or await found.place() for _ in range(6)]
    assert sum(turn is Turn.MAY_OPEN for turn in turns) >= 2
    assert found.places == 6
    assert len(found.pools["h:1"].idle) == 0


async def test_who_comes_later_does_not_pass_those_who_wait() -> None:
    found = arm("h:1", limit=2)
    one, two = opened(found.pools["h:1"]), opened(found.pools["h:1"])
    waiting = asyncio.create_task(found.place())
    await asyncio.sleep(0)
    one.release(perf_counter())
    assert found.take(perf_counter()) is None, "the connection is the waiting request's"
    two.release(perf_counter())
    assert found.take(perf_counter()) is two
    assert await waiting is one


async def test_a_higher_limit_lets_those_who_wait_in() -> None:
    found = arm("h:1", limit=1)
    opened(found.pools["h:1"])
    waiting = [asyncio.create_task(found.place()) for _ in range(3)]
    await asyncio.sleep(0)
    found.follow(("h:1",), Limits(arm_in_flight=3, queue=16), DEFAULT_EJECTION)
    done, left = await asyncio.wait(waiting, timeout=0.05)
    assert (len(done), found.places) == (2, 3)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_what_runs_on_an_endpoint_that_left_takes_no_place_of_the_others() -> None:
    found = arm("h:1", "h:2", limit=2)
    running = [opened(found.pools["h:1"]), opened(found.pools["h:1"])]
    waiting = asyncio.create_task(found.place())
    await asyncio.sleep(0)
    found.follow(("h:2",), Limits(arm_in_flight=2, queue=16), DEFAULT_EJECTION)
    assert await waiting is Turn.MAY_OPEN
    for upstream in running:
        upstream.release(perf_counter())
    await asyncio.sleep(0)
    assert (found.places, [upstream.closed for upstream in running]) == (1, [True, True])


async def test_those_who_wait_for_a_release_that_left_the_table_still_get_their_turn_on_it() -> None:
    found = arm("h:1", limit=1)
    upstream = opened(found.pools["h:1"])
    waiting = asyncio.create_task(found.place())
    await asyncio.sleep(0)
    found.retire()
    assert not upstream.closed
    upstream.release(perf_counter())
    assert await waiting is upstream
    upstream.release(perf_counter())
    assert upstream.closed


async def test_retry_after_goes_by_how_fast_the_line_moves() -> None:
    line = WaitingLine(lambda handed: None)
    line.places, line.seconds = 100, 7.0
    assert line.retry_after() == 7, "nothing has moved: as long as one may wait"
    mine = [line.join() for _ in range(3)]
    assert all(mine)
    for _ in range(2):
        await asyncio.sleep(0.01)
        assert line.hand(None)
    assert line.retry_after() == 1, "never less than a second"
    line._gap = 1_000.0
    assert line.retry_after() == LONGEST_RETRY_AFTER


class Play:
    """Requests of an arm with two endpoints, as a script of steps has it."""

    def __init__(self, limit: int) -> None:
        self.limits = Limits(arm_in_flight=limit, queue=8)
        self.arm = arm("h:1", "h:2", limit=limit, queue=8)
        self.running: list[Upstream] = []
        self.waiting: list[asyncio.Task[Upstream | Turn]] = []

    def ask(self, _: int) -> None:
        idle = self.arm.take(perf_counter())
        if idle is None:
            self.waiting.append(asyncio.create_task(self.arm.place()))
        else:
            self.running.append(idle)

    def give_back(self, number: int) -> None:
        if self.running:
            self.running.pop(number % len(self.running)).release(perf_counter())

    def break_off(self, number: int) -> None:
        if self.running:
            self.running.pop(number % len(self.running)).close()

    def give_up(self, number: int) -> None:
        if self.waiting:
            self.waiting[number % len(self.waiting)].cancel()

    def eject(self, number: int) -> None:
        for pool in self.arm.pools.values():
            pool.record.come_back(monotonic())
        self.arm._settle()
        if number % 3:
            self.arm.wrong(self.arm.pools[("h:1", "h:2")[number % 2]])

    def switch(self, number: int) -> None:
        for names in (("h:1", "h:2")[: 1 + number % 2], ("h:1", "h:2")):
            self.arm.follow(names, self.limits, DEFAULT_EJECTION)

    async def settle(self) -> None:
        """Let everybody who has had a turn take it."""
        for _ in range(4):
            await asyncio.sleep(0)
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            got = None if task.cancelled() else task.result()
            if got is Turn.MAY_OPEN:
                self.running.append(opened(self.arm.rotation[0]))
                self.arm.places -= 1  # the place that was granted is this connection's
            elif isinstance(got, Upstream):
                self.running.append(got)

    async def end(self) -> None:
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)


step = st.sampled_from([Play.ask, Play.ask, Play.give_back, Play.break_off, Play.give_up, Play.eject, Play.switch])


@settings(max_examples=60, deadline=None)
@given(st.lists(step, max_size=60), st.integers(1, 4))
async def test_places_are_exactly_the_open_connections_whatever_happens(
    steps: list[Callable[[Play, int], None]], limit: int
) -> None:
    """Law: never more than the limit, none lost, and nobody waits while there is room."""
    play = Play(limit)
    for number, what in enumerate(steps):
        what(play, number)
        await play.settle()
        idle = sum(len(pool.idle) for pool in play.arm.pools.values())
        placed = [upstream for upstream in play.running if upstream.pool.placed]
        assert play.arm.places == len(placed) + idle <= limit
        assert not (play.arm.line and (play.arm.places < limit or idle)), "nobody waits while there is room"
    await play.end()


async def test_an_idle_connection_that_is_too_old_takes_no_place_of_the_request_that_finds_it() -> None:
    found = arm("h:1", limit=1, queue=0)
    opened(found.pools["h:1"]).release(perf_counter() - 60)
    assert found.take(perf_counter()) is None
    assert await found.place() is Turn.MAY_OPEN


async def test_an_endpoint_that_a_table_names_twice_is_one() -> None:
    found = arm("h:1", "h:1")
    kept = opened(found.pools["h:1"])
    kept.release(perf_counter())
    found.follow(("h:1", "h:1"), Limits(), DEFAULT_EJECTION)
    assert (found.pools["h:1"].idle, len(found.rotation)) == ([kept], 1)


# --- who is left out -------------------------------------------------------------------------------------------


async def test_an_endpoint_that_breaks_requests_is_left_out_and_its_idle_connections_go() -> None:
    found = arm("h:1", "h:2")
    bad = found.pools["h:1"]
    idle, running = opened(bad), opened(bad)
    idle.release(perf_counter())
    for _ in range(3):
        found.broke(bad)
    assert (bad.record.standing, bad.idle, found.ejections) == (Standing.OUT, [], {Why.BROKEN: 1})
    assert {found.turn().endpoint for _ in range(10)} == {"h:2"}
    assert not running.closed, "what runs on it goes on"
    running.release(perf_counter())
    assert running.closed, "and its connection is not used again"


async def test_the_only_endpoint_and_the_last_one_are_never_left_out() -> None:
    alone, pair = arm("h:1"), arm("h:1", "h:2")
    for found in (alone, pair):
        for pool in found.pools.values():
            for _ in range(20):
                found.broke(pool)
    assert alone.pools["h:1"].record.standing is Standing.IN
    assert sorted(pool.record.standing for pool in pair.pools.values()) == [Standing.OUT, Standing.IN]


async def test_good_answers_are_counted_only_while_somebody_fails() -> None:
    found = arm("h:1", "h:2")
    good, bad = found.pools["h:1"], found.pools["h:2"]
    opened(good).release(perf_counter())
    assert (good.unusual, good.record.ended) == (False, 0)
    worse = opened(bad)
    worse.finish(perf_counter(), bad=True, reusable=True)
    assert (good.unusual, bad.unusual) == (True, True)
    upstream = good.get(perf_counter())
    assert upstream is not None
    upstream.release(perf_counter())
    assert (good.record.ended, good.record.bad, bad.record.ended, bad.record.bad) == (1, 0, 1, 1)


async def test_bad_answers_of_one_endpoint_alone_eject_it() -> None:
    found = arm("h:1", "h:2")
    good, bad = (opened(found.pools[name]) for name in ("h:1", "h:2"))
    for _ in range(10):
        bad.finish(perf_counter(), bad=True, reusable=True)
        assert (bad.pool.get(perf_counter()) is bad) is (bad.pool.record.standing is Standing.IN)
        if bad.pool.record.standing is Standing.OUT:
            break
        good.release(perf_counter())
        assert good.pool.get(perf_counter()) is good
    assert found.ejections == {Why.OUTLIER: 1}
    assert good.pool.record.standing is Standing.IN


async def test_bad_answers_everywhere_eject_nobody() -> None:
    found = arm("h:1", "h:2", "h:3")
    for _ in range(50):
        for pool in found.pools.values():
            found.answered(pool, bad=True)
    assert found.ejections == {}


async def test_an_ejected_endpoint_comes_back_by_one_request_alone() -> None:
    found = arm("h:1", "h:2", base=0.01)
    bad = found.pools["h:1"]
    for _ in range(3):
        found.broke(bad)
    await asyncio.sleep(0.02)
    trial = opened(bad)
    trial.idle_since = perf_counter()
    bad.idle.append(trial)
    found.sweep()
    assert bad.record.standing is Standing.TRIAL
    turns = [found.turn() for _ in range(6)]
    assert turns.count(bad) == 1
    assert bad.get(perf_counter()) is trial
    found.sweep()
    assert bad not in [found.turn() for _ in range(6)], "one request at a time"
    trial.release(perf_counter())
    assert bad.record.standing is Standing.IN
    assert bad in [found.turn() for _ in range(60)]


async def test_an_ejected_endpoint_that_is_the_only_one_left_serves_and_is_back_by_its_first_answer() -> None:
    found = arm("h:1", "h:2")
    for _ in range(3):
        found.broke(found.pools["h:1"])
    found.follow(("h:1",), Limits(), DEFAULT_EJECTION)
    last = found.pools["h:1"]
    assert (last.record.standing, found.turn(), found.order()) == (Standing.OUT, last, [last])
    upstream = opened(last)
    upstream.release(perf_counter())
    assert (last.record.standing, last.idle) == (Standing.IN, [upstream])


async def test_a_trial_that_fails_ejects_at_once_and_for_longer() -> None:
    found = arm("h:1", "h:2", base=0.01)
    bad = found.pools["h:1"]
    for _ in range(3):
        found.broke(bad)
    first = bad.record.until - monotonic()
    await asyncio.sleep(0.02)
    opened(bad).release(perf_counter())
    bad.record.standing = Standing.TRIAL
    found.broke(bad)
    assert bad.record.standing is Standing.OUT
    assert bad.record.until - monotonic() > first
    assert found.ejections == {Why.BROKEN: 1, Why.TRIAL: 1}


async def test_an_endpoint_that_answered_for_another_release_gets_nothing_though_it_is_the_only_one() -> None:
    found = arm("h:1", base=0.01)
    wrong = found.pools["h:1"]
    opened(wrong).release(perf_counter())
    found.wrong(wrong)
    assert (found.rotation, found.order(), found.take(perf_counter())) == ([], [], None)
    await asyncio.sleep(0.02)
    found.sweep()
    assert (wrong.record.standing, found.rotation) == (Standing.WRONG, []), "time proves nothing"
    found.retire()


@pytest.mark.parametrize(
    ("names_itself", "answered", "back"),
    [
        (False, Answered(status=200, said=RELEASE.encode()), True),
        (False, Answered(status=404), True),
        (False, Answered(detail="no answer"), False),
        (False, Answered(status=200, said=b"sha256:" + b"b" * 64), False),
        (True, Answered(status=200, said=RELEASE.encode()), True),
        (True, Answered(status=404), False),
    ],
    ids=["its own", "one that never says", "nobody", "another", "its own again", "silence of one that does say"],
)
async def test_an_endpoint_of_another_release_is_back_once_it_is_not_known_to_be_that(
    monkeypatch: pytest.MonkeyPatch, names_itself: bool, answered: Answered, back: bool
) -> None:
    async def asked(*_: Any, **__: Any) -> Answered:
        return answered

    monkeypatch.setattr("fairway.gateway.endpoints.arm.ask", asked)
    found = arm("h:1", "h:2")
    wrong = found.pools["h:1"]
    if names_itself:
        found.named(wrong)
    found.wrong(wrong)
    found.sweep()
    await asyncio.sleep(0.01)
    assert (wrong.record.standing is Standing.IN, wrong in found.rotation) == (back, back)
    found.retire()


async def test_an_endpoint_that_refuses_is_asked_last_for_a_moment() -> None:
    found = arm("h:1", "h:2")
    found.refused(found.pools["h:1"])
    assert {found.turn().endpoint for _ in range(10)} == {"h:2"}
    assert found.pools["h:1"].record.standing is Standing.IN
    found.pools["h:1"].down_until = 0.0
    found.sweep()
    assert {found.turn().endpoint for _ in range(60)} == {"h:1", "h:2"}


@pytest.mark.parametrize("left", [("h:2",), ("h:1", "h:2", "h:3")])
async def test_a_table_switch_forgets_neither_connections_nor_ejections(left: tuple[str, ...]) -> None:
    found = arm("h:1", "h:2")
    kept = opened(found.pools["h:2"])
    kept.release(perf_counter())
    for _ in range(3):
        found.broke(found.pools["h:1"])
    found.follow(left, Limits(), DEFAULT_EJECTION)
    assert found.pools["h:2"].idle == [kept]
    if "h:1" in left:
        assert found.pools["h:1"].record.standing is Standing.OUT
