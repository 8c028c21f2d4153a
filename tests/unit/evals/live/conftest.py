from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fairway.evals.subjects.mapping import ChatMapping
from fairway.traffic.sampling import LiveSample

MAPPING = ChatMapping()


def sample(message: str = "hello", reply: str = "hi", **changes) -> LiveSample:
    facts = {
        "request": "g-1", "unit": "a" * 16, "release": "sha256:" + "a" * 64, "version": "1.0.0", "role": "stable",
        "at": 1_795_000_000.0, "t0": 1_795_000_000.0, "status": 200, "verdict": "ok", "reason": "", "seconds": 0.5,
        "outcome": "status=ok, tokens_in=10, tokens_out=5",
    }  # fmt: skip
    tools = changes.pop("tools", [{"name": "lookup", "arguments": {"order": "A-1"}}])
    request = changes.pop("raw", None)
    answer = changes.pop("answer", json.dumps({"response": reply, "tools": tools}).encode())
    body = json.dumps({"message": message, "thread_id": "t"}).encode()
    head = b"POST /chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer verysecretverysecret\r\n\r\n"
    return LiveSample(facts | changes, head + body if request is None else request, answer)


@pytest.fixture
def make_sample() -> Callable[..., LiveSample]:
    return sample
