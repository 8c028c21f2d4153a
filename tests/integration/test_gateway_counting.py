"""For whom a request counts when somebody else had to answer it, or the same release did at the second attempt."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway import exchange
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.gateway_worker import Harness, Reply, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.pin import load_pin_key
from fairway.traffic.release_pass import PassSigner
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
OURS = "X-Conversation-Id: c-1"
SILENT = answer(outcome=None)


def table(stable: str, *candidate: str, split: Parts = WHOLE, seq: int = 1) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=candidate),
        ),
        split=split,
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0),
        block_seconds=60.0,
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


class Port:
    """A port that refuses connections until somebody listens on it."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self.socket.getsockname()[1]}"

    async def serve(self, arm: ScriptedArm) -> asyncio.Server:
        return await asyncio.start_server(arm._serve, sock=self.socket)


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    yield made
    made.socket.close()


async def one(harness: Harness, *headers: str, method: str = "GET") -> Reply:
    async with connected(harness.port) as client:
        return await client.ask(*headers, method=method)


# --- another release had to answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [(), (OURS,)], ids=["the general way", "the short way"])
async def test_what_stable_answers_for_a_candidate_that_just_died_has_failed_for_the_candidate(
    harness: Harness, headers: tuple[str, ...]
) -> None:
    dying = ScriptedArm(always(SILENT))

    async def dies_at_the_second(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if len(dying.requests) == 2:
            assert dying._server is not None
            dying._server.close()
            writer.close()
        else:
            writer.write(SILENT)

    dying.script = dies_at_the_second
    async with ScriptedArm(always(SILENT)) as old, dying:
        await harness.start(table(old.endpoint, dying.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(*headers)).version == "1.1.0"
            reply = await client.ask(*headers)
        assert (reply.status, reply.version, len(old.requests)) == (200, "1.0.0", 1)
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.assigned, counted.finished, counted.failed, counted.unknown) == (2, 2, 1, 0)


@pytest.mark.parametrize(
    ("key", "brings"),
    [((OURS,), "nothing"), ((OURS,), "its pin"), ((OURS,), "its cookie"), ((), "its pin"), ((), "its cookie")],
    ids=["key", "key and pin", "key and cookie", "pin", "cookie"],
)
async def test_a_conversation_that_stable_had_to_begin_stays_there_when_the_candidate_is_back(
    harness: Harness, port: Port, key: tuple[str, ...], brings: str
) -> None:
    new = ScriptedArm(always(SILENT))
    async with ScriptedArm(always(SILENT)) as old:
        await harness.start(table(old.endpoint, port.endpoint))
        first = await one(harness, *key)
        assert (first.status, first.version) == (200, "1.0.0")
        listening = await port.serve(new)
        pin = first.headers["x-fairway-pin"]
        brought = {"nothing": (), "its pin": (f"X-Fairway-Pin: {pin}",), "its cookie": (f"Cookie: fairway_pin={pin}",)}
        for _ in range(3):
            assert (await one(harness, *key, *brought[brings])).version == "1.0.0"
        listening.close()
        await new.close()
        counted = await harness.counted()
        failed = {role: (counted[role].assigned, counted[role].failed) for role in counted}
        assert failed == {Role.CANDIDATE: (1, 1), Role.STABLE: (3, 0)}


async def test_what_a_rule_sends_to_a_candidate_that_accepts_no_connection_is_served_by_stable(
    harness: Harness, port: Port
) -> None:
    acme = Rule(id="acme", kind=RuleKind.TENANT, name="", values=("acme",), to=Role.CANDIDATE)
    async with ScriptedArm(always(SILENT)) as old:
        await harness.start(replace(table(old.endpoint, port.endpoint, split=Parts(0)), rules=(acme,)))
        reply = await one(harness, OURS, "X-Tenant: acme")
        assert (reply.status, reply.version) == (200, "1.0.0")
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.assigned, counted.failed) == (1, 1)


async def test_what_a_pass_names_is_served_by_nobody_else_when_that_accepts_no_connection(
    harness: Harness, port: Port, tmp_path: Path
) -> None:
    async with ScriptedArm(always(SILENT)) as old:
        found = table(old.endpoint, port.endpoint, split=Parts(0))
        await harness.start(found)
        named = PassSigner(load_pin_key(tmp_path / "key"), route=str(found.route)).sign("candidate", expires=2**31)
        reply = await one(harness, OURS, f"X-Fairway-Release: {named}")
        assert (reply.status, old.requests) == (502, [])


