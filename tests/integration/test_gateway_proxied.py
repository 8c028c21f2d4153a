"""What a trusted proxy passes on reaches the arm alike by the short way and by the general one."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.gateway.listening import Listening
from fairway.gateway.proxied import ProxyConnection
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

LINES = [
    b"X-Forwarded-For: 203.0.113.5\r\n", b"x-forwarded-for:203.0.113.6, 10.0.0.1 \r\n", b"X-FORWARDED-PROTO: https\r\n",
    b"X-Real-IP: 203.0.113.5\r\n", b"Forwarded: for=203.0.113.5\r\n", b"X-Forwarded-Host: a, b\r\n",
    b"X_Forwarded_For: 1.1.1.1\r\n", b"x-forwarded_for: 1.1.1.1\r\n", b"X-Forwarded-For: \x01\r\n",
    b"X-Forwarded-For: a\n b\r\n", b"X-Forwarded-For: a\r\n b\r\n", b"x-forwarded-for : a\r\n", b"X-Forwarded: a\r\n",
    b"Accept: */*\r\n", b"Connection: keep-alive\r\n", b"Connection: x-forwarded-for\r\n", b"X-Own: 1\r\n",
    b"Cookie: a=b\r\n", b"X-Request-Timeout: 5\r\n", b"x-forwarded-for:\r\n", b"Host: b\r\n", b"\r\n",
]  # fmt: skip


def table(endpoint: str, *rules: Rule) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(Arm(role=Role.STABLE, release=Digest("sha256:" + "a" * 64), version="1.0.0", endpoints=(endpoint,)),),
        rules=rules,
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path, listening=Listening(trusted_proxies=("127.0.0.1/32",)))
    yield made
    await made.close()


async def asked(harness: Harness, arm: ScriptedArm, data: bytes) -> list[tuple[str, str]] | int:
    """What the arm got of a request sent alone: its headers; or the status the client got instead."""
    before = len(arm.requests)
    async with connected(harness.port) as client:
        assert (await client.ask("X-Conversation-Id: c")).status == 200  # once to be met, so that the next may be short
        client.writer.write(data)
        status = (await client.reply()).status
    if len(arm.requests) == before + 1:
        return status
    return [pair for pair in arm.requests[-1].headers if pair[0] != "x-fairway-request"]


async def test_by_either_way_the_arm_is_told_the_same(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    taken = shortened = 0
    passes = ProxyConnection._passes

    def counting(client: ProxyConnection, data: bytes) -> bool:
        nonlocal taken
        passed = passes(client, data)
        taken += passed
        return passed

    monkeypatch.setattr(ProxyConnection, "_passes", counting)
    async with ScriptedArm(always(answer(outcome=None))) as arm:
        await harness.start(table(arm.endpoint))
        for _ in range(60):
            lines = b"".join(rng.choices(LINES[:6], k=rng.randint(0, 3)) + rng.choices(LINES, k=rng.randint(0, 1)))
            data = b"GET /a HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\n" + lines + b"\r\n"
            before = taken
            first = await asked(harness, arm, data)
            shortened += taken - before
            with monkeypatch.context() as patch:
                patch.setattr(ProxyConnection, "_passes", lambda *_: False)
                second = await asked(harness, arm, data)
            if isinstance(first, list) and isinstance(second, list):
                assert sorted(first) == sorted(second), data
                forwarded = [value for name, value in first if name == "x-forwarded-for"]
                assert len(forwarded) == 1, data
                assert forwarded[0].endswith("127.0.0.1"), data
            else:
                assert first == second, data
    assert shortened > 20


async def test_what_one_request_said_is_not_told_of_the_next(harness: Harness) -> None:
    """Whichever of them was the one whose head the connection knows from then on."""
    key = "X-Conversation-Id: c"
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint))
        expected: list[tuple[str, str | None]] = []
        for told in range(1, 5):
            for plain in range(1, 4):
                async with connected(harness.port) as client:
                    for _ in range(2):
                        for number in range(told):
                            line = f"X-Forwarded-For: 203.0.113.{number}"
                            assert (await client.ask(key, line, "X-Forwarded-Proto: https")).status == 200
                            expected.append((f"203.0.113.{number}, 127.0.0.1", "https"))
                        for _ in range(plain):
                            assert (await client.ask(key)).status == 200
                            expected.append(("127.0.0.1", None))
        found = [(request.header("x-forwarded-for"), request.header("x-forwarded-proto")) for request in arm.requests]
        assert found == expected


async def test_a_rule_still_sees_what_a_proxy_says(harness: Harness) -> None:
    rule = Rule(id="r", kind=RuleKind.HEADER, name="x-forwarded-proto", values=("http",), to=Role.STABLE)
    async with ScriptedArm(always(answer())) as arm:
        await harness.start(table(arm.endpoint, rule))
        for _ in range(3):
            found = await asked(
                harness, arm, b"GET /a HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\nX-Forwarded-Proto: http\r\n\r\n"
            )
            assert isinstance(found, list)
        assert (await harness.counted())[Role.STABLE].by["rule:r"] == 3
