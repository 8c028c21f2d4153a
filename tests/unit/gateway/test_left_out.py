"""Cells of their own for what a shadow does not follow, and when there is so much to report that it should not wait."""

from __future__ import annotations

from fairway.gateway.left_out import LeftOut
from fairway.gateway.telemetry import MAX_UNITS, MAX_USED, Cell, Telemetry
from fairway.gateway.usage import Usage
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

BLOCK = 5.0
RELEASE = Digest("sha256:" + "a" * 64)


class Counting:
    """A worker's telemetry at a time of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.telemetry = Telemetry(gateway="g", boot="b", worker=1, wall=lambda: self.now)

    def cell(self) -> Cell:
        return self.telemetry.cell(
            start=self.now,
            block_seconds=BLOCK,
            release=RELEASE,
            role=Role.STABLE,
            fence=Fence(term=1, seq=2),
            regime="r",
            split=25_000,
            tells_tokens=True,
            reads_usage=True,
        )

    def flush(self) -> int:
        """Requests reported."""
        batch = self.telemetry.flush(block_seconds=BLOCK, timeout=1.0)
        return sum(increment.assigned for increment in batch.increments)


def finished(cell: Cell, count: int) -> None:
    """So many requests took the short way, and ended."""
    cell.quick += count
    cell.whole[100] += count


def test_a_cell_apart_counts_the_same_requests_beside_the_other() -> None:
    counting = Counting()
    cell = counting.cell()
    apart = LeftOut(counting.telemetry, "no_room").cell(cell)
    assert apart is not cell
    settings = ("t0", "end", "release", "role", "fence", "regime", "split", "tells_tokens", "reads_usage")
    assert [getattr(apart, name) for name in settings] == [getattr(cell, name) for name in settings]
    assert LeftOut(counting.telemetry, "other").cell(cell) is not apart


def test_what_is_left_out_is_counted_over_its_cells_and_a_block_that_is_over_counts_no_more() -> None:
    counting = Counting()
    left = LeftOut(counting.telemetry, "no_room")
    first = left.cell(counting.cell())
    assert left.cell(counting.cell()) is first
    finished(first, 3)
    counting.now += BLOCK
    second = left.cell(counting.cell())
    assert second is not first
    finished(second, 4)
    assert left.counted() == 7
    assert counting.flush() == 7
    assert left.counted() == 0
    counting.now += 2.0
    counting.flush()
    assert (first.retired, second.retired) == (True, False)
    first.quick += 5  # a request that knew the block when it was there: no report has it, so no count may
    finished(second, 2)
    assert left.counted() == 2
    assert counting.flush() == 2


def test_many_units_are_reported_without_waiting() -> None:
    counting = Counting()
    cell = counting.cell()
    for number in range(MAX_UNITS):
        cell.mark("active", b"%d" % number)
    assert not counting.telemetry.crowded
    cell.mark("active", b"one more")
    finished(cell, MAX_UNITS + 1)
    assert counting.telemetry.crowded
    counting.flush()
    assert not counting.telemetry.crowded


def test_many_tokens_of_a_model_s_api_are_reported_without_waiting() -> None:
    counting = Counting()
    cell = counting.cell()
    cell.used += [Usage(tokens_in=1, tokens_out=2)] * MAX_USED
    assert not counting.telemetry.crowded
    cell.used.append(Usage(tokens_in=1, tokens_out=2))
    assert counting.telemetry.crowded
    counting.flush()
    assert not counting.telemetry.crowded
