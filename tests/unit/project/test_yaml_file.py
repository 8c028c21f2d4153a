"""The YAML reader: plain values with positions, and one error for everything else."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ProjectFileError
from fairway.yaml_file import Position, dotted, parse_yaml


def test_values_know_their_line_and_column() -> None:
    document = parse_yaml(b"a: 1\nb:\n  - x\n  - {c: true}\n", file="f.yaml")
    assert document.value == {"a": 1, "b": ["x", {"c": True}]}
    assert document.position(("b", 1, "c")) == Position(4, 9)
    assert document.position(("b", 1, "c"), of_key=True) == Position(4, 6)


def test_a_missing_value_is_placed_at_the_nearest_enclosing_one() -> None:
    document = parse_yaml(b"a:\n  b: 1\n", file="f.yaml")
    assert document.position(("a", "zzz", 3)) == Position(2, 3)


def test_the_text_of_a_block_begins_on_the_line_after_its_key() -> None:
    document = parse_yaml(b"a: 1\ntemplate: |\n  one\n  two\nflat: 'one'\n", file="f.yaml")
    assert document.text_line(("template",), 2) == 4
    assert document.text_line(("flat",), 1) == 5


def test_positions_count_characters_not_bytes() -> None:
    document = parse_yaml("é: {ü: 1}\n".encode(), file="f.yaml")
    assert document.position(("é", "ü")) == Position(1, 8)


@pytest.mark.parametrize(
    ("content", "line", "column", "says"),
    [
        (b"a: 1\na: 2\n", 2, 1, "twice (first in line 1)"),
        (b"a: yes\n", 1, 4, "different things to different YAML readers"),
        (b"a: 2024-01-01\n", 1, 4, "different things"),
        (b"a: 2024-01-01 10:00:00\n", 1, 4, "different things"),
        (b"a: 0123\n", 1, 4, "different things"),
        (b"a: 1_000\n", 1, 4, "different things"),
        (b"a: 1:30\n", 1, 4, "different things"),
        (b"a: .nan\n", 1, 4, "not a finite number"),
        (b"a: -.inf\n", 1, 4, "not a finite number"),
        (b"a: 1e999\n", 1, 4, "not a finite number"),
        (b"a: 9007199254740993\n", 1, 4, "too large"),
        (b"a: " + b"9" * 5000 + b"\n", 1, 4, "too large"),
        (b"a: 1\nb: \xff\n", 2, 4, "not UTF-8: byte 0xff"),
        (b"a: \x07\n", 1, 4, "control character U+0007"),
        (b"a:\n\tb: 1\n", 2, 1, "a tab is used for indentation"),
        (b"a: [1, 2\n", 2, 1, "not YAML"),
        (b"a: !!python/object:os.system x\n", 1, 4, "tag"),
        (b"a: !secret x\n", 1, 4, "tag"),
        (b"a: 1\n---\nb: 2\n", 2, 1, "second document"),
        (b"a: *x\n", 1, 4, "no anchor"),
        (b"a: &x [*x]\n", 1, 8, "no anchor"),
        (b"1: a\n", 1, 1, "the key '1' is not text"),
        (b"? [a]\n: b\n", 1, 3, "a key must be text"),
        (b"a:\n  <<: 3\n", 2, 3, "<< merges"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(content: bytes, line: int, column: int, says: str) -> None:
    with pytest.raises(ProjectFileError) as caught:
        parse_yaml(content, file="f.yaml")
    assert says in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_quotes_make_text_of_what_is_ambiguous() -> None:
    value = parse_yaml(b"a: 'yes'\nb: \"2024-01-01\"\nc: '1_000'\nd: !!str 12\n", file="f.yaml").value
    assert value == {"a": "yes", "b": "2024-01-01", "c": "1_000", "d": "12"}


def test_anchors_and_merges_are_expanded_and_the_own_key_wins() -> None:
    document = parse_yaml(b"x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n", file="f.yaml")
    assert document.value["y"] == {"a": 1, "b": 3}
    assert document.position(("y", "a")) == Position(1, 11)


def test_an_alias_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    started = time.monotonic()
    with pytest.raises(ProjectFileError, match="once its aliases are expanded"):
        parse_yaml(bomb.encode(), file="f.yaml")
    assert time.monotonic() - started < 5


def test_a_merge_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 {" + ", ".join(f"k{i}: {i}" for i in range(500)) + "}\n"
    bomb += "".join(f"a{i}: &a{i} {{b{i}: *a{i - 1}, c{i}: *a{i - 1}}}\n" for i in range(1, 60))
    with pytest.raises(ProjectFileError):
        parse_yaml(bomb.encode(), file="f.yaml")


@pytest.mark.parametrize("opening", [b"[", b"{a: ", b"- "])
def test_deep_nesting_is_refused_without_exhausting_the_stack(opening: bytes) -> None:
    with pytest.raises(ProjectFileError):
        parse_yaml(opening * 20_000, file="f.yaml")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_junk_bytes_are_values_or_a_project_file_error(content: bytes) -> None:
    with contextlib.suppress(ProjectFileError):
        parse_yaml(content, file="f.yaml")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{},&*<>|!\"'#%@? \n\t01.~", max_size=80))
def test_junk_made_of_yaml_signs_is_values_or_a_project_file_error(text: str) -> None:
    with contextlib.suppress(ProjectFileError):
        parse_yaml(text.encode(), file="f.yaml")


def test_a_path_is_written_with_dots_and_brackets() -> None:
    assert dotted(("rollout", "steps", 1, "dwell")) == "rollout.steps[1].dwell"
