"""Law 4: an outcome that cannot be read whole is unknown, never ok."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.traffic.outcome import (
    Outcome,
    OutcomeStatus,
    format_outcome,
    format_outcome_comment,
    parse_outcome,
    parse_outcome_comment,
)

COUNTS = st.integers(0, 10**12 - 1)
OUTCOMES = st.builds(
    Outcome, status=st.sampled_from(OutcomeStatus), tokens_in=COUNTS, tokens_out=COUNTS, tools=COUNTS,
    tool_errors=COUNTS, iterations=COUNTS, guardrail=COUNTS, callback_failed=COUNTS,
    model=st.text("abcXYZ019._:/@+-", max_size=128),
)  # fmt: skip


@given(OUTCOMES)
def test_what_was_written_is_read_back(outcome: Outcome) -> None:
    assert parse_outcome(format_outcome(outcome)) == outcome
    assert parse_outcome_comment(format_outcome_comment(outcome).encode()) == outcome


@pytest.mark.parametrize(
    "text",
    [
        "", "ok", "status", "status=", "status=OK", "status=great", "tokens_in=3", "status=ok,", "status=ok, status=ok",
        "status=ok, tokens_in=-1", "status=ok, tokens_in=1.5", "status=ok, tokens_in=", "status=ok, tokens_in=²",
        "status=ok, unheard_of=1", "status=ok; tokens_in=1", "status=ok, model=a b", "status = ok", "status=ok\n",
        "status=ok, tokens_in=1234567890123", "status=ok" + " " * 1100, "status=ok, tokens_in=1, tokens_in=2",
    ],
)  # fmt: skip
def test_a_malformed_outcome_is_unknown(text: str) -> None:
    assert parse_outcome(text) is None


def test_fields_come_in_any_order_and_with_any_spacing() -> None:
    assert parse_outcome("tokens_in=1,status=ok ,  model=gpt-5") == Outcome(
        status=OutcomeStatus.OK, tokens_in=1, model="gpt-5"
    )


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    parse_outcome(text)


@pytest.mark.parametrize("line", [b": fairway-outcomestatus=ok", b"data: status=ok", b": fairway-outcome", b":fairway"])
def test_another_comment_is_no_outcome(line: bytes) -> None:
    assert parse_outcome_comment(line) is None


def test_a_model_name_that_would_break_the_header_is_refused() -> None:
    with pytest.raises(ValueError, match="model"):
        format_outcome(Outcome(status=OutcomeStatus.OK, model="a\r\nb"))
