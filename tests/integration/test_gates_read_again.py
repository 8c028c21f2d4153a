"""What the gates are recorded to have found, worked out again from the recorded blocks of real rollouts."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.controller.measure import BlockMeasurer
from fairway.controller.rereading import NotReread, Reread, reread_route
from fairway.ledger import SqlLedger, open_ledger
from fairway.ledger.wire import request_from_wire
from fairway.observe.fold import Block
from fairway.rollout.config import RolloutSection
from fairway.rollout.deciding import READING_VERSION, Measured, Snapshot
from fairway.rollout.next_step import next_step
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Phase, RouteState
from fairway.rollout.wire import decision_to_wire, snapshot_from_bytes, snapshot_to_bytes
from fairway.sources.values import SourceReading
from fairway.testing.modelled_rollout import CANDIDATE, ModelledRollout
from fairway.testing.modelled_traffic import ArmModel, ModelledTraffic, outage
from fairway.testing.rollout_cases import ROUTE

QUICK = {
    "steps": ["10%", "50%", "100%"],
    "dwell": "60s",
    "cap": "10m",
    "soak": "60s",
    "gates": {"success": "90%", "failures": {"margins": ["20pt", "10pt"]}, "p95": {"margins": ["+100%", "+50%"]}},
}
HEALTHY = ArmModel(failure=0.01)


class Forgetful:
    """A measurer in a controller that is replaced all the time: the next one knows only what is recorded."""

    def __init__(self, measurer: BlockMeasurer) -> None:
        self.measurer = measurer
        self.looks = 0

    async def measure(self, state: RouteState) -> Measured:
        self.looks += 1
        if self.looks % 7 == 0:
            self.measurer.forget()
        return await self.measurer.measure(state)

    def forget(self) -> None:
        self.measurer.forget()


async def rolled_out(
    path: Path, *, blocks: int, warm_up: int = 12, takeovers: bool = False, **model: Any
) -> Phase | None:
    """A rollout through the real engine, gates and ledger, under modelled traffic."""
    plan = compile_plan(RolloutSection.model_validate(QUICK))
    traffic = ModelledTraffic(**{"seed": 5, "units_per_block": 40, "stable": HEALTHY, "candidate": HEALTHY, **model})
    rollout = ModelledRollout(traffic=traffic, plan=plan)
    with open_ledger(path, clock=rollout.clock) as ledger:
        rollout.ledger = ledger  # type: ignore[assignment]
        rollout.measurer.ledger = ledger
        rollout.controller.ledger = ledger
        if takeovers:
            rollout.controller.measurer = Forgetful(rollout.measurer)
        phase = await rollout.run(blocks=blocks, warm_up=warm_up)
        for _ in range(8):
            await rollout._block()
        return phase


@pytest.fixture(scope="module")
def bad_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a candidate that fails too often and is rolled back."""
    path = tmp_path_factory.mktemp("bad") / "ledger.db"
    failing = ArmModel(failure=0.01, excess=0.25)
    assert asyncio.run(rolled_out(path, blocks=60, candidate=failing)) in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    return path


@pytest.fixture
def ledger_file(bad_one: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil."""
    return Path(shutil.copy(bad_one, tmp_path / "ledger.db"))


def again(path: Path, *, first: int = 1) -> list[Reread]:
    with open_ledger(path) as ledger:
        return list(reread_route(ledger, ROUTE, first=first))


def audit_replay(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    arguments = ["audit", "replay", "--ledger", str(path), "-o", "json", *options]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, json.loads(done.stdout)


def told(path: Path) -> str:
    return CliRunner().invoke(cli, ["audit", "replay", "--ledger", str(path)], standalone_mode=False).stdout


def in_blocks(path: Path, spoil: Callable[[sqlite3.Connection, list[tuple[float, Block]]], None]) -> None:
    """Change the telemetry that is kept, as somebody with the file could."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT t0, body FROM blocks ORDER BY t0").fetchall()
        spoil(connection, [(t0, Block.from_wire(json.loads(body))) for t0, body in rows])
    connection.close()


def put(connection: sqlite3.Connection, block: Block) -> None:
    body = json.dumps(block.to_wire()).encode()
    connection.execute("UPDATE blocks SET body = ? WHERE t0 = ?", (body, block.t0))


