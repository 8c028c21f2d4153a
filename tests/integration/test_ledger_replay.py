"""The real controller on the real ledger, in virtual time: every decision can be proved and taken again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.ledger import open_ledger
from fairway.ledger.records import AuditReport
from fairway.rollout.requests import Verb
from fairway.rollout.values import Phase
from fairway.testing.rollout_cases import CANDIDATE, ROUTE, STABLE
from fairway.testing.rollout_world import RolloutWorld


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


def replay(project: Path) -> tuple[int, dict[str, object]]:
    arguments = ["audit", "replay", "--project", str(project), "-o", "json"]
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
