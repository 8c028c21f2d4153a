"""What comes after a chunked answer: counted, and passed on only where that is asked for and safe."""

from __future__ import annotations

import pytest

from fairway.gateway.framing import AnswerHead, parse_answer
from fairway.gateway.returning import Returning
from fairway.gateway.trailers import announced, passed_trailers

HEAD = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, Fairway-Outcome\r\nTransfer-Encoding: chunked\r\n\r\n"


def returned(trailers: bytes, *, asked: bool, http10: bool = False, head: bytes = HEAD) -> tuple[AnswerHead, bytes]:
    """The answer's head, and all the client gets."""
    data = head + b"2\r\nok\r\n0\r\n" + trailers + b"\r\n"
    answer = parse_answer(data, limit=4096, head_request=False)
    assert answer is not None
    returning = Returning(answer, http10=http10, trailers=asked)
    body_end = answer.end + len(b"2\r\nok\r\n")
    wire = returning.head(b"") + returning.passed(returning.body.feed(data[answer.end : body_end]))
    for at in range(body_end, len(data)):  # byte by byte
        wire += returning.passed(returning.body.feed(data[at : at + 1]))
    assert returning.body.complete
    return answer, wire


def test_a_client_that_asked_gets_them_without_the_outcome() -> None:
    answer, wire = returned(b"X-Sum: 1\r\nFairway-Outcome: status=ok\r\n", asked=True)
    assert wire == (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"
    )
    assert answer.headers[b"fairway-outcome"] == b"status=ok"


@pytest.mark.parametrize("http10", [True, False])
def test_a_client_that_did_not_ask_gets_none_and_the_outcome_counts_all_the_same(http10: bool) -> None:
    answer, wire = returned(b"X-Sum: 1\r\nfairway-outcome: status=failed\r\n", asked=False, http10=http10)
    assert b"x-sum" not in wire.lower()
    assert b"trailer" not in wire.lower()
    assert wire.endswith(b"\r\n\r\nok" if http10 else b"2\r\nok\r\n0\r\n\r\n")
    assert answer.headers[b"fairway-outcome"] == b"status=failed"


def test_the_heads_outcome_goes_before_the_trailers() -> None:
    head = HEAD.replace(b"Trailer:", b"Fairway-Outcome: status=refused\r\nTrailer:")
    answer, _ = returned(b"Fairway-Outcome: status=ok\r\n", asked=False, head=head)
    assert answer.headers[b"fairway-outcome"] == b"status=refused"


def test_two_outcomes_in_trailers_are_none() -> None:
    answer, _ = returned(b"Fairway-Outcome: status=ok\r\nFairway-Outcome: status=ok\r\n", asked=False)
    assert answer.headers[b"fairway-outcome"] == b"repeated"


@pytest.mark.parametrize(
    "line",
    [
        b"Set-Cookie: a=b", b"Connection: close", b"Host: b", b"Authorization: x", b"X-Fairway-Release: forged",
        b"X_Fairway_Pin: forged", b"Content-Type: text/html", b"Location: /", b"Keep-Alive: 5", b"If-Match: x",
        b"Fairway-Release: x", b"Trailer: x", b"Access-Control-Allow-Origin: *",
    ],
)  # fmt: skip
def test_what_may_not_come_after_the_content_is_dropped(line: bytes) -> None:
    assert passed_trailers([line + b"\r\n", b"Server-Timing: a\r\n"]) == b"server-timing: a\r\n"
    assert announced(b"X-Sum,, " + line.partition(b":")[0] + b" ") == b"X-Sum"
