from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.targets.local.restarts import Restart, RestartHistory, RestartPolicy, after_exit

POLICY = RestartPolicy()


def exits(*lives: tuple[float, bool], gap: float = 0.0) -> list[Restart]:
    """What follows each of a row of lives ``(seconds, was it ready from the start)``, on a made-up clock."""
    history, now, decisions = RestartHistory(), 1000.0, []
    for seconds, ready in lives:
        started = now
        now += seconds
        decision = after_exit(history, POLICY, started=started, ready_since=started if ready else None, now=now)
        decisions.append(decision)
        history = decision.history
        now += decision.delay + gap
    return decisions


def test_the_wait_doubles_from_half_a_second_up_to_thirty() -> None:
    decisions = exits(*[(20.0, True)] * 8)
    assert [decision.delay for decision in decisions] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert not any(decision.looping for decision in decisions)


def test_a_minute_of_service_starts_from_a_clean_slate() -> None:
    assert [decision.delay for decision in exits((20, True), (20, True), (60, True), (20, True))] == [0.5, 1, 0.5, 1]


def test_a_minute_without_ever_being_ready_is_no_service() -> None:
    assert [decision.delay for decision in exits((60, False), (60, False), (60, False))] == [0.5, 1, 2]


def test_three_exits_in_a_row_within_two_seconds_are_a_crash_loop_tried_slowly() -> None:
    decisions = exits((0.1, False), (1.9, False), (0.1, False))
    assert [decision.looping for decision in decisions] == [False, False, True]
    assert decisions[-1].delay == 30


def test_a_longer_life_between_breaks_the_row_of_quick_exits() -> None:
    assert not any(decision.looping for decision in exits((0.1, False), (0.1, False), (20, True), (0.1, False)))


def test_five_exits_in_a_minute_are_a_crash_loop() -> None:
    decisions = exits((2.5, True), (2.5, True), (2.5, True), (2.5, True), (2.5, True))
    assert [decision.looping for decision in decisions] == [False, False, False, False, True]


def test_a_crash_every_second_is_a_crash_loop_within_ten_seconds() -> None:
    decisions = exits(*[(1.0, True)] * 3)
    assert decisions[-1].looping
    assert sum(1.0 + decision.delay for decision in decisions[:-1]) + 1.0 < 10


def test_a_crash_loop_ends_when_the_service_stays() -> None:
    decisions = exits((0.1, False), (0.1, False), (0.1, False), (90, True))
    assert (decisions[-1].looping, decisions[-1].delay) == (False, 0.5)


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=30))
def test_whatever_happens_the_wait_is_bounded_and_the_memory_too(lives: list[tuple[float, bool]]) -> None:
    for decision in exits(*lives):
        assert POLICY.first <= decision.delay <= POLICY.ceiling
        assert len(decision.history.exits) <= POLICY.window / POLICY.first + 1


@pytest.mark.parametrize("streak", [0, 10, 64, 10_000])
def test_a_long_streak_does_not_overflow(streak: int) -> None:
    decision = after_exit(RestartHistory(streak=min(streak, 64)), POLICY, started=0, ready_since=None, now=50)
    assert decision.delay <= POLICY.ceiling
