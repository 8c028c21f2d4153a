"""Several processes and threads on one ledger, and one that is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fairway.errors import ConflictError
from fairway.ledger import open_ledger
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import AnswerKind, Request, Verb
from fairway.traffic.fence import Fence
from fairway.units import AgentName, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("shop"), environment=EnvironmentName("production"))
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

PRELUDE = """
import json, sys, time, random
from datetime import UTC, datetime
from pathlib import Path
from fairway.errors import ConflictError
from fairway.ledger import open_ledger
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Answer, AnswerKind, Request, Verb
from fairway.traffic.fence import Fence
from fairway.units import RouteId

ROUTE = RouteId(agent="shop", environment="production")
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
ledger = open_ledger(Path(sys.argv[1]))
name = sys.argv[2]

def entry(lease, seq, answers=()):
    return JournalEntry(
        route=ROUTE, fence=Fence(term=lease.term, seq=seq), at=NOW, kind="advance", code="ok", reason="r", actor=name,
        state={"seq": seq, "by": name}, decision={}, snapshot=json.dumps({"seq": seq}).encode(), answers=answers,
    )
"""

COMPETITOR = (
    PRELUDE
    + """
wins, losses = [], []
until = time.monotonic() + float(sys.argv[3])
while time.monotonic() < until:
    lease = ledger.acquire_lease(ROUTE, name, seconds=0.02)
    if lease is None:
        time.sleep(0.001)
        continue
    seq = ledger.head(ROUTE).fence.seq + 1
    time.sleep(random.choice([0, 0, 0.03]))
    try:
        ledger.journal(entry(lease, seq), lease)
        wins.append(seq)
    except ConflictError as error:
        losses.append(error.code)
ledger.close()
print(json.dumps({"wins": wins, "losses": losses}))
"""
)

WRITER = (
    PRELUDE
    + """
lease = ledger.acquire_lease(ROUTE, name, seconds=600)
while True:
    seq = ledger.head(ROUTE).fence.seq + 1
    request = Request(id=f"r{seq}-{name}", route=ROUTE, verb=Verb.PAUSE, actor=name, at=NOW, args={"pad": "x" * 3000})
    ledger.submit(request)
    answers = (Answer(request_id=request.id, kind=AnswerKind.APPLIED, seq=seq),)
    ledger.journal(entry(lease, seq, answers), lease)
    print(seq, flush=True)
"""
)


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_that_journal_exactly_one_wins_each_place(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    competitors = [start(COMPETITOR, path, name, 1.5) for name in ("one", "two")]
    results = [json.loads(competitor.communicate(timeout=60)[0]) for competitor in competitors]
    assert [competitor.returncode for competitor in competitors] == [0, 0]
    wins = sorted(seq for result in results for seq in result["wins"])
    assert wins == list(range(1, len(wins) + 1))
    assert all(result["wins"] for result in results), "both had their turn"
    assert {code for result in results for code in result["losses"]} <= {"lease_lost", "journal_moved"}
    assert any(result["losses"] for result in results), "a stale lease was refused at least once"
    with open_ledger(path) as ledger:
        events = ledger.events(ROUTE, limit=100_000)
        assert [event.fence.seq for event in events] == wins
        assert sorted(event.fence for event in events) == [event.fence for event in events]
        assert {event.actor for event in events} == {"one", "two"}
        assert ledger.verify_audit().ok


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_records_and_loses_none_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    rng = random.Random(20261120)
    reported = 0
    for attempt in range(6):
        writer = start(WRITER, path, f"w{attempt}")
        assert writer.stdout is not None
        first = int(writer.stdout.readline())
        assert first > reported
        time.sleep(rng.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        lines = writer.stdout.read().split("\n")
        writer.wait(timeout=10)
        writer.stdout.close()
        reported = max([first, *(int(line) for line in lines[:-1])])
        with open_ledger(path) as ledger:
            events = ledger.events(ROUTE, limit=100_000)
            count = len(events)
            assert [event.fence.seq for event in events] == list(range(1, count + 1))
            assert count >= reported, "what was reported is there"
            for event in events[-3:]:
                assert json.loads(ledger.snapshot(ROUTE, event.fence.seq)) == {"seq": event.fence.seq}
                assert event.answers[0].seq == event.fence.seq
                assert ledger.answer(event.answers[0].request_id).kind is AnswerKind.APPLIED
            assert len(ledger.pending(ROUTE)) <= attempt + 1
            report = ledger.verify_audit()
            assert report.ok, report.problems
            lease = ledger.lease_of(ROUTE)
            assert lease is not None
            ledger.release_lease(lease)


def test_eight_threads_submit_at_once_and_each_request_is_there_once(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        problems: list[BaseException] = []

        def work(thread: int) -> None:
            try:
                for n in range(10):
                    ledger.submit(Request(id=f"{thread}-{n}", route=ROUTE, verb=Verb.PAUSE, actor="ada", at=NOW))
                    ledger.submit(Request(id=f"shared-{n}", route=ROUTE, verb=Verb.ABORT, actor="ada", at=NOW))
                    ledger.pending(ROUTE)
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        names = [request.id for request in ledger.pending(ROUTE)]
        assert len(names) == len(set(names)) == 90
        assert ledger.verify_audit().ok


def test_processes_that_open_a_new_ledger_at_once_make_one(tmp_path: Path) -> None:
    script = PRELUDE + "ledger.record_run(name, {}); ledger.close()"
    racers = [start(script, tmp_path / "ledger.db", f"r{n}") for n in range(4)]
    assert [racer.wait(timeout=60) for racer in racers] == [0, 0, 0, 0]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.close()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert sorted(name for name, _ in ledger.list_runs()) == ["r0", "r1", "r2", "r3"]
        assert ledger.verify_audit().ok


def test_a_lease_runs_out_by_the_time_of_the_database(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as one, open_ledger(tmp_path / "ledger.db") as two:
        stale = one.acquire_lease(ROUTE, "one", seconds=0.2)
        assert stale is not None
        assert two.acquire_lease(ROUTE, "two", seconds=5) is None
        time.sleep(0.25)
        fresh = two.acquire_lease(ROUTE, "two", seconds=5)
        assert fresh is not None
        assert fresh.term == stale.term + 1
        entry = JournalEntry(
            route=ROUTE, fence=Fence(term=1, seq=1), at=NOW, kind="k", code="c", reason="r", actor="a", state={},
            decision={},
        )  # fmt: skip
        with pytest.raises(ConflictError) as caught:
            one.journal(entry, stale)
        assert caught.value.code == "lease_lost"


def test_a_backup_taken_while_others_write_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    writer = start(WRITER, path, "w")
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        with open_ledger(path) as ledger:
            for n in range(3):
                ledger.backup(tmp_path / f"backup-{n}.db")
    finally:
        writer.kill()
        writer.wait(timeout=10)
        writer.stdout.close()
    for n in range(3):
        with open_ledger(tmp_path / f"backup-{n}.db", migrate=False, keys=tmp_path / "keys") as copy:
            assert copy.verify_audit().ok
            assert copy.head(ROUTE).fence.seq >= 1
