"""Whose trace a request is part of, and what its copy is part of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.gateway.trace_context import apart, shadow_trace, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(("POST /chat HTTP/1.1", "Host: a", *lines, "", "")).encode() + body


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f"00-{TRACE}-{SPAN}-00 ", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", TRACE),
        (f"00-{TRACE}-{SPAN}-01-extra", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-011", None),
        ('"}],{', None),
        ("", None),
    ],
)
@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
def test_only_a_well_formed_traceparent_has_a_trace(name: str, value: str, found: str | None) -> None:
    assert trace_id(request("a: b", f"{name}: {value}", "c: d")) == found


def test_a_traceparent_in_a_body_or_another_headers_value_is_none() -> None:
    line = f"traceparent: 00-{TRACE}-{SPAN}-01"
    assert trace_id(request(body=f"\r\n{line}\r\n".encode())) is None
    assert trace_id(request(f"x: {line}")) is None
    assert trace_id(request(f"x-{line}")) is None


def test_a_copy_is_in_a_trace_of_its_own_that_says_whose_copy_it_is() -> None:
    came = request(
        f"traceparent: 00-{TRACE}-{SPAN}-01", "TraceState: vendor=abc", "baggage: tenant=acme", body=b"traceparent: x"
    )
    copy = apart(came)
    assert trace_id(copy) == shadow_trace(TRACE) != TRACE
    head, _, body = copy.partition(b"\r\n\r\n")
    assert body == b"traceparent: x"
    assert head.count(b"traceparent") == 1
    assert b"-01\r\n" in head, "recorded, as the user's is"
    assert b"TraceState" not in head, "it belongs to the trace that is left"
    assert b"\r\nbaggage: tenant=acme" in head
    assert b"\r\nx-fairway-shadow-of: " + TRACE.encode() in head
    assert apart(came) == copy, "all copies of a trace are in one"


@pytest.mark.parametrize("value", ["", "garbage", f"ff-{TRACE}-{SPAN}-01"])
def test_a_copy_without_a_trace_stays_as_it_is(value: str) -> None:
    came = request(*([f"traceparent: {value}"] if value else []), "tracestate: a=b")
    assert apart(came) == came


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_too_odd(head: bytes) -> None:
    found = trace_id(b"GET / HTTP/1.1\r\ntraceparent: " + head + b"\r\n\r\n")
    assert found is None or (len(found) == 32 and set(found) <= set("0123456789abcdef"))
