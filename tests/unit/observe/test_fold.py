"""The fold: what is pulled twice, out of order, late or not at all."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.observe.blocks import Batch, Increment, bin_of
from fairway.observe.fold import SILENT_SECONDS, Block, FoldState, fold, fold_all, mature_blocks
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash

STABLE = Digest("sha256:" + "a" * 64)
CANDIDATE = Digest("sha256:" + "c" * 64)
FENCE = Fence(term=1, seq=7)
TIMEOUT = 60.0


def increment(
    t0: float, *, release: Digest = STABLE, fence: Fence = FENCE, units: str = "", **counts: int
) -> Increment:
    role = Role.STABLE if release == STABLE else Role.CANDIDATE
    marks = {"active": tuple(UnitHash(unit * 16) for unit in units)} if units else {}
    return Increment(t0=t0, release=release, role=role, fence=fence, marks=marks, **counts)


def batch(seq: int, at: float, *increments: Increment, worker: int = 0, boot: str = "b", last: bool = False) -> Batch:
    return Batch(
        gateway="g",
        boot=boot,
        worker=worker,
        seq=seq,
        at=at,
        block_seconds=10.0,
        timeout=TIMEOUT,
        increments=increments,
        last=last,
    )


def matured(*batches: Batch, now: float) -> tuple[Block, ...]:
    return mature_blocks(fold_all(FoldState(), batches), now)[0]


def test_a_block_is_mature_once_its_requests_ended_and_every_worker_reported_past_its_end() -> None:
    batches = (
        batch(1, 5.0, increment(0, assigned=2)),
        batch(2, 10.0, increment(0, finished=2)),
        batch(1, 9.9, worker=1),
    )
    assert matured(*batches, now=10.5) == ()
    (block,) = matured(*batches, batch(2, 10.9, worker=1), now=11.0)
    assert (block.t0, block.seconds, block.fence, block.gap) == (0.0, 10.0, FENCE, False)
    assert block.arms[STABLE].assigned == block.arms[STABLE].finished == 2
    assert block.arms[STABLE].failed == 0


def test_a_running_request_holds_its_block_until_the_deadline_and_then_has_failed() -> None:
    batches = [batch(1, 9.0, increment(0, assigned=3)), batch(2, 12.0, increment(0, finished=2, failed=1))]
    batches += [batch(3 + i, 13.0 + i) for i in range(58)]
    assert batches[-1].at == 70.0
    assert matured(*batches[:-1], now=69.9) == ()
    (block,) = matured(*batches, now=70.1)
    assert block.arms[STABLE].unfinished == 1
    assert block.arms[STABLE].failed == 2


def test_the_requests_of_a_killed_worker_have_failed_at_the_deadline_and_not_before() -> None:
    killed = batch(1, 5.0, increment(0, assigned=4, units="12"))
    alive = [batch(1 + i, 1.0 + i, increment(0, assigned=1, finished=1) if i < 9 else increment(10)) for i in range(75)]
    alive = [replace(item, worker=1) for item in alive]
    assert matured(killed, *alive[:60], now=61.0) == ()
    (block, *_) = matured(killed, *alive, now=75.0)
    assert block.arms[STABLE].unfinished == 4
    assert block.arms[STABLE].failed == 4
    assert block.gap  # what it served after its last word, nobody knows


def test_a_worker_silent_without_a_good_bye_makes_gaps_until_it_counts_as_gone() -> None:
    def alive(upto: int) -> list[Batch]:
        one = increment(0, assigned=1, finished=1)
        return [batch(1 + i, 1.0 + i, replace(one, t0=i // 10 * 10.0), worker=1) for i in range(upto)]

    silent = batch(1, 5.0, increment(0, assigned=1, finished=1))
    blocks = matured(silent, *alive(200), now=200.0)
    told = {block.t0: block.gap for block in blocks}
    gone = silent.at + TIMEOUT + SILENT_SECONDS
    assert told == {10.0 * n: 10.0 * n <= gone for n in range(20)}
    said_so = matured(replace(silent, last=True), *alive(200), now=200.0)
    assert not any(block.gap for block in said_so)
    back = matured(silent, *alive(200), *[batch(n, 5.0 + n) for n in range(2, 195)], now=200.0)
    assert not any(block.gap for block in back)


def test_what_is_pulled_again_of_a_worker_that_is_gone_is_not_late_and_what_is_new_is() -> None:
    worker = [batch(1 + i, 1.0 + i, increment(0, assigned=1, finished=1)) for i in range(5)]
    other = [batch(1 + i, 1.0 + i, increment(i // 10 * 10.0), worker=1) for i in range(200)]
    blocks, state = mature_blocks(fold_all(FoldState(), [*worker, *other]), 200.0)
    assert len(blocks) == 20
    again = fold_all(state, [*worker, *other])
    assert again.late == 0
    assert fold(again, batch(6, 6.0, increment(0, assigned=100, finished=100, failed=100))).late == 1


def test_a_silent_worker_delays_the_block_and_a_worker_that_said_good_bye_does_not() -> None:
    other = batch(1, 12.0, increment(0, assigned=1, finished=1), worker=1)
    assert matured(batch(1, 4.0), other, now=20.0) == ()
    assert len(matured(batch(1, 4.0, last=True), other, now=20.0)) == 1
    assert len(matured(batch(1, 4.0), other, now=70.0 + SILENT_SECONDS)) == 1


def test_a_worker_that_reports_late_is_waited_for_a_little_beyond_the_deadline() -> None:
    batches = [batch(1, 5.0, increment(0, assigned=1)), batch(2, 69.0)]
    assert matured(*batches, now=70.5) == ()
    (block,) = matured(*batches, batch(3, 70.2, increment(0, finished=1)), now=70.6)
    assert block.arms[STABLE].failed == 0


def test_a_lost_batch_makes_the_blocks_it_could_have_touched_a_gap() -> None:
    batches = [batch(1 + i, 1.0 + i, increment(10.0 * (i // 10), assigned=1, finished=1)) for i in range(40)]
    lost = [item for item in batches if item.seq != 15]  # covers starts between 14 s and 16 s
    blocks = matured(*lost, now=41.0 + 70.0)
    assert [(block.t0, block.gap) for block in blocks] == [(0.0, False), (10.0, True), (20.0, False), (30.0, False)]
    assert not any(block.gap for block in matured(*batches, now=41.0 + 70.0))


def test_a_lost_batch_makes_an_earlier_block_a_gap_when_requests_were_still_running() -> None:
    running = [batch(1, 11.0, increment(0, assigned=1)), batch(3, 13.0), batch(4, 21.0, increment(10))]
    (first, *_) = matured(*running, now=100.0)
    assert (first.t0, first.gap) == (0.0, True)
    ended = [batch(1, 11.0, increment(0, assigned=1, finished=1)), *running[1:]]
    (first, *_) = matured(*ended, now=100.0)
    assert (first.t0, first.gap) == (0.0, False)


def test_what_came_before_the_first_batch_that_is_kept_is_a_gap() -> None:
    blocks = matured(
        batch(7, 12.0, increment(10, assigned=1, finished=1)),
        batch(8, 22.0, increment(20, assigned=1, finished=1)),
        batch(9, 31.0),
        now=100.0,
    )
    assert [(block.t0, block.gap) for block in blocks] == [(10.0, True), (20.0, False)]


def test_a_batch_that_comes_after_its_successor_closes_the_hole() -> None:
    state = fold_all(FoldState(), (batch(1, 9.0, increment(0, assigned=1)), batch(3, 11.0)))
    assert mature_blocks(state, 11.0)[0] == ()
    (block,) = mature_blocks(fold(state, batch(2, 10.0, increment(0, finished=1))), 11.5)[0]
    assert not block.gap


def test_a_block_with_two_tables_is_mixed() -> None:
    other = Fence(term=1, seq=8)
    (block,) = matured(
        batch(1, 11.0, increment(0, assigned=1, finished=1), increment(0, fence=other, assigned=1, finished=1)),
        now=11.0,
    )
    assert block.fence is None
    assert not block.comparable
    assert block.arms[STABLE].assigned == 2


@pytest.mark.parametrize(
    ("regimes", "fence"), [(("r", "r"), Fence(term=1, seq=8)), (("r", "s"), None), (("r", ""), None)]
)
def test_a_block_is_mixed_when_the_regime_changed_not_when_an_arm_was_restarted(
    regimes: tuple[str, str], fence: Fence | None
) -> None:
    one, other = (
        replace(increment(0, fence=Fence(term=1, seq=seq), assigned=1, finished=1), regime=regime)
        for seq, regime in zip((7, 8), regimes, strict=True)
    )
    (block,) = matured(batch(1, 11.0, other, one), now=11.0)
    assert (block.fence, block.comparable) == (fence, fence is not None)


def test_a_crashing_candidate_does_not_erase_its_own_evidence() -> None:
    """It comes and goes every few seconds, and each time a table goes out: what failed meanwhile is counted."""
    worst = tuple(
        replace(
            increment(0, release=release, fence=Fence(term=1, seq=seq), assigned=5, finished=5, failed=failed),
            regime="one",
        )
        for seq in range(1, 9)
        for release, failed in ((STABLE, 0), (CANDIDATE, 5 if seq % 2 else 0))
    )
    (block,) = matured(batch(1, 11.0, *worst), now=11.0)
    assert block.comparable
    assert (block.arms[CANDIDATE].assigned, block.arms[CANDIDATE].failed) == (40, 20)


@pytest.mark.parametrize("regime", ["", "0123456789abcdef"])
def test_an_increment_says_its_regime_and_one_of_an_older_gateway_none(regime: str) -> None:
    said = replace(increment(0, assigned=1), regime=regime)
    assert Increment.from_wire(json.loads(json.dumps(said.to_wire()))) == said
    assert ("regime" in said.to_wire()) is bool(regime)


def test_blocks_come_in_order_and_only_once() -> None:
    state = fold_all(
        FoldState(),
        (batch(1, 31.0, increment(20, assigned=1, finished=1), increment(0, assigned=1), increment(10)),),
    )
    assert mature_blocks(state, 31.0)[0] == ()  # block 0 still runs, so that 10 and 20 wait
    state = fold(state, batch(2, 32.0, increment(0, finished=1)))
    blocks, state = mature_blocks(state, 32.0)
    assert [block.t0 for block in blocks] == [0.0, 10.0, 20.0]
    state = fold(state, batch(3, 33.0, increment(0, assigned=1)))
    assert mature_blocks(state, 133.0)[0] == ()
    assert state.late == 1


def test_a_fold_that_begins_at_a_watermark_leaves_out_what_was_recorded() -> None:
    batches = (
        batch(1, 9.0, increment(0, assigned=1, finished=1)),
        batch(2, 21.0, increment(10, assigned=1, finished=1)),
    )
    blocks, _ = mature_blocks(fold_all(FoldState(watermark=10.0), batches), 21.0)
    assert [block.t0 for block in blocks] == [10.0]


def test_marks_are_sets_over_workers_and_numbers_are_sums() -> None:
    one = Increment(
        t0=0, release=CANDIDATE, role=Role.CANDIDATE, fence=FENCE, assigned=2, served=1, finished=2, failed=1,
        unknown=1, by={"hash": 2}, histograms={"latency_ms": {bin_of(100): 2}}, sums={"tokens_in": 0.1},
        marks={"active": (UnitHash("b"), UnitHash("a")), "failed": (UnitHash("a"),), "slow": (UnitHash("b"),)},
        exemplars=({"id": "r1", "status": "500"},),
    )  # fmt: skip
    (block,) = matured(batch(1, 10.0, one), replace(batch(1, 10.0, one), worker=1), now=10.0)
    arm = block.arms[CANDIDATE]
    assert arm.active == ("a", "b")
    assert (arm.failed_units, arm.slow_units, arm.unknown_units) == (("a",), ("b",), ())
    assert (arm.assigned, arm.served, arm.failed, arm.unknown, dict(arm.by)) == (4, 2, 2, 2, {"hash": 4})
    assert arm.latency_ms == {bin_of(100): 4}
    assert arm.sums == {"tokens_in": 0.2}
    assert len(arm.exemplars) == 2
    assert Block.from_wire(json.loads(json.dumps(block.to_wire()))) == block


def scripted_batches(seed: int) -> list[Batch]:
    """Two workers, a minute, two arms; requests run for up to 25 s; now and then a batch is lost."""
    rng = random.Random(seed)
    batches = []
    for worker in range(2):
        running: list[tuple[float, float, Digest]] = []
        for seq in range(1, 91):
            at = float(seq)
            parts = []
            for _ in range(rng.randrange(4) if seq <= 60 else 0):
                began = at - rng.random()
                release = CANDIDATE if rng.random() < 0.3 else STABLE
                running.append((at + rng.expovariate(1 / 5), began, release))
                unit = rng.choice("0123456789abcdef")
                parts.append(increment(began // 10 * 10, release=release, assigned=1, units=unit))
            for end, began, release in [item for item in running if item[0] <= at]:
                running.remove((end, began, release))
                parts.append(increment(began // 10 * 10, release=release, finished=1, failed=int(rng.random() < 0.2)))
            if rng.random() > 0.02:
                batches.append(batch(seq, at, *parts, worker=worker))
    return batches


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), shuffle=st.integers(0, 10_000))
def test_duplicates_and_reordering_within_what_is_pulled_change_nothing(seed: int, shuffle: int) -> None:
    batches = scripted_batches(seed)
    rng = random.Random(shuffle)
    mixed_up = batches + rng.choices(batches, k=30)
    rng.shuffle(mixed_up)
    expected = mature_blocks(fold_all(FoldState(), batches), 200.0)[0]
    assert mature_blocks(fold_all(FoldState(), mixed_up), 200.0)[0] == expected
    assert sum(arm.assigned for block in expected for arm in block.arms.values()) > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pulling_every_second_counts_the_same_as_pulling_once(seed: int) -> None:
    batches = scripted_batches(seed)
    state, blocks = FoldState(), []
    for second in range(1, 200):
        state = fold_all(state, [item for item in batches if item.at == second])
        ready, state = mature_blocks(state, second + 0.5)
        blocks += ready
    at_once = mature_blocks(fold_all(FoldState(), batches), 200.0)[0]
    assert [block.t0 for block in blocks] == [block.t0 for block in at_once]
    complete = [block for block in at_once if not block.gap]
    assert [block for block in blocks if not block.gap] == complete
    assert state.late == 0
