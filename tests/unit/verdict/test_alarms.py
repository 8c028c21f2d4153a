"""Triggers, the exposure budget and the sample ratio: rule, evidence, and no shared cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_traffic import (
    MODELLED_CANDIDATE,
    MODELLED_STABLE,
    ArmModel,
    ModelledTraffic,
    drift,
    outage,
)
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash
from fairway.verdict.ages import Ages
from fairway.verdict.alarms import AlarmState, find_alarms, observe_alarms, start_alarms
from fairway.verdict.sight import see
from fairway.verdict.values import Alarm, AlarmAction, AlarmPolicy

STABLE, CANDIDATE = MODELLED_STABLE, MODELLED_CANDIDATE
POLICY = AlarmPolicy(stages=4)


class Watch:
    """What a controller does with alarms: block by block."""

    def __init__(self, policy: AlarmPolicy = POLICY, *, since: float | None = None) -> None:
        self.policy = policy
        self.state: AlarmState = start_alarms(policy, since=since)
        self.ages = Ages()
        self.blocks: list[Block] = []

    def take(self, block: Block, *, swapped: bool = False) -> None:
        candidate, stable = (STABLE, CANDIDATE) if swapped else (CANDIDATE, STABLE)
        sight = see(self.ages, block, candidate=candidate, stable=stable)
        self.ages = sight.ages
        self.state = observe_alarms(self.policy, self.state, sight)
        self.blocks.append(block)

    def alarms(self) -> dict[str, Alarm]:
        since = self.state.failures.since
        blocks = [block for block in self.blocks if since is None or block.t0 >= since]
        return {a.name: a for a in find_alarms(self.policy, self.state, blocks, candidate=CANDIDATE, stable=STABLE)}


def names(letter: str, number: int, count: int) -> tuple[UnitHash, ...]:
    return tuple(UnitHash(f"{letter}{number:07x}{i:08x}") for i in range(count))


def arm(
    role: Role, letter: str, number: int, count: int, *, bad: int = 0, ms: float = 400.0, slow: int = 0
) -> ArmBlock:
    units = names(letter, number, count)
    return ArmBlock(
        role=role,
        assigned=count,
        finished=count,
        failed=bad,
        active=units,
        failed_units=units[:bad],
        latency_ms={bin_of(ms): count},
        marks={"too_slow": units[:slow]} if slow else {},
    )


def block(
    number: int, *, bad: int = 0, bad_stable: int = 0, ms: float = 400.0, ms_stable: float = 400.0, split: int = 10_000,
    candidate: int = 10, stable: int = 90,
) -> Block:  # fmt: skip
    arms: dict[Digest, ArmBlock] = {
        STABLE: arm(
            Role.STABLE, "a", number, stable, bad=bad_stable, ms=ms_stable, slow=stable if ms_stable > 5_000 else 0
        ),
        CANDIDATE: arm(Role.CANDIDATE, "c", number, candidate, bad=bad, ms=ms, slow=candidate if ms > 5_000 else 0),
    }
    return Block(t0=10.0 * number, seconds=10.0, fence=Fence(term=1, seq=1), arms=arms, split=split)


def watched(blocks: list[Block], policy: AlarmPolicy = POLICY) -> dict[str, Alarm]:
    watch = Watch(policy)
    for item in blocks:
        watch.take(item)
    return watch.alarms()


ONLY_RATE = replace(POLICY, failed_traces=None, exposure=None, sample_ratio=False)


def test_errors_above_the_limit_for_the_whole_window_fire_with_the_figures() -> None:
    bad = [block(n, bad=3, bad_stable=n % 2) for n in range(31)]
    # There is evidence long before, and the rule speaks of five minutes.
    assert watched(bad[:29], ONLY_RATE) == {}
    found = watched(bad[:30], ONLY_RATE)["error_rate"]
    assert found.action is AlarmAction.ROLL_BACK
    assert found.reason == (
        "90 of 300 candidate conversations failed in the last 300 s (30.0%, the limit is 2.0%), 15 of 2,700 on stable"
    )


def test_a_gap_and_a_mixed_block_fill_no_window() -> None:
    bad = [block(n, bad=3) for n in range(30)]
    spoilt = [replace(item, gap=n == 3, fence=None if n == 9 else item.fence) for n, item in enumerate(bad)]
    assert watched(spoilt, ONLY_RATE) == {}
    assert "error_rate" in watched([*spoilt, block(30, bad=3), block(31, bad=3)], ONLY_RATE)


def test_the_rule_alone_does_not_fire_without_evidence_that_the_candidate_is_worse() -> None:
    # 3 % on both arms, by chance 4 % on the candidate: far above 2 %, and no worse than stable.
    equal = [block(n, bad=n % 3 == 0, bad_stable=3) for n in range(60)]
    assert watched(equal) == {}


def test_evidence_alone_does_not_fire_below_the_limit() -> None:
    # .3 % against nothing at all: shown to be worse, and within two percent.
    blocks = [block(n, bad=n % 4 == 0, candidate=90, stable=900) for n in range(120)]
    watch = Watch(ONLY_RATE)
    for item in blocks:
        watch.take(item)
    assert watch.state.failures.evidence.failed is not None
    assert watch.alarms() == {}


def test_what_stable_suffers_as_well_is_a_shared_cause_and_no_alarm() -> None:
    both = [block(n, bad=5, bad_stable=9) for n in range(60)]
    watch = Watch(ONLY_RATE)
    for item in both:
        watch.take(item)
    assert watch.state.failures.evidence.failed is not None
    assert watch.alarms() == {}


def test_fifty_failed_traces_are_fifty_beyond_stables_rate() -> None:
    policy = replace(POLICY, error_rate=None, exposure=None)
    # 2 failures a block, .5 of which stable would have had too.
    blocks = [block(n, bad=2, bad_stable=int(4.5) + n % 2, candidate=10, stable=90) for n in range(60)]
    fired = next(n for n in range(1, 61) if "failed_traces" in watched(blocks[:n], policy))
    assert fired == pytest.approx(50 / 1.5, abs=2)
    assert "51 more than at stable's rate" in watched(blocks[:fired], policy)["failed_traces"].reason


def test_the_exposure_budget_counts_conversations_once_and_in_excess() -> None:
    policy = replace(POLICY, error_rate=None, failed_traces=None, exposure=20, sample_ratio=False)
    once = [block(n, bad=3, bad_stable=9) for n in range(40)]  # one in ten of them stable would have had too
    assert next(n for n in range(1, 41) if "exposure_budget" in watched(once[:n], policy)) == 10
    few = [block(n, bad=n == 7) for n in range(40)]
    assert watched(few, replace(policy, exposure=1, failed_traces=1)) == {}  # in excess, and no evidence
    # One heavy user that fails a thousand times is one conversation.
    heavy = block(0, bad=1).arms[CANDIDATE]
    repeated = [replace(block(n), arms={**block(n).arms, CANDIDATE: replace(heavy, failed=25)}) for n in range(40)]
    assert watched(repeated, replace(policy, failed_traces=50)) == {}


def test_latency_beyond_the_limit_fires_unless_stable_is_as_slow() -> None:
    policy = replace(POLICY, error_rate=None)
    slow = [block(n, ms=7_000.0) for n in range(18)]
    assert "latency" not in watched(slow[:17], policy)
    found = watched(slow, policy)["latency"]
    assert found.action is AlarmAction.ROLL_BACK
    assert "the limit is 5,000 ms; 40" in found.reason
    assert watched([block(n, ms=7_000.0, ms_stable=6_000.0) for n in range(40)], policy) == {}
    assert watched(slow, replace(policy, latency_ms=None)) == {}


def test_a_split_that_does_not_arrive_pauses_and_says_what_arrived() -> None:
    lost = [block(n, candidate=4, stable=90) for n in range(40)]  # 4 % where 10 % was told
    found = watched(lost)["sample_ratio"]
    assert found.action is AlarmAction.PAUSE
    assert "of 3,666 new conversations at a split of 10% on the candidate" in found.reason
    assert watched([block(n) for n in range(40)]) == {}
    assert watched(lost, replace(POLICY, sample_ratio=False)) == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda item: replace(item, split=None),
        lambda item: replace(item, gap=True),
        lambda item: replace(item, fence=None),
        lambda item: replace(item, split=0),
        lambda item: replace(item, split=100_000),
    ],
    ids=["split unknown", "gap", "mixed", "nobody", "everybody"],
)
def test_blocks_that_cannot_be_counted_say_nothing_of_the_sample_ratio(spoil) -> None:
    assert watched([spoil(block(n, candidate=1, stable=90)) for n in range(40)]) == {}


def test_a_conversation_is_first_seen_once_and_those_from_before_are_not_new() -> None:
    # The same units all the time: sticky heavy users, whose requests are no sample of the split.
    first = block(0)
    again = [replace(block(n, candidate=90, stable=10), arms=first.arms) for n in range(60)]
    watch = Watch()
    for item in again:
        watch.take(item)
    assert watch.state.sample.counts == ()
    later = Watch(since=300.0)
    for n in range(60):
        later.take(block(n, candidate=1 if n < 30 else 10))
    assert later.state.sample.counts == ((10_000, 300, 2_700),)
    assert "sample_ratio" not in later.alarms()


def test_a_split_is_compared_with_what_was_assigned_under_it() -> None:
    mixed_splits = [block(n, split=10_000) for n in range(20)]
    mixed_splits += [block(20 + n, split=50_000, candidate=50, stable=50) for n in range(20)]
    assert watched(mixed_splits) == {}
    told_wrong = [replace(item, split=20_000) for item in mixed_splits]
    assert "sample_ratio" in watched(told_wrong)


def test_a_block_twice_changes_nothing() -> None:
    once, often = Watch(), Watch()
    for n in range(40):
        item = block(n, bad=n % 2, candidate=6)
        once.take(item)
        for _ in range(3):
            often.state = observe_alarms(
                often.policy, often.state, see(often.ages, item, candidate=CANDIDATE, stable=STABLE)
            )
        often.take(item)
    assert (often.state.failures.evidence, often.state.sample) == (once.state.failures.evidence, once.state.sample)


WEATHER: dict[str, dict[str, Callable[[int], float]]] = {
    "calm": {},
    "drift": {"failures": drift(4.0, 60)},
    "outage": {"failures": outage(60, 75, 50.0)},
}


@pytest.mark.slow
def test_a_healthy_hour_raises_no_alarm_though_the_bare_rule_would(record_property) -> None:
    # Five to three hundred requests a minute, one in a hundred fails on both arms; a look at every block.
    alarms, bare, hours = 0, 0, 0
    for seed in range(24):
        for weather in WEATHER.values():
            traffic = ModelledTraffic(
                seed=seed, units_per_block=(1, 4, 16)[seed % 3], turns=2, heavy_users=3,
                stable=ArmModel(failure=0.01), candidate=ArmModel(failure=0.01), **weather,
            )  # fmt: skip
            watch = Watch(replace(POLICY, failed_traces=5, exposure=5), since=120.0)
            fired = ruled = False
            for index in range(12 + 180):
                watch.take(traffic.next_block(split=0.0 if index < 12 else (0.05, 0.1, 0.3, 0.5)[(index - 12) // 45]))
                fired = fired or bool(watch.alarms())
                recent = [item.arms[CANDIDATE] for item in watch.blocks[-30:] if CANDIDATE in item.arms]
                failed = {unit for each in recent for unit in each.failed_units}
                ruled = ruled or len(failed) > 0.02 * len({unit for each in recent for unit in each.active})
            alarms, bare, hours = alarms + fired, bare + ruled, hours + 1
    low, high = clopper_pearson(alarms, hours)
    record_property("false alarms", f"{alarms} of {hours}, 95% interval {low:.4f}-{high:.4f}; bare rule {bare}")
    print(f"\nfalse alarms: {alarms} of {hours}, 95% interval {low:.4f}-{high:.4f}; the bare rule: {bare}")
    assert high <= POLICY.alpha + POLICY.sample_alpha + 0.05
    assert bare > hours / 2
