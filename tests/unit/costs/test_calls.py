"""Rows of a call log: read whole, or named as unreadable; never a call that cost nothing."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.bundle.models import ModelsFile, PriceSection
from fairway.costs.calls import Call, read_call
from fairway.costs.logs import Unreadable, log_files, read_calls
from fairway.costs.prices import price_table
from fairway.errors import NotFoundError

PRICES = price_table(
    ModelsFile(),
    {
        "m": PriceSection(input=1.0, output=2.0, cached_input=0.5),
        "writes": PriceSection(input=1.0, output=2.0, cache_write=1.25),
    },
)
AT = "2026-11-20T10:00:00Z"
SINCE, UNTIL = datetime(2026, 11, 13, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)


def read(**row) -> Call:
    return read_call(json.loads(json.dumps(row), parse_float=Decimal), PRICES)


def test_a_row_of_ones_own_says_everything():
    call = read(
        at=AT, release="1.2.0", tenant="acme", feature="refund", task="t1", request="r1", model="m", tokens_in=100,
        tokens_out=10, cached=40, calls=3,
    )  # fmt: skip
    assert call == Call(
        at=datetime(2026, 11, 20, 10, tzinfo=UTC), release="1.2.0", tenant="acme", feature="refund", task="t1",
        request="r1", model="m", tokens_in=100, tokens_out=10, cached=40, cost_micros=60 + 20 + 20, calls=3,
    )  # fmt: skip


def test_an_openai_response_is_a_row_with_cached_tokens_among_the_prompts():
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    call = read(created=1795168800, model="m", usage=usage, metadata={"tenant": "acme", "conversation": "c"})
    assert (call.tokens_in, call.cached, call.cost_micros) == (100, 40, 100)
    assert (call.tenant, call.task) == ("acme", "c")


def test_an_anthropic_response_counts_what_came_from_the_cache_beside_its_input():
    usage = {"input_tokens": 60, "output_tokens": 10, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0}
    call = read(at=AT, model="m", usage=usage)
    assert (call.tokens_in, call.cached, call.cost_micros) == (100, 40, 100)


def test_tokens_written_to_a_cache_cost_their_own_price_and_without_one_are_unknown():
    usage = {"input_tokens": 60, "output_tokens": 0, "cache_creation_input_tokens": 40}
    assert read(at=AT, model="writes", usage=usage).cost_micros == 60 + 50
    assert read(at=AT, model="m", usage=usage).cost_micros is None


def test_what_the_log_says_it_cost_wins_over_the_price():
    assert read(at=AT, model="m", tokens_in=1, tokens_out=1, cost=0.0123).cost_micros == 12_300
    assert read(at=AT, model="nobody", cost_micros=7).cost_micros == 7


@pytest.mark.parametrize(
    "row",
    [
        {"model": "nobody", "tokens_in": 1, "tokens_out": 1},
        {"model": "m", "tokens_in": 1},
        {"model": "m", "tokens_out": 1},
        {"model": "m"},
        {"tokens_in": 1, "tokens_out": 1},
    ],
    ids=["no price", "no answer", "no input", "no tokens", "no model"],
)
def test_a_cost_nobody_can_know_is_unknown(row):
    assert read(at=AT, **row).cost_micros is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "no JSON object"),
        ({}, "no time"),
        ({"at": "2026-11-20T10:00:00"}, "no time with a zone"),
        ({"at": "yesterday"}, "no time"),
        ({"at": True}, "no time with a zone"),
        ({"at": 10**30}, "no time"),
        ({"at": AT, "tokens_in": -1}, "tokens_in"),
        ({"at": AT, "tokens_in": True}, "tokens_in"),
        ({"at": AT, "tokens_in": "12"}, "tokens_in"),
        ({"at": AT, "tokens_in": 10, "cached": 11}, "11 cached tokens of 10"),
        ({"at": AT, "calls": 0}, "calls"),
        ({"at": AT, "cost": "free"}, "cost"),
        ({"at": AT, "cost": -1}, "cost"),
        ({"at": AT, "usage": "much"}, "usage"),
        ({"at": AT, "tenant": ["a"]}, "tenant"),
    ],
)
def test_a_row_that_is_none_says_why(row, why):
    with pytest.raises(ValueError, match=why):
        read_call(row, PRICES)


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.decimals(), st.lists))
def test_whatever_stands_in_a_row_it_is_a_call_or_a_reason(value):
    for key in ("at", "tokens_in", "cost", "usage", "metadata", "release", "calls", "cost_micros"):
        try:
            call = read_call({"at": AT, "model": "m", "tokens_in": 5, "tokens_out": 5, key: value}, PRICES)
        except ValueError:
            continue
        assert call.cost_micros is None or call.cost_micros >= 0


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def found(root, *patterns):
    files = log_files(root, patterns)
    return list(read_calls(root, files, PRICES, since=SINCE, until=UNTIL))


def test_files_are_read_by_glob_compressed_or_not_and_only_the_window_counts(tmp_path):
    row = {"at": AT, "model": "m", "tokens_in": 1, "tokens_out": 1}
    write(tmp_path / "logs" / "a.jsonl", row, {**row, "at": "2026-11-01T00:00:00Z"})
    write(tmp_path / "logs" / "b.jsonl.gz", row, row)
    assert len(found(tmp_path, "logs/*.jsonl", "logs/*.gz", "logs/a.jsonl")) == 3


def test_a_torn_row_is_named_by_file_and_line_and_the_others_are_read(tmp_path):
    row = {"at": AT, "model": "m", "tokens_in": 1, "tokens_out": 1}
    write(tmp_path / "calls.jsonl", row, "\n", '{"at": \n', "[" * 5000 + "\n", "x" * (1 << 21) + "\n", row, '{"at":')
    rows = found(tmp_path, "calls.jsonl")
    assert sum(isinstance(one, Call) for one in rows) == 2
    bad = [(one.file, one.line) for one in rows if isinstance(one, Unreadable)]
    assert bad == [("calls.jsonl", 3), ("calls.jsonl", 4), ("calls.jsonl", 5), ("calls.jsonl", 7)]


def test_a_damaged_archive_is_a_row_that_cannot_be_read(tmp_path):
    whole = gzip.compress(b"".join(json.dumps({"at": AT, "cost": i}).encode() + b"\n" for i in range(2000)))
    (tmp_path / "calls.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    last = found(tmp_path, "calls.jsonl.gz")[-1]
    assert isinstance(last, Unreadable)
    assert last.rest


def test_a_file_that_cannot_be_opened_is_lost_as_a_whole(tmp_path):
    (tmp_path / "calls.jsonl").mkdir()
    rows = list(read_calls(tmp_path, [tmp_path / "calls.jsonl"], PRICES, since=SINCE, until=UNTIL))
    assert [(one.line, one.rest) for one in rows] == [(1, True)]


@pytest.mark.parametrize("number", ["1e999999", "1e99999999999999999999", "-1e999999", "1e-999999999999999999999"])
def test_a_number_no_decimal_can_hold_is_a_row_that_cannot_be_read(tmp_path, number):
    write(tmp_path / "calls.jsonl", f'{{"at": "{AT}", "cost": {number}}}\n')
    assert [type(one) for one in found(tmp_path, "calls.jsonl")] == [Unreadable]


def test_a_log_that_is_named_and_not_there_is_an_error_and_a_glob_may_be_empty(tmp_path):
    with pytest.raises(NotFoundError, match=r"calls\.jsonl"):
        log_files(tmp_path, ["calls.jsonl"])
    assert log_files(tmp_path, ["*.jsonl"]) == ()
