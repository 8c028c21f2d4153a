"""Samples become redacted turns, or are named as unreadable."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.live.kept import KeptLines, kept_lines
from fairway.evals.live.redaction import Redactor
from fairway.evals.live.turns import LiveTurn, UnreadableSampleError, read_turn
from fairway.evals.subjects.mapping import ChatMapping
from fairway.traffic.sampling import LiveSample

MAPPING = ChatMapping()


def turn(sample) -> LiveTurn:
    return read_turn(sample, MAPPING, Redactor())


def test_a_turn_says_what_the_user_said_and_what_the_agent_replied_redacted(make_sample):
    found = turn(
        make_sample(
            "I am ada@example.org",
            "Card 4111 1111 1111 1111",
            tools=[{"name": "pay", "arguments": {"card": "4111111111111111"}}],
        )
    )
    assert found.message == "I am [EMAIL_REDACTED]"
    assert found.reply is not None
    assert found.reply.text == "Card [CC_REDACTED]"
    assert found.reply.tools is not None
    assert dict(found.reply.tools[0].arguments) == {"card": "[CC_REDACTED]"}
    assert (found.reply.tokens_in, found.reply.latency_seconds) == (10, 0.5)
    assert LiveTurn.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_chunked_request_and_a_compressed_answer_are_read(make_sample):
    body = b'{"message": "hello there"}'
    raw = b"POST /chat?x=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    found = turn(make_sample(raw=raw, answer=gzip.compress(b'{"response": "hi"}')))
    assert found.message == "hello there"
    assert found.reply is not None
    assert found.reply.text == "hi"
    assert found.reply.tools is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"GET /chat HTTP/1.1\r\n\r\n", "not a message"),
        (b"POST /other HTTP/1.1\r\n\r\n{}", "not a message"),
        (b"POST /chat HTTP/1.1\r\n\r\nhello", "no JSON"),
        (b'POST /chat HTTP/1.1\r\n\r\n{"message": 1}', "no message at"),
        (b'POST /chat HTTP/1.1\r\n\r\n{"message": " "}', "no message at"),
        (b"POST /chat HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "chunks"),
    ],
)
def test_what_is_no_message_to_the_agent_is_no_turn(make_sample, raw, why):
    with pytest.raises(UnreadableSampleError, match=why):
        turn(make_sample(raw=raw))


def test_a_request_without_its_body_is_no_turn(make_sample):
    one = make_sample()
    with pytest.raises(UnreadableSampleError, match="too large"):
        turn(LiveSample(one.facts, None, one.answer))


@pytest.mark.parametrize(
    "changes",
    [{"answer": b"no json"}, {"answer": b"{}"}, {"answer": None}, {"verdict": "failed"}, {"answer": b"\x1f\x8bxx"}],
)
def test_a_reply_that_cannot_be_read_is_none_and_not_an_empty_one(make_sample, changes):
    assert turn(make_sample(**changes)).reply is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_comes_is_a_turn_or_unreadable(request_body, answer):
    facts = {
        "request": "r", "unit": "u", "release": "r", "version": "v", "role": "s", "at": 1, "t0": 1, "verdict": "ok",
        "reason": "", "seconds": 0.1, "outcome": "",
    }  # fmt: skip
    try:
        turn(LiveSample(facts, b"POST /chat HTTP/1.1\r\n\r\n" + request_body, answer))
    except UnreadableSampleError:
        pass


def test_what_is_kept_is_bounded_and_the_newest_stays(tmp_path):
    kept = KeptLines(tmp_path / "turns", most_bytes=80_000)
    for n in range(3000):
        kept.add({"n": n, "text": "x" * 100})
    numbers = [line["n"] for line in kept_lines(tmp_path / "turns")]
    assert numbers == list(range(numbers[0], 3000))
    assert 300 < len(numbers) < 700
    assert sum(path.stat().st_size for path in (tmp_path / "turns").iterdir()) <= 90_000


def test_a_half_written_line_is_skipped_and_others_are_read(tmp_path):
    folder = tmp_path / "turns"
    KeptLines(folder, most_bytes=1000).add({"n": 1})
    with (folder / "1.jsonl").open("ab") as file:
        file.write(b'{"n": 2')
    assert [line["n"] for line in kept_lines(folder)] == [1]
    assert list(kept_lines(tmp_path / "nowhere")) == []
