"""When the tokens of a stream came: the first with something for the user in it, and the gaps between pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairway.gateway.reading import Ending, StreamReading, has_content
from fairway.gateway.telemetry import Cell
from fairway.gateway.usage import TAIL_BYTES, Usage
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest


def a_cell() -> Cell:
    return Cell(
        t0=0.0, end=10.0, release=Digest("sha256:" + "a" * 64), role=Role.STABLE, fence=Fence(term=1, seq=1), regime=""
    )


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % (value.encode() if isinstance(value, str) else json.dumps(value).encode())


ROLE_ONLY = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
WORD = {"choices": [{"delta": {"content": "Hello"}}]}
LAST = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (ROLE_ONLY, False),
        (LAST, False),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, False),
        (WORD, True),
        ({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}, True),
        ({"choices": [{"delta": {"reasoning_content": "hm"}}]}, True),
        ({"choices": [{"text": "Hello"}]}, True),
        ({"choices": ["?"]}, False),
        ({"type": "message_start", "message": {}}, False),
        ({"type": "ping"}, False),
        ({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, False),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}, True),
        ({"type": "response.created"}, False),
        ({"type": "response.output_text.delta", "delta": "Hello"}, True),
        ({"token": "Hello"}, True),
        ({}, False),
        ("Hello", True),
        (None, False),
    ],
)
def test_an_event_that_only_says_that_an_answer_begins_has_nothing_for_the_user(value: Any, content: bool) -> None:
    assert has_content(value) is content


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_first_token_is_that_of_the_first_event_with_content_however_the_stream_is_cut(size: int) -> None:
    reading = StreamReading(a_cell(), started=100.0, stall=2.0, usage=False)
    before = b": ping\n\nevent: x\r\n" + event(ROLE_ONLY) + event("[DONE]").replace(b"\n", b"\r\n")
    for at in range(0, len(before), size):
        reading.came(before[at : at + size], 101.0)
    assert reading.first_token is None
    after = event(WORD)
    for at in range(0, len(after), size):
        reading.came(after[at : at + size], 103.0)
    assert reading.first_token == pytest.approx(3.0)


def test_gaps_are_between_pieces_with_data_and_one_beyond_the_limit_is_a_stall() -> None:
    cell = a_cell()
    reading = StreamReading(cell, started=0.0, stall=2.0, usage=False)
    reading.came(event(WORD), 1.0)
    assert reading.largest_gap is None
    reading.came(event(WORD), 1.25)
    reading.came(b": still here\n\n", 3.0)  # keeps the connection alive, and brings nothing
    reading.came(event(WORD), 6.25)
    reading.came(event(WORD), 8.75)
    reading.came(event(WORD), 8.75)
    assert reading.largest_gap == pytest.approx(5.0)
    assert cell.sums["stalls"] == 2
    cell.dirty = True
    told = cell.take()
    assert sum(told.histograms["gap_ms"].values()) == 4
    assert sum(told.histograms["first_token_ms"].values()) == 1


def test_a_stream_without_content_has_no_first_token_and_one_endless_event_has_one() -> None:
    cell = a_cell()
    empty = StreamReading(cell, started=0.0, stall=2.0, usage=False)
    empty.came(event(ROLE_ONLY) + event(LAST) + event("[DONE]"), 1.0)
    assert empty.first_token is None
    assert not cell.first_token
    long = StreamReading(cell, started=0.0, stall=2.0, usage=False)
    long.came(b"data: " + b"x" * 20_000, 1.0)
    assert long.first_token == pytest.approx(1.0)


def test_usage_of_a_stream_is_that_of_its_end_and_memory_is_bounded() -> None:
    reading = StreamReading(a_cell(), started=0.0, stall=2.0, usage=True)
    for _ in range(5_000):
        reading.came(event(WORD), 1.0)
    last = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}})
    for at in range(0, len(last), 3):
        reading.came(last[at : at + 3], 1.0)
    reading.came(event("[DONE]"), 1.0)
    assert reading.usage() == Usage(5, 6)
    assert reading.ending is not None
    assert len(reading.ending.tail) <= TAIL_BYTES
    assert sum(map(len, reading.ending._parts)) <= 5 * TAIL_BYTES


def test_the_end_of_an_answer_is_kept_whatever_its_pieces() -> None:
    text = bytes(range(256)) * 100
    for size in (1, 100, 5000, 25_600):
        ending = Ending()
        for at in range(0, len(text), size):
            ending.came(text[at : at + size])
        assert ending.tail == text[-TAIL_BYTES:]
