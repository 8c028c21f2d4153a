"""Live conversations become cases that expect nothing nobody wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import ProjectFileError
from fairway.evals.live.capture import CaptureOptions, capture, captured_id, suite_text
from fairway.evals.live.redaction import Redactor
from fairway.evals.live.turns import LiveTurn, read_turn
from fairway.evals.plain_text import writable
from fairway.evals.subjects.mapping import ChatMapping
from fairway.evals.suites.load import parse_suite
from fairway.evals.values import Reply

NOW = datetime(2026, 11, 20, tzinfo=UTC)
TURN = LiveTurn(
    request="r", unit="u", release="sha256:a", version="1.0.0", role="stable", at=1e9, t0=1e9, verdict="ok", reason="",
    message="hello", reply=Reply(text="hi\nthere"),
)  # fmt: skip


def turns(*said: str, unit: str = "u", at: float = 1e9, **changes) -> list[LiveTurn]:
    return [
        replace(TURN, message=text, unit=unit, request=f"{unit}-{n}", at=at + n, **changes)
        for n, text in enumerate(said)
    ]


def suite(found, **options):
    text = suite_text(found, CaptureOptions(**options), name="captured", at=NOW)
    return text, lambda: parse_suite(text.encode(), file="captured.yaml")


def test_a_conversation_is_a_case_with_its_turns_in_order_and_what_was_observed_beside_it():
    found = capture(turns("Hello", "Where is it?")[::-1], CaptureOptions(rubric="It helps."))
    text, load = suite(found, rubric="It helps.")
    (case,) = load().cases
    assert case.turns == ("Hello", "Where is it?")
    assert case.tags == ("captured",)
    assert case.rubric == "It helps."
    assert "# observed on 1.0.0 (stable)" in text.replace("  #", "#")
    assert "| there" in text


def test_nothing_is_expected_that_nobody_wrote_so_a_captured_case_does_not_load():
    found = capture(turns("Hello"), CaptureOptions())
    assert not found.cases[0].complete
    text, load = suite(found)
    with pytest.raises(ProjectFileError, match="checks nothing"):
        load()
    assert "checks nothing yet" in text


def test_tools_that_are_named_are_expected():
    options = {"expect_tools": ("lookup_order",)}
    _, load = suite(capture(turns("Hello"), CaptureOptions(**options)), **options)
    (case,) = load().cases
    assert case.expected_tools is not None
    assert [tool.name for tool in case.expected_tools] == ["lookup_order"]


def test_the_same_words_are_captured_once_and_never_again():
    said = [*turns("Hello", unit="a"), *turns("  hello ", unit="b", at=2e9), *turns("Other", unit="c")]
    found = capture(said, CaptureOptions())
    assert [case.turns[0].unit for case in found.cases] == ["b", "c"]
    assert found.repeated == 1
    again = capture(said, CaptureOptions(known=frozenset(case.id for case in found.cases)))
    assert again.cases == ()


def test_only_what_was_asked_for_is_captured_the_newest_first():
    said = [
        *turns("a", unit="a", at=1e9),
        *turns("b", unit="b", at=3e9, verdict="failed", reason="status_500", reply=None),
        *turns("c", unit="c", at=2e9, role="candidate", version="1.1.0"),
    ]

    def units(**options):
        return [case.turns[0].unit for case in capture(said, CaptureOptions(**options)).cases]

    assert units() == ["b", "c", "a"]
    assert units(limit=2) == ["b", "c"]
    assert units(failed=True) == ["b"]
    assert units(role="candidate") == ["c"]
    assert units(version="1.0.0") == ["b", "a"]


def test_a_message_that_names_a_file_is_no_case():
    found = capture(turns("file:///etc/passwd"), CaptureOptions())
    assert (found.cases, found.unusable) == ((), 1)


def test_an_id_is_that_of_the_words():
    assert captured_id(["Hello  there"]) == captured_id(["hello there"])
    assert captured_id(["a", "b"]) != captured_id(["a b"])


@given(
    st.lists(st.text(min_size=1, max_size=40).filter(lambda text: text.strip()), min_size=1, max_size=3),
    st.text(max_size=80),
)
def test_whatever_was_said_the_suite_reads_back_as_it_was(said, reply):
    said = [writable(text) for text in said]
    said = [text for text in said if text.strip() and not text.startswith("file://")] or ["x"]
    found = capture(
        [replace(one, reply=Reply(text=writable(reply))) for one in turns(*said)], CaptureOptions(rubric="ok")
    )
    _, load = suite(found, rubric="ok")
    assert load().cases[0].turns == tuple(said)


def test_no_secret_is_in_the_suite(make_sample):
    secret = "sk-proj-abcdefghijklmnopqrst"
    sample = make_sample(f"my key is {secret}", f"I see {secret}", tools=[{"name": "x", "arguments": {"k": secret}}])
    found = capture([read_turn(sample, ChatMapping(), Redactor())], CaptureOptions())
    assert secret not in suite_text(found, CaptureOptions(), name="s", at=NOW)
