"""Outcome comments end at the gateway; nothing else of a stream is touched or delayed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.sse import OutcomeFilter
from fairway.traffic.outcome import parse_outcome_comment

LINES = st.sampled_from(
    [b"data: x", b"data: [DONE]", b"", b": ping", b":", b": fairway", b": fairway-outcomes", b"event: a", b"data: \r",
     b" : fairway-outcome status=ok", b"data: : fairway-outcome status=ok"]
)  # fmt: skip


def feed(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    sse, out, at, turn = OutcomeFilter(), b"", 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        out += sse.feed(stream[at : at + size])
        at += size
        turn += 1
    return out + sse.end(), sse.comment


@given(st.lists(LINES, max_size=12), st.lists(st.integers(1, 30), min_size=1), st.booleans())
def test_a_stream_without_an_outcome_passes_byte_for_byte(lines: list[bytes], cuts: list[int], ended: bool) -> None:
    stream = b"\n".join(lines) + (b"\n" if ended else b"")
    if any(line.startswith(b": fairway-outcome") for line in stream.split(b"\n")):
        return  # ": fairway-outcomes" is near enough: the prefix is ours
    assert feed(stream, cuts) == (stream, None)


@given(st.lists(LINES, max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_the_outcome_comment_is_taken_out_wherever_it_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    kept = [line for line in lines if not line.startswith(b": fairway-outcome")]
    before = b"".join(line + b"\n" for line in kept)
    comment = b": fairway-outcome status=ok, tokens_in=3"
    out, found = feed(before + b"data: [DONE]\n" + comment + b"\n\n", cuts)
    assert out == before + b"data: [DONE]\n\n"
    assert found == comment


def test_the_last_comment_counts() -> None:
    stream = b": fairway-outcome status=failed\n: fairway-outcome status=ok\r\n\n"
    assert feed(stream, [5]) == (b"\n", b": fairway-outcome status=ok")


def test_an_event_is_never_held_back() -> None:
    sse = OutcomeFilter()
    for event in (b"data: a\n\n", b": ping\n\n", b"data: half", b" a line\n\n"):
        assert sse.feed(event) == event
    assert sse.feed(b": fair") == b""
    assert sse.feed(b"y tales\n\n") == b": fairy tales\n\n"


def test_an_endless_comment_is_neither_hoarded_nor_passed_on() -> None:
    sse = OutcomeFilter()
    out = b"".join(sse.feed(b": fairway-outcome" + b"x" * 500) for _ in range(10))
    assert len(sse._held) < 2_000
    out += sse.feed(b", status=ok\ndata: next\n\n") + sse.end()
    assert out == b"data: next\n\n"
    assert sse.comment is not None
    assert parse_outcome_comment(sse.comment) is None, "said, but nobody can read it"


@pytest.mark.parametrize("size", [1, 7, 2000, 10_000])
def test_a_comment_too_long_for_an_outcome_does_not_reach_the_client(size: int) -> None:
    long = b": fairway-outcome status=ok, model=" + b"m" * 3_000
    out, found = feed(b"data: a\n" + long + b"\n\ndata: b\n\n", [size])
    assert out == b"data: a\n\ndata: b\n\n"
    assert found is not None
    assert parse_outcome_comment(found) is None


ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    st.lists(st.sampled_from([b"data: x", b"", b": ping", b"event: a"]), max_size=6),
    ENDS,
    st.lists(st.integers(1, 30), min_size=1),
)
def test_the_outcome_comment_is_taken_out_whatever_ends_its_line(
    lines: list[bytes], end: bytes, cuts: list[int]
) -> None:
    before = b"".join(line + end for line in lines)
    comment = b": fairway-outcome status=ok, tokens_in=3"
    out, found = feed(before + b"data: [DONE]" + end + comment + end + end, cuts)
    assert out == before + b"data: [DONE]" + end + end
    assert found == comment


MARK = b"\xef\xbb\xbf"


@given(st.sampled_from([b"data: x\n\n", b"\xef\xbb\n\n", b"\xef", b"", MARK]), st.lists(st.integers(1, 9), min_size=1))
def test_a_byte_order_mark_passes_and_a_comment_after_it_is_one(rest: bytes, cuts: list[int]) -> None:
    comment = b": fairway-outcome status=ok"
    assert feed(MARK + comment + b"\n" + rest, cuts) == (MARK + rest, comment)
    assert feed(rest, cuts) == (rest, None)
    assert feed(b"data: " + MARK + comment + b"\n", cuts)[1] is None, "only at the very beginning"
