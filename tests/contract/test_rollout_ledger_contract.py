"""One suite for every RolloutLedger: the one in memory and the one in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fairway.errors import ConflictError, FairwayError, NotFoundError
from fairway.ledger import open_ledger
from fairway.rollout.port import JournalEntry, Lease, RolloutLedger
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.testing.memory_ledger import MemoryLedger
from fairway.traffic.fence import ZERO_FENCE, Fence
from fairway.units import AgentName, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
OTHER = RouteId(agent=AgentName("shop"), environment=EnvironmentName("staging"))
START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class SetClock:
    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[RolloutLedger]:
    if request.param == "memory":
        yield MemoryLedger(clock=clock)
        return
    with open_ledger(tmp_path / "ledger.db", clock=clock) as found:
        yield found


def entry(seq: int = 1, term: int = 1, **changes: Any) -> JournalEntry:
    event = JournalEntry(
        route=ROUTE,
        fence=Fence(term=term, seq=seq),
        at=START,
        kind="advance",
        code="gates_passed",
        reason="all gates passed",
        actor="controller",
        state={"phase": "stepping", "step": seq, "share": 0.5, "names": ["a"]},
        decision={"kind": "advance"},
        snapshot=b'{"now":1}',
    )
    return replace(event, **changes)


def ask(name: str = "r1", **changes: Any) -> Request:
    request = Request(id=name, route=ROUTE, verb=Verb.ABORT, actor="ada", at=START, args={"to": None})
    return replace(request, **changes)


def lease(ledger: RolloutLedger, holder: str = "one", route: RouteId = ROUTE, seconds: float = 10) -> Lease:
    found = ledger.acquire_lease(route, holder, seconds=seconds)
    assert found is not None
    return found


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(FairwayError) as caught:
        action()
    return caught.value.code


def test_a_lease_has_one_holder_who_can_renew_it(ledger: RolloutLedger, clock: SetClock) -> None:
    first = lease(ledger)
    assert (first.term, first.expires_at) == (1, START + timedelta(seconds=10))
    assert ledger.acquire_lease(ROUTE, "two", seconds=10) is None
    clock.at += timedelta(seconds=9)
    again = lease(ledger)
    assert (again.term, again.expires_at) == (1, START + timedelta(seconds=19))
    assert ledger.lease_of(ROUTE) == again
    assert lease(ledger, "two", OTHER).term == 1


def test_an_expired_lease_goes_to_whoever_asks_with_a_higher_term(ledger: RolloutLedger, clock: SetClock) -> None:
    lease(ledger)
    clock.at += timedelta(seconds=10)
    assert ledger.lease_of(ROUTE) is None
    assert lease(ledger, "two").term == 2
    assert ledger.acquire_lease(ROUTE, "one", seconds=10) is None


def test_a_holder_who_was_away_for_too_long_gets_a_new_term(ledger: RolloutLedger, clock: SetClock) -> None:
    lease(ledger)
    clock.at += timedelta(seconds=11)
    assert lease(ledger).term == 2


def test_a_term_can_be_raised_above_what_gateways_kept(ledger: RolloutLedger) -> None:
    first = ledger.acquire_lease(ROUTE, "one", seconds=10)
    assert first is not None
    raised = ledger.acquire_lease(ROUTE, "one", seconds=10, at_least=first.term + 5)
    assert raised is not None
    assert raised.term == first.term + 5
    renewed = ledger.acquire_lease(ROUTE, "one", seconds=10, at_least=1)
    assert renewed is not None
    assert renewed.term == raised.term


def test_a_lease_given_back_is_free_at_once_and_the_term_still_rises(ledger: RolloutLedger) -> None:
    first = lease(ledger)
    ledger.release_lease(first)
    assert ledger.lease_of(ROUTE) is None
    second = lease(ledger, "two")
    assert second.term == 2
    ledger.release_lease(first)
    assert ledger.lease_of(ROUTE) == second


def test_a_journal_begins_at_nothing_and_keeps_what_is_appended(ledger: RolloutLedger) -> None:
    assert ledger.head(ROUTE).fence == ZERO_FENCE
    assert ledger.head(ROUTE).state is None
    held = lease(ledger)
    for seq in (1, 2, 3):
        ledger.journal(entry(seq), held)
    head = ledger.head(ROUTE)
    assert (head.fence, head.state) == (Fence(term=1, seq=3), entry(3).state)
    assert ledger.events(ROUTE) == tuple(replace(entry(seq), snapshot=b"") for seq in (1, 2, 3))
    assert [event.fence.seq for event in ledger.events(ROUTE, after=1, limit=1)] == [2]
    assert ledger.events(OTHER) == ()
    assert ledger.snapshot(ROUTE, 2) == b'{"now":1}'


def test_there_is_no_snapshot_of_what_never_happened(ledger: RolloutLedger) -> None:
    ledger.journal(entry(snapshot=b""), lease(ledger))
    for seq in (0, 1, 2, -1):
        with pytest.raises(NotFoundError):
            ledger.snapshot(ROUTE, seq)


def test_a_stale_controller_is_refused(ledger: RolloutLedger, clock: SetClock) -> None:
    stale = lease(ledger)
    clock.at += timedelta(seconds=10)
    assert code_of(lambda: ledger.journal(entry(), stale)) == "lease_lost"
    fresh = lease(ledger, "two")
    assert code_of(lambda: ledger.journal(entry(), stale)) == "lease_lost"
    assert code_of(lambda: ledger.journal(entry(term=2), stale)) == "lease_lost"
    assert code_of(lambda: ledger.journal(entry(term=1), fresh)) == "lease_lost"
    assert code_of(lambda: ledger.journal(entry(term=2, route=OTHER), fresh)) == "lease_lost"
    assert ledger.head(ROUTE).fence == ZERO_FENCE
    ledger.journal(entry(term=2), fresh)


def test_of_two_decisions_on_one_head_the_second_is_refused(ledger: RolloutLedger) -> None:
    held = lease(ledger)
    ledger.journal(entry(1), held)
    for seq in (1, 3, 0):
        assert code_of(lambda seq=seq: ledger.journal(entry(seq), held)) == "journal_moved"
    assert len(ledger.events(ROUTE)) == 1


def test_a_request_is_asked_once_and_answered_in_the_event_it_causes(ledger: RolloutLedger) -> None:
    assert ledger.submit(ask()) == Answer(request_id="r1", kind=AnswerKind.PENDING)
    assert ledger.submit(ask(at=START + timedelta(seconds=1))).kind is AnswerKind.PENDING
    ledger.submit(ask("r0"))
    ledger.submit(ask("elsewhere", route=OTHER))
    assert [request.id for request in ledger.pending(ROUTE)] == ["r1", "r0"]
    assert ledger.pending(ROUTE)[0] == ask()
    answers = (
        Answer(request_id="r1", kind=AnswerKind.APPLIED, seq=1),
        Answer(request_id="r0", kind=AnswerKind.REFUSED, code="superseded", message="aborted already"),
    )
    ledger.journal(entry(answers=answers), lease(ledger))
    assert ledger.pending(ROUTE) == ()
    assert ledger.answer("r1") == answers[0]
    assert ledger.submit(ask("r0")) == answers[1]
    assert ledger.events(ROUTE)[0].answers == answers
    assert [request.id for request in ledger.pending(OTHER)] == ["elsewhere"]


def test_a_request_id_means_one_wish(ledger: RolloutLedger) -> None:
    ledger.submit(ask())
    for change in ({"verb": Verb.PAUSE}, {"actor": "eve"}, {"args": {"to": "x"}}, {"route": OTHER}):
        assert code_of(lambda change=change: ledger.submit(ask(**change))) == "request_id_reused"
    assert len(ledger.pending(ROUTE)) == 1


def test_an_answer_to_nobody_undoes_the_whole_event(ledger: RolloutLedger) -> None:
    ledger.submit(ask())
    ledger.submit(ask("elsewhere", route=OTHER))
    held = lease(ledger)
    applied = Answer(request_id="r1", kind=AnswerKind.APPLIED, seq=1)
    for answers in (
        (applied, replace(applied, request_id="unknown")),
        (applied, applied),
        (applied, replace(applied, request_id="elsewhere")),
        (replace(applied, kind=AnswerKind.PENDING),),
    ):
        with pytest.raises(ConflictError):
            ledger.journal(entry(answers=answers), held)
        assert ledger.head(ROUTE).fence == ZERO_FENCE
        assert len(ledger.pending(ROUTE)) == 1
    ledger.journal(entry(answers=(applied,)), held)
    assert code_of(lambda: ledger.journal(entry(2, answers=(applied,)), held)) == "request_answered"


def test_an_unknown_request_is_not_found(ledger: RolloutLedger) -> None:
    with pytest.raises(NotFoundError):
        ledger.answer("nobody")


def test_blocks_are_kept_once_in_order_of_time(ledger: RolloutLedger) -> None:
    ledger.add_blocks(ROUTE, [{"t0": 20.0, "n": 2}, {"t0": 10.0, "n": 1}])
    ledger.add_blocks(ROUTE, [{"t0": 10.0, "n": 99}, {"t0": 30.0, "n": 3}])
    ledger.add_blocks(ROUTE, [{"t0": 30.0, "release": "a", "n": 4}])
    assert [block["n"] for block in ledger.blocks(ROUTE)] == [1, 2, 3, 4]
    assert [block["n"] for block in ledger.blocks(ROUTE, since=20.0)] == [2, 3, 4]
    assert [block["n"] for block in ledger.blocks(ROUTE, since=20.0, upto=20.0)] == [2]
    assert ledger.blocks(OTHER) == ()


def test_a_route_is_known_by_its_lease_its_requests_or_its_events(ledger: RolloutLedger) -> None:
    assert ledger.routes() == ()
    ledger.submit(ask("x", route=OTHER))
    assert ledger.routes() == (OTHER,)
    lease(ledger)
    assert ledger.routes() == (ROUTE, OTHER)


def test_what_was_given_can_change_afterwards_without_changing_what_was_kept(ledger: RolloutLedger) -> None:
    state: dict[str, Any] = {"arms": ["a"]}
    block: dict[str, Any] = {"t0": 1.0, "marks": ["u"]}
    ledger.journal(entry(state=state), lease(ledger))
    ledger.add_blocks(ROUTE, [block])
    state["arms"].append("b")
    block["marks"].append("v")
    assert ledger.head(ROUTE).state == {"arms": ["a"]}
    assert ledger.blocks(ROUTE)[0]["marks"] == ["u"]


def test_no_secret_is_kept(ledger: RolloutLedger) -> None:
    secret = "sk-" + "a1B2" * 8
    event = entry(
        state={"api_key": "hunter2hunter2", "max_tokens": 5},
        decision={"why": f"called with {secret}"},
        reason=f"key {secret}",
        snapshot=b'{"observed":{"password":"hunter2hunter2"},"n":1}',
    )
    ledger.submit(ask(args={"token": "hunter2hunter2"}, reason=f"use {secret}"))
    ledger.journal(event, lease(ledger))
    ledger.add_blocks(ROUTE, [{"t0": 1.0, "exemplars": [{"note": secret}]}])
    kept = repr((ledger.events(ROUTE), ledger.snapshot(ROUTE, 1), ledger.pending(ROUTE), ledger.blocks(ROUTE)))
    assert "hunter2" not in kept
    assert secret not in kept
    assert ledger.head(ROUTE).state == {"api_key": "[redacted]", "max_tokens": 5}
