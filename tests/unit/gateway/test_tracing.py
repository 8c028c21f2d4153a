"""Agent, version and gray tag as W3C baggage: added to what the client says, and true of the arm that answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway.tracing import retold, trace_lines, traced
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

OLD = Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=("h:1",))
NEW = Arm(role=Role.CANDIDATE, release=Digest("sha256:" + "b" * 64), version="1.1.0 b,;=\u00e9", endpoints=("h:2",))
TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(OLD, NEW),
    trace=True,
)
MEMBERS = b"agent_id=support,agent_version=1.0.0,gray_tag=stable"
STABLE, CANDIDATE = trace_lines(TABLE, OLD), trace_lines(TABLE, NEW)


def test_what_an_arm_is_told_is_one_line_of_baggage_however_it_is_called() -> None:
    assert STABLE == b"baggage: %b\r\n" % MEMBERS
    escaped = b"1.1.0%20b%2C%3B%3D%C3%A9"
    assert b"baggage: agent_id=support,agent_version=%b,gray_tag=candidate\r\n" % escaped == CANDIDATE
    assert trace_lines(replace(TABLE, trace=False), OLD) == b""


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (b"", b"baggage: %b\r\n" % MEMBERS),
        (b"x-baggage: 1\r\n", b"x-baggage: 1\r\nbaggage: %b\r\n" % MEMBERS),
        (b"Baggage:userId=1;p=2 \r\nA: b\r\n", b"Baggage: userId=1;p=2,%b\r\nA: b\r\n" % MEMBERS),
        (b"baggage: \r\n", b"baggage: %b\r\n" % MEMBERS),
    ],
)
def test_members_are_added_to_the_clients_own(lines: bytes, told: bytes) -> None:
    body = b"\r\nbaggage: in the body\r\n\r\n"
    message = b"POST / HTTP/1.1\r\nhost: a\r\n%b\r\n%b"
    assert traced(message % (lines, body), STABLE) == message % (told, body)
    assert traced(message % (lines, body), b"") == message % (lines, body)


@given(
    st.sampled_from([b"", b"baggage: a=1\r\n", b"Baggage:  a=1 , b=2\r\nx: y\r\n"]),
    st.sampled_from([b"", STABLE, CANDIDATE]),
    st.sampled_from([b"", STABLE, CANDIDATE]),
    st.sampled_from([b"", b"gray_tag=stable", STABLE, CANDIDATE]),
)
def test_a_request_told_anew_says_of_the_other_arm_what_one_made_for_it_says(
    lines: bytes, before: bytes, after: bytes, body: bytes
) -> None:
    message = b"GET / HTTP/1.1\r\n%bhost: a\r\n\r\n%b" % (lines, body)

    def plain(request: bytes) -> bytes:
        return request.replace(b" ", b"")

    assert plain(retold(traced(message, before), before, after)) == plain(traced(message, after))
