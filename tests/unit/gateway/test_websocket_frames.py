"""Frames of an arm pass byte for byte; only an outcome in the last one is taken out, and where frames end is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.websocket import ArmFrames, judge_session


def frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    return bytes((first, 126)) + size.to_bytes(2, "big") + payload if size < 65_536 else (
        bytes((first, 127)) + size.to_bytes(8, "big") + payload
    )  # fmt: skip


SIZES = st.sampled_from([0, 1, 2, 100, 125, 126, 127, 1000, 65_535, 65_536, 70_000])
DATA = st.tuples(st.sampled_from([0x01, 0x81, 0x02, 0x82, 0x00, 0x80, 0xC1, 0x41]), SIZES)
CONTROL = st.tuples(st.sampled_from([0x89, 0x8A]), st.integers(0, 125))
FRAMES = st.lists(st.one_of(DATA, CONTROL), max_size=5)
CUTS = st.lists(st.sampled_from([1, 2, 3, 9, 130, 300]), max_size=8).map(lambda cuts: [*cuts, 20_000])


def wired(frames: list[tuple[int, int]]) -> list[bytes]:
    """Frames of these kinds and sizes, whose payload looks like close frames."""
    return [frame(first, (b"\x88\x02\x03\xe8" * (size // 4 + 1))[:size]) for first, size in frames]


def feed(stream: bytes, cuts: list[int]) -> tuple[bytes, ArmFrames]:
    frames, out, at, turn = ArmFrames(), b"", 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        out += frames.feed(stream[at : at + size])
        at += size
        turn += 1
    return out + frames.rest(), frames


@given(FRAMES, CUTS, st.sampled_from([b"", b"\x88\x00", frame(0x88, b"\x03\xe8bye")]), st.binary(max_size=9))
def test_frames_pass_byte_for_byte_wherever_they_are_cut(
    frames: list[tuple[int, int]], cuts: list[int], close: bytes, after: bytes
) -> None:
    stream = b"".join(wired(frames)) + close + (after if close else b"")
    out, seen = feed(stream, cuts)
    assert out == stream
    assert seen.close == {b"": None, b"\x88\x00": 1005}.get(close, 1000)
    assert not seen.lost
    assert seen.between is (not close)


@given(FRAMES, CUTS)
def test_an_outcome_in_the_reason_is_taken_out_wherever_it_is_cut(
    frames: list[tuple[int, int]], cuts: list[int]
) -> None:
    before = b"".join(wired(frames))
    out, seen = feed(before + frame(0x88, b"\x0f\xa0fairway-outcome status=ok, tools=2"), cuts)
    assert out == before + b"\x88\x02\x0f\xa0"
    assert (seen.close, seen.outcome) == (4000, b"status=ok, tools=2")


@given(FRAMES, CUTS, st.integers(1, 400))
def test_within_a_frame_nothing_of_the_gateways_own_may_be_put(
    frames: list[tuple[int, int]], cuts: list[int], end: int
) -> None:
    made = wired(frames)
    stream = b"".join(made)
    ends = [sum(map(len, made[:number])) for number in range(len(made) + 1)]
    seen = ArmFrames()
    out = b"".join(seen.feed(stream[:end][at : at + cuts[0]]) for at in range(0, min(end, len(stream)), cuts[0]))
    assert seen.between is (min(end, len(stream)) in ends)
    assert len(stream[:end]) - len(out) < 10, "no more than a header is held"


@pytest.mark.parametrize(
    "wire",
    [
        b"\x81\x85abcdhello",  # masked, which only clients do
        b"\x83\x00", b"\x8b\x00",  # reserved
        b"\x09\x00", b"\x88\x7e\x00\x80" + b"x" * 128,  # a control frame in fragments, or too long
        b"\x82\xff" + b"\xff" * 8, b"\x82\x7f" + b"\xff" * 8,
        b"\x88\x01\x03",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_frame_of_an_arm_passes_unread(wire: bytes) -> None:
    after = b"\x88\x02\x03\xe8"
    out, seen = feed(wire + after, [3])
    assert out == wire + after
    assert (seen.lost, seen.close, seen.between) == (True, None, False)


@pytest.mark.parametrize(
    ("close", "verdict", "said", "told"),
    [
        (1000, "ok", False, ("ok", "")),
        (1005, "unknown", False, ("unknown", "")),
        (1011, "ok", True, ("failed", "websocket_1011")),
        (1011, "unknown", False, ("failed", "websocket_1011")),
        (1008, "ok", False, ("unknown", "websocket_1008")),
        (4321, "ok", False, ("unknown", "websocket_other")),
        (4321, "ok", True, ("ok", "")),
        (4321, "failed", True, ("failed", "")),
        (None, "ok", False, ("ok", "")),
        (None, "unknown", False, ("unknown", "")),
    ],
)
def test_how_a_session_ended_tells_what_became_of_it(
    close: int | None, verdict: str, said: bool, told: tuple[str, str]
) -> None:
    assert judge_session(close, verdict, "", said=said) == told  # type: ignore[arg-type]
