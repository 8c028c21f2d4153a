"""/metrics is valid for who reads it, bounded in number, and no counter ever falls."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from fairway.gateway.exposition import wants_openmetrics
from fairway.gateway.metric_names import SHADOW_FAMILIES, USER_FAMILIES
from fairway.gateway.metrics import MAX_KEPT, MAX_REASONS, MAX_SERIES, MetricsBook
from fairway.gateway.worker_totals import MAX_LABELS, WorkerTotals
from fairway.observe.blocks import Batch, Increment, bin_of
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

TRACE = "0af7651916cd43dd8448eb211c80319c"
SUMS = [kind for _, _, _, kinds in (*USER_FAMILIES, *SHADOW_FAMILIES) for kind in kinds]
MOST_SERIES = 3_000
PROMTOOL = shutil.which("promtool")

WORDS = st.text(max_size=12)
INCREMENTS = st.builds(
    lambda release, role, ok, failed, unknown, by, sums, bins, trace: Increment(
        t0=0.0, release=Digest(release), role=role, fence=Fence(term=1, seq=1), assigned=ok + failed + unknown,
        served=ok, finished=ok + failed + unknown, failed=failed, unknown=unknown, by=by, sums=sums,
        histograms=dict.fromkeys(("latency_ms", "first_byte_ms", "first_token_ms", "gap_ms", "tokens"), bins),
        exemplars=({"request": "b-0-1", "status": "500", "reason": "x", **({"trace": TRACE} if trace else {})},),
    ),
    WORDS, st.sampled_from(Role), *[st.integers(0, 5)] * 3, st.dictionaries(WORDS, st.integers(1, 5), max_size=4),
    st.dictionaries(st.one_of(st.sampled_from(SUMS), WORDS), st.integers(0, 9), max_size=6),
    st.dictionaries(st.integers(bin_of(0.0001), bin_of(1e7)), st.integers(1, 9), max_size=5), st.booleans(),
)  # fmt: skip


def batch(*increments: Increment) -> Batch:
    return Batch(
        gateway="g", boot="b", worker=0, seq=1, at=1.7e9, block_seconds=1.0, timeout=1.0, increments=increments
    )


def samples(text: str, *, om: bool) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in (openmetrics if om else prometheus)(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is told twice"
            found[key] = sample.value
    return found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(INCREMENTS, WORDS), max_size=8), WORDS)
def test_both_forms_are_read_by_prometheus_own_parser_and_say_the_same(
    told: list[tuple[Increment, str]], route: str
) -> None:
    book = MetricsBook()
    for increment, version in told:
        book.add(batch(increment), {increment.release: version})
    gauges = [("fairway_gateway_in_flight", "gauge", 'Requests\n"running" \\.', {"release": route}, 3.0)] * 2
    plain = samples(book.render(route, gauges), om=False)
    open_form = samples(book.render(route, gauges, openmetrics=True), om=True)
    assert plain == open_form
    assert plain["fairway_gateway_in_flight", (("release", route), ("route", route))] == 6.0
    for (name, labels), value in plain.items():
        if name.endswith("_bucket") and ("le", "+Inf") in labels:
            rest = tuple(pair for pair in labels if pair[0] != "le")
            assert value == plain[name.removesuffix("_bucket") + "_count", rest]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(INCREMENTS, WORDS), min_size=1, max_size=24))
def test_no_counter_and_no_bucket_ever_falls_and_buckets_grow_with_their_bounds(
    told: list[tuple[Increment, str]],
) -> None:
    book = MetricsBook()
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for increment, version in told:
        book.add(batch(increment), {increment.release: version})
        now = samples(book.render("r", ()), om=False)
        for key, value in now.items():
            assert value >= seen.get(key, 0.0), f"{key} fell"
        seen |= now
    buckets: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
    for (name, labels), value in now.items():
        if name.endswith("_bucket"):
            rest = tuple(pair for pair in labels if pair[0] != "le")
            buckets.setdefault((name, rest), []).append((float(dict(labels)["le"]), value))
    for found in buckets.values():
        counts = [count for _, count in sorted(found)]
        assert counts == sorted(counts)


def test_the_number_of_series_is_bounded_whatever_is_counted() -> None:
    book = MetricsBook()
    for number in range(3 * MAX_KEPT):
        by = {f"rule:{number}-{n}": 1 for n in range(3 * MAX_REASONS)}
        sums = dict.fromkeys((*SUMS, f"odd_{number}"), 1)
        histograms = {"latency_ms": {1: 1}, "gap_ms": {1: 1}, "tokens": {1: 1}, f"odd_{number}": {1: 1}}
        role = (Role.STABLE, Role.CANDIDATE, Role.SHADOW)[number % 3]
        book.add(batch(Increment(
            t0=0.0, release=Digest(f"d{number}"), role=role, fence=Fence(term=1, seq=1), assigned=1, finished=1, by=by,
            sums=sums, histograms=histograms,
        )), {})  # fmt: skip
    found = samples(book.render("r", ()), om=False)
    assert len({dict(labels)["release"] for _, labels in found}) <= MAX_SERIES
    assert len(found) < MOST_SERIES
    assert not any("odd" in str(key) for key in found)
    reasons = [dict(labels)["release"] for name, labels in found if name == "fairway_gateway_assigned_total"]
    assert max(Counter(reasons).values()) == MAX_REASONS + 1, "those of a release, and the others together"
    kept = [*book._series.values(), *book._kept.values()]
    assert max(len(series.sums) for series in kept) == len(set(SUMS)), "what nobody knows takes no memory"
    assert len(book._kept) <= MAX_KEPT


def increment(release: str, count: int) -> Increment:
    return Increment(
        t0=0.0, release=Digest(release), role=Role.STABLE, fence=Fence(term=1, seq=1), assigned=count, finished=count
    )


def rate(series: Iterable[float | None]) -> float:
    """What Prometheus' ``increase`` makes of a counter's samples: a fall is a reset to zero."""
    total, last = 0.0, None
    for value in series:
        if value is not None:
            total += 0.0 if last is None else value - last if value >= last else value
            last = value
    return total


def test_a_version_that_was_not_shown_for_a_while_goes_on_from_where_it_was() -> None:
    book = MetricsBook()
    key = "fairway_gateway_requests_total", (("outcome", "ok"), ("release", "old"), ("role", "stable"), ("route", "r"))
    seen: list[float | None] = []

    def look() -> None:
        seen.append(samples(book.render("r", ()), om=False).get(key))

    book.add(batch(increment("old", 10)), {})
    look()
    for number in range(MAX_SERIES):
        book.add(batch(increment(f"other-{number}", 1)), {})
    look()
    for count in (3, 20):
        book.add(batch(increment("old", count)), {})
        look()
    assert seen == [10.0, None, 13.0, 33.0]
    assert rate(seen) == 23.0, "neither more nor less than what came after the first look"


def test_counts_of_workers_that_are_gone_are_kept_and_their_labels_bounded() -> None:
    totals = WorkerTotals()
    living = {"refused": {"host": 2}, "access_log": {"written": 5, "dropped": 1}}
    totals.bury({"refused": {"host": 3, "chunk": 1}, "access_log": {"written": 7, "dropped": 0}})
    told = {(name, *labels.values()): value for name, _, _, labels, value in totals.gauges([living])}
    assert told["fairway_gateway_refused_total", "host"] == 5
    assert told["fairway_gateway_refused_total", "chunk"] == 1
    assert told["fairway_gateway_access_log_lines_total", "written"] == 12
    totals.bury({"refused": {f"code_{n}": 1 for n in range(500)}})
    counts = totals.refused([])
    assert len(counts) <= MAX_LABELS + 1
    assert sum(counts.values()) == 504


def test_an_exemplar_is_told_to_who_understands_it() -> None:
    book = MetricsBook()
    failed = Increment(
        t0=0.0, release=Digest("d"), role=Role.STABLE, fence=Fence(term=1, seq=1), assigned=1, finished=1, failed=1,
        exemplars=({"request": "b-0-1", "status": "500", "reason": "x", "trace": TRACE},),
    )  # fmt: skip
    book.add(batch(failed), {})
    (family,) = [f for f in openmetrics(book.render("r", (), openmetrics=True)) if f.name == "fairway_gateway_requests"]
    exemplars = {sample.labels["outcome"]: sample.exemplar for sample in family.samples}
    assert exemplars["ok"] is None
    assert exemplars["failed"].labels == {"trace_id": TRACE, "request_id": "b-0-1"}
    assert TRACE not in book.render("r", ())


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", True),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.3", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("text/plain, application/openmetrics-text", True),
    ],
)
def test_openmetrics_is_for_who_prefers_it(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted


@pytest.mark.skipif(PROMTOOL is None and not os.environ.get("FAIRWAY_REQUIRE_ALL"), reason="promtool: not installed")
def test_prometheus_own_tool_finds_nothing_to_complain_of() -> None:
    book = MetricsBook()
    everything = Increment(
        t0=0.0, release=Digest("d"), role=Role.CANDIDATE, fence=Fence(term=1, seq=1), assigned=3, finished=3,
        by={"hash": 3}, sums={**dict.fromkeys(SUMS, 1), "reruns": 1, "reruns_ok": 1},
        histograms={name: {1: 1} for name in ("latency_ms", "first_byte_ms", "first_token_ms", "gap_ms", "tokens")},
    )  # fmt: skip
    book.add(batch(everything), {})
    totals = WorkerTotals()
    totals.bury({"refused": {"host": 1}, "access_log": {"written": 1}})
    text = book.render("shop/production", totals.gauges([]))
    checked = subprocess.run(
        [PROMTOOL or "promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr
