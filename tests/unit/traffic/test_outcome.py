"""Law 4: an outcome that cannot be read whole is unknown, never ok."""

from __future__ import annotations

from decimal import Decimal

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
COSTS = st.none() | st.decimals(0, 999_999, places=9)
SHARES = st.none() | st.decimals(0, 1, places=6)
OUTCOMES = st.builds(
    Outcome, status=st.sampled_from(OutcomeStatus), tokens_in=COUNTS, tokens_out=COUNTS, tools=COUNTS,
    tool_errors=COUNTS, iterations=COUNTS, guardrail=COUNTS, callback_failed=COUNTS,
    model=st.text("abcXYZ019._:/@+-", max_size=128), cost=COSTS, score=SHARES, feedback=SHARES, counted=st.booleans(),
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
        "status=ok, cost=1e-3", "status=ok, cost=-1", "status=ok, cost=nan", "status=ok, cost=inf", "status=ok, cost=",
        "status=ok, cost=.5", "status=ok, cost=1.", "status=ok, cost=1_0", "status=ok, cost=1234567",
        "status=ok, cost=٣", "status=ok, score=1.1", "status=ok, score=2", "status=ok, score=-0",
        "status=ok, score=0.5, score=0.5", "status=ok, feedback=01", "status=ok, feedback=up", "status=ok, score=1e0",
        "status=ok, cost=+1",
        "status=ok, tokens_in=1234567890123", "status=ok" + " " * 1100, "status=ok, tokens_in=1, tokens_in=2",
    ],
)  # fmt: skip
def test_a_malformed_outcome_is_unknown(text: str) -> None:
    assert parse_outcome(text) is None


def test_a_value_is_whole_millionths_and_not_said_is_not_zero() -> None:
    said = parse_outcome("status=ok, tokens_in=3, cost=0.0000125, score=0.8, feedback=1")
    assert said is not None
    assert said.values == (("cost", 12), ("score", 800_000), ("feedback", 1_000_000))
    assert said.counts() == {
        "tokens_in": 3, "cost_micros": 12, "cost_reports": 1, "score_micros": 800_000, "score_reports": 1,
        "feedback_micros": 1_000_000, "feedback_reports": 1,
    }  # fmt: skip
    nothing = parse_outcome("status=ok, tools=1")
    assert nothing is not None
    assert nothing.values == ()
    for_free = parse_outcome("status=ok, tokens_in=0, cost=0, score=0.0")
    assert for_free is not None
    assert for_free.values == (("cost", 0), ("score", 0))
    assert (for_free.counted, nothing.counted, said.counted) == (True, False, True)
    assert for_free.cost == Decimal(0)
    assert parse_outcome(format_outcome(for_free)) == for_free


@pytest.mark.parametrize("value", ["-0.1", "1000000", "1.000000000000000000000001"])
def test_a_cost_the_wire_cannot_carry_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match="cost"):
        format_outcome(Outcome(status=OutcomeStatus.OK, cost=Decimal(value)))


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_what_is_no_number_is_no_value(value: str) -> None:
    with pytest.raises(ValueError, match="no value"):
        Outcome(status=OutcomeStatus.OK, score=Decimal(value))


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
