"""The fault hooks of the ledger in memory: what a killed process leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fairway.errors import ConflictError
from fairway.rollout.port import JournalEntry, Lease
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.testing.memory_ledger import MemoryLedger
from fairway.traffic.fence import Fence
from fairway.units import AgentName, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


class Killed(BaseException):
    """The process is gone."""


def entry(seq: int = 1) -> JournalEntry:
    return JournalEntry(
        route=ROUTE, fence=Fence(term=1, seq=seq), at=NOW, kind="k", code="c", reason="r", actor="a", state={"n": seq},
        decision={}, snapshot=b"{}", answers=(Answer(request_id="r", kind=AnswerKind.APPLIED, seq=seq),),
    )  # fmt: skip


def prepared() -> tuple[MemoryLedger, Lease, list[str]]:
    ledger, points = MemoryLedger(), []
    ledger.submit(Request(id="r", route=ROUTE, verb=Verb.PAUSE, actor="ada", at=NOW))
    lease = ledger.acquire_lease(ROUTE, "one", seconds=60)
    assert lease is not None
    return ledger, lease, points


def kill(ledger: MemoryLedger, at: str, action: Callable[[], Any]) -> None:
    def fail_at(point: str) -> None:
        if point == at:
            raise Killed

    ledger.fail_at = fail_at
    with pytest.raises(Killed):
        action()
    ledger.fail_at = lambda point: None


def test_killed_before_a_write_nothing_of_it_is_there() -> None:
    ledger, lease, _ = prepared()
    kill(ledger, "before journal", lambda: ledger.journal(entry(), lease))
    assert ledger.head(ROUTE).state is None
    assert len(ledger.pending(ROUTE)) == 1
    ledger.journal(entry(), lease)


def test_killed_after_a_write_all_of_it_is_there() -> None:
    ledger, lease, _ = prepared()
    kill(ledger, "after journal", lambda: ledger.journal(entry(), lease))
    assert ledger.head(ROUTE).state == {"n": 1}
    assert ledger.pending(ROUTE) == ()
    assert ledger.snapshot(ROUTE, 1) == b"{}"
    with pytest.raises(ConflictError):
        ledger.journal(entry(), lease)


def test_every_write_has_a_point_before_and_after_it_and_no_read_has() -> None:
    ledger, lease, points = prepared()
    ledger.fail_at = points.append
    ledger.acquire_lease(ROUTE, "one", seconds=60)
    ledger.submit(Request(id="s", route=ROUTE, verb=Verb.PAUSE, actor="ada", at=NOW))
    ledger.journal(entry(), lease)
    ledger.add_blocks(ROUTE, [{"t0": 0.0}])
    ledger.add_evidence([])
    ledger.record_run("r", {})
    ledger.release_lease(lease)
    for read in (ledger.head, ledger.events, ledger.pending, ledger.blocks, ledger.lease_of):
        read(ROUTE)
    names = ("acquire_lease", "submit", "journal", "add_blocks", "add_evidence", "record_run", "release_lease")
    assert points == [f"{when} {name}" for name in names for when in ("before", "after")]


def test_a_refused_write_is_not_followed_by_the_point_after_it() -> None:
    ledger, lease, points = prepared()
    ledger.fail_at = points.append
    with pytest.raises(ConflictError):
        ledger.journal(entry(7), lease)
    assert points == ["before journal"]


def test_writing_again_from_within_a_hook_does_not_hang() -> None:
    ledger, lease, _ = prepared()

    def rival(point: str) -> None:
        if point == "before journal":
            ledger.fail_at = lambda point: None
            ledger.journal(entry(), lease)

    ledger.fail_at = rival
    with pytest.raises(ConflictError) as caught:
        ledger.journal(entry(), lease)
    assert caught.value.code == "journal_moved"
