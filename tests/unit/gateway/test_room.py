"""How much a worker does for its shadow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.room import BUSY, LOOK_SECONDS, MAX_BYTES, MAX_COPIES, TAKEN_UP, TRICKLE, Processor, Room


def busy(room: Room, *, share: float = 1.0, at: float = 100.0, seconds: float = 1.0) -> float:
    """Let the room see a worker that took that share of a processor; the time when it has."""
    room.look(at, lambda: at)
    room.look(at + seconds, lambda: at + share * seconds)
    return at + seconds


def taken(room: Room, at_most: int = 1000) -> int:
    """How many conversations are taken up when so many begin at once."""
    count = 0
    while count < at_most and room.open:
        room.taken_up()
        count += 1
    return count


def test_an_idle_worker_takes_up_whatever_there_is_room_for() -> None:
    room = Room()
    busy(room, share=BUSY - 0.1)
    assert taken(room) == 1000


def test_a_busy_worker_takes_up_a_trickle() -> None:
    room = Room()
    now = busy(room)
    assert taken(room) == TRICKLE
    room.look(now + 0.5, lambda: now + 0.5)
    assert taken(room) == TRICKLE * 0.5


def test_a_worker_that_is_busy_no_longer_takes_up_all_again() -> None:
    room = Room()
    now = busy(room)
    assert taken(room) == TRICKLE
    room.look(now + 1.0, lambda: now + 0.1)
    assert taken(room) == 1000


def test_a_look_too_soon_says_nothing() -> None:
    room = Room()
    now = busy(room, share=0.0)
    room.look(now + LOOK_SECONDS / 2, lambda: now + 1.0)
    assert taken(room) == 1000


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["idle", "busy"])
def test_a_conversation_under_way_is_copied_however_busy_the_worker_is(share: float) -> None:
    room = Room()
    busy(room, share=share)
    taken(room)
    assert room.for_copy(1000)


def test_half_of_the_room_is_kept_for_the_conversations_under_way() -> None:
    room = Room()
    for _ in range(int(MAX_COPIES * TAKEN_UP)):
        assert room.open
        room.take(100)
    assert not room.open
    assert room.for_copy(100)


def test_the_processor_tells_what_this_thread_asks_of_it() -> None:
    processor = Processor()
    before, begun = processor.wanted(), time.thread_time()
    while time.thread_time() - begun < 0.05:
        pass
    between = processor.wanted()
    time.sleep(0.05)
    after = processor.wanted()
    processor.close()
    assert between - before >= 0.04
    assert after - between < between - before + 1.0, "sleeping is not asking"
    assert processor.wanted() > 0, "without Linux's count: what it got"


@given(st.lists(st.integers(0, 2 * 65_536), max_size=300))
def test_neither_limit_is_ever_passed_and_all_room_comes_back(sizes: list[int]) -> None:
    room = Room()
    held = []
    for size in sizes:
        if room.for_copy(size):
            room.take(size)
            held.append(size)
        assert room.copies <= MAX_COPIES
        assert room.held_bytes <= MAX_BYTES
    for size in held:
        room.give_back(size)
    assert (room.copies, room.held_bytes) == (0, 0)
