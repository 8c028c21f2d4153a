"""What a worker keeps at hand of a unit holds as long as the block, the pin and the clock it was made by."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fairway.gateway.serving import Known, Serving, Unit, cookie_told, know, prepare, remember
from fairway.gateway.telemetry import NO_CELL, Cell
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

STABLE, CANDIDATE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(
        Arm(role=Role.STABLE, release=STABLE, version="1.0.0", endpoints=("127.0.0.1:1",)),
        Arm(role=Role.CANDIDATE, release=CANDIDATE, version="1.1.0", endpoints=("127.0.0.1:2",)),
    ),
    split=Parts(0),
    salt="r-1",
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
)
EPOCH = 1_000_000.0


def block(t0: float, end: float) -> Cell:
    return Cell(t0=t0, end=end, release=STABLE, role=Role.STABLE, fence=TABLE.fence, regime="r")


@pytest.fixture
async def serving() -> Serving:
    return prepare(TABLE, {}, asyncio.get_running_loop())


def known_until(serving: Serving, expires: float) -> Known:
    known = know(serving, serving.ruleset.by_hash(candidate=False), expires)
    assert known is not None
    return known


async def test_a_unit_is_decided_anew_at_the_end_of_the_block_and_of_its_pin(serving: Serving) -> None:
    first, second = block(EPOCH, EPOCH + 10), block(EPOCH + 10, EPOCH + 20)
    known = known_until(serving, EPOCH + 15)
    assert known.cell is NO_CELL
    assert known.until == 0.0, "the first request asks"
    serving.cells[STABLE] = first
    assert known.go_on(serving, 3.0, EPOCH)
    assert (known.cell, known.until) == (first, 10.0)
    assert not known.go_on(serving, 10.0, EPOCH), "the next block begins the general way"
    serving.cells[STABLE] = second
    assert known.go_on(serving, 10.0, EPOCH)
    assert (known.cell, known.until) == (second, 15.0)
    assert not known.go_on(serving, 15.0, EPOCH), "its time is over"


async def test_a_unit_that_somebody_overhears_never_goes_on(serving: Serving) -> None:
    serving.cells[STABLE] = block(EPOCH, EPOCH + 10)
    known = known_until(serving, EPOCH + 15)
    known.direct = False
    assert not known.go_on(serving, 3.0, EPOCH)
    assert known.until == 0.0


async def test_when_the_clock_is_set_all_that_was_derived_from_it_is_forgotten(serving: Serving) -> None:
    serving.cells[STABLE] = block(EPOCH, EPOCH + 10)
    known = known_until(serving, EPOCH + 15)
    remember(serving.known, b"c-1", Unit(known, b"12345678"))
    remember(serving.with_cookie, b"c-1", Unit(known, b"12345678", b"a=b"))
    serving.recalled[1, 2, 3] = known
    serving.forget_times()
    kept = (serving.known, serving.with_cookie, serving.recalled, serving.starts, serving.cells)
    assert not any(kept)
    assert serving.crowded is None


async def test_how_an_arms_answers_are_read_changes_with_what_is_expected_of_them_alone(serving: Serving) -> None:
    served = serving.arms[STABLE]
    before = served.reading
    served.attested = False
    assert served.reading is before
    served.attested = True
    assert served.reading is not before
    assert serving.arms[CANDIDATE].reading is not served.reading


@pytest.mark.parametrize(
    ("split", "hashes", "everybody"), [(0, False, False), (1, True, False), (100_000, False, True)]
)
async def test_nobody_and_everybody_need_no_bucket(split: int, hashes: bool, everybody: bool) -> None:
    made = prepare(replace(TABLE, split=Parts(split)), {}, asyncio.get_running_loop())
    assert (made.salted is not None) is hashes
    if not hashes:
        assert made.everybody is everybody


def test_a_long_cookie_is_told_by_its_hash() -> None:
    long = b"a" * 5000
    assert cookie_told(b"a=b") == b"a=b"
    assert len(cookie_told(long)) == 32
    assert cookie_told(long) != cookie_told(long + b"b")
