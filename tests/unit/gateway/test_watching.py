"""Clients are looked at in turn, each in time for its limits, and a body has to keep a pace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.client import ClientConnection
from fairway.gateway.descriptors import most_clients
from fairway.gateway.pace import Pace
from fairway.gateway.watching import MOST_SECONDS, Watch
from fairway.traffic.table import Timeouts


class Looked(SimpleNamespace):
    """A client that counts how often it is looked at."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def overdue(self, now: float) -> None:
        self.looks.append(now)


def client(**given: Any) -> Looked:
    return Looked(**{"exchange": None, "since": 0.0, "buffer": b"", "closing": False, "looks": [], **given})


def add(watch: Watch, *clients: Looked) -> None:
    for one in clients:
        watch.add(cast(ClientConnection, one))


@given(
    sweep=st.floats(0.02, 0.25), idle=st.floats(0.1, 900), total=st.floats(0.1, 900), head=st.floats(0.1, 60),
    keep=st.floats(0.1, 900),
)  # fmt: skip
def test_every_client_is_looked_at_in_time_for_every_limit(
    sweep: float, idle: float, total: float, head: float, keep: float
) -> None:
    watch = Watch()
    limits = Timeouts(idle=idle, total=total, head=head, keep_alive=keep)
    watch.limit(limits, sweep_seconds=sweep)
    crowd = [client(buffer=b"G") for _ in range(20)]  # a head has begun to arrive: no limit to skip it by
    add(watch, *crowd)
    due = min(MOST_SECONDS, min(idle, total / 2, head, keep) / 4)
    turns = int(due / sweep) + 2
    for turn in range(turns):
        watch.look(turn * sweep, at_all=False)
    assert all(one.looks for one in crowd)


def test_an_idle_client_is_left_alone_until_it_may_have_waited_too_long() -> None:
    watch = Watch()
    watch.limit(Timeouts(keep_alive=75.0), sweep_seconds=0.25)
    idle, closing, arriving = client(since=100.0), client(closing=True, since=100.0), client(buffer=b"G", since=100.0)
    add(watch, idle, closing, arriving)
    for _ in range(8):
        watch.look(170.0, at_all=False)
    assert not idle.looks
    assert closing.looks
    assert arriving.looks
    for _ in range(8):
        watch.look(175.1, at_all=False)
    assert idle.looks


def test_a_request_is_left_alone_while_none_of_its_limits_can_have_passed() -> None:
    watch = Watch()
    watch.limit(Timeouts(first_byte=3.0), sweep_seconds=0.25)
    fresh = client(exchange=SimpleNamespace(started=100.0))
    add(watch, fresh)
    for _ in range(8):
        watch.look(102.9, at_all=False)
    assert not fresh.looks
    for _ in range(8):
        watch.look(103.1, at_all=False)
    assert fresh.looks


def test_while_draining_all_are_looked_at_and_who_left_is_not() -> None:
    watch = Watch()
    watch.limit(Timeouts(), sweep_seconds=0.25)
    here, gone = client(since=100.0), client(since=100.0)
    add(watch, here)
    watch.add(cast(ClientConnection, gone)).discard(cast(ClientConnection, gone))
    watch.look(100.1, at_all=True)
    assert len(here.looks) == 1
    assert not gone.looks


def test_a_body_has_to_keep_its_pace_over_each_stretch_of_time() -> None:
    pace = Pace(0.0, 0)
    assert not pace.crawls(9.9, 0, rate=240, held=False), "not yet"
    assert not pace.crawls(10.0, 2_400, rate=240, held=False)
    assert not pace.crawls(19.9, 2_400, rate=240, held=False)
    assert pace.crawls(20.0, 4_799, rate=240, held=False), "what came before does not count again"


def test_a_body_the_gateway_itself_does_not_read_is_nobodys_slowness() -> None:
    pace = Pace(0.0, 0)
    assert not pace.crawls(60.0, 0, rate=240, held=True)
    assert not pace.crawls(69.9, 0, rate=240, held=False)
    assert pace.crawls(70.1, 0, rate=240, held=False)


@pytest.mark.parametrize(
    ("files", "wanted", "in_flight", "most"),
    [(1_048_576, 8192, 1024, 8192), (20_000, 65_536, 1024, 18_864), (1024, 8192, 1024, 456), (64, 8192, 1024, 8),
     (1024, 3, 1024, 3), (4096, 8192, 1024, 2960)],
)  # fmt: skip
def test_clients_leave_a_connection_to_an_arm_for_each_request(
    files: int, wanted: int, in_flight: int, most: int
) -> None:
    assert most_clients(files, wanted=wanted, in_flight=in_flight) == most