async def test_a_release_header_that_names_nothing_is_refused_and_not_served_by_whoever_comes(
    harness: Harness,
) -> None:
    async with ScriptedArm(always(SILENT)) as old:
        await harness.start(table(old.endpoint, split=Parts(0)))
        assert (await one(harness, OURS, "X-Fairway-Release:")).status == 403
        assert old.requests == []


# --- the same release answered at the second attempt -----------------------------------------------------------


def cutting(numbers: set[int], *, after: float = 0.0) -> ScriptedArm:
    """An arm that closes the connection instead of answering these of its requests, the first is 1."""

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if len(arm.requests) in numbers:
            await asyncio.sleep(after)
            writer.close()
        else:
            writer.write(SILENT)

    arm = ScriptedArm(script)
    return arm


@pytest.mark.parametrize("headers", [(), (OURS,)], ids=["keyless", "with a key"])
async def test_a_request_that_a_release_breaks_and_then_answers_has_failed_for_it(
    harness: Harness, headers: tuple[str, ...]
) -> None:
    async with ScriptedArm(always(SILENT)) as old, cutting({1}) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert [(await client.ask(*headers)).status for _ in range(3)] == [200, 200, 200]
        assert (len(new.requests), old.requests) == (4, [])
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.finished, counted.failed, counted.unknown) == (3, 1, 0)
        assert counted.exemplars[0]["reason"] == "arm_closed"


@pytest.mark.parametrize(("after", "failed"), [(0.0, 0), (0.2, 1)], ids=["at once", "after a while"])
async def test_a_kept_connection_that_ends_at_once_was_stale_and_one_that_ends_later_had_the_request(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, after: float, failed: int
) -> None:
    monkeypatch.setattr(exchange, "STALE_SECONDS", 0.1 if after else 5.0)
    async with ScriptedArm(always(SILENT)) as old, cutting({2}, after=after) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert [(await client.ask(OURS)).status for _ in range(3)] == [200, 200, 200]
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.finished, counted.failed, len(new.requests)) == (3, failed, 4)


# --- placed late -----------------------------------------------------------------------------------------------


async def test_a_request_whose_key_is_in_its_body_is_placed_by_the_table_in_force_once_it_is_known(
    harness: Harness,
) -> None:
    async with ScriptedArm(always(SILENT)) as old, ScriptedArm(always(SILENT)) as new:
        found = table(old.endpoint, new.endpoint)
        found = replace(found, keys=(KeyExtractor(kind=KeyKind.JSON_POINTER, name="/conversation"),))
        await harness.start(found)
        body = b'{"text": "hello", "conversation": "c-1"}'
        head = b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        async with connected(harness.port) as client:
            client.writer.write(head % len(body) + body[:10])
            async with asyncio.timeout(5):
                while not harness.worker.in_flight:
                    await asyncio.sleep(0.01)
            await harness.install(replace(found, masks=(NEW,), split=Parts(0), fence=Fence(term=1, seq=2)))
            client.writer.write(body[10:])
            reply = await client.reply()
        assert (reply.status, reply.version, new.requests) == (200, "1.0.0", [])
        counted = await harness.counted()
        assert {role: found.failed for role, found in counted.items()} == {Role.STABLE: 0}


# --- what is left out proves nothing ----------------------------------------------------------------------------


async def test_a_controller_is_told_while_a_candidate_serves_without_one_of_its_endpoints(
    tmp_path: Path, port: Port
) -> None:
    gateway = GatewayProcess(tmp_path)
    router = GatewayRouter(gateway.state.socket("controller"))
    async with ScriptedArm(always(SILENT)) as old, ScriptedArm(always(SILENT)) as new:
        both = table(old.endpoint, new.endpoint, port.endpoint)
        await router.start()
        await router.apply(both)
        await gateway.start("--workers", "1")
        asked = 0

        async def left_out() -> bool:
            nonlocal asked
            asked += 1
            async with connected(gateway.port) as client:
                assert (await client.ask(f"X-Conversation-Id: {asked}")).status == 200
            return (await router.observe(both.route)).left_out == (NEW,)

        async def nobody() -> bool:
            return (await router.observe(both.route)).left_out == ()

        try:
            assert await nobody()
            await until(left_out, within=30.0)
            await router.apply(table(old.endpoint, new.endpoint, seq=2))
            await until(nobody, within=30.0)
        finally:
            await router.close()
            await gateway.kill()
