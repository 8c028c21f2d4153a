"""The window a trip looks at counts each unit once, for as long as one of its blocks is within."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.trip import TripWindow
from fairway.observe.blocks import Batch, Increment
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.table import Role, Trip
from fairway.units import Digest, UnitHash

NEW = Digest("sha256:" + "b" * 64)
TRIP = Trip(max_excess_bad_units=3, window_seconds=60.0, min_units=2)
SEEN = st.tuples(
    st.sampled_from([Role.STABLE, Role.CANDIDATE]),
    st.integers(0, 20).map(lambda step: step * 10.0),
    st.lists(st.integers(0, 8), max_size=5),
    st.lists(st.integers(0, 8), max_size=3),
)


def units(numbers: list[int]) -> tuple[UnitHash, ...]:
    return tuple(UnitHash(f"{number:016x}") for number in numbers)


def batch(role: Role, t0: float, active: list[int], failed: list[int]) -> Batch:
    marks = {"active": units(active), "failed": units(failed)}
    increment = Increment(t0=t0, release=NEW, role=role, fence=ZERO_FENCE, marks=marks)
    return Batch(
        gateway="g", boot="b", worker=0, seq=1, at=t0, block_seconds=10.0, timeout=10.0, increments=(increment,)
    )


@given(st.lists(SEEN, max_size=30), st.booleans())
def test_it_finds_what_counting_all_of_it_anew_finds(
    seen: list[tuple[Role, float, list[int], list[int]]], moved: bool
) -> None:
    window = TripWindow()
    now, told = 0.0, []
    for role, t0, active, failed in seen:
        now = max(now, t0)
        told.append((role, t0, active, failed))
        window.add(batch(role, t0, active, failed), NEW)
        if moved:
            window = TripWindow.from_wire(window.to_wire())
        found = window.find(TRIP, now)
        within = [one for one in told if one[1] >= now - TRIP.window_seconds]
        counted = {
            (role, kind): len({unit for one in within if one[0] is role for unit in one[kind]})
            for role in (Role.STABLE, Role.CANDIDATE)
            for kind in (2, 3)
        }
        assert (found.units, found.bad) == (counted[Role.CANDIDATE, 2], counted[Role.CANDIDATE, 3])
        assert (found.stable_units, found.stable_bad) == (counted[Role.STABLE, 2], counted[Role.STABLE, 3])
