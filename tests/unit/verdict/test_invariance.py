"""What must change no verdict: units of measurement, names of arms, and how telemetry travelled."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from fairway.observe.blocks import GAMMA, Batch, Increment
from fairway.observe.fold import ArmBlock, Block, FoldState, fold_all, mature_blocks
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic, drift
from fairway.traffic.table import Role
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.tally import GateState
from fairway.verdict.theta import theta
from fairway.verdict.values import GateFinding, GateKind, GateSpec

SPECS = (
    GateSpec(name="failures", kind=GateKind.FAILURES, margin=0.05, alpha_fail=1 / 75, alpha_pass=0.05),
    GateSpec(name="p95", kind=GateKind.LATENCY_P95, margin=1.2, alpha_fail=1 / 75, alpha_pass=0.05),
    GateSpec(name="success", kind=GateKind.SUCCESS, margin=0.98, alpha_fail=1 / 75, alpha_pass=0.05),
)


def measured(seed: int, *, scale: float = 1.0, slower: float = 1.0) -> list[Block]:
    """Sixty blocks whose thresholds were set from the ones before, all latencies multiplied by ``scale``."""
    traffic = ModelledTraffic(
        seed=seed,
        units_per_block=30,
        turns=2,
        stable=ArmModel(failure=0.02, latency_ms=400 * scale),
        candidate=ArmModel(failure=0.03, latency_ms=400 * scale * slower),
        failures=drift(3, 20),
    )
    blocks: list[Block] = []
    limits: dict[Role, float] | None = None
    for index in range(60):
        blocks.append(traffic.next_block(split=0.3, theta=limits))
        if index % 6 == 5:
            limit = theta(blocks, blocks[-1].t0 + 10, MODELLED_STABLE)
            limits = None if limit is None else {Role.STABLE: limit, Role.CANDIDATE: limit * 1.2}
    return blocks


def judged(blocks: Iterable[Block], *, swapped: bool = False) -> list[list[GateFinding]]:
    """The findings of every gate after every block."""
    candidate, stable = (MODELLED_STABLE, MODELLED_CANDIDATE) if swapped else (MODELLED_CANDIDATE, MODELLED_STABLE)
    states: list[GateState] = [start(spec) for spec in SPECS]
    found = []
    for block in blocks:
        states = [
            observe(spec, state, block, candidate=candidate, stable=stable)
            for spec, state in zip(SPECS, states, strict=True)
        ]
        found.append([find(spec, state) for spec, state in zip(SPECS, states, strict=True)])
    return found


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_latencies_in_another_unit_give_the_same_verdicts(slower: float) -> None:
    in_ms, in_other = measured(3, slower=slower), measured(3, scale=GAMMA**725, slower=slower)
    for one, other in zip(judged(in_ms), judged(in_other), strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert (mine.verdict, mine.log_e_fail, mine.log_e_pass) == (
                theirs.verdict,
                pytest.approx(theirs.log_e_fail, abs=1e-9),
                pytest.approx(theirs.log_e_pass, abs=1e-9),
            )
    assert judged(in_ms)[-1][1].bad_candidate > 0


def test_swapping_the_arms_swaps_the_two_sides_of_a_comparison_at_ratio_one() -> None:
    blocks = measured(5, slower=1.3)
    for mine, theirs in zip(judged(blocks), judged(blocks, swapped=True), strict=True):
        assert mine[1].log_e_fail == pytest.approx(theirs[1].log_e_pass, abs=1e-9)
        assert mine[1].log_e_pass == pytest.approx(theirs[1].log_e_fail, abs=1e-9)
    assert abs(mine[1].log_e_fail) > 0.1


def part(arm: ArmBlock, block: Block, release: str, worker: int) -> Increment:
    """Worker ``worker``'s half of an arm: every second unit, and the counts that go with it."""
    mine = arm.active[worker::2]
    own = frozenset(mine)
    failed, slow = (tuple(u for u in units if u in own) for units in (arm.failed_units, arm.slow_units))
    assert block.fence is not None
    return Increment(
        t0=block.t0,
        release=release,  # type: ignore[arg-type]
        role=arm.role,
        fence=block.fence,
        assigned=len(mine),
        finished=len(mine),
        failed=len(failed),
        histograms={"latency_ms": arm.latency_ms} if worker == 0 else {},
        marks={"active": mine, "failed": failed, "slow": slow},
    )


def batches_of(blocks: Sequence[Block]) -> list[Batch]:
    """Two workers that flush once a block."""
    return [
        Batch(
            gateway="g",
            boot="b",
            worker=worker,
            seq=seq,
            at=block.t0 + block.seconds,
            block_seconds=block.seconds,
            timeout=60.0,
            increments=tuple(part(arm, block, release, worker) for release, arm in block.arms.items()),
        )
        for worker in range(2)
        for seq, block in enumerate(blocks, 1)
    ]


def test_duplicated_and_reordered_batches_change_no_verdict() -> None:
    blocks = measured(11)
    batches = batches_of(blocks)
    rng = random.Random(4)
    state, arrived = FoldState(), []
    for first in range(0, len(blocks), 7):
        chunk = [item for item in batches if first < item.seq <= first + 7]
        chunk += rng.choices([item for item in batches if item.seq <= first + 7], k=20)
        rng.shuffle(chunk)
        state = fold_all(state, chunk)
        ready, state = mature_blocks(state, blocks[min(first + 6, len(blocks) - 1)].t0 + 10.0)
        arrived += ready
    assert len(arrived) == len(blocks)
    for mine, theirs in zip(judged(arrived), judged(blocks), strict=True):
        assert [(f.verdict, f.reason, f.log_e_fail, f.log_e_pass) for f in mine] == [
            (f.verdict, f.reason, f.log_e_fail, f.log_e_pass) for f in theirs
        ]


def test_a_lost_batch_leaves_both_arms_of_its_blocks_out() -> None:
    blocks = measured(11)
    batches = [item for item in batches_of(blocks) if (item.worker, item.seq) != (0, 20)]
    arrived, _ = mature_blocks(fold_all(FoldState(), batches), 1e6)
    gaps = [block.t0 for block in arrived if block.gap]
    assert gaps == [190.0, 200.0]  # what the lost batch covered, and where the next one could have reached back
    complete = [block for block in blocks if block.t0 not in gaps]
    lost, whole = judged(arrived)[-1], judged(complete)[-1]
    assert [f.units_candidate for f in lost] == [f.units_candidate for f in whole]
    assert [f.bad_stable for f in lost] == [f.bad_stable for f in whole]
