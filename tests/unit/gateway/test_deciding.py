"""What a gateway has seen of a bad release is not forgotten because somebody lets go of what nobody held."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fairway.gateway.deciding import Deciding
from fairway.gateway.state import LocalDecisions
from fairway.gateway.trip import TripWindow
from fairway.observe.blocks import Batch, Increment
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, Role, RouteTable, Trip
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, RouteId, UnitHash

OLD, NEW, FORMER = (Digest("sha256:" + letter * 64) for letter in "abc")
TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(
        Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("127.0.0.1:1",)),
        Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("127.0.0.1:2",)),
        Arm(role=Role.BASELINE, release=FORMER, version="0.9.0", endpoints=("127.0.0.1:3",)),
    ),
    split=WHOLE,
    trip=Trip(max_excess_bad_units=5, window_seconds=600.0, min_units=5),
)


class Decider(Deciding):
    """The deciding part alone."""

    def __init__(self, decisions: LocalDecisions = LocalDecisions()) -> None:  # noqa: B008 - frozen
        ignores = SimpleNamespace(keep_decisions=lambda _: None, note=lambda *_, **__: None)
        self.table, self.decisions = TABLE, decisions
        self.chronicle = self.keeper = cast(Any, ignores)
        self.renewal = cast(Any, SimpleNamespace(yielding=False))
        self._trip = TripWindow()
        self._seq = 0

    def _push(self) -> None:
        pass

    async def applied(self, within: float) -> bool:
        return within > 0

    def bad_units(self, *numbers: int) -> None:
        self._seq += 1
        units = tuple(UnitHash(f"{number:016x}") for number in numbers)
        increment = Increment(
            t0=time.time() - 20,
            release=NEW,
            role=Role.CANDIDATE,
            fence=TABLE.fence,
            marks={"active": units, "failed": units},
        )
        self._watch(
            Batch(
                gateway="g",
                boot="b",
                worker=0,
                seq=self._seq,
                at=time.time(),
                block_seconds=10.0,
                timeout=60.0,
                increments=(increment,),
            )
        )


NOTHING_HELD: dict[str, Callable[[Decider], Awaitable[bool]]] = {
    "unmask": lambda gateway: gateway.mask(NEW, on=False),
    "unmask another": lambda gateway: gateway.mask(FORMER, on=False),
    "untrip": lambda gateway: gateway.clear_trip(),
    "unpin": lambda gateway: gateway.pin_stable(False),
}


@pytest.mark.parametrize("let_go", NOTHING_HELD.values(), ids=NOTHING_HELD.keys())
async def test_a_trip_comes_as_soon_although_somebody_lets_go_of_what_nobody_held(
    let_go: Callable[[Decider], Awaitable[bool]],
) -> None:
    gateway = Decider()
    gateway.bad_units(1, 2, 3, 4)
    assert await let_go(gateway)
    assert gateway.decisions.tripped is None
    gateway.bad_units(5, 6)
    assert gateway.decisions.tripped == NEW


async def test_what_failed_while_a_person_masked_a_release_does_not_trip_it_once_it_is_back() -> None:
    gateway = Decider()
    await gateway.mask(NEW, on=True)
    gateway.bad_units(*range(20))
    await gateway.mask(NEW, on=False)
    gateway.bad_units(*range(20, 40))  # of blocks that began under the mask
    assert gateway.decisions.tripped is None
