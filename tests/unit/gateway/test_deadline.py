"""A client's own deadline is read from its headers and told on to the arm."""

from __future__ import annotations

import pytest

from fairway.gateway.deadline import asked_for, left_line, told_anew


def head(*lines: str) -> bytes:
    return "\r\n".join(["get / http/1.1", "host: agent", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((), None), (("x-request-timeout: 5",), 5.0), (("x-request-timeout:0.25",), 0.25),
        (("x-request-timeout:  1.5 \t",), 1.5), (("x-envoy-expected-rq-timeout-ms: 1500",), 1.5),
        (("x-request-timeout: 5", "x-envoy-expected-rq-timeout-ms: 1500"), 1.5),
        (("x-request-timeout: 1", "x-envoy-expected-rq-timeout-ms: 1500"), 1.0),
        (("x-request-timeout: 5", "x-request-timeout: 3"), 3.0),
        (("x-request-timeout: 0",), None), (("x-envoy-expected-rq-timeout-ms: 0", "x-request-timeout: 2"), 2.0),
        (("x-request-timeout: 5s",), None), (("x-request-timeout: -5",), None), (("x-request-timeout: 1e3",), None),
        (("x-request-timeout: ",), None), (("x-request-timeout: .5",), None), (("x-request-timeout: 5, 3",), None),
        (("x-request-timeout: 12345678",), None), (("ax-request-timeout: 5",), None),
        (("a: x-request-timeout: 5",), None), (("x-request-timeout-a: 5",), None), (("x-request-timeout : 5",), None),
    ],
)  # fmt: skip
def test_the_shortest_readable_deadline_counts(lines: tuple[str, ...], seconds: float | None) -> None:
    assert asked_for(head(*lines)) == seconds


def test_an_arm_is_told_what_is_left_when_its_connection_is_there() -> None:
    request = head(left_line(2.0).decode().strip()) + b"body\r\nx-fairway-deadline-ms: 7\r\n"
    assert b"x-fairway-deadline-ms: 2000\r\n" in request
    again = told_anew(request, 0.5004)
    assert again == request.replace(b"deadline-ms: 2000", b"deadline-ms: 500"), "and the body is as it was"
    assert told_anew(request, -1.0).count(b"deadline-ms: 0\r\n") == 1
    assert told_anew(head(), 1.0) == head()
