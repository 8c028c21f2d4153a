"""What answers to the gateway's own questions make of endpoints, and of the table that is served."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.endpoints.health import Answered, Checked, Fitness, without_unfit
from fairway.gateway.endpoints.verifying import from_another
from fairway.traffic.endpoints import Health
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
POLICY = Health(path="/ready", healthy=2, unhealthy=3)
GOOD, BAD = Answered(status=200), Answered(status=503)
MINE = Answered(status=200, body=json.dumps({"release": OLD}).encode())
OTHERS = Answered(status=200, body=json.dumps({"release": NEW}).encode())


def after(*answers: Answered) -> Checked:
    checked = Checked()
    for answered in answers:
        checked.take(answered, OLD, POLICY)
    return checked


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((), Fitness.FIT),
        ((BAD, BAD), Fitness.FIT),
        ((BAD, BAD, GOOD, BAD, BAD), Fitness.FIT),
        ((BAD, BAD, BAD), Fitness.UNFIT),
        ((Answered(detail="refused"),) * 3, Fitness.UNFIT),
        ((BAD, BAD, BAD, GOOD), Fitness.UNFIT),
        ((BAD, BAD, BAD, GOOD, BAD, GOOD), Fitness.UNFIT),
        ((BAD, BAD, BAD, GOOD, GOOD), Fitness.FIT),
        ((OTHERS,), Fitness.WRONG),
        ((OTHERS, BAD, BAD, BAD), Fitness.WRONG),
        ((OTHERS, GOOD), Fitness.WRONG),
        ((OTHERS, MINE), Fitness.FIT),
        ((OTHERS, GOOD, GOOD), Fitness.FIT),
        ((MINE, OTHERS, GOOD, GOOD, GOOD), Fitness.WRONG),
        ((MINE, OTHERS, GOOD, GOOD, MINE), Fitness.FIT),
        ((BAD, BAD, BAD, OTHERS), Fitness.WRONG),
    ],
)
def test_only_so_many_alike_in_a_row_change_what_an_endpoint_counts_as(
    answers: tuple[Answered, ...], expected: Fitness
) -> None:
    assert after(*answers).fitness is expected


@pytest.mark.parametrize(
    ("answered", "serves"),
    [
        (Answered(status=200, body=b"ok"), None),
        (Answered(status=200, body=b'{"release": "2024.1"}'), None),
        (Answered(status=200, body=b'{"release": 7}'), None),
        (Answered(status=200, body=b"[]"), None),
        (Answered(status=200, body=b"[" * 65_000), None),
        (MINE, True),
        (OTHERS, False),
        (Answered(status=200, said=OLD.encode()), True),
        (Answered(status=200, said=b" " + OLD.encode()), True),
        (Answered(status=200, said=b"repeated"), False),
        (Answered(status=200, said=NEW.encode(), body=MINE.body), False),
    ],
)
def test_a_release_is_read_from_the_header_and_from_json_that_names_a_digest(
    answered: Answered, serves: bool | None
) -> None:
    assert answered.serves(OLD) is serves


def test_saying_nothing_is_not_another_release() -> None:
    assert not from_another(None, OLD.encode())
    assert from_another(b"", OLD.encode())


def table(stable: tuple[str, ...] = ("s:1", "s:2"), candidate: tuple[str, ...] = ("c:1",)) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("a"), environment=EnvironmentName("e")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1", endpoints=stable),
            Arm(role=Role.CANDIDATE, release=NEW, version="2", endpoints=candidate),
        ),
    )


def endpoints(given: RouteTable) -> tuple[tuple[str, ...], ...]:
    return tuple(arm.endpoints for arm in given.arms)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, (("s:1", "s:2"), ("c:1",))),
        ({(OLD, "s:1"): Fitness.UNFIT}, (("s:2",), ("c:1",))),
        ({(NEW, "c:1"): Fitness.UNFIT}, (("s:1", "s:2"), ())),
        ({(OLD, "c:1"): Fitness.UNFIT}, (("s:1", "s:2"), ("c:1",))),
        ({(OLD, "s:1"): Fitness.UNFIT, (OLD, "s:2"): Fitness.UNFIT}, (("s:1", "s:2"), ("c:1",))),
        (
            {(OLD, "s:1"): Fitness.UNFIT, (OLD, "s:2"): Fitness.UNFIT, (NEW, "c:1"): Fitness.UNFIT},
            (("s:1", "s:2"), ("c:1",)),
        ),
        ({(OLD, "s:1"): Fitness.WRONG, (OLD, "s:2"): Fitness.UNFIT}, (("s:2",), ("c:1",))),
        ({(OLD, "s:1"): Fitness.WRONG, (OLD, "s:2"): Fitness.WRONG}, ((), ("c:1",))),
    ],
    ids=[
        "nothing is known", "one of stable's", "all of the candidate's", "another release's at that address",
        "all of stable's: nowhere else to go", "all of both: a shared trouble is held against nobody",
        "panic never serves another release", "another release is never served",
    ],
)  # fmt: skip
def test_the_table_is_served_without_the_endpoints_that_do_not_do_well(
    known: dict[tuple[Digest, str], Fitness], expected: tuple[tuple[str, ...], ...]
) -> None:
    assert endpoints(without_unfit(table(), known)) == expected


names = st.sampled_from(["s:1", "s:2", "s:3", "c:1", "c:2"])


@given(st.dictionaries(st.tuples(st.sampled_from([OLD, NEW]), names), st.sampled_from(Fitness)))
def test_another_releases_endpoint_is_never_served_and_a_fit_one_always(
    known: dict[tuple[Digest, str], Fitness],
) -> None:
    given = table(("s:1", "s:2", "s:3"), ("c:1", "c:2"))
    served = without_unfit(given, known)
    for before, arm in zip(given.arms, served.arms, strict=True):
        for endpoint in before.endpoints:
            fitness = known.get((arm.release, endpoint), Fitness.FIT)
            assert fitness is not Fitness.WRONG or endpoint not in arm.endpoints
            assert fitness is not Fitness.FIT or endpoint in arm.endpoints
    assert served.regime == given.regime
    if any(known.get((OLD, endpoint), Fitness.FIT) is not Fitness.WRONG for endpoint in given.arms[0].endpoints):
        assert served.arms[0].endpoints, "stable is served while any of its endpoints may be its own"
