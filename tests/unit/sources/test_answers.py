"""Whatever a source answers becomes one figure or the name of what it is instead: never a traceback, never a guess."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.sources.answers import read_answer, read_http, read_prometheus
from fairway.sources.values import Answered, SourceKind


def answered(result, kind="vector", **more):
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


def one(text):
    return answered([{"metric": {}, "value": [1.5, text]}])


def test_one_series_and_a_scalar_are_a_figure():
    for body in (one("0.25"), answered([1.5, "0.25"], "scalar")):
        read = read_prometheus(200, body)
        assert (read.outcome, read.value) == (Answered.VALUE, 0.25)


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("-3", -3.0), ("1e-7", 1e-7), ("123456789.5", 123456789.5)])
def test_numbers_are_read_as_prometheus_writes_them(text, value):
    assert read_prometheus(200, one(text)).value == value


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (answered([]), Answered.EMPTY),
        (one("NaN"), Answered.NOT_A_NUMBER),
        (one("+Inf"), Answered.INFINITE),
        (one("-Inf"), Answered.INFINITE),
        (one("1e999"), Answered.INFINITE),
        (answered([{"value": [1, "1"]}, {"value": [1, "1"]}]), Answered.SEVERAL),
        (answered([1.5, "up"], "string"), Answered.WRONG_TYPE),
        (answered([{"values": [[1, "1"]]}], "matrix"), Answered.WRONG_TYPE),
        (answered([{"metric": {}, "histogram": [1, {}]}]), Answered.WRONG_TYPE),
        (one("up"), Answered.WRONG_TYPE),
        (one("1_000"), Answered.WRONG_TYPE),
        (one("٣"), Answered.WRONG_TYPE),
        (one(" 1"), Answered.WRONG_TYPE),
        (one(1), Answered.MALFORMED),
        (answered([{"metric": {}}]), Answered.MALFORMED),
        (answered(["up"]), Answered.MALFORMED),
        (answered({"value": [1, "1"]}), Answered.MALFORMED),
        (answered([{"value": [1, "1"]}], warnings=["store-2 did not answer"]), Answered.PARTIAL),
        (b'{"status": "success"}', Answered.MALFORMED),
        (b'{"status": "ok", "data": {}}', Answered.MALFORMED),
        (b'{"status": "error", "errorType": "timeout", "error": "query timed out"}', Answered.REFUSED),
        (b"[]", Answered.MALFORMED),
        (b"1", Answered.MALFORMED),
        (b"null", Answered.MALFORMED),
        (b"", Answered.MALFORMED),
        (b"<html>", Answered.MALFORMED),
        (b"\xff\xfe", Answered.MALFORMED),
        (b"NaN", Answered.MALFORMED),
        (b"[" * 100_000, Answered.MALFORMED),
        (b"9" * 5_000, Answered.MALFORMED),
    ],
)
def test_what_prometheus_answers_instead_of_one_number_has_a_name(body, outcome):
    read = read_prometheus(200, body)
    assert (read.outcome, read.value) == (outcome, None)
    assert read.detail


def test_infos_are_no_warnings():
    assert read_prometheus(200, answered([{"value": [1, "1"]}], infos=["metric might not be a counter"])).value == 1.0


def test_a_status_other_than_200_is_an_error_whatever_the_body_says():
    for status in (201, 204, 302, 400, 401, 404, 422, 500, 503):
        assert read_prometheus(status, one("1")).outcome is Answered.REFUSED
        assert read_http(status, b"true", yes_or_no=True).outcome is Answered.REFUSED


def test_what_prometheus_says_of_a_bad_query_is_told_on_one_line():
    body = json.dumps({"status": "error", "errorType": "bad_data", "error": "parse error:\n\x1b[31munclosed"}).encode()
    read = read_prometheus(400, body)
    assert read.detail.startswith("it answered 400: parse error")
    assert read.detail.isprintable()


def test_the_body_of_another_refusal_is_not_repeated():
    assert "hunter2" not in read_http(401, b"token hunter2 is wrong").detail


def test_a_pointer_finds_numbers_and_booleans():
    body = json.dumps({"ok": True, "data": {"a/b": [3, {"~": 0.5}]}}).encode()
    assert read_http(200, body, pointer="/data/a~1b/0").value == 3.0
    assert read_http(200, body, pointer="/data/a~1b/1/~0").value == 0.5
    assert read_http(200, body, pointer="/ok", yes_or_no=True).value == 1.0
    assert read_http(200, b"0.5").value == 0.5


@pytest.mark.parametrize(
    ("body", "pointer", "yes_or_no", "outcome"),
    [
        (b'{"ok": null}', "/ok", True, Answered.EMPTY),
        (b'{"ok": "true"}', "/ok", True, Answered.WRONG_TYPE),
        (b'{"ok": 1}', "/ok", True, Answered.WRONG_TYPE),
        (b'{"ok": true}', "/ok", False, Answered.WRONG_TYPE),
        (b'{"ok": "1"}', "/ok", False, Answered.WRONG_TYPE),
        (b'{"ok": {}}', "/ok", False, Answered.WRONG_TYPE),
        (b'{"ok": 1}', "/no", False, Answered.WRONG_TYPE),
        (b'{"ok": [1]}', "/ok/1", False, Answered.WRONG_TYPE),
        (b'{"ok": [1]}', "/ok/00", False, Answered.WRONG_TYPE),
        (b'{"ok": [1]}', "/ok/-", False, Answered.WRONG_TYPE),
        (b"OK", "", True, Answered.MALFORMED),
        (b"1" * 400, "", False, Answered.INFINITE),
        (b"1e999", "", False, Answered.INFINITE),
    ],
)
def test_what_an_endpoint_answers_instead_has_a_name(body, pointer, yes_or_no, outcome):
    read = read_http(200, body, pointer=pointer, yes_or_no=yes_or_no)
    assert (read.outcome, read.value) == (outcome, None)
    assert read.detail


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "resultType", "result", "value", "metric", "warnings", "ok", "error"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
shaped = st.builds(
    lambda kind, result, status: {"status": status, "data": {"resultType": kind, "result": result}},
    st.sampled_from(["vector", "scalar", "matrix", "string", None, 3]) | json_values,
    json_values | st.lists(st.fixed_dictionaries({"value": st.tuples(st.floats(), st.text(max_size=8))}), max_size=2),
    st.sampled_from(["success", "error", None]),
)


@given(
    st.binary(max_size=60) | (json_values | shaped).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(SourceKind),
    st.sampled_from([200, 200, 200, 204, 500]),
    st.sampled_from(["", "/ok", "/data/result/0", "/value/1"]),
    st.booleans(),
)
def test_no_bytes_are_a_traceback_and_only_a_finite_figure_is_a_value(body, kind, status, pointer, yes_or_no):
    read = read_answer(kind, status=status, body=body, pointer=pointer, yes_or_no=yes_or_no)
    if read.outcome is Answered.VALUE:
        assert status == 200
        assert math.isfinite(read.value)
        assert not read.detail
    else:
        assert read.value is None
        assert read.detail.isprintable()
        assert read.detail
