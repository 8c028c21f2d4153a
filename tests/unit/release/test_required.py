"""Which evidence opens production (law 9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.release.required import (
    CHECKS,
    MAY_HAVE_NOTHING,
    REHEARSALS,
    Required,
    for_production,
    for_release,
    lacking,
)
from fairway.release.values import Evidence
from fairway.units import Digest, EnvironmentName, Verdict

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
WHOLE, ELSEWHERE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
EFFECTIVE = {EnvironmentName("staging"): Digest("sha256:" + "e" * 64)}
KINDS = (*CHECKS, *REHEARSALS)


def passed(kind: str) -> Evidence:
    return Evidence(kind=kind, release=WHOLE, verdict=Verdict.PASS, produced_by="t", at=NOW - timedelta(hours=1))


def nothing(kind: str) -> Evidence:
    return replace(passed(kind), verdict=Verdict.NO_DATA, figures={"skipped": "none declared"})


ALL = tuple(passed(kind) for kind in KINDS)


def lacks(evidence: tuple[Evidence, ...], required: Required | None = None, now: datetime = NOW) -> dict[str, str]:
    return lacking(required or for_production(), evidence, release=WHOLE, effective=EFFECTIVE, now=now)


def test_a_pass_of_every_check_and_rehearsal_is_enough() -> None:
    assert lacks(ALL) == {}
    assert lacks(tuple(passed(kind) for kind in CHECKS), for_release()) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.PASS])
def test_the_newest_finding_of_each_kind_must_be_a_pass(kind: str, verdict: Verdict) -> None:
    newer = replace(passed(kind), at=NOW, verdict=verdict)
    assert lacks((*ALL, newer)) == {kind: verdict.value}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_must_be_there_on_this_content_and_unexpired(kind: str) -> None:
    others = tuple(one for one in ALL if one.kind != kind)
    assert set(lacks(others)) == {kind}
    assert set(lacks((*others, replace(passed(kind), release=ELSEWHERE)))) == {kind}
    assert set(lacks((*others, replace(passed(kind), expires=NOW)))) == {kind}
    elsewhere = replace(passed(kind), environment=EnvironmentName("staging"), effective=ELSEWHERE)
    assert set(lacks((*others, elsewhere))) == {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_look_at_counts_only_where_that_can_be(kind: str) -> None:
    others = tuple(one for one in ALL if one.kind != kind)
    assert (lacks((*others, nothing(kind))) == {}) is (kind in MAY_HAVE_NOTHING)
    for figures in ({}, {"skipped": ""}, {"skipped": True}):
        assert set(lacks((*others, replace(nothing(kind), figures=figures)))) == {kind}


def test_what_the_release_switches_off_with_a_reason_is_not_asked_for() -> None:
    off = for_production(off={"unit_test": "no tests yet"})
    assert off.off == {"unit_test": "no tests yet"}
    assert lacks(tuple(one for one in ALL if one.kind != "unit_test"), off) == {}
    unexplained = for_production(off={"unit_test": "  "})
    assert set(lacks(tuple(one for one in ALL if one.kind != "unit_test"), unexplained)) == {"unit_test"}


def test_what_is_asked_for_by_name_cannot_be_switched_off() -> None:
    required = for_release(also=("unit_test", "load_test"), off={"unit_test": "no tests yet"})
    assert set(lacks(tuple(passed(kind) for kind in CHECKS[2:]), required)) == {
        "static_analysis", "unit_test", "load_test"
    }  # fmt: skip


def test_a_staging_that_broke_last_voids_the_rehearsals_before_it() -> None:
    broke = replace(passed("deploy_staging"), at=NOW, verdict=Verdict.ERROR)
    assert lacks((*ALL, broke)) == {"deploy_staging": "ERROR"}
    assert lacks((*ALL, broke, replace(broke, verdict=Verdict.PASS))) == {}


@given(st.sets(st.sampled_from(KINDS)), st.lists(st.sampled_from(["mine", "load"])), st.integers(0, 400))
def test_nothing_that_is_added_ever_opens_what_was_closed(kinds: set[str], also: list[str], hours: int) -> None:
    evidence = tuple(one for one in ALL if one.kind in kinds)
    later = NOW + timedelta(hours=hours)
    assert set(lacks(evidence, now=later)) <= set(lacks(evidence, for_production(also=also), now=later))
