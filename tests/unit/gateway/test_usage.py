"""Tokens read from the end of answers: those of the API, never those a model writes about."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairway.gateway.usage import TAIL_BYTES, Usage, event_usage, usage_at, usage_in_events, usage_in_json

COUNTS = st.integers(min_value=0, max_value=10**9)
FAKE = '", "usage": {"prompt_tokens": 999999, "completion_tokens": 999999, "total_tokens": 1999998}}'
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            FAKE, FAKE[1:], '"usage"', "usage", '\\", "usage": {"prompt_tokens": 1}', "\\", '\\\\"', '",',
            '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
            '{"usage": {"input_tokens": 7, "output_tokens": 8}}',
        ]
    ),
)  # fmt: skip
OBJECTS = st.recursive(
    st.one_of(
        HOSTILE,
        st.none(),
        st.integers(-5, 5),
        st.just({"usage": {"prompt_tokens": 999_999, "completion_tokens": 999_999, "total_tokens": 1}}),
        st.just({"input_tokens": 999_999, "output_tokens": 999_999}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(HOSTILE, st.just("usage")), inner, max_size=3),
    ),
    max_leaves=6,
)
REAL = st.one_of(
    st.none(),
    st.builds(
        lambda i, o, c: {
            "prompt_tokens": i + c, "completion_tokens": o, "total_tokens": i + c + o,
            "prompt_tokens_details": {"cached_tokens": c, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }, COUNTS, COUNTS, COUNTS,
    ),
    st.builds(lambda i, o: {"input_tokens": i, "output_tokens": o, "total_tokens": i + o}, COUNTS, COUNTS),
    st.builds(lambda i, o: {"prompt_tokens": i, "completion_tokens": o, "total_tokens": i + o}, COUNTS, COUNTS),
)  # fmt: skip


def whole(usage: Any) -> tuple[int, int] | None:
    """What a reader of the whole JSON finds, by the same two pairs of names."""
    if not isinstance(usage, dict):
        return None
    tokens_in = usage.get("prompt_tokens", usage.get("input_tokens"))
    tokens_out = usage.get("completion_tokens", usage.get("output_tokens"))
    return None if tokens_in is None or tokens_out is None else (tokens_in, tokens_out)


@settings(max_examples=200, deadline=None)
@given(content=HOSTILE, arguments=OBJECTS, usage=REAL, after=OBJECTS, indent=st.sampled_from([None, 0, 2]))
@example(
    content=FAKE, arguments={"usage": {"prompt_tokens": 9, "completion_tokens": 9}}, usage=None, after=None, indent=2
)
def test_what_is_read_at_the_end_is_what_the_whole_answer_says_or_nothing(
    content: str, arguments: Any, usage: Any, after: Any, indent: int | None
) -> None:
    answer = {
        "id": "a", "choices": [{"message": {"content": content, "input": arguments}, "finish_reason": "stop"}],
        "usage": usage, "meta": after,
    }  # fmt: skip
    if usage is None:
        del answer["usage"]
    separators = (",", ":") if indent is None else None
    body = json.dumps(answer, indent=indent, separators=separators, ensure_ascii=False).encode("utf-8", "surrogatepass")
    for found in (usage_at(b"HTTP/1.1 200 OK\r\n\r\n" + body), usage_in_json(body[-TAIL_BYTES:])):
        if found is not None:
            assert (found.tokens_in, found.tokens_out) == whole(usage)
    if usage is not None and len(json.dumps(after)) < 200 and "usage" not in json.dumps(after):
        assert usage_in_json(body[-TAIL_BYTES:]) is not None, "what is there and near the end is read"


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(9, 4, 5)),
        ({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 4}, Usage(9, 4, 5)),
        (
            {"input_tokens": 2, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 4},
            Usage(112, 4, 100),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 3, "total_tokens": 7}, None),
        ({"prompt_tokens": -3, "completion_tokens": 4}, None),
        ({"prompt_tokens": 3.5, "completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": 10**13, "completion_tokens": 4}, None),
        ({}, None),
        (None, None),
        ([3, 4], None),
    ],
)
def test_each_form_of_usage_is_read_the_same_at_every_place_and_what_is_no_count_is_unknown(
    usage: Any, read: Usage | None
) -> None:
    body = json.dumps({"choices": [], "usage": usage, "service_tier": "default", "system_fingerprint": None})
    assert usage_in_json(body.encode()) == read
    assert usage_at(body.encode()) == read
    assert usage_at(body.encode()) == read, "and again, as one did a while ago"
    within = b'{"a": ' + body.encode().rstrip(b"}") + b"}"
    assert usage_at(within) == usage_in_json(within), "though it ends nearly as that did"
    assert usage_at(json.dumps({"a": 1, "usage": usage}, separators=(",", ":")).encode()) == read
    assert event_usage(body.encode()) == read
    assert event_usage(json.dumps({"response": {"usage": usage}}).encode()) == read


@pytest.mark.parametrize(
    "body",
    [
        b'[{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}]',
        b'{"a":{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}',
        b'{"a":"x\\",\\"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
        b'{"a":1,"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}} trailing',
        b'{"a":1,"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}',
        b'{"a":1 "usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
        b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
        b'{"a":1,"usage":' + b'{"a":' * 500,
        b'{"a":1,"usage":' + b"[" * 900,
        b'{"a":1,"usage":{"prompt_tokens":' + b"9" * 900,
    ],
)
def test_usage_that_is_not_the_outermost_objects_is_none(body: bytes) -> None:
    assert usage_at(body) is None
    assert usage_in_json(body) is None


@pytest.mark.parametrize(
    ("rest", "reads"),
    [
        (b"}}", [(1, 2, 0), (7, 8, 0)]),
        (b',"prompt_tokens_details":{"cached_tokens":5}}}', [(1, 2, 1), (7, 8, 5), (9, 1, 5)]),
        (b',"cache_read_input_tokens":5,"cache_creation_input_tokens":1}}', [(7, 2, 5), (13, 8, 5)]),
        (b',"prompt_tokens":9}}', [(9, 2, 0), (9, 8, 0)]),
        (b',"total_tokens":3}}', [(1, 2, 0), (7, 8, 0)]),
    ],
)
def test_what_was_read_once_of_the_same_ending_is_read_the_same_beside_other_figures(
    rest: bytes, reads: list[tuple[int, int, int]]
) -> None:
    given = [(1, 2), (7, 8), (9, 1)]
    for (came, went), (tokens_in, tokens_out, cached) in zip(given, reads, strict=False):
        body = b'{"a":1,"usage":{"prompt_tokens":%d,"completion_tokens":%d%b' % (came, went, rest)
        expected = Usage(tokens_in, tokens_out, cached)
        for _ in range(2):
            assert usage_at(body) == expected
        assert usage_in_json(body) == expected
        assert usage_at(body.replace(b',"usage"', b' "usage"')) is None, "no key"


@pytest.mark.parametrize("before", [b"", b"{", b"{ ", b"{\n  ", b'{"a":1,'])
def test_usage_may_be_the_first_there_is(before: bytes) -> None:
    body = before + b'"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    for _ in range(3):
        assert usage_at(body) == usage_in_json(body) == (Usage(1, 2) if before else None)


def stream(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (e.encode() if isinstance(e, str) else json.dumps(e).encode()) for e in events)


def test_the_last_event_with_usage_counts_whatever_the_model_writes() -> None:
    chunk = {"choices": [{"delta": {"content": FAKE}}], "usage": None}
    last = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}}
    assert usage_in_events(stream(chunk, chunk, last, "[DONE]"), None) == Usage(12, 34)
    assert usage_in_events(stream(chunk, chunk, "[DONE]"), None) is None
    assert usage_in_events(stream(last, *[chunk] * 8, "[DONE]"), None) is None, "not at the end"
    assert usage_in_events(stream(last, "[DONE]") + b": fairway-outcome status=ok\n\n", None) == Usage(12, 34)


def test_anthropics_stream_tells_both_directions_in_two_events() -> None:
    start = event_usage(json.dumps({
        "type": "message_start",
        "message": {"usage": {"input_tokens": 25, "cache_read_input_tokens": 75, "output_tokens": 1}},
    }).encode())  # fmt: skip
    assert start == Usage(100, 1, 75)
    end = b"event: message_delta\n" + stream({"type": "message_delta", "usage": {"output_tokens": 15}})
    end += b"event: message_stop\n" + stream({"type": "message_stop"})
    assert usage_in_events(end, start) == Usage(100, 15, 75)
    assert usage_in_events(end, None) is None, "what went in is not known"


def test_the_responses_apis_last_event_is_read_though_it_is_longer_than_what_is_kept() -> None:
    usage = {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123}
    event = {
        "type": "response.completed",
        "response": {"output": [{"text": FAKE * 200}], "usage": usage, "user": None, "metadata": {}},
    }  # fmt: skip
    whole = b"event: response.completed\n" + stream(event)
    assert len(whole) > 2 * TAIL_BYTES
    assert usage_in_events(whole[-TAIL_BYTES:], None) == Usage(36, 87)
    assert usage_in_events(whole[-TAIL_BYTES:-6] + b"\n\n", None) is None, "cut off"
