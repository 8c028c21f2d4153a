"""Records of compared pairs: bounded, and nothing of what was said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairway.gateway.comparing import PLAIN, Finding, Side, body_digest, compare
from fairway.gateway.pairs import KEPT, NOTED, PLAIN_KEPT, PLAIN_NOTED, PairBook, PairLog
from fairway.traffic.bucket import unit_hash
from fairway.traffic.outcome import Outcome, OutcomeStatus
from fairway.units import Digest

SHADOW = Digest("sha256:" + "b" * 64)


def side(body: bytes = b"hi", *, failed: bool = False, tokens: int = 0) -> Side:
    status = OutcomeStatus.FAILED if failed else OutcomeStatus.OK
    outcome = Outcome(status=status, tokens_out=tokens, tools=2, model="secret-model")
    verdict = "failed" if failed else "ok"
    return Side(verdict, verdict, 200, outcome, 0.1234567, len(body), body_digest(body))  # type: ignore[arg-type]


def note(log: PairLog, primary: Side, shadow: Side, *, number: int = 0, at: float = 1000.0) -> None:
    found = compare(primary, shadow)
    log.note(found, primary, shadow, at=at, request=b"b-0-%x" % number, key=b"c-1", release=SHADOW)


def pairs(log: PairLog) -> list[dict[str, Any]]:
    told = log.taken()
    return [] if told is None else list(told["pairs"])


def test_a_record_says_how_both_fared_and_nothing_of_what_they_said() -> None:
    log = PairLog()
    note(log, side(b"the answer is four", tokens=7), side(b"the answer is five", failed=True))
    (record,) = pairs(log)
    assert record["finding"] == "shadow_failed"
    assert record["same_body"] is False
    assert record["unit"] == unit_hash("c-1")
    assert record["primary"] == {
        "verdict": "ok", "code": "ok", "status": 200, "ms": 123.457, "bytes": 18, "tokens": 7, "tools": 2,
    }  # fmt: skip
    assert record["shadow"]["verdict"] == "failed"
    assert record["shadow"]["tokens"] is None, "not said is not nothing"
    text = json.dumps(record)
    for secret in ("four", "five", "c-1", "secret-model", body_digest(b"the answer is four").hex()):
        assert secret not in text


def test_bodies_that_agree_are_told_from_those_that_do_not() -> None:
    log = PairLog()
    note(log, side(b'{"a": 1}'), side(b'{"a":1}'))
    note(log, side(b"a"), side(b"b"))
    assert [(record["finding"], record["same_body"]) for record in pairs(log)] == [("same", True), ("changed", False)]


def test_a_worker_notes_so_many_between_two_reports_and_counts_the_rest() -> None:
    log = PairLog()
    for _ in range(NOTED + 7):
        note(log, side(), side(failed=True))
    for _ in range(PLAIN_NOTED + 5):
        note(log, side(), side())
    told = log.taken()
    assert told is not None
    assert (len(told["pairs"]), told["unnoted"]) == (NOTED + PLAIN_NOTED, 12)
    assert log.taken() is None
    note(log, side(), side())
    assert log.taken() == {"pairs": [told["pairs"][-1]], "unnoted": 0}, "and begins anew"


def test_pairs_in_which_both_fared_well_do_not_push_out_those_in_which_one_did_not() -> None:
    log, book = PairLog(), PairBook()
    note(log, side(), side(failed=True), number=1, at=1.0)
    book.keep(log.taken())
    for number in range(2, 3 * KEPT):
        note(log, side(), side(), number=number, at=float(number))
        book.keep(log.taken())
    found = book.latest()
    assert len(found) == PLAIN_KEPT + 1
    assert found[0]["request"] == "b-0-1"
    assert [record["at"] for record in found] == sorted(record["at"] for record in found)


def test_the_book_is_bounded_whatever_is_told() -> None:
    log, book = PairLog(), PairBook()
    for number in range(3 * KEPT):
        note(log, side(), side(failed=True), number=number, at=float(number))
        book.keep(log.taken())
    assert len(book.latest()) == KEPT
    assert book.latest()[-1]["at"] == 3 * KEPT - 1


@pytest.mark.parametrize("last", [0, 1, 3])
def test_the_latest_of_a_kind_are_shown(last: int) -> None:
    log, book = PairLog(), PairBook()
    for number in range(5):
        note(log, side(), side(failed=True), number=number, at=float(number))
        note(log, side(), side(), number=100 + number, at=float(number))
    book.keep(log.taken())
    found = book.latest([Finding.SHADOW_FAILED], last=last)
    assert [record["at"] for record in found] == [float(number) for number in range(5)][5 - last :]
    assert {record["finding"] for record in found} <= {"shadow_failed"}


def test_what_is_plain_is_what_both_answered_well() -> None:
    assert {compare(side(), side()).finding, compare(side(), side(b"other")).finding} == PLAIN
