"""Laws 7 and 8, measured: how often a healthy release is failed and a release beyond its margin is passed.

Seeded, a look at every block, through the real gates. Each test prints its interval (``pytest -s``) and records it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from fairway.observe.fold import Block
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_traffic import (
    MODELLED_CANDIDATE,
    MODELLED_STABLE,
    ArmModel,
    ModelledTraffic,
    drift,
    outage,
)
from fairway.traffic.table import Role
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.theta import theta
from fairway.verdict.values import GateKind, GateSpec

ALPHA_FAIL, ALPHA_PASS = 0.04 / 3, 0.05
BOUND_SLACK = 0.1
"""Each bound of stable's rate errs with a tenth of the gate's alpha, which adds to it."""


def gate(kind: GateKind, margin: float) -> GateSpec:
    return GateSpec(name=kind.value, kind=kind, margin=margin, alpha_fail=ALPHA_FAIL, alpha_pass=ALPHA_PASS)


@dataclass
class Seen:
    """What a gate said over one rollout."""

    failed: bool = False
    passed: bool = False
    units_at_fail: int = 0


@dataclass
class Tally:
    """Hits of many rollouts, printed and recorded as an exact 95 % interval."""

    record: Callable[[str, object], None]
    hits: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, name: str, hit: bool) -> None:
        self.hits.setdefault(name, []).append(hit)

    def interval(self, name: str) -> tuple[float, float]:
        hits = self.hits[name]
        low, high = clopper_pearson(sum(hits), len(hits))
        text = f"{sum(hits)}/{len(hits)}, 95% interval {low:.4f}-{high:.4f}"
        self.record(name, text)
        print(f"\n{name}: {text}", end="")
        return low, high


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    return Tally(record_property)


def ladder(block: int, step: int) -> float:
    return (0.05, 0.1, 0.3, 0.5)[min(3, block // step)]


def rollout(
    specs: Iterable[GateSpec], traffic: ModelledTraffic, *, blocks: int, split: Callable[[int], float], warm: int = 12
) -> dict[str, Seen]:
    """Stable alone for ``warm`` blocks, then the split; θ from the past once a minute; a look at every block.

    A FAIL of the absolute gate counts only with evidence beside stable, which is how a rollout reads it.
    """
    seen = {spec.name: Seen() for spec in specs}
    history: list[Block] = [traffic.next_block(split=0.0) for _ in range(warm)]
    states = {spec.name: start(spec, since=warm * traffic.block_seconds) for spec in specs}
    limits: dict[str, float] = {}
    for index in range(blocks):
        if index % 6 == 0:
            latest = theta(history, history[-1].t0 + 10.0, MODELLED_STABLE, minimum=20)
            margins = [spec.margin for spec in specs if spec.kind is GateKind.LATENCY_P95]
            if latest is not None and margins:
                limits = {Role.STABLE: latest, Role.CANDIDATE: latest * margins[0]}
        history.append(traffic.next_block(split=split(index), theta=limits or None))
        for spec in specs:
            if not states[spec.name].blocks:
                for block in history[:-1]:
                    states[spec.name] = look(spec, states[spec.name], block)
            states[spec.name] = look(spec, states[spec.name], history[-1])
            if (state := states[spec.name]).evidence.failed or state.evidence.passed:
                finding = find(spec, state)
                one = seen[spec.name]
                if finding.damning and not one.failed:
                    one.failed, one.units_at_fail = True, state.candidate.count
                one.passed = one.passed or (state.evidence.passed is not None and not one.failed)
        if any(one.failed for one in seen.values()):
            break
    return seen


def look(spec: GateSpec, state, block: Block):  # type: ignore[no-untyped-def]
    return observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)


def bad_weather(seed: int, units: float, blocks: int, **arms: ArmModel) -> ModelledTraffic:
    """Everything at once that both arms share: sticky heavy users, drift by 4 or an outage by 50, noisy load."""
    struck = outage(12 + blocks // 2, 12 + blocks // 2 + max(2, blocks // 10), 50.0)
    return ModelledTraffic(
        seed=seed,
        units_per_block=units,
        turns=3,
        aging=0.3,
        first_turn=3.0,
        heavy_users=max(5, int(units)) if units < 100 else 50,
        failures=struck if seed % 2 else drift(4.0, blocks // 2),
        load=lambda index: 1.0 + 0.4 * math.sin(index / 7),
        load_noise=0.2,
        **arms,
    )


LEVELS = ((10, 120, 48), (100, 60, 48), (1_000, 16, 32), (10_000, 4, 12))
"""Requests a minute, rollouts, blocks: fewer rollouts where each holds more units; the bound is on all of them."""


@pytest.mark.slow
def test_a_healthy_release_is_not_failed_whatever_both_arms_suffer(tally: Tally) -> None:
    # The same release twice, at margins of (nearly) nothing: the edge of what counts as healthy.
    specs = (gate(GateKind.FAILURES, 0.001), gate(GateKind.LATENCY_P95, 1.0), gate(GateKind.SUCCESS, 0.995))
    same = ArmModel(failure=0.002, latency_ms=400, spread=0.5)
    for a_minute, rollouts, blocks in LEVELS:
        for seed in range(rollouts):
            traffic = bad_weather(seed, a_minute / 6, blocks, stable=same, candidate=same)
            seen = rollout(specs, traffic, blocks=blocks, split=lambda index, step=blocks // 4: ladder(index, step))
            for name, one in seen.items():
                tally.add(f"false FAIL of {name}", one.failed)
            tally.add(f"false FAIL of any gate at {a_minute} a minute", any(one.failed for one in seen.values()))
            tally.add("false FAIL of any gate", any(one.failed for one in seen.values()))
    upper = {name: tally.interval(name)[1] for name in tally.hits}
    assert upper["false FAIL of any gate"] <= 3 * ALPHA_FAIL * (1 + BOUND_SLACK)


@pytest.mark.slow
@pytest.mark.parametrize("split", [0.05, 0.5])
def test_the_bound_on_false_failures_holds_with_its_upper_limit(tally: Tally, split: float) -> None:
    spec = gate(GateKind.FAILURES, 0.001)
    same = ArmModel(failure=0.05, spread=0.0)
    for seed in range(350):
        traffic = ModelledTraffic(seed=seed, units_per_block=17, stable=same, candidate=same, failures=drift(4.0, 16))
        seen = rollout([spec], traffic, blocks=30, split=lambda _: split)
        tally.add(f"false FAIL of failures at {split:.0%}", seen[spec.name].failed)
    _, high = tally.interval(f"false FAIL of failures at {split:.0%}")
    assert high <= ALPHA_FAIL * (1 + BOUND_SLACK) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("margin", "stable_rate", "split", "units"),
    [(0.05, 0.002, 0.3, 40), (0.05, 0.03, 0.5, 10), (0.02, 0.01, 0.3, 40), (0.05, 0.15, 0.1, 40)],
)
def test_a_release_exactly_at_the_margin_is_rarely_passed_and_rarely_failed(
    tally: Tally, margin: float, stable_rate: float, split: float, units: int
) -> None:
    spec = gate(GateKind.FAILURES, margin)
    stable = ArmModel(failure=stable_rate, spread=0.0)
    candidate = ArmModel(failure=stable_rate, excess=margin, spread=0.0)
    name = f"at +{margin:g} on {stable_rate:g} with {split:.0%}"
    for seed in range(130):
        traffic = ModelledTraffic(
            seed=seed, units_per_block=units, stable=stable, candidate=candidate, failures=drift(3.0, 20)
        )
        seen = rollout([spec], traffic, blocks=40, split=lambda _: split)[spec.name]
        tally.add(f"false PASS {name}", seen.passed)
        tally.add(f"false FAIL {name}", seen.failed)
    _, high_pass = tally.interval(f"false PASS {name}")
    _, high_fail = tally.interval(f"false FAIL {name}")
    assert high_pass <= ALPHA_PASS * (1 + BOUND_SLACK) + 0.03
    assert high_fail <= ALPHA_FAIL * (1 + BOUND_SLACK) + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("margin", [1.1, 1.5])
def test_a_latency_exactly_at_the_margin_is_rarely_passed_and_rarely_failed(tally: Tally, margin: float) -> None:
    spec = gate(GateKind.LATENCY_P95, margin)
    for seed in range(80):
        traffic = bad_weather(seed, 17, 40, stable=ArmModel(), candidate=ArmModel(latency_ms=400 * margin))
        seen = rollout([spec], traffic, blocks=40, split=lambda index: ladder(index, 10))[spec.name]
        tally.add(f"false PASS of P95 at x{margin}", seen.passed)
        tally.add(f"false FAIL of P95 at x{margin}", seen.failed)
    _, high_pass = tally.interval(f"false PASS of P95 at x{margin}")
    _, high_fail = tally.interval(f"false FAIL of P95 at x{margin}")
    assert high_pass <= ALPHA_PASS + 0.05
    assert high_fail <= ALPHA_FAIL + 0.05


@pytest.mark.slow
def test_success_exactly_at_its_limit_is_rarely_passed_and_rarely_failed(tally: Tally) -> None:
    spec = gate(GateKind.SUCCESS, 0.98)
    edge = ArmModel(failure=0.02, spread=0.0)
    for seed in range(130):
        traffic = ModelledTraffic(seed=seed, units_per_block=40, turns=3, stable=ArmModel(failure=0), candidate=edge)
        seen = rollout([spec], traffic, blocks=40, split=lambda _: 0.5)[spec.name]
        tally.add("false PASS of success at its limit", seen.passed)
        tally.add("false FAIL of success at its limit", seen.failed)
    _, high_pass = tally.interval("false PASS of success at its limit")
    _, high_fail = tally.interval("false FAIL of success at its limit")
    assert high_pass <= ALPHA_PASS + 0.04
    assert high_fail <= ALPHA_FAIL + 0.03


CAUGHT = pytest.mark.parametrize(
    ("kind", "margin", "stable", "candidate", "split", "units", "blocks"),
    [
        (
            GateKind.FAILURES,
            0.05,
            ArmModel(failure=0.01, spread=0),
            ArmModel(failure=0.01, excess=0.1, spread=0),
            0.1,
            120,
            100,
        ),
        (
            GateKind.FAILURES,
            0.02,
            ArmModel(failure=0.005, spread=0),
            ArmModel(failure=0.005, excess=0.04, spread=0),
            0.5,
            80,
            90,
        ),
        (GateKind.LATENCY_P95, 1.5, ArmModel(), ArmModel(latency_ms=1200), 0.05, 40, 30),
        (GateKind.LATENCY_P95, 1.1, ArmModel(), ArmModel(latency_ms=484), 0.5, 160, 80),
        (GateKind.SUCCESS, 0.98, ArmModel(failure=0, spread=0), ArmModel(failure=0.04, spread=0), 0.5, 80, 40),
    ],
    ids=["failures-5-points", "failures-2-points", "p95-x2", "p95-10-percent", "success-98"],
)


@pytest.mark.slow
@CAUGHT
def test_a_release_at_twice_the_margin_is_caught(
    tally: Tally,
    kind: GateKind,
    margin: float,
    stable: ArmModel,
    candidate: ArmModel,
    split: float,
    units: int,
    blocks: int,
) -> None:
    spec = gate(kind, margin)
    exposed = []
    for seed in range(40):
        traffic = ModelledTraffic(seed=seed, units_per_block=units, stable=stable, candidate=candidate)
        seen = rollout([spec], traffic, blocks=blocks, split=lambda _: split)[spec.name]
        tally.add(f"caught {kind.value} {margin}", seen.failed)
        tally.add(f"passed {kind.value} {margin}", seen.passed)
        exposed.append(seen.units_at_fail)
    low, _ = tally.interval(f"caught {kind.value} {margin}")
    _, high = tally.interval(f"passed {kind.value} {margin}")
    print(f"\nmedian units exposed: {sorted(exposed)[len(exposed) // 2]}", end="")
    assert low >= 0.7
    assert high <= 0.15


def test_a_broken_release_is_caught_within_fifty_conversations(tally: Tally) -> None:
    exposed = []
    for split in (0.05, 0.5):
        for seed in range(20):
            traffic = ModelledTraffic(
                seed=seed,
                units_per_block=2 / split,
                stable=ArmModel(failure=0.004, spread=0),
                candidate=ArmModel(failure=0.004, excess=0.3, spread=0),
            )
            spec = gate(GateKind.FAILURES, 0.05)
            seen = rollout([spec], traffic, blocks=80, split=lambda _, share=split: share)[spec.name]
            tally.add(f"broken release caught at {split:.0%}", seen.failed)
            exposed.append(seen.units_at_fail)
        assert tally.interval(f"broken release caught at {split:.0%}")[0] > 0.8
    print(f"\nmedian units exposed: {sorted(exposed)[len(exposed) // 2]}", end="")
    assert sorted(exposed)[len(exposed) // 2] <= 50


@pytest.mark.slow
@pytest.mark.parametrize("aging", [1.0, -1.0])
def test_conversations_that_slow_down_or_speed_up_with_age_make_no_release_better_or_worse(
    tally: Tally, aging: float
) -> None:
    # Twenty turns, the candidate exactly at its margin; after a larger split it holds the young conversations.
    spec = gate(GateKind.LATENCY_P95, 1.1)
    for seed in range(60):
        traffic = ModelledTraffic(
            seed=seed,
            units_per_block=8,
            turns=20,
            aging=aging,
            stable=ArmModel(),
            candidate=ArmModel(latency_ms=440),
        )
        history = [traffic.next_block(split=0.0) for _ in range(20)]
        for split in (0.1, 0.5):
            limit = theta(history, history[-1].t0 + 10.0, MODELLED_STABLE)
            assert limit is not None
            state = start(spec, since=history[-1].t0 + 5.0)
            for block in history:
                state = look(spec, state, block)
            for _ in range(20):
                limits = {Role.STABLE: limit, Role.CANDIDATE: limit * 1.1}
                history.append(traffic.next_block(split=split, theta=limits))
                state = look(spec, state, history[-1])
            tally.add(f"false PASS with aging {aging}", state.evidence.passed is not None)
            tally.add(f"false FAIL with aging {aging}", state.evidence.failed is not None)
    assert tally.interval(f"false PASS with aging {aging}")[1] <= ALPHA_PASS + 0.07
    assert tally.interval(f"false FAIL with aging {aging}")[1] <= ALPHA_FAIL + 0.05
