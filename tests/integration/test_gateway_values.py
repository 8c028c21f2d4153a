"""What an agent says of cost, score and feedback comes out of a worker in the block, by the unit it is about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairway.gateway.quick_request import quick_request
from fairway.observe.fold import ArmBlock, FoldState, fold_all, mature_blocks
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, answer
from fairway.traffic.bucket import bucket, unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId, UnitHash

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


def table(stable: str, candidate: str, *, tokens: bool = True) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(WHOLE // 2),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        block_seconds=1e9,  # one block, whenever this runs
        theta={"tokens_mean": {Role.STABLE: 0.0, Role.CANDIDATE: 0.0}} if tokens else {},
    )


async def replies(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
    """A chat that says what it cost, a call that brings what the user says of it, and one that says nothing."""
    said = {
        "/chat": "status=ok, tokens_in=100, tokens_out=20, cost=0.0125, score=0.9",
        "/feedback": "status=ok, feedback=0.25",
        "/health": "status=ok",
    }[request.target]
    if request.header("x-conversation-id") == "streamed":
        body = b"data: [DONE]\n: fairway-outcome %b\n\n" % said.encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        return
    writer.write(answer(b"hello", outcome=said))


async def counted(harness: Harness) -> dict[Digest, ArmBlock]:
    """The arms of the only block there is, as a controller reads them."""
    await harness.drained()
    (block,), _ = mature_blocks(fold_all(FoldState(), harness.batches), 1e12)
    assert block.comparable
    return dict(block.arms)


def keys(count: int, *, candidate: bool) -> list[str]:
    return [f"c-{n}" for n in range(1_000) if (bucket("r-1", f"c-{n}") < WHOLE // 2) is candidate][:count]


async def test_what_an_agent_says_of_a_request_is_in_the_block_of_its_conversation(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: list[bool] = []

    def watched(client, data: bytes) -> bool:  # type: ignore[no-untyped-def]
        short.append(quick_request(client, data))
        return short[-1]

    monkeypatch.setattr("fairway.gateway.client.quick_request", watched)
    old, new = keys(2, candidate=False), keys(2, candidate=True)
    async with ScriptedArm(replies) as stable, ScriptedArm(replies) as candidate:
        await harness.start(table(stable.endpoint, candidate.endpoint))
        async with connected(harness.port) as client:
            for key in (*old, *new):
                for target in ("/chat", "/chat", "/health"):
                    reply = await client.ask(f"X-Conversation-Id: {key}", target=target, method="POST", body=b"q")
                    assert reply.status == 200
            await client.ask(f"X-Conversation-Id: {new[0]}", target="/feedback", method="POST", body=b"down")
            await client.ask(target="/chat", method="POST", body=b"q")  # nobody's conversation
            await client.ask("X-Conversation-Id: streamed", target="/chat")
        arms = await counted(harness)
    assert any(short)
    assert not all(short)
    streamed = NEW if bucket("r-1", "streamed") < WHOLE // 2 else OLD
    for release, units in ((OLD, old), (NEW, new)):
        twice = {unit_hash(key): 2 for key in units} | ({unit_hash("streamed"): 1} if release == streamed else {})
        assert arms[release].values["cost"] == by_unit(twice, 12_500)
        assert arms[release].values["score"] == by_unit(twice, 900_000)
        assert arms[release].values["tokens"] == by_unit(twice, 120)
    assert arms[NEW].values["feedback"] == {unit_hash(new[0]): (250_000, 1)}
    assert "feedback" not in arms[OLD].values
    assert arms[NEW].sums["cost_micros"] + arms[OLD].sums["cost_micros"] == 12_500 * 10


def by_unit(times: dict[UnitHash, int], value: int) -> dict[UnitHash, tuple[int, int]]:
    return {unit: (value * count, count) for unit, count in times.items()}


async def test_tokens_are_told_by_conversation_only_where_a_gate_asks_for_them(harness: Harness) -> None:
    key = keys(1, candidate=True)[0]
    async with ScriptedArm(replies) as stable, ScriptedArm(replies) as candidate:
        await harness.start(table(stable.endpoint, candidate.endpoint, tokens=False))
        async with connected(harness.port) as client:
            for _ in range(2):
                await client.ask(f"X-Conversation-Id: {key}", target="/chat", method="POST", body=b"q")
        arm = (await counted(harness))[NEW]
    assert set(arm.values) == {"cost", "score"}
    assert arm.sums["tokens_in"] == 200


async def test_what_stable_says_in_a_candidates_stead_is_no_value_of_the_candidate(harness: Harness) -> None:
    key = keys(1, candidate=True)[0]
    async with ScriptedArm(replies) as stable:
        await harness.start(table(stable.endpoint, "127.0.0.1:1"))
        async with connected(harness.port) as client:
            reply = await client.ask(f"X-Conversation-Id: {key}", target="/chat", method="POST", body=b"q")
            assert (reply.status, reply.version) == (200, "1.0.0")
        arms = await counted(harness)
    assert (arms[NEW].failed, arms[NEW].values) == (1, {})
    assert OLD not in arms


async def test_what_cannot_be_read_is_unknown_and_no_value(harness: Harness) -> None:
    async def odd(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(outcome="status=ok, cost=1e-3" if request.target == "/odd" else "status=ok, cost=0.001"))

    key = keys(1, candidate=True)[0]
    async with ScriptedArm(odd) as stable, ScriptedArm(odd) as candidate:
        await harness.start(table(stable.endpoint, candidate.endpoint))
        async with connected(harness.port) as client:
            for target in ("/", "/odd", "/odd", "/"):
                await client.ask(f"X-Conversation-Id: {key}", target=target)
        arm = (await counted(harness))[NEW]
    assert (arm.finished, arm.unknown, arm.failed) == (4, 2, 0)
    assert arm.values == {"cost": {unit_hash(key): (2_000, 2)}}
