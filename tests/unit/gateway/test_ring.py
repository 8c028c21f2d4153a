"""Telemetry on disk: bounded whatever comes, read in order, and a worker that was killed leaves a gap."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairway.gateway.goodbyes import goodbye
from fairway.gateway.ring import Ring
from fairway.observe.blocks import Batch, Increment
from fairway.observe.fold import FoldState, fold_all, mature_blocks
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

SEGMENT, SEGMENTS = 300, 4


def ring(folder: Path) -> Ring:
    return Ring(folder, segment_bytes=SEGMENT, segments=SEGMENTS)


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.integers(0, SEGMENT + 5), st.none()), max_size=60))
@example([199] * 20)
def test_it_never_takes_more_than_its_bound_and_gives_back_the_newest_lines_in_order(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int | None]
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    kept = ring(folder)
    written: list[bytes] = []
    for number, length in enumerate(lengths):
        if length is None:  # a restart
            kept.close()
            kept = ring(folder)
            continue
        line = b"%d " % number + b"x" * length
        if len(line) + 1 > SEGMENT:
            with pytest.raises(OSError, match="longer than a segment"):
                kept.append(line)
        else:
            kept.append(line)
            written.append(line)
        assert used(folder) <= SEGMENT * SEGMENTS
    lines, cursor = kept.read(None)
    assert lines == written[len(written) - len(lines) :]
    assert kept.read(cursor) == ([], cursor)
    if written:
        room = SEGMENT * (SEGMENTS - 1) - SEGMENT  # what the longest line that did not fit may have left empty
        assert lines == written or used(folder) > room / 2
    kept.close()


def test_a_cursor_goes_on_from_the_oldest_kept_when_its_place_is_gone(tmp_path: Path) -> None:
    kept = ring(tmp_path)
    kept.append(b"first")
    _, cursor = kept.read(None)
    for number in range(40):
        kept.append(b"%03d" % number + b"x" * 80)
    lines, _ = kept.read(cursor)
    assert lines[-1].startswith(b"039")
    assert len(lines) < 40
    assert lines == kept.read(None)[0]
    kept.close()


def batch(worker: int, seq: int, t0: float, assigned: int, *, last: bool = False) -> Batch:
    increment = Increment(
        t0=t0, release=Digest("d"), role=Role.STABLE, fence=Fence(term=1, seq=1), assigned=assigned, finished=assigned
    )
    return Batch(
        gateway="g", boot="b", worker=worker, seq=seq, at=t0 + 1.5, block_seconds=1.0, timeout=1.0, last=last,
        increments=(increment,) if assigned else (),
    )  # fmt: skip


@pytest.mark.parametrize("killed", [True, False])
def test_blocks_a_killed_worker_may_have_counted_in_are_left_out_and_no_others(killed: bool) -> None:
    table = RouteTable(
        route=RouteId(agent=AgentName("a"), environment=EnvironmentName("e")), fence=Fence(term=1, seq=1), arms=(),
        block_seconds=1.0,
    )  # fmt: skip
    began = math.floor(time.time()) - 20.0
    ends_at_three = [batch(0, seq, began + seq, 5) for seq in (1, 2, 3)]
    goes_on = [batch(1, seq, began + seq, 5) for seq in range(1, 15)]
    end = goodbye("g", "b", 0, 3, table) if killed else batch(0, 4, began + 4, 0, last=True)
    told = [*ends_at_three, *goes_on, end, batch(1, 15, began + 15, 0, last=True)]
    wire = [json.loads(json.dumps(one.to_wire())) for one in told]
    blocks, _ = mature_blocks(fold_all(FoldState(), [Batch.from_wire(one) for one in wire]), 1e12)
    gaps = {round(block.t0 - began): bool(block.gap) for block in blocks}
    assert not gaps[1]
    assert not gaps[2], "what it told of is known"
    assert gaps[4] is killed
    assert gaps[9] is killed, "it may have served until it was found dead"
