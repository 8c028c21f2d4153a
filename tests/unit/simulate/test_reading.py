"""What is taken from a rolling histogram and a quick look is what the real functions say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.observe.fold import ArmBlock, Block
from fairway.simulate.reading import JumpWatch, RollingYardstick
from fairway.simulate.traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic, drift, outage
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash
from fairway.verdict.panel import Panel
from fairway.verdict.shared_cause import shared_cause
from fairway.verdict.theta import theta
from fairway.verdict.values import GateFinding, GateKind, GateSpec


def block(number: int, histogram: dict[int, int], *, gap: bool = False) -> Block:
    arm = ArmBlock(role=Role.STABLE, latency_ms=histogram)
    return Block(t0=10.0 * number, seconds=10.0, fence=Fence(term=1, seq=1), arms={MODELLED_STABLE: arm}, gap=gap)


@settings(max_examples=60, deadline=None)
@given(
    histograms=st.lists(
        st.tuples(st.dictionaries(st.integers(-50, 900), st.integers(1, 40), max_size=5), st.booleans()),
        min_size=1,
        max_size=90,
    )
)
def test_the_rolling_p95_is_theta_at_every_look(histograms: list[tuple[dict[int, int], bool]]) -> None:
    rolling, seen = RollingYardstick(stable=MODELLED_STABLE), []
    for number, (histogram, gap) in enumerate(histograms):
        seen.append(block(number, histogram, gap=gap))
        rolling.keep(seen[-1])
        now = 10.0 * (number + 1)
        assert rolling.value(now) == theta(seen, now, MODELLED_STABLE)


@pytest.mark.parametrize("units", [5, 60])
@pytest.mark.parametrize("weather", [outage(25, 40, 60.0), drift(12.0, 50), outage(0, 0, 1.0)])
def test_where_a_jump_is_found_the_quick_look_has_not_ruled_it_out(units, weather) -> None:
    jumps = 0
    for seed in range(3):
        traffic = ModelledTraffic(
            seed=seed, units_per_block=units, stable=ArmModel(failure=0.01), failures=weather, turns=2, heavy_users=3
        )
        watch, seen = JumpWatch(stable=MODELLED_STABLE), []
        for _ in range(60):
            seen.append(traffic.next_block(split=0.2))
            watch.keep(seen[-1])
            if shared_cause((), seen, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE):
                jumps += 1
                assert watch.possible()
    assert jumps or weather(30) < 50


def test_the_quick_look_spares_the_long_one_in_calm_weather() -> None:
    traffic = ModelledTraffic(seed=1, units_per_block=100, stable=ArmModel(failure=0.02))
    watch, asked = JumpWatch(stable=MODELLED_STABLE), 0
    for _ in range(200):
        watch.keep(traffic.next_block(split=0.2))
        asked += watch.possible()
    assert asked < 10


def test_a_unit_that_fails_twice_counts_once() -> None:
    watch = JumpWatch(stable=MODELLED_STABLE)
    names = [UnitHash(f"{number:016x}") for number in range(100)]
    for number in range(12):
        failed = tuple(names[:1]) if number >= 6 else ()
        arm = ArmBlock(role=Role.STABLE, active=tuple(names), failed_units=failed)
        watch.keep(Block(t0=10.0 * number, seconds=10.0, fence=Fence(term=1, seq=1), arms={MODELLED_STABLE: arm}))
    assert not watch.possible()


def test_swapping_the_arms_of_the_traffic_swaps_harm_and_health() -> None:
    limit = {Role.STABLE: 900.0, Role.CANDIDATE: 900.0}
    traffic = ModelledTraffic(seed=3, units_per_block=40, candidate=ArmModel(latency_ms=480))
    seen = [traffic.next_block(split=0.5, theta=limit) for _ in range(60)]
    gate = GateSpec(name="p95", kind=GateKind.LATENCY_P95, margin=1.0, alpha_fail=1e-6, alpha_pass=1e-6)

    def judged(candidate: Digest, stable: Digest) -> GateFinding:
        panel = Panel(candidate=candidate, stable=stable, since=0.0)
        for each in seen:
            panel.take(each)
        return panel.judge([gate], step_from=0.0)[0]

    ours, mirrored = judged(MODELLED_CANDIDATE, MODELLED_STABLE), judged(MODELLED_STABLE, MODELLED_CANDIDATE)
    assert ours.log_e_fail == pytest.approx(mirrored.log_e_pass, abs=1e-9)
    assert ours.log_e_pass == pytest.approx(mirrored.log_e_fail, abs=1e-9)
    assert (ours.bad_candidate, ours.bad_stable) == (mirrored.bad_stable, mirrored.bad_candidate)
    assert ours.log_e_fail > 1.0 > mirrored.log_e_fail
