"""Lines of the access log: JSON whatever a client sends, of one length a pipe keeps whole, and the same both ways."""

from __future__ import annotations

import json
from datetime import datetime
from select import PIPE_BUF
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairway.gateway.access_log import LINE, MAX_PATH, NOTHING_SAID, AccessLog, Ended, asked, said_by
from fairway.gateway.framing import RefusalError, parse_request
from fairway.gateway.usage import Usage
from fairway.traffic.outcome import Outcome, parse_outcome
from fairway.traffic.rules import By, Decision
from fairway.traffic.table import Arm, Role
from fairway.units import Digest

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80)
OUTCOMES = st.sampled_from(
    [None, parse_outcome("status=ok"), parse_outcome("status=ok, tokens_in=3, tokens_out=4, cost=0.0000001")]
)


def a_log(version: str = "1.0.0", rule: str | None = None) -> tuple[AccessLog, Any, Any]:
    """A log, the worker's client, and what is known of a unit."""
    route = SimpleNamespace(agent="support")
    worker = SimpleNamespace(prefix=b"b-0-", epoch=1.7e9, serving=SimpleNamespace(table=SimpleNamespace(route=route)))
    arm = Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version=version, endpoints=())
    decision = Decision(
        role=Role.STABLE, release=arm.release, served=arm, by=By.PIN, why=By.PIN, rule=rule, counts=True, fresh=False,
        served_as_assigned=True, moved=False,
    )  # fmt: skip
    known = SimpleNamespace(
        first_logged=b"", placement=SimpleNamespace(decision=decision), served=SimpleNamespace(arm=arm)
    )
    log = AccessLog(worker, "/nowhere")  # type: ignore[arg-type]
    return log, SimpleNamespace(address="::ffff:192.0.2.1"), known


@settings(max_examples=60, deadline=None)
@given(
    target=TARGETS, value=st.binary(max_size=60), version=st.text(max_size=12), rule=st.none() | st.text(max_size=12),
    outcome=OUTCOMES, used=st.none() | st.builds(Usage, st.integers(0, 10**12), st.integers(0, 10**12)),
    seconds=st.floats(0, 1e5), started=st.floats(0, 1e6), body=st.binary(max_size=30),
)  # fmt: skip
@example(
    target='"}{\\', value=b'00-"', version='"\\', rule="\n", outcome=None, used=None, seconds=0.0, started=0.0, body=b""
)
def test_whatever_comes_a_line_is_json_and_both_ways_write_the_same(
    target: str, value: bytes, version: str, rule: str | None, outcome: Outcome | None, used: Usage | None,
    seconds: float, started: float, body: bytes,
) -> None:  # fmt: skip
    raw = b"POST /%b HTTP/1.1\r\nHost: a\r\ntraceparent: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        target.encode(), value, len(body), body,
    )  # fmt: skip
    try:
        head = parse_request(raw, 65_536)
    except RefusalError:
        return
    if head is None or len(raw) != len(head.raw) + head.length:
        return
    log, client, known = a_log(version, rule)
    log.begin(started + seconds)
    parts = (log.arm(known), said_by(outcome, *((None, None) if used is None else used[:2])))
    micros = int(seconds * 1e6)
    for sent in (raw, head):
        who, length = asked(sent, client)
        log.lines.append(LINE % (log.front, b"5", who, b"200", length, 5, micros, micros, *parts))
    counted = used if used is not None else outcome if outcome is not None and outcome.counted else None
    log.ended(Ended(
        started=started, seconds=seconds, client=client, number=5, head=head.raw, status=200, bytes_in=len(body),
        bytes_out=5, first_byte=seconds, decision=known.placement.decision, served=known.served, verdict="ok", code="",
        outcome=outcome, tokens_in=None if counted is None else counted.tokens_in,
        tokens_out=None if counted is None else counted.tokens_out,
    ))  # fmt: skip
    lines = log.lines
    assert len(lines) == 3
    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in lines)
    assert all(len(line) < PIPE_BUF for line in lines)
    found = [json.loads(line) for line in lines]
    assert found[0] == found[1] == found[2]
    assert found[0]["path"] == f"/{target}".partition("?")[0]
    assert (found[0]["release"], found[0].get("rule")) == (version, rule)
    assert None not in found[0].values(), "what is not known is left out"


def test_the_longest_line_is_one_a_pipe_keeps_whole() -> None:
    log, client, known = a_log("v" * 200, "r" * 256)
    who, length = asked(b"POST /%b HTTP/1.1\r\n\r\n" % (b'"' * 60_000), client)
    log.begin(0.0)
    line = LINE % (log.front, b"5", who, b"200", length, 5, 0, 0, log.arm(known), NOTHING_SAID)
    assert len(line) < PIPE_BUF
    assert len(json.loads(line)["path"]) == MAX_PATH + 1


def test_a_line_tells_the_millisecond_its_answer_ended_in() -> None:
    log, _, _ = a_log()
    for now in (0.0, 0.0004, 0.001, 0.9996, 59.9999, 3600.0):
        if now >= log.until:
            log.begin(now)
        told = datetime.fromisoformat(json.loads(log.front + b'"}')["time"]).timestamp()
        assert told <= 1.7e9 + now < told + 0.001 + 1e-6
        assert log.until > now


def test_a_conversation_that_began_with_it_was_decided_by_the_hash() -> None:
    log, _, known = a_log()
    assert b'"by":"pin"' in log.arm(known)
    assert b'"by":"hash"' in log.arm_of_first(known)
    assert log.arm_of_first(known) is log.arm_of_first(known)
