from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.canonical import value_digest
from fairway.evals.assertions.check import check
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.pointers import at_pointer, pointer
from fairway.evals.assertions.predicates import ABSENT
from fairway.evals.assertions.section import read_assertion
from fairway.evals.trials import Observed
from fairway.evals.values import AssertionResult, Case, Found, Reply

STATE = {
    "orders": {"A-1": {"status": "refunded", "amount": 20, "updated_at": "2026-11-20T10:00:00Z"}},
    "emails": [{"to": "ada", "id": 7}, {"to": "grace", "id": 8}],
    "a/b": {"~": 1},
}


def ends(written, *states) -> AssertionResult:
    replies = tuple(Reply(text="x", state=state) for state in states)
    return check(read_assertion(written), Observed(case=Case(id="c", name="c", turns=("q",)), replies=replies))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"state": {"/orders/A-1/status": "refunded", "/orders/A-1/amount": {"$lte": 20}}}, Found.HELD),
        ({"state": {"/orders/A-1": {"status": "refunded"}}}, Found.HELD),
        ({"state": {"/orders/A-1/status": "open"}}, Found.VIOLATED),
        ({"state": {"/orders/A-2": {"$absent": True}}}, Found.HELD),
        ({"state": {"/orders/A-2/status": "open"}}, Found.VIOLATED),
        ({"state": {"/emails": {"$length": 2}, "/emails/1/to": "grace", "/emails/2": {"$absent": True}}}, Found.HELD),
        ({"state": {"/emails": {"$contains": {"to": "ada"}}}}, Found.HELD),
        ({"state": {"/a~1b/~0": 1}}, Found.HELD),
        ({"state": {"/emails/01": {"$absent": True}, "/emails/-": {"$absent": True}}}, Found.HELD),
        ({"state": {"": {"orders": {}}}}, Found.HELD),
        ({"state-equals": {"to": "ada", "id": 7}, "at": "/emails/0"}, Found.HELD),
        ({"state-equals": {"to": "ada"}, "at": "/emails/0"}, Found.VIOLATED),
        ({"state-equals": {"to": "ada"}, "at": "/emails/0", "ignore": "/id"}, Found.HELD),
        ({"state-equals": [{"to": "ada", "id": 7}, None], "at": "/emails", "ignore": ["/1"]}, Found.HELD),
        ({"state-equals": {"a": 1}, "at": "/nowhere"}, Found.VIOLATED),
        ({"state-hash": value_digest(STATE)}, Found.HELD),
        ({"state-hash": value_digest(STATE["emails"])[7:].upper(), "at": "/emails"}, Found.HELD),
        ({"state-hash": value_digest({"to": "ada"}), "at": "/emails/0", "ignore": ["/id", "/none/x"]}, Found.HELD),
        ({"state-hash": value_digest(STATE), "at": "/emails"}, Found.VIOLATED),
        ({"state-hash": value_digest(STATE), "at": "/nowhere"}, Found.VIOLATED),
    ],
)
def test_outcome_checks_end_as_the_table_says(written, found):
    assert ends(written, STATE).found is found


def test_the_state_that_counts_is_the_last_replys_and_is_unknown_when_that_does_not_say():
    wanted = {"state": {"/n": 2}}
    assert ends(wanted, {"n": 1}, {"n": 2}).found is Found.HELD
    assert ends(wanted, {"n": 2}, {"n": 1}).found is Found.VIOLATED
    assert ends(wanted, {"n": 2}, None).found is Found.UNKNOWN


def test_every_place_that_differs_is_told_with_its_share_of_the_score():
    result = ends({"state": {"/orders/A-1/status": "open", "/orders/A-1/amount": 20, "/emails": {"$length": 1}}}, STATE)
    assert result.score == pytest.approx(1 / 3)
    assert result.subject == "/orders/A-1/status"
    assert '/orders/A-1/status is "refunded" instead of "open"' in result.message
    assert result.detail == {"differs": ["/orders/A-1/status", "/emails"]}


def test_a_state_without_a_canonical_form_is_an_error_and_no_verdict():
    assert ends({"state-hash": "0" * 64}, {"n": float("nan")}).found is Found.ERROR
    assert ends({"not-state-hash": "0" * 64}, {"n": float("nan")}).found is Found.ERROR


@given(st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3)))
def test_every_place_of_a_state_is_reached_by_its_own_pointer(state):
    def walk(value, where):
        assert at_pointer(state, where) == value
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{where}/{key.replace('~', '~0').replace('/', '~1')}")

    walk(state, "")
    assert at_pointer(state, "/no such key") is ABSENT


@pytest.mark.parametrize("wrong", ["orders", "/a~2", "a/b", 3, None, "/~"])
def test_what_is_no_pointer_is_refused(wrong):
    with pytest.raises(BadValueError):
        pointer(wrong)


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_keys_changes_no_digest(keys):
    state = {key: {"n": index} for index, key in enumerate("abcd")}
    assert ends({"state-hash": value_digest(state)}, {key: state[key] for key in keys}).found is Found.HELD
