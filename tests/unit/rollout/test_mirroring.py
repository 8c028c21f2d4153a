"""What mirrored pairs prove, and what they never do."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.observe.fold import ArmBlock, Block
from fairway.rollout.evidence import MirrorGate, MirrorPairs
from fairway.rollout.mirroring import judge_pairs, pairs_of
from fairway.stats.intervals import clopper_pearson
from fairway.testing.rollout_cases import CANDIDATE, STABLE
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Verdict

GATE = MirrorGate(margin=0.02, alpha_fail=0.01, alpha_pass=0.05, minimum_pairs=100)
pairs = st.builds(
    MirrorPairs,
    compared=st.integers(0, 5000),
    diverged=st.integers(0, 5000),
    unknown=st.integers(0, 500),
    both_failed=st.integers(0, 500),
    dropped=st.integers(0, 500),
).flatmap(
    lambda found: st.integers(0, found.compared).flatmap(
        lambda worse: st.integers(0, found.compared - worse).map(
            lambda better: replace(found, shadow_failed=worse, stable_failed=better)
        )
    )
)


def test_no_comparison_is_no_data():
    assert judge_pairs(GATE, None)[0] is Verdict.NO_DATA
    assert judge_pairs(GATE, MirrorPairs())[0] is Verdict.NO_DATA


@given(pairs)
def test_too_few_pairs_never_pass_and_never_fail(found):
    few = replace(found, compared=min(found.compared, 99), shadow_failed=0, stable_failed=0)
    assert judge_pairs(GATE, few)[0] is Verdict.NO_DATA


@given(pairs)
def test_pairs_that_diverged_are_never_counted_for_or_against(found):
    verdict = judge_pairs(GATE, found)[0]
    without = judge_pairs(GATE, replace(found, diverged=0, unknown=0, both_failed=0))[0]
    assert verdict is without or (verdict, without) == (Verdict.INCONCLUSIVE, Verdict.PASS)


@given(pairs, st.integers(0, 5000))
def test_clients_that_left_decide_nothing_and_hold_nothing_up(found, left):
    verdict, told = judge_pairs(GATE, replace(found, client_left=left))
    assert verdict is judge_pairs(GATE, found)[0]
    assert ("the client left" in told) is bool(left)


def test_when_most_pairs_diverge_nothing_passes():
    clean = MirrorPairs(compared=1000)
    assert judge_pairs(GATE, clean)[0] is Verdict.PASS
    assert judge_pairs(GATE, replace(clean, diverged=1001))[0] is Verdict.INCONCLUSIVE
    assert judge_pairs(GATE, replace(clean, unknown=1001))[0] is Verdict.INCONCLUSIVE


def test_unknown_is_never_a_pass_beyond_one_pair_in_a_hundred():
    found, told = judge_pairs(GATE, MirrorPairs(compared=400, unknown=390))
    assert found is Verdict.INCONCLUSIVE
    assert "390 are of unknown outcome" in told
    assert judge_pairs(GATE, MirrorPairs(compared=990, unknown=10))[0] is Verdict.PASS
    assert judge_pairs(GATE, MirrorPairs(compared=990, unknown=11))[0] is Verdict.INCONCLUSIVE


def test_pairs_in_which_both_failed_prove_nothing():
    assert judge_pairs(GATE, MirrorPairs(both_failed=5000))[0] is Verdict.NO_DATA
    assert judge_pairs(GATE, MirrorPairs(compared=1000, both_failed=1001))[0] is Verdict.INCONCLUSIVE


def test_an_agent_that_fails_now_and_then_by_itself_is_not_blamed():
    """A twentieth fails on each side, independently: beyond the margin, but not the shadow's doing."""
    both = MirrorPairs(compared=4000, shadow_failed=200, stable_failed=200)
    assert judge_pairs(GATE, both)[0] is Verdict.INCONCLUSIVE
    alone = MirrorPairs(compared=4000, shadow_failed=200, stable_failed=2)
    assert judge_pairs(GATE, alone)[0] is Verdict.FAIL


@pytest.mark.parametrize(
    ("worse", "better", "forbidden", "alpha"),
    [(0.02, 0.0, Verdict.PASS, 0.05), (0.02, 0.0, Verdict.FAIL, 0.01), (0.05, 0.05, Verdict.FAIL, 0.01)],
    ids=["at the margin it hardly passes", "at the margin it hardly fails", "alike on both sides it hardly fails"],
)
def test_however_often_one_looks_the_error_keeps_its_bound(worse, better, forbidden, alpha):
    dice = random.Random(7)
    wrong, rollouts = 0, 300
    for _ in range(rollouts):
        found = MirrorPairs()
        for _ in range(80):
            drawn = [dice.random() for _ in range(25)]
            bad = sum(one < worse for one in drawn)
            good = sum(worse <= one < worse + better for one in drawn)
            found = replace(
                found,
                compared=found.compared + 25,
                shadow_failed=found.shadow_failed + bad,
                stable_failed=found.stable_failed + good,
            )
            if judge_pairs(GATE, found)[0] is forbidden:
                wrong += 1
                break
    upper = clopper_pearson(wrong, rollouts)[1]
    print(f"{wrong} of {rollouts} wrong, upper bound {upper:.3f}")
    assert upper <= alpha + 0.03


def block(t0: float, sums: dict[str, float], *, role: Role = Role.SHADOW, **changes: object) -> Block:
    arms = {STABLE.release: ArmBlock(role=Role.STABLE), CANDIDATE.release: ArmBlock(role=role, sums=sums)}
    return replace(Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms=arms), **changes)


def test_pairs_are_added_up_over_blocks_that_can_be_compared():
    sums = {"shadow_pairs": 10, "shadow_failed": 1, "shadow_primary_failed": 2, "shadow_diverged": 3,
            "shadow_unknown": 4, "shadow_dropped": 5, "shadow_skipped": 6, "shadow_both_failed": 7,
            "shadow_client_left": 8, "shadow_unattested": 9}  # fmt: skip
    found = pairs_of(
        [block(0, sums), block(10, sums), block(20, sums, gap=True), block(30, sums, fence=None)], CANDIDATE.release
    )
    assert found == MirrorPairs(
        compared=20,
        shadow_failed=2,
        stable_failed=4,
        diverged=6,
        unknown=8,
        dropped=22,
        both_failed=14,
        client_left=16,
        unattested=18,
    )


def test_blocks_that_know_no_shadow_are_no_pairs():
    assert pairs_of([], CANDIDATE.release) is None
    assert pairs_of([block(0, {"shadow_pairs": 10}, role=Role.CANDIDATE)], CANDIDATE.release) is None