def test_what_the_gates_of_a_rollback_found_comes_out_the_same_from_its_blocks(bad_one: Path) -> None:
    code, body = audit_replay(bad_one)
    gates = body["gates"]
    assert (code, gates["different"], gates["not_reread"], gates["as_recorded"]) == (0, [], {}, {})
    assert gates["findings"] >= 20
    assert gates["blocks"] >= 20
    assert audit_replay(bad_one, "--strict")[0] == 0
    assert "findings worked out again" in told(bad_one)


@pytest.mark.parametrize(
    "model",
    [
        {"blocks": 36, "takeovers": True, "warm_up": 70},
        {"blocks": 34, "failures": outage(20, 30, 60.0), "delay": 3, "turns": 3},
    ],
    ids=["taken over often, and long served", "an outage, late blocks"],
)
async def test_whatever_the_controller_lived_through_its_findings_come_from_the_blocks_alone(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    path = tmp_path / "ledger.db"
    await rolled_out(path, **model)
    found = again(path)
    assert sum(one.gates for one in found) >= 20
    assert [one for one in found if one.difference or one.not_reread] == []


def test_a_part_of_the_history_is_read_again_from_the_beginning_of_its_rollout(bad_one: Path) -> None:
    whole = again(bad_one)
    for one in whole:
        (alone, *_) = again(bad_one, first=one.seq)
        assert (alone.seq, alone.gates, alone.difference, alone.not_reread) == (one.seq, one.gates, None, None)


def test_an_altered_block_is_named_by_event_and_gate(ledger_file: Path) -> None:
    def whitewash(connection: sqlite3.Connection, blocks: list[tuple[float, Block]]) -> None:
        block = next(b for _, b in blocks if CANDIDATE.release in b.arms and b.arms[CANDIDATE.release].failed_units)
        arm = replace(block.arms[CANDIDATE.release], failed=0, failed_units=())
        put(connection, replace(block, arms={**block.arms, CANDIDATE.release: arm}))

    in_blocks(ledger_file, whitewash)
    code, body = audit_replay(ledger_file)
    first = body["gates"]["first"]
    assert (code, body["different"], first["what"]) == (1, [], "failures")
    assert first["recorded"] != first["recomputed"]
    assert told(ledger_file).startswith(
        f"first difference in what was found: {ROUTE} event {first['seq']} ({first['code']}), failures {first['path']}:"
        f" recorded {first['recorded']!r}, by its blocks {first['recomputed']!r}\n"
    )
    assert audit_replay(ledger_file, "--no-gates")[0] == 0  # the decisions themselves still follow


def test_a_block_that_was_put_in_later_is_named(ledger_file: Path) -> None:
    def put_in(connection: sqlite3.Connection, blocks: list[tuple[float, Block]]) -> None:
        _, block = next(one for one in blocks if CANDIDATE.release in one[1].arms)
        inserted = replace(block, t0=block.t0 + 1)
        connection.execute(
            "INSERT INTO blocks (agent, environment, t0, release, body) VALUES (?, ?, ?, '', ?)",
            (ROUTE.agent, ROUTE.environment, inserted.t0, json.dumps(inserted.to_wire()).encode()),
        )

    in_blocks(ledger_file, put_in)
    code, body = audit_replay(ledger_file)
    first = body["gates"]["first"]
    assert (code, first["what"], first["path"]) == (1, "blocks", "count")
    assert first["recomputed"] == first["recorded"] + 1


def test_blocks_that_are_gone_are_counted_and_are_no_agreement(ledger_file: Path) -> None:
    def prune(connection: sqlite3.Connection, blocks: list[tuple[float, Block]]) -> None:
        connection.execute("DELETE FROM blocks WHERE t0 < ?", (blocks[-20][0],))

    before = audit_replay(ledger_file)[1]["gates"]["findings"]
    in_blocks(ledger_file, prune)
    code, body = audit_replay(ledger_file)
    gates = body["gates"]
    assert (code, gates["different"]) == (0, [])
    assert gates["not_reread"]["blocks_gone"] >= 3
    assert gates["findings"] < before
    assert audit_replay(ledger_file, "--strict")[0] == 1
    assert "read blocks that are not all kept any more" in told(ledger_file)


def test_a_block_that_cannot_be_read_is_told_and_is_no_traceback(ledger_file: Path) -> None:
    in_blocks(ledger_file, lambda connection, _: connection.execute("UPDATE blocks SET body = x'7b7d'") and None)
    assert {one.not_reread for one in again(ledger_file) if one.not_reread} == {NotReread.UNREADABLE}
    code, body = audit_replay(ledger_file)
    assert (code, body["gates"]["different"]) == (0, [])
    assert body["gates"]["not_reread"]["unreadable"] >= 5


def test_what_gates_of_another_version_read_is_counted_and_not_compared(
    ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairway.controller.rereading.READING_VERSION", "next")
    code, body = audit_replay(ledger_file)
    gates = body["gates"]
    assert (code, gates["findings"], list(gates["not_reread"])) == (0, 0, ["other_version"])
    assert f"gates of version {READING_VERSION} read the blocks, these are version next" in told(ledger_file)


def written_again(path: Path, lie: Callable[[Snapshot], Snapshot]) -> Path:
    """The same history in a chain that holds, by an engine that lies about what it looked at, and decides by that."""
    copy = path.with_name(f"{lie.__name__.strip('<>')}.db")
    with open_ledger(path) as true, open_ledger(copy) as forged:
        for entry in true.audit_log(0, 10_000, kind="request"):
            forged.submit(request_from_wire(entry.payload))
        lease = forged.acquire_lease(ROUTE, "liar", seconds=600)
        assert lease is not None
        for event in true.events(ROUTE, limit=10_000):
            seen = lie(snapshot_from_bytes(true.snapshot(ROUTE, event.fence.seq)))
            decision = next_step(seen)
            forged.journal(replace(event, decision=decision_to_wire(decision), snapshot=snapshot_to_bytes(seen)), lease)
        forged.add_blocks(ROUTE, true.blocks(ROUTE))
    return copy


def fewer_failures(seen: Snapshot) -> Snapshot:
    measured: Measured = seen.measured
    findings = tuple(
        replace(one, bad_candidate=one.bad_candidate - 1) if one.gate == "failures" and one.bad_candidate else one
        for one in measured.findings
    )
    return replace(seen, measured=replace(measured, findings=findings))


def test_a_finding_altered_in_a_chain_that_holds_is_named_though_every_decision_follows(ledger_file: Path) -> None:
    forged = written_again(ledger_file, fewer_failures)
    with open_ledger(forged) as ledger:
        assert ledger.verify_audit().ok
    code, body = audit_replay(forged)
    first = body["gates"]["first"]
    assert (code, body["different"]) == (1, [])
    assert (first["what"], first["path"], first["recomputed"]) == ("failures", "bad_candidate", first["recorded"] + 1)
    honest = written_again(ledger_file, lambda seen: seen)
    assert audit_replay(honest)[0] == 0


def test_more_observed_time_than_there_was_is_named(ledger_file: Path) -> None:
    def longer(seen: Snapshot) -> Snapshot:
        longer = replace(seen.measured, mature_seconds=seen.measured.mature_seconds * 2)
        return replace(seen, measured=longer)

    with open_ledger(written_again(ledger_file, longer)) as ledger:
        assert "mature_seconds" in {one.difference.what for one in rereads(ledger) if one.difference}


def rereads(ledger: SqlLedger) -> list[Reread]:
    return list(reread_route(ledger, ROUTE))


def test_an_event_of_before_this_was_noted_is_not_known_and_no_agreement(ledger_file: Path) -> None:
    old = written_again(ledger_file, lambda seen: replace(seen, measured=replace(seen.measured, read=None)))
    code, body = audit_replay(old)
    gates = body["gates"]
    assert (code, gates["findings"]) == (0, 0)
    assert gates["not_reread"]["not_noted"] >= 5


def test_what_an_outside_source_answered_is_taken_as_recorded_and_counted_by_gate(ledger_file: Path) -> None:
    def asked(seen: Snapshot) -> Snapshot:
        if not seen.measured.findings:
            return seen
        return replace(seen, measured=replace(seen.measured, sources=(SourceReading(gate="revenue"),)))

    told_by_source = written_again(ledger_file, asked)
    code, body = audit_replay(told_by_source)
    gates = body["gates"]
    assert (code, gates["different"], gates["not_reread"]) == (0, [], {})
    assert gates["as_recorded"]["revenue"] >= 3
    assert audit_replay(told_by_source, "--strict")[0] == 1
    assert "the source of custom gate revenue answered is taken as recorded" in told(told_by_source)
