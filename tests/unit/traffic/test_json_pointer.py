"""RFC 6901 over the beginning of a JSON text: what is found, what is not yet, and what a hostile text may cost."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.traffic.json_pointer import MAX_BYTES, find_text, look, parse_pointer

NAMES = st.text(max_size=6) | st.sampled_from(["user", "a/b", "m~n", "", "é", '"', "\\", "0", "\ud800"])
LEAVES = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(max_size=9)
TEXTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


def paths(value: object, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    found = [(at, value)] if at else []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*at, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += paths(inner, (*at, str(number)))
    return found


def pointer(path: tuple[str, ...]) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path)


def expected(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


@given(TEXTS, st.booleans(), st.sampled_from([None, 0, 2]))
@settings(max_examples=100, deadline=None)
def test_every_value_of_every_text_is_found_as_the_standard_library_reads_it(
    value: object, escaped: bool, indent: int | None
) -> None:
    try:
        text = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent).encode()
    for path, inner in paths(value):
        if len(path) <= 16:
            assert look(text, pointer(path)) == (expected(inner), True), path


@given(TEXTS.filter(lambda value: isinstance(value, dict | list)), st.data())
@settings(deadline=None)
def test_a_text_cut_off_anywhere_gives_what_the_whole_gives_or_does_not_know(
    value: object, data: st.DataObject
) -> None:
    text = json.dumps(value).encode()
    cut = text[: data.draw(st.integers(0, len(text)))]
    for path, inner in paths(value)[:6]:
        if len(path) <= 16:
            found, settled = look(cut, pointer(path))
            assert (found, settled) in ((expected(inner), True), (None, False))


@given(st.binary(max_size=80) | st.text(alphabet='[]{}",:\\ua0 tfn1e-', max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_a_text_or_none_and_never_an_error(data: bytes) -> None:
    for wanted in ("/a", "/0", "/a/0/b", "/"):
        found, _ = look(data, wanted)
        assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ('{"conversation": {"id": "c-1"}}', "/conversation/id", "c-1"),
        ('{"user": 42, "x": 1}', "/user", "42"),
        ('{"messages": [{"role": "user"}, {"id": "m"}]}', "/messages/1/id", "m"),
        ('{"us\\u0065r": "ada"}', "/user", "ada"),
        ('{"user": "a", "user": "b"}', "/user", "a"),
        ('{"user": true}', "/user", None),
        ('{"user": 1.5}', "/user", None),
        ('{"user": null}', "/user", None),
        ('{"user": {"id": 1}}', "/user", None),
        ('["x"]', "/00", None),
        ('["x"]', "/-", None),
        ('{"user": "x"', "/user", "x"),
        ('{"user": "x', "/user", None),
        ('{"user": 12', "/user", None),
        ('{"user": "\\ud83d\\ude00"}', "/user", "\N{GRINNING FACE}"),
        ("\ufeff{}", "/user", None),
        ('{"user": "\\q"}', "/user", None),
        ('{"x" "user": "y"}', "/user", None),
    ],
)
def test_what_a_pointer_finds(text: str, wanted: str, found: str | None) -> None:
    assert find_text(text.encode(), wanted) == found


def test_bytes_that_are_no_utf_8_are_no_text() -> None:
    assert find_text(b'{"user": "\xff"}', "/user") is None


def test_no_more_than_the_first_64_kib_are_looked_at() -> None:
    fill = "x" * (MAX_BYTES - 20)
    assert find_text(json.dumps({"a": fill, "user": "ada"}).encode(), "/user") is None
    assert find_text(json.dumps({"user": "ada", "a": fill * 4}).encode(), "/user") == "ada"


@pytest.mark.parametrize("wrong", ["", "user", "/a~", "/a~2", "/" + "/".join("a" * 17)])
def test_what_is_no_pointer_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"JSON pointer"):
        parse_pointer(wrong)


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" * MAX_BYTES,
        b'{"a":' * (MAX_BYTES // 5),
        b"[[]," * (MAX_BYTES // 4),
        b'{"":0,' + b'"":0,' * (MAX_BYTES // 5),
        b'"' + b"\\" * (MAX_BYTES - 1),
        b'{"' + b"\\u0061" * (MAX_BYTES // 6),
        b"{" + b" " * (MAX_BYTES - 1),
        b'{"a":' + b"9" * (MAX_BYTES - 5),
        b'{"a":["' + b'","' * (MAX_BYTES // 3),
        b'{"a":[' + b'"\\"",' * (MAX_BYTES // 5),
    ],
    ids=[
        "lists",
        "objects",
        "empty lists",
        "members",
        "backslashes",
        "escapes",
        "spaces",
        "digits",
        "strings",
        "quotes",
    ],
)
def test_a_hostile_text_costs_no_more_than_reading_it(hostile: bytes) -> None:
    begun = time.process_time()
    assert look(hostile, "/user/id/0") in ((None, True), (None, False))
    assert time.process_time() - begun < 0.5, "a scanner that goes back would take minutes"
