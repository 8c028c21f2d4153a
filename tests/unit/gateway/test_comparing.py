"""What two answers of one request say about each other."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.comparing import Finding, Side, body_digest, compare
from fairway.gateway.mirroring import Pair
from fairway.traffic.outcome import Outcome, OutcomeStatus

RESULTS = ("shadow_pairs", "shadow_diverged", "shadow_unknown", "shadow_both_failed", "shadow_client_left")


def side(
    verdict: str = "ok",
    *,
    tools: int | None = 0,
    seconds: float = 0.1,
    body: bytes = b"hi",
    diverged: int = 0,
    http: int = 200,
    code: str = "",
) -> Side:
    status = OutcomeStatus.OK if verdict == "ok" else OutcomeStatus.FAILED
    outcome = None if tools is None else Outcome(status=status, tools=tools, diverged=diverged)
    return Side(verdict, code or verdict, http, outcome, seconds, len(body), body_digest(body))  # type: ignore[arg-type]


FINDINGS = {
    Finding.SAME: {"shadow_pairs"},
    Finding.CHANGED: {"shadow_pairs", "shadow_changed"},
    Finding.SHADOW_FAILED: {"shadow_pairs", "shadow_failed"},
    Finding.PRIMARY_FAILED: {"shadow_pairs", "shadow_primary_failed"},
    Finding.BOTH_FAILED: {"shadow_both_failed"},
    Finding.DIVERGED: {"shadow_diverged"},
    Finding.UNKNOWN: {"shadow_unknown"},
    Finding.CLIENT_LEFT: {"shadow_client_left"},
}


def named(sums: dict[str, float]) -> set[str]:
    """Names of counts: without the totals every compared pair has."""
    return {name for name in sums if not name.endswith(("_ms", "_bytes"))}


@pytest.mark.parametrize(
    ("primary", "shadow", "counted", "same_state"),
    [
        (side(), side(), {"shadow_pairs"}, True),
        (side(), side(body=b"bye"), {"shadow_pairs", "shadow_changed"}, True),
        (side(body=b'{"a": 1}'), side(body=b'{"a":1}\n'), {"shadow_pairs"}, True),
        (side(), side("failed"), {"shadow_pairs", "shadow_failed"}, False),
        (side("failed"), side(), {"shadow_pairs", "shadow_primary_failed"}, False),
        (side("failed"), side("failed"), {"shadow_both_failed"}, True),
        (side(), side(http=403), {"shadow_pairs", "shadow_failed"}, False),
        (side(), side("unknown", tools=None, http=404), {"shadow_pairs", "shadow_failed"}, False),
        (side(http=302), side(http=400), {"shadow_pairs", "shadow_failed"}, False),
        (side(http=404), side("failed", http=500), {"shadow_pairs", "shadow_failed"}, False),
        (side(http=404), side(http=404), {"shadow_both_failed"}, True),
        (side(http=404), side(), {"shadow_pairs", "shadow_primary_failed"}, False),
        (side("unknown"), side(http=404), {"shadow_unknown"}, False),
        (side(), side("unknown"), {"shadow_unknown"}, False),
        (side("unknown"), side("failed"), {"shadow_unknown"}, False),
        (side("unknown", code="client_aborted"), side(), {"shadow_client_left"}, False),
        (side("unknown", code="client_aborted"), side("unknown"), {"shadow_client_left"}, False),
        (side("unknown", code="client_aborted"), side("failed", diverged=1), {"shadow_client_left"}, False),
        (side("unknown", code="slow_reader_total"), side(), {"shadow_client_left"}, False),
        (side("unknown", code="no_outcome"), side(), {"shadow_unknown"}, False),
        (side("unknown", code="client_aborted", http=404), side(), {"shadow_pairs", "shadow_primary_failed"}, False),
        (side(), side("unknown", code="client_aborted"), {"shadow_unknown"}, False),
        (side(tools=1), side(tools=2), {"shadow_diverged"}, False),
        (side("failed", tools=1), side("failed", tools=2), {"shadow_diverged"}, False),
        (side(tools=1), side("failed", tools=6), {"shadow_pairs", "shadow_failed"}, False),
        (side("failed", tools=6), side(tools=1), {"shadow_pairs", "shadow_primary_failed"}, False),
        (side(tools=None), side(tools=3), {"shadow_pairs"}, True),
        (side(), side("failed", diverged=1), {"shadow_diverged"}, False),
        (side(seconds=0.1), side(seconds=0.2), {"shadow_pairs", "shadow_slower"}, True),
        (side(seconds=0.2), side(seconds=0.1), {"shadow_pairs"}, True),
        (side(seconds=0.001), side(seconds=0.005), {"shadow_pairs"}, True),
    ],
)  # fmt: skip
def test_a_pair_says(primary: Side, shadow: Side, counted: set[str], same_state: bool) -> None:
    found = compare(primary, shadow)
    assert named(found.sums) == counted
    assert found.same_state is same_state
    assert bool(found.reason) is ("shadow_failed" in counted)


sides = st.builds(
    side,
    st.sampled_from(["ok", "failed", "unknown"]),
    tools=st.one_of(st.none(), st.integers(0, 3)),
    seconds=st.floats(0.001, 10),
    body=st.binary(max_size=20),
    diverged=st.integers(0, 1),
    http=st.sampled_from([0, 200, 302, 404]),
)


@given(sides, sides)
def test_every_pair_is_compared_or_excluded_and_counted_once(primary: Side, shadow: Side) -> None:
    sums = compare(primary, shadow).sums
    assert sum(sums.get(name, 0) for name in RESULTS) == 1
    assert ("shadow_ms" in sums) is ("shadow_pairs" in sums)


@given(sides, sides)
def test_what_a_pair_says_is_what_is_counted(primary: Side, shadow: Side) -> None:
    found = compare(primary, shadow)
    assert named(found.sums) - {"shadow_slower"} == FINDINGS[found.finding]


@given(sides, sides)
def test_what_is_unknown_is_never_a_compared_pair(primary: Side, shadow: Side) -> None:
    if any(one.verdict == "unknown" and one.status < 400 for one in (primary, shadow)):
        assert compare(primary, shadow).sums == {"shadow_unknown": 1}


@given(sides, sides)
def test_a_pair_that_counts_as_fine_was_answered_well_twice(primary: Side, shadow: Side) -> None:
    sums = compare(primary, shadow).sums
    if "shadow_pairs" in sums and not {"shadow_failed", "shadow_primary_failed"} & sums.keys():
        assert [(one.verdict, one.status < 400) for one in (primary, shadow)] == [("ok", True)] * 2


@given(sides, sides)
def test_swapping_the_two_swaps_who_failed(primary: Side, shadow: Side) -> None:
    if (shadow.outcome and shadow.outcome.diverged) or (primary.outcome and primary.outcome.diverged):
        return  # only a shadow says so
    there, back = compare(primary, shadow).sums, compare(shadow, primary).sums
    assert there.get("shadow_failed") == back.get("shadow_primary_failed")
    assert there.get("shadow_pairs") == back.get("shadow_pairs")


class NotedMirror:
    """Takes what pairs tell a mirror; what is to be done soon waits until asked for."""

    def __init__(self) -> None:
        self.settled: list[tuple[Side, Side]] = []
        self.dropped = 0
        self.later: list[Callable[[], None]] = []

    def copy(self, pair: Pair, data: bytes) -> None:
        self.copied = data

    def drop(self, pair: Pair) -> None:
        pair.void = True
        self.dropped += 1

    def soon(self, what: Callable[[], None]) -> None:
        self.later.append(what)

    def settle(self, pair: Pair, primary: Side, shadow: Side) -> None:
        self.settled.append((primary, shadow))

    def hears(self, pair: Pair, shadow: Side, *, safe: bool) -> bool:
        return True

    def ended(self, copy: object) -> None:
        """The copy is over."""


def pair_of(mirror: NotedMirror) -> Pair:
    return Pair(mirror, None, None, key=b"c-1", unit=b"unit", request=b"r-1")  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["primary", "shadow"])
def test_a_pair_is_compared_once_whichever_half_ends_first(first: str) -> None:
    mirror = NotedMirror()
    pair = pair_of(mirror)
    pair.sent(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert mirror.copied == b"GET / HTTP/1.1\r\nx-fairway-shadow: 1\r\nhost: a\r\n\r\n"
    pair.primary_data(b"hel")
    pair.primary_data(b"lo")
    copy = SimpleNamespace(data=mirror.copied)
    halves = [lambda: pair.primary_ended(side()), lambda: pair.shadow_ended(copy, side())]  # type: ignore[arg-type]
    for end in halves if first == "primary" else reversed(halves):
        end()
    for what in mirror.later:
        what()
    ((primary, _),) = mirror.settled
    assert (primary.length, primary.digest) == (5, body_digest(b"hello"))


def test_a_pair_without_a_copy_is_never_compared_and_keeps_nothing() -> None:
    mirror = NotedMirror()
    pair = pair_of(mirror)
    pair.sent(None)
    pair.primary_data(b"x" * 1000)
    pair.primary_ended(side())
    assert (mirror.dropped, mirror.later, mirror.settled) == (1, [], [])
    assert not pair._body
    failed_early = pair_of(mirror)
    failed_early.primary_ended(side("failed"))
    assert mirror.dropped == 2
