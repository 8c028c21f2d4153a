"""No bytes by which a request or an answer could be smuggled: the gateway's reading against llhttp's, by the thousand.

``FAIRWAY_GATEWAY_FUZZ=1000000`` runs that many messages instead of the seeded few of the default.
"""

from __future__ import annotations

import os
import re
from types import ModuleType

import pytest

from fairway.gateway import chunks, framing
from fairway.gateway.framing import parse_request
from fairway.testing.framing_grammar import Mutator
from fairway.testing.framing_oracle import LIMIT, DisagreementError, accepted_requests, check_answer, check_requests

MESSAGES = int(os.environ.get("FAIRWAY_GATEWAY_FUZZ", "30000"))
SHARDS = 8
"""Parts of the run that may be in processes of their own; each has its seeds."""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_what_the_gateway_accepts_of_clients_llhttp_reads_the_same_and_so_does_the_arm(shard: int) -> None:
    mutator = Mutator(1_000 + shard)
    messages = MESSAGES * 2 // 3 // SHARDS
    compared = sum(check_requests(mutator.request()) for _ in range(messages))
    assert compared > messages * 0.3  # the mutations leave enough that is accepted


@pytest.mark.parametrize("shard", range(SHARDS))
def test_what_the_gateway_accepts_of_arms_llhttp_reads_the_same_and_so_does_the_client(shard: int) -> None:
    mutator = Mutator(2_000 + shard)
    messages = MESSAGES // 3 // SHARDS
    compared = sum(check_answer(mutator.answer(), http10=turn % 8 == 0) for turn in range(messages))
    assert compared > messages * 0.3


def test_a_request_nobody_could_misread_is_accepted() -> None:
    mutator = Mutator(3)
    for _ in range(2_000):
        data, body = mutator.canonical_request()
        (passed,) = accepted_requests(data)
        assert (passed.came, passed.body) == (data, body)


# --- the fuzzer finds what it is there for --------------------------------------------------------------------------


def found_within(messages: int, *, seed: int = 5) -> str:
    """What is found first; empty when nothing is."""
    mutator = Mutator(seed)
    try:
        for _ in range(messages):
            check_requests(mutator.request())
            check_answer(mutator.answer())
    except DisagreementError as found:
        return str(found)
    return ""


def loosened(module: ModuleType, name: str, old: bytes, new: bytes) -> object:
    """What matches with a pattern that accepts more."""
    pattern = getattr(module, name).__self__.pattern
    assert old in pattern
    return re.compile(pattern.replace(old, new)).match


BUGS = {
    "a bare line feed ends a line": (framing, "_request", rb"\r\n", rb"\r?\n"),
    "a space before the colon": (framing, "_request", rb"++:", rb"++ ?:"),
    "a chunk size with spaces": (chunks, "_size_line", rb")*+)\r\n", rb")*+)[ \t]*\r\n"),
    "an extension of anything": (chunks, "_size_line", rb")*+)\r\n", rb")*+)(?:;[^;]*)?\r\n"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, old, new = BUGS[bug]
    monkeypatch.setattr(module, name, loosened(module, name, old, new))
    assert found_within(30_000)


def test_a_trailer_that_frames_the_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "FRAMING", frozenset())
    assert found_within(30_000)


def test_both_lengths_at_once_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """CL.TE: as if the gateway went by the length and passed the chunks' name on."""
    real = framing._special_request

    def careless(head: framing.RequestHead, *, has_length: bool) -> None:
        real(head, has_length=False)

    monkeypatch.setattr(framing, "_special_request", careless)
    assert found_within(20_000)


def test_a_second_framing_header_that_goes_on_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "HOP_BY_HOP", framing.HOP_BY_HOP - {b"transfer-encoding"})
    assert found_within(5_000)


def test_the_same_bytes_are_read_alike_in_whatever_pieces_they_come() -> None:
    mutator = Mutator(4)
    for _ in range(1_500):
        data = mutator.request()
        whole = accepted_requests(data)
        if not whole:
            continue
        first = whole[0].head
        for end in range(len(first.raw)):
            assert parse_request(data[:end], LIMIT) is None
