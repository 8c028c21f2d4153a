"""The real controller on the real ledger, in virtual time: every decision can be proved and taken again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.errors import UserError
from fairway.ledger import open_ledger
from fairway.ledger.records import AuditReport
from fairway.ledger.replaying import Replayed, replay_route
from fairway.rollout.deciding import ENGINE_VERSION, Snapshot
from fairway.rollout.next_step import next_step
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase
from fairway.rollout.wire import decision_to_wire, snapshot_to_bytes, state_to_wire
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    ROUTE,
    STABLE,
    finding,
    measured,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.testing.rollout_world import RolloutWorld
from fairway.traffic.fence import Fence
from fairway.units import RouteId, Verdict


async def a_story(project: Path, *, kills: int) -> tuple[RolloutWorld, AuditReport]:
    """A first release, a bad candidate that is rolled back, and a hold; on a ledger in a file."""
    (project / "fairway.yaml").write_text("version: 1\nagent:\n  name: shop\nservice:\n  command: python app.py\n")
    world = RolloutWorld(7, kills=kills, probability=0.1)
    with open_ledger(project / ".fairway/ledger.db", clock=world.clock) as ledger:
        world.ledger = ledger  # type: ignore[assignment]
        world.controller = world.new_controller()
        world.serve_first()
        await world.until(Phase.DONE)
        world.measurer.bad.add(CANDIDATE.release)
        world.ask(Verb.START, release=CANDIDATE.release)
        await world.until(Phase.ROLLED_BACK)
        world.ask(Verb.HOLD, kind="no-advance", until="2030-01-01T00:00:00Z")
        await world.run(30)
        assert world.state.stable == STABLE
        assert world.broken_laws() == []
        return world, ledger.verify_audit()


def replay(project: Path, *options: str) -> tuple[int, dict[str, object]]:
    arguments = ["audit", "replay", "--project", str(project), "-o", "json", *options]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, json.loads(done.stdout)


@pytest.mark.parametrize("kills", [0, 5])
async def test_every_decision_of_a_rollout_is_proved_and_comes_out_the_same_again(tmp_path: Path, kills: int) -> None:
    _, report = await a_story(tmp_path, kills=kills)
    assert report.ok, report.problems
    code, result = replay(tmp_path)
    assert (code, result["different"]) == (0, [])
    assert isinstance(result["replayed"], int)
    assert result["replayed"] == result["events"] >= 10


async def test_a_decision_that_does_not_follow_from_what_was_seen_is_named(tmp_path: Path) -> None:
    await a_story(tmp_path, kills=0)
    forge_a_promotion(tmp_path / ".fairway/ledger.db")
    code, result = replay(tmp_path)
    assert code == 1
    (found,) = result["different"]  # type: ignore[misc]
    assert found["route"] == str(ROUTE)
    assert found["difference"]["path"].startswith("decision.")


def forge_a_promotion(path: Path) -> None:
    """Journal the last event again under another decision, in a chain that holds: an engine that lies."""
    with open_ledger(path) as ledger:
        last = ledger.events(ROUTE, limit=10_000)[-1]
        body = {**last.decision, "code": "gates_passed"}
        row = next(e for e in ledger.audit_log(None, 1, kind="event"))
        payload = {**row.payload, "decision": body, "fence": [last.fence.term, last.fence.seq + 1]}
        with ledger._write() as session:
            seq, digest = session.record("event", f"{ROUTE}#{last.fence.seq + 1}", "eve", payload)
            session.run(
                "INSERT INTO events (agent, environment, seq, term, snapshot, audit_seq, payload) VALUES "
                "(:agent, :environment, :seq, :term, :snapshot, :audit_seq, :payload)",
                agent=ROUTE.agent, environment=ROUTE.environment, seq=last.fence.seq + 1, term=last.fence.term,
                snapshot=payload["snapshot"], audit_seq=seq, payload=digest,
            )  # fmt: skip


async def test_the_first_difference_is_named_with_event_field_and_both_values(tmp_path: Path) -> None:
    await a_story(tmp_path, kills=0)
    forge_a_promotion(tmp_path / ".fairway/ledger.db")
    done = CliRunner().invoke(cli, ["audit", "replay", "--project", str(tmp_path)], standalone_mode=False)
    with open_ledger(tmp_path / ".fairway/ledger.db") as ledger:
        last = ledger.events(ROUTE, limit=10_000)[-1]
    assert done.stdout.splitlines()[0] == (
        f"first difference: {ROUTE} event {last.fence.seq} ({last.code}) at decision.code:"
        f" recorded 'gates_passed', now '{last.code}'"
    )


async def test_a_part_of_the_history_is_taken_again(tmp_path: Path) -> None:
    await a_story(tmp_path, kills=0)
    forge_a_promotion(tmp_path / ".fairway/ledger.db")
    with open_ledger(tmp_path / ".fairway/ledger.db") as ledger:
        last = ledger.events(ROUTE, limit=10_000)[-1].fence.seq
    code, result = replay(tmp_path, "--from", "3", "--to", str(last - 1))
    assert (code, result["different"], result["events"]) == (0, [], last - 3)
    code, result = replay(tmp_path, "--from", str(last))
    assert (code, result["events"]) == (1, 1)


async def test_a_copy_is_replayed_anywhere_and_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    await a_story(project, kills=0)
    copy = elsewhere / "copy.db"
    CliRunner().invoke(cli, ["audit", "backup", str(copy), "--project", str(project)], standalone_mode=False)
    shutil.rmtree(project)
    copy.chmod(0o400)
    before = copy.read_bytes()
    monkeypatch.chdir(elsewhere)
    done = CliRunner().invoke(cli, ["audit", "replay", "--ledger", "copy.db", "-o", "json"], standalone_mode=False)
    assert done.exception is None, done.exception
    assert json.loads(done.stdout)["replayed"] >= 10
    assert done.return_value == 0
    assert copy.read_bytes() == before
    assert [file.name for file in elsewhere.iterdir()] == ["copy.db"]


class OneEvent:
    """A ledger whose events are what a test says."""

    def __init__(self, *entries: JournalEntry, snapshots: dict[int, bytes]) -> None:
        self.entries, self.snapshots = entries, snapshots

    def events(self, route: RouteId, *, after: int = 0, limit: int = 200) -> tuple[JournalEntry, ...]:
        return tuple(entry for entry in self.entries if entry.fence.seq > after)[:limit]

    def snapshot(self, route: RouteId, seq: int) -> bytes:
        return self.snapshots[seq]


def one_event(taken: Snapshot, **changes: object) -> OneEvent:
    decision = next_step(taken)
    entry = JournalEntry(
        route=ROUTE,
        fence=Fence(term=1, seq=taken.head.seq + 1),
        at=taken.now,
        kind=decision.kind.value,
        code=decision.code,
        reason=decision.reason,
        actor="controller",
        state=state_to_wire(decision.state),
        decision=decision_to_wire(decision),
    )
    return OneEvent(replace(entry, **changes), snapshots={entry.fence.seq: snapshot_to_bytes(taken)})  # type: ignore[arg-type]


def found_by(ledger: OneEvent, first: int = 1) -> Replayed:
    (found,) = replay_route(ledger, ROUTE, first=first)  # type: ignore[arg-type]
    return found


GATE = GATES[0]
EDGE = math.log(1 / GATE.alpha_pass)


def passing(log_e: float) -> Snapshot:
    found = replace(finding(GATE, Verdict.PASS), log_e_pass=log_e)
    seen = replace(measured(Verdict.PASS), findings=(found, *measured(Verdict.PASS).findings[1:]))
    return snapshot(route_state(rollout_state(Phase.STEPPING)), measured=seen)


@pytest.mark.parametrize(("distance", "wrong"), [(1e-12, False), (1e-3, True)])
def test_a_decision_beside_a_figure_on_its_threshold_is_boundary_and_not_wrong(distance: float, wrong: bool) -> None:
    taken = passing(EDGE * (1 + distance))
    told_otherwise = {**decision_to_wire(next_step(taken)), "code": "needs_evidence"}
    found = found_by(one_event(taken, decision=told_otherwise))
    assert found.difference is not None
    assert found.wrong is wrong
    assert [one.figure for one in found.edge] == ([] if wrong else ["failures.log_e_pass"])


def by_engine_1(**changes: object) -> OneEvent:
    taken = replace(passing(EDGE + 1), engine_version="1")
    told_otherwise = {**decision_to_wire(next_step(taken)), "code": "needs_evidence"}
    return one_event(taken, **{"decision": told_otherwise, **changes})


def test_what_another_engine_decided_otherwise_is_told_with_its_version_and_is_not_wrong() -> None:
    found = found_by(by_engine_1())
    assert found.difference is not None
    assert found.difference.path == "decision.code"
    assert (found.wrong, found.by_other_engine, found.engine) == (False, True, "1")
    same = found_by(one_event(replace(passing(EDGE + 1), engine_version="1")))
    assert (same.difference, same.wrong, same.by_other_engine) == (None, False, False)


def test_another_engine_excuses_no_event_that_does_not_begin_where_the_one_before_ended() -> None:
    ledger = by_engine_1()
    (entry,) = ledger.entries
    looked_at = passing(EDGE + 1)
    left = replace(looked_at.state, blocked=(STABLE.release,))
    ledger.entries = (replace(entry, fence=looked_at.head, state=state_to_wire(left)), entry)
    found = found_by(ledger, first=entry.fence.seq)
    assert (found.wrong, found.by_other_engine) == (True, False)
    assert found.difference is not None
    assert found.difference.path == "looked_at.state.blocked.length"


async def test_an_older_ledger_is_replayed_and_says_what_another_engine_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_story(tmp_path, kills=0)
    forge_a_promotion(tmp_path / ".fairway/ledger.db")
    assert replay(tmp_path)[0] == 1
    monkeypatch.setattr("fairway.ledger.replaying.ENGINE_VERSION", "next")
    with open_ledger(tmp_path / ".fairway/ledger.db") as ledger:
        last = ledger.events(ROUTE, limit=10_000)[-1].fence.seq
    # The forged event repeats a snapshot, and so does not follow; take it alone, as an old decision would stand.
    monkeypatch.setattr("fairway.ledger.replaying._does_not_follow", lambda *_: None)
    code, result = replay(tmp_path)
    assert (code, result["different"], result["other_engine_count"]) == (0, [], 1)
    (found,) = result["other_engine"]  # type: ignore[misc]
    assert (found["seq"], found["engine"], found["difference"]["path"]) == (last, ENGINE_VERSION, "decision.code")
    done = CliRunner().invoke(cli, ["audit", "replay", "--project", str(tmp_path)], standalone_mode=False)
    assert f"decided by engine {ENGINE_VERSION}: {ROUTE} event {last}" in done.stdout
    assert done.stdout.endswith("0 came out differently, 1 decided by another engine\n")


async def test_a_replay_of_nothing_is_a_mistake_and_not_a_pass(tmp_path: Path) -> None:
    await a_story(tmp_path, kills=0)
    with open_ledger(tmp_path / ".fairway/ledger.db") as ledger:
        last = ledger.head(ROUTE).fence.seq
    for options, says in (
        (["--environment", "prodution"], f"those with events are {ROUTE.environment}"),
        (["--from", "5", "--to", "2"], "--from 5 --to 2 selects no event"),
        (["--from", str(last + 1)], f"the last event is {last}"),
    ):
        done = CliRunner().invoke(cli, ["audit", "replay", "--project", str(tmp_path), *options])
        assert isinstance(done.exception, UserError), options
        assert done.exception.exit_code == 2
        assert says in str(done.exception)
    assert replay(tmp_path, "--environment", ROUTE.environment, "--from", str(last))[1]["events"] == 1


def test_a_ledger_without_events_says_so_and_a_part_of_it_is_a_mistake(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "empty.db") as ledger:
        ledger.record_run("a run", {})
    words = ["audit", "replay", "--ledger", str(tmp_path / "empty.db")]
    done = CliRunner().invoke(cli, words)
    assert (done.exit_code, done.stdout) == (0, "the ledger has no events yet, so there was nothing to replay\n")
    for options in (["--to", "3"], ["--from", "2"], ["--environment", "production"]):
        assert isinstance(CliRunner().invoke(cli, [*words, *options]).exception, UserError), options


def test_what_a_later_version_added_is_no_difference() -> None:
    taken = passing(EDGE + 1)
    decision = next_step(taken)
    state = state_to_wire(decision.state)
    for added in ("glass", "active"):
        state.pop(added)
    for added in ("salt", "attempt", "overrides", "scaling"):
        state["rollout"].pop(added)
    state["rollout"]["plan"].pop("quorum")
    assert found_by(one_event(taken, state=state)).difference is None


def test_an_event_that_does_not_begin_where_the_one_before_ended_is_named() -> None:
    taken = passing(EDGE + 1)
    ledger = one_event(taken)
    left = replace(taken.state, blocked=(STABLE.release,))
    before = replace(ledger.entries[0], fence=taken.head, state=state_to_wire(left))
    ledger.entries = (before, *ledger.entries)
    found = found_by(ledger, first=taken.head.seq + 1)
    assert found.wrong
    assert found.difference is not None
    assert found.difference.path == "looked_at.state.blocked.length"


def test_a_snapshot_that_cannot_be_read_is_a_difference_and_no_traceback() -> None:
    ledger = one_event(passing(EDGE + 1))
    ledger.snapshots = dict.fromkeys(ledger.snapshots, b"{}")
    found = found_by(ledger)
    assert found.wrong
    assert "cannot be replayed" in str(found.difference.replayed)  # type: ignore[union-attr]
