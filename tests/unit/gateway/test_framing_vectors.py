"""Known ways to smuggle a message, and messages that look like one: each with what the gateway makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairway.gateway.bodies import AnswerBody, RequestBody
from fairway.gateway.framing import RefusalError, parse_answer, parse_request
from fairway.testing.framing_oracle import LIMIT, accepted_requests, check_answer, check_requests

FOLDER = Path(__file__).parents[2] / "vectors" / "framing"
REQUESTS: list[dict[str, Any]] = json.loads((FOLDER / "requests.json").read_text(encoding="utf-8"))
ANSWERS: list[dict[str, Any]] = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))


def names(vectors: list[dict[str, Any]]) -> list[str]:
    return [vector["name"] for vector in vectors]


def then(data: bytes) -> str:
    """What becomes of what stands after the last accepted request: ``more`` is needed, or it is refused."""
    if not data:
        return "end"
    try:
        head = parse_request(data, LIMIT)
        if head is not None:
            RequestBody(head.length, limit=LIMIT).take(data[len(head.raw) :])
    except RefusalError as refused:
        return f"{refused.status} {refused.code}"
    return "more"


@pytest.mark.parametrize("vector", REQUESTS, ids=names(REQUESTS))
def test_requests(vector: dict[str, Any]) -> None:
    data = vector["data"].encode("latin-1")
    accepted = accepted_requests(data)
    assert [one.head.target.decode() for one in accepted] == vector["accepted"]
    last = accepted[-1].head if accepted else None
    if last is None or not (last.close or last.upgrade):
        assert then(data[sum(len(one.came) for one in accepted) :]) == vector["then"]
    assert check_requests(data) == len(accepted)  # and llhttp reads the same


@pytest.mark.parametrize("vector", ANSWERS, ids=names(ANSWERS))
def test_answers(vector: dict[str, Any]) -> None:
    data = vector["data"].encode("latin-1")
    try:
        answer = parse_answer(data, limit=LIMIT, head_request=False)
        while answer is not None and answer.status < 200:
            data = data[answer.end :]
            answer = parse_answer(data, limit=LIMIT, head_request=False)
        assert answer is not None
        body = AnswerBody(answer.length).feed(data[answer.end :]) if answer.length else b""
        read = {"status": answer.status, "body": body.decode("latin-1")}
    except RefusalError:
        read = {"refused": True}
    assert read == {name: vector[name] for name in ("refused", "status", "body") if name in vector}
    assert check_answer(data) == (0 if "refused" in vector else 1)
