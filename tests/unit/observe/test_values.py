"""Values of units on their way from a worker's cell to a block: added up exactly, whatever way they travelled."""

from __future__ import annotations

import json
import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.gateway.telemetry import Telemetry
from fairway.observe.blocks import Batch, values_from_wire, values_to_wire
from fairway.observe.fold import Block, FoldState, fold_all, mature_blocks
from fairway.traffic.bucket import unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.outcome import Outcome, parse_outcome
from fairway.traffic.table import Role
from fairway.units import Digest

STABLE = Digest("sha256:" + "a" * 64)
CANDIDATE = Digest("sha256:" + "c" * 64)


def outcome(rng: random.Random) -> Outcome:
    """What an agent says of a request: now this, now that."""
    fields = ["status=ok"]
    for name, value in (("tokens_in", str(rng.randrange(2000))), ("cost", f"{rng.random():.7f}"), ("feedback", "0.1")):
        if rng.random() < 0.6:
            fields.append(f"{name}={value}")
    found = parse_outcome(", ".join(fields))
    assert found is not None
    return found


def batches(seed: int) -> tuple[list[Batch], dict[tuple[float, Digest, str, str], list[int]]]:
    """What two workers report of a minute, and what was said in it by hand: ``{(t0, release, kind, unit): values}``."""
    rng = random.Random(seed)
    said: dict[tuple[float, Digest, str, str], list[int]] = defaultdict(list)
    sent = []
    for worker in range(2):
        clock = [0.0]
        telemetry = Telemetry(gateway="g", boot="b", worker=worker, wall=lambda at=clock: at[0])
        for second in range(30):
            clock[0] = now = float(second)
            for _ in range(rng.randrange(5)):
                release, role = rng.choice([(STABLE, Role.STABLE), (CANDIDATE, Role.CANDIDATE)])
                cell = telemetry.cell(
                    start=now, block_seconds=10.0, release=release, role=role, fence=Fence(term=1, seq=1), regime="r",
                    tells_tokens=worker == 0,
                )  # fmt: skip
                unit, told = f"c-{rng.randrange(6)}", outcome(rng)
                cell.start("hash")
                cell.mark("active", unit.encode())
                cell.add(told)
                cell.valued.append((unit.encode(), told))
                cell.open -= 1
                cell.finished += 1
                tokens = [("tokens", told.tokens)] if told.counted and worker == 0 else []
                for kind, value in (*told.values, *tokens):
                    said[cell.t0, release, kind, unit_hash(unit)].append(value)
            sent.append(telemetry.flush(block_seconds=10.0, timeout=5.0, last=second == 29))
    return sent, said


def blocks_of(sent: list[Batch]) -> tuple[Block, ...]:
    return mature_blocks(fold_all(FoldState(), sent), 1e6)[0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shuffle=st.integers(0, 10_000))
def test_a_block_says_what_was_said_of_each_unit_whatever_came_twice_or_late(seed: int, shuffle: int) -> None:
    sent, said = batches(seed)
    rng = random.Random(shuffle)
    mixed_up = [Batch.from_wire(json.loads(json.dumps(one.to_wire()))) for one in (*sent, *rng.choices(sent, k=20))]
    rng.shuffle(mixed_up)
    blocks = blocks_of(mixed_up)
    assert blocks == blocks_of(sent)
    found = {
        (block.t0, release, kind, unit): told
        for block in blocks
        for release, arm in block.arms.items()
        for kind, by_unit in arm.values.items()
        for unit, told in by_unit.items()
    }
    assert found == {key: (sum(values), len(values)) for key, values in said.items()}
    for block in blocks:
        for arm in block.arms.values():
            assert all(set(by_unit) <= set(arm.active) for by_unit in arm.values.values())
        again = Block.from_wire(json.loads(json.dumps(block.to_wire())))
        assert again == block
        assert json.dumps(again.to_wire()) == json.dumps(block.to_wire())


def test_a_unit_with_one_request_is_one_number_on_the_wire() -> None:
    values = {"cost": {unit_hash("a"): (12, 1), unit_hash("b"): (30, 4)}}
    wire = values_to_wire(values)
    assert wire == {"cost": {unit_hash("a"): 12, unit_hash("b"): [30, 4]}}
    assert values_from_wire(wire) == values


@pytest.mark.parametrize("told", [-1, True, 1.5, "1", [1, 0], [1, -1], [1.0, 2], [1, 2, 3], None])
def test_what_is_no_sum_and_count_is_refused(told: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        values_from_wire({"cost": {"a": told}})


def test_what_agents_said_of_cost_and_scores_is_in_the_sums_too() -> None:
    telemetry = Telemetry(gateway="g", boot="b", worker=0, wall=lambda: 0.0)
    cell = telemetry.cell(
        start=0.0, block_seconds=10.0, release=STABLE, role=Role.STABLE, fence=Fence(term=1, seq=1), regime="r"
    )
    for text in ("status=ok, cost=0.25, score=1", "status=ok, cost=0.5", "status=ok"):
        told = parse_outcome(text)
        assert told is not None
        cell.dirty = True
        cell.add(told)
    (increment,) = telemetry.flush(block_seconds=10.0, timeout=5.0).increments
    assert increment.sums == {"cost_micros": 750_000, "cost_reports": 2, "score_micros": 1_000_000, "score_reports": 1}
    assert increment.values == {}  # nobody the hash assigned
