"""An arm with several endpoints: how many requests at once, who waits, who is left out, whose answers are passed on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway import room
from fairway.gateway.endpoints.ejection import Standing, Why
from fairway.gateway.quick_request import quick_request
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.gateway_worker import Harness, Reply, connected
from fairway.testing.scripted_arm import CUT, HANG, ArmRequest, ScriptedArm, always, answer, serving
from fairway.traffic.endpoints import Ejection, Health
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
QUEUED = ("X-Conversation-Id: c-1",)


def table(*stable: str, candidate: tuple[str, ...] = (), split: int = 0, seq: int = 1) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=stable)]
    if candidate:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=candidate))
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=tuple(arms),
        split=Parts(split),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=5.0, idle=5.0, total=10.0),
        block_seconds=2.0,
    )


def limited(found: RouteTable, at_once: int, *, queue: int = 16, wait: float = 5.0) -> RouteTable:
    return replace(found, limits=Limits(arm_in_flight=at_once, queue=queue, queue_wait=wait))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


async def one(port: int, *headers: str, method: str = "GET", body: bytes = b"") -> Reply:
    async with connected(port) as client:
        return await client.ask(*headers, method=method, body=body)


def code(reply: Reply) -> str:
    return str(json.loads(reply.body)["error"]["code"])


class Gate:
    """An arm that answers when it is let to, and says in which order requests arrived."""

    def __init__(self) -> None:
        self.open = asyncio.Semaphore(0)
        self.now = self.most = 0
        self.order: list[str] = []

    async def script(self, request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(request.target)
        await self.open.acquire()
        self.now -= 1
        writer.write(answer())


# --- how many at once ------------------------------------------------------------------------------------------


async def test_an_arm_has_no_more_requests_at_once_than_its_limit_and_takes_them_as_they_came(harness: Harness) -> None:
    gate = Gate()
    async with ScriptedArm(gate.script) as arm:
        await harness.start(limited(table(arm.endpoint), 2))
        asked = []
        for number in range(8):
            before = harness.worker.in_flight
            asked.append(asyncio.create_task(ask_target(harness.port, f"/{number}")))
            while harness.worker.in_flight == before:
                await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert (gate.now, len(harness.worker.fleet[OLD].line)) == (2, 6)
        for _ in range(8):
            gate.open.release()
        assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
        assert (gate.most, gate.order, arm.connections) == (2, [f"/{number}" for number in range(8)], 2)
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.failed) == (8, 0)


async def ask_target(port: int, target: str) -> Reply:
    async with connected(port) as client:
        return await client.ask(target=target)


@pytest.mark.parametrize(("queue", "wait", "expected"), [(0, 5.0, "queue_full"), (4, 0.1, "queue_timeout")])
async def test_what_an_arm_has_no_room_for_is_told_to_come_back_and_has_failed_for_the_arm(
    harness: Harness, queue: int, wait: float, expected: str
) -> None:
    async with ScriptedArm(Gate().script) as arm:
        await harness.start(limited(table(arm.endpoint), 1, queue=queue, wait=wait))
        running = asyncio.create_task(one(harness.port))
        while not arm.requests:
            await asyncio.sleep(0.01)
        reply = await one(harness.port, *QUEUED)
        assert (reply.status, code(reply), reply.version) == (503, expected, "1.0.0")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.failed, counted.unknown, [found["reason"] for found in counted.exemplars]) == (1, 1, [expected])


async def test_with_rerun_on_failure_stable_answers_what_a_candidate_has_no_room_for(harness: Harness) -> None:
    gate = Gate()
    async with ScriptedArm(always(answer(b"stable"))) as old, ScriptedArm(gate.script) as new:
        found = limited(table(old.endpoint, candidate=(new.endpoint,), split=100_000), 1, queue=0)
        await harness.start(replace(found, rerun=Rerun(when=RerunWhen.ON_FAILURE)))
        running = asyncio.create_task(one(harness.port, "X-Conversation-Id: a"))
        while not new.requests:
            await asyncio.sleep(0.01)
        reply = await one(harness.port, "X-Conversation-Id: b")
        assert (reply.status, reply.body, reply.version) == (200, b"stable", "1.0.0")
        gate.open.release()
        assert (await running).status == 200
        assert (await harness.counted())[Role.CANDIDATE].failed == 1


async def test_a_client_that_leaves_the_line_costs_nobody_a_turn_and_is_unknown(harness: Harness) -> None:
    gate = Gate()
    async with ScriptedArm(gate.script) as arm:
        await harness.start(limited(table(arm.endpoint), 1))
        asked = [asyncio.create_task(ask_target(harness.port, f"/{number}")) for number in range(3)]
        while len(harness.worker.fleet[OLD].line) < 2:
            await asyncio.sleep(0.01)
        leaving = next(task for task in asked if f"/{asked.index(task)}" not in gate.order)
        leaving.cancel()
        await asyncio.sleep(0.05)
        assert len(harness.worker.fleet[OLD].line) == 1
        for _ in range(3):
            gate.open.release()
        replies = await asyncio.gather(*asked, return_exceptions=True)
        assert [reply.status for reply in replies if isinstance(reply, Reply)] == [200, 200]
        counted = (await harness.counted())[Role.STABLE]
        assert (counted.finished, counted.unknown, counted.failed) == (3, 1, 0)


async def test_who_waits_while_the_table_is_switched_is_served_by_the_release_it_was_placed_on(
    harness: Harness,
) -> None:
    gate = Gate()
    async with ScriptedArm(gate.script) as arm, ScriptedArm(always(answer(b"new"))) as other:
        await harness.start(limited(table(arm.endpoint), 1))
        asked = [asyncio.create_task(ask_target(harness.port, f"/{number}")) for number in range(3)]
        while len(harness.worker.fleet[OLD].line) < 2:
            await asyncio.sleep(0.01)
        promoted = Arm(role=Role.STABLE, release=NEW, version="1.1.0", endpoints=(other.endpoint,))
        await harness.install(replace(limited(table(arm.endpoint, seq=2), 1), arms=(promoted,)))
        assert (await one(harness.port)).version == "1.1.0"
        for _ in range(3):
            gate.open.release()
        assert [reply.version for reply in await asyncio.gather(*asked)] == ["1.0.0"] * 3
        assert gate.most == 1


async def test_requests_on_the_short_way_are_within_the_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: list[bool] = []
    monkeypatch.setattr(
        "fairway.gateway.client.quick_request", lambda *given: short.append(quick_request(*given)) or short[-1]
    )
    now = most = 0

    async def slow(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        writer.write(answer())

    async with ScriptedArm(slow) as one_end, ScriptedArm(slow) as other:
        await harness.start(limited(table(one_end.endpoint, other.endpoint), 3, queue=64))

        async def converse(name: str) -> Counter[int]:
            async with connected(harness.port) as client:
                return Counter([(await client.ask(f"X-Conversation-Id: {name}")).status for _ in range(20)])

        replies = await asyncio.gather(*(converse(f"c-{n}") for n in range(8)))
        assert sum(replies, Counter()) == {200: 160}
        replies = await asyncio.gather(*(converse(f"c-{n}") for n in range(3)))
        assert sum(replies, Counter()) == {200: 60}
        assert most <= 3
        assert sum(short) >= 20
        assert harness.worker.fleet[OLD].places <= 3


# --- who is left out -------------------------------------------------------------------------------------------


async def test_an_endpoint_that_hangs_up_is_left_out_and_one_that_answers_is_not(harness: Harness) -> None:
    async def cut(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with ScriptedArm(cut) as bad, ScriptedArm(always(answer())) as good:
        await harness.start(table(bad.endpoint, good.endpoint))
        statuses = [(await one(harness.port, *QUEUED, method="POST", body=b"q")).status for _ in range(20)]
        assert statuses.count(502) == 3, "a POST that was sent is not sent again, but its endpoint is soon left out"
        fleet = harness.worker.fleet[OLD]
        assert fleet.pools[bad.endpoint].record.standing is Standing.OUT
        assert fleet.ejections == {Why.BROKEN: 1}


async def test_an_endpoint_that_alone_answers_badly_is_left_out(harness: Harness) -> None:
    broken = always(answer(b"", status="500 Internal Server Error", outcome=None))
    async with ScriptedArm(broken) as bad, ScriptedArm(always(answer(outcome=None))) as good:
        await harness.start(table(bad.endpoint, good.endpoint))
        async with connected(harness.port) as client:
            statuses = [(await client.ask(f"X-Conversation-Id: {n}")).status for n in range(60)]
        assert statuses.count(500) <= 12
        assert harness.worker.fleet[OLD].ejections == {Why.OUTLIER: 1}


async def test_a_release_that_answers_badly_everywhere_keeps_its_endpoints_and_fails(harness: Harness) -> None:
    broken = always(answer(b"", status="500 Internal Server Error", outcome=None))
    async with ScriptedArm(broken) as bad, ScriptedArm(broken) as worse:
        await harness.start(table(bad.endpoint, worse.endpoint))
        async with connected(harness.port) as client:
            for number in range(60):
                await client.ask(f"X-Conversation-Id: {number}")
        assert harness.worker.fleet[OLD].ejections == {}
        assert (await harness.counted())[Role.STABLE].failed == 60


async def test_an_endpoint_that_is_back_is_tried_by_a_connection_and_one_request_before_it_serves(
    harness: Harness,
) -> None:
    async with ScriptedArm(always(answer())) as good:
        bad = serving(*([CUT] * 3), *([answer()] * 100))
        async with bad:
            await harness.start(replace(table(bad.endpoint, good.endpoint), ejection=Ejection(base=0.2)))
            for _ in range(8):
                await one(harness.port, *QUEUED, method="POST", body=b"q")
            record = harness.worker.fleet[OLD].pools[bad.endpoint].record
            assert record.standing is Standing.OUT
            before = len(bad.requests)
            async with asyncio.timeout(10):
                while record.standing is not Standing.IN:
                    assert (await one(harness.port, *QUEUED)).status == 200
                    await asyncio.sleep(0.05)
            assert len(bad.requests) == before + 1
            for _ in range(10):
                await one(harness.port, *QUEUED)
            assert len(bad.requests) > before + 1


async def test_streams_run_on_through_an_ejection_and_the_end_of_their_endpoint(harness: Harness) -> None:
    async def stream(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if request.method == "POST":
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(20):
            writer.write(b"data: %d\n\n" % number)
            await writer.drain()
            await asyncio.sleep(0.03)
        writer.write(b"data: [DONE]\n: fairway-outcome status=ok\n\n")
        await writer.drain()
        writer.close()

    async with ScriptedArm(stream) as first, ScriptedArm(stream) as second, ScriptedArm(always(answer())) as third:
        await harness.start(table(first.endpoint, second.endpoint))
        running = [asyncio.create_task(one(harness.port, f"X-Conversation-Id: {n}")) for n in range(4)]
        while len(first.requests) + len(second.requests) < 4:
            await asyncio.sleep(0.01)
        assert min(len(first.requests), len(second.requests)) == 2, "the load is shared"
        while not harness.worker.fleet[OLD].ejections:
            await one(harness.port, method="POST", body=b"q")
        await harness.install(table(third.endpoint, seq=2))
        assert (await one(harness.port)).body == b"ok"
        assert all(reply.body.endswith(b"data: [DONE]\n\n") for reply in await asyncio.gather(*running))


# --- whose answers ---------------------------------------------------------------------------------------------


def says(release: str, body: bytes = b"ok", outcome: str | None = "status=ok") -> bytes:
    return answer(body, headers=(f"Fairway-Release: {release}",), outcome=outcome)


async def test_an_arm_that_says_which_release_it_is_is_verified_and_its_clients_do_not_see_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: list[bool] = []
    monkeypatch.setattr(
        "fairway.gateway.client.quick_request", lambda *given: short.append(quick_request(*given)) or short[-1]
    )
    async with ScriptedArm(always(says(OLD))) as arm, ScriptedArm(always(answer())) as silent:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            for _ in range(6):
                reply = await client.ask(*QUEUED)
                assert (reply.status, reply.version, "fairway-release" in reply.headers) == (200, "1.0.0", False)
        assert sum(short) >= 4, "it costs the short way nothing"
        assert harness.worker.fleet[OLD].pools[arm.endpoint].verified
        await harness.install(table(silent.endpoint, seq=2))
        assert (await one(harness.port)).status == 200
        assert not harness.worker.fleet[OLD].pools[silent.endpoint].verified


@pytest.mark.parametrize("raw", [says(NEW), says(f"{OLD}\r\nFairway-Release: {OLD}"), says("")])
async def test_an_answer_of_another_release_is_not_passed_on_and_its_endpoint_gets_no_more(
    harness: Harness, raw: bytes
) -> None:
    async with ScriptedArm(always(raw)) as taken_over:
        await harness.start(table(taken_over.endpoint))
        reply = await one(harness.port, *QUEUED, method="POST", body=b"q")
        assert (reply.status, code(reply), b"ok" in reply.body) == (502, "wrong_release", False)
        again = await one(harness.port, *QUEUED, method="POST", body=b"q")
        assert (again.status, code(again), len(taken_over.requests)) == (502, "unreachable", 1)
        counted = (await harness.counted())[Role.STABLE]
        assert counted.failed == 2


async def test_an_endpoint_taken_over_while_its_connections_are_kept_is_found_out_on_the_short_way(
    harness: Harness,
) -> None:
    turn = iter([says(OLD)] * 3 + [says(NEW)] * 100)

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(next(turn))

    async with ScriptedArm(script) as one_end:
        await harness.start(table(one_end.endpoint))
        async with connected(harness.port) as client:
            replies = [await client.ask(*QUEUED, method="POST", body=b"q") for _ in range(5)]
        assert [reply.status for reply in replies] == [200, 200, 200, 502, 502]
        assert len(one_end.requests) == 4


async def test_what_may_be_sent_twice_goes_to_another_endpoint_instead(harness: Harness) -> None:
    async with ScriptedArm(always(says(NEW, b"new"))) as taken_over, ScriptedArm(always(says(OLD, b"old"))) as good:
        await harness.start(table(taken_over.endpoint, good.endpoint))
        replies = [await one(harness.port, f"X-Conversation-Id: {n}") for n in range(10)]
        assert {(reply.status, reply.body) for reply in replies} == {(200, b"old")}
        assert len(taken_over.requests) == 1
        assert harness.worker.fleet[OLD].ejections == {Why.WRONG: 1}


@pytest.mark.parametrize("proof", [says(OLD), answer()], ids=["names its own", "names none"])
async def test_an_endpoint_of_another_release_is_back_when_it_says_so_and_no_request_is_risked_for_that(
    harness: Harness, proof: bytes
) -> None:
    now = says(NEW)

    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(now)

    async with ScriptedArm(script) as one_end, ScriptedArm(always(proof)) as good:
        await harness.start(table(one_end.endpoint, good.endpoint))
        while not harness.worker.fleet[OLD].ejections:
            await one(harness.port, *QUEUED)
        record = harness.worker.fleet[OLD].pools[one_end.endpoint].record
        asked = len(one_end.requests)
        async with asyncio.timeout(10):
            while len(one_end.requests) < asked + 2:
                assert (await one(harness.port, *QUEUED, method="POST", body=b"q")).status == 200
                await asyncio.sleep(0.05)
        assert {request.method for request in one_end.requests[asked:]} == {"HEAD"}
        assert record.standing is Standing.WRONG
        now = proof
        async with asyncio.timeout(10):
            while record.standing is not Standing.IN:
                await asyncio.sleep(0.05)
        assert {(await one(harness.port, f"X-Conversation-Id: {n}")).status for n in range(6)} == {200}
        assert {request.method for request in one_end.requests[asked:]} == {"HEAD", "GET"}


async def test_a_candidate_whose_only_endpoint_is_another_releases_fails_and_stable_serves(harness: Harness) -> None:
    async with ScriptedArm(always(says(OLD, b"old"))) as old:
        await harness.start(table(old.endpoint, candidate=(old.endpoint,), split=100_000))
        first, second = [await one(harness.port, f"X-Conversation-Id: {n}") for n in range(2)]
        assert (first.version, second.version, second.body) == ("1.0.0", "1.0.0", b"old")
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.assigned, counted.failed) == (2, 2)


async def test_copies_for_a_shadow_stop_when_another_release_answers_them(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "BUSY", math.inf)
    async with ScriptedArm(always(says(OLD))) as stable, ScriptedArm(always(says(OLD, b"real"))) as taken_over:
        found = table(stable.endpoint)
        shadow = Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(taken_over.endpoint,))
        await harness.start(replace(found, arms=(*found.arms, shadow), mirror=Parts(WHOLE)))
        async with connected(harness.port) as client:
            for number in range(6):
                assert (await client.ask(f"X-Conversation-Id: {number}")).body == b"ok"
                while harness.worker.mirror.room.copies:
                    await asyncio.sleep(0.01)
        assert [request.method for request in taken_over.requests if request.method != "HEAD"] == ["GET"]
        assert harness.worker.fleet[NEW].ejections == {Why.WRONG: 1}


# --- sent again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("PUT", 200), ("POST", 502)])
async def test_only_what_may_be_sent_twice_is_sent_again_when_an_instance_dies_under_it(
    harness: Harness, method: str, status: int
) -> None:
    async with serving(CUT, CUT) as dying, ScriptedArm(always(answer())) as good:
        await harness.start(table(dying.endpoint, good.endpoint))
        replies = [await one(harness.port, f"X-Conversation-Id: {n}", method=method) for n in range(4)]
        assert sorted(reply.status for reply in replies)[-1] == status
        assert len(dying.requests) >= 1


async def test_a_kept_connection_that_the_arm_closed_meanwhile_is_no_failure_of_its_endpoint(harness: Harness) -> None:
    async with serving(answer(), CUT, answer()) as arm:
        await harness.start(table(arm.endpoint))
        async with connected(harness.port) as client:
            assert [(await client.ask(*QUEUED)).status for _ in range(2)] == [200, 200]
        record = harness.worker.fleet[OLD].pools[arm.endpoint].record
        assert (record.broken, len(arm.requests)) == (0, 3)


async def test_an_arm_in_trouble_is_not_sent_more_again_than_its_budget(harness: Harness) -> None:
    async def cut(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with ScriptedArm(cut) as arm:
        await harness.start(limited(table(arm.endpoint), 4))
        replies = [await one(harness.port, f"X-Conversation-Id: {n}") for n in range(40)]
        assert {reply.status for reply in replies} == {502}
        assert 4 <= len(arm.requests) - 40 <= 6, "each was sent once, and a few once more"


async def test_the_time_an_arm_takes_to_hang_counts_against_its_endpoint(harness: Harness) -> None:
    async with serving(*([HANG] * 20)) as hung, ScriptedArm(always(answer())) as good:
        found = table(hung.endpoint, good.endpoint)
        await harness.start(replace(found, timeouts=replace(found.timeouts, first_byte=0.2)))
        replies = await asyncio.gather(*(one(harness.port, f"X-Conversation-Id: {n}") for n in range(12)))
        assert {reply.status for reply in replies} == {200, 504}
        assert harness.worker.fleet[OLD].pools[hung.endpoint].record.standing is Standing.OUT
        assert {(await one(harness.port)).status for _ in range(6)} == {200}


# --- asked by the gateway --------------------------------------------------------------------------------------


class Asked:
    """An arm that answers what the gateway asks as it is told to, and serves users whatever that is."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.ready = answer(b"{}")
        self.asked = 0

    async def script(self, request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/ready":
            self.asked += 1
            writer.write(self.ready)
        else:
            writer.write(answer(self.name))


UNREADY = answer(b"", status="503 Service Unavailable")


@contextlib.asynccontextmanager
async def running(gateway: GatewayProcess, found: RouteTable) -> AsyncIterator[GatewayProcess]:
    await gateway.start("--workers", "2", *gateway.with_table(found))
    try:
        yield gateway
    finally:
        await gateway.stop()


async def test_an_endpoint_that_is_not_ready_gets_nothing_until_it_is(tmp_path: Path) -> None:
    first, second = Asked(b"first"), Asked(b"second")
    async with ScriptedArm(first.script) as one_end, ScriptedArm(second.script) as other:
        health = Health(path="/ready", interval=0.1, timeout=1.0, healthy=2, unhealthy=2)
        found = replace(table(one_end.endpoint, other.endpoint), health=health)
        async with running(GatewayProcess(tmp_path), found) as gateway:

            async def states() -> list[str]:
                (arm,) = (await gateway.status())["table"]["arms"]
                return [endpoint["state"] for endpoint in arm["endpoints"]]

            async def served(count: int = 12) -> set[bytes]:
                return {(await one(gateway.port)).body for _ in range(count)}

            async def only(body: bytes) -> bool:
                return await served() == {body}

            assert await served(24) == {b"first", b"second"}
            first.ready = UNREADY
            await until(lambda: only(b"second"))
            assert await states() == ["unhealthy", "healthy"]
            first.ready = answer(json.dumps({"release": NEW}).encode())

            async def wrong() -> bool:
                return (await states())[0] == "wrong_release"

            await until(wrong)
            assert await served() == {b"second"}
            second.ready = UNREADY
            await asyncio.sleep(0.5)
            assert await served() == {b"second"}, "the last one is asked all the same; another release's never"
            first.ready = answer(json.dumps({"release": OLD}).encode())

            async def both() -> bool:
                return await states() == ["healthy", "unhealthy"]

            await until(both)
            await until(lambda: only(b"first"))
            metrics = (await gateway.ask("GET", "/metrics")).body.decode()
            labels = 'route="support/production",release="1.0.0",role="stable"'
            assert f'fairway_gateway_endpoints{{{labels},state="unhealthy"}} 1' in metrics
            assert f"fairway_gateway_endpoints_verified{{{labels}}} 1" in metrics
            assert first.asked > 5, "by one process, whatever the number of workers"


async def test_users_of_a_candidate_that_is_not_ready_are_stables_and_have_failed_for_it(tmp_path: Path) -> None:
    first, second = Asked(b"stable"), Asked(b"candidate")
    second.ready = UNREADY
    async with ScriptedArm(first.script) as old, ScriptedArm(second.script) as new:
        health = Health(path="/ready", interval=0.1, timeout=1.0, healthy=1, unhealthy=1)
        found = replace(table(old.endpoint, candidate=(new.endpoint,), split=100_000), health=health)
        async with running(GatewayProcess(tmp_path), found) as gateway:

            async def moved() -> bool:
                return (await one(gateway.port, "X-Conversation-Id: a")).version == "1.0.0"

            await until(moved)
            failed = 'release="1.1.0",role="candidate",outcome="failed"} '

            async def counted() -> bool:
                _, _, rest = (await gateway.ask("GET", "/metrics")).body.decode().partition(failed)
                return rest[:1] not in ("", "0")

            await until(counted)


# --- killed ----------------------------------------------------------------------------------------------------

_ARM = """
import asyncio, sys
class Arm(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, _, self.data = self.data.partition(b"\\r\\n\\r\\n")
            asyncio.get_running_loop().call_later(0.002, self.transport.write, ANSWER)
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nfairway-release: %s\\r\\n\\r\\nok" % sys.argv[2].encode()
async def serve():
    server = await asyncio.get_running_loop().create_server(Arm, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(serve())
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def start_arm(port: int, release: str = OLD) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ARM, str(port), release, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"ready\n"
    return process


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]


async def test_killing_one_of_two_instances_under_load_fails_no_request_that_may_be_sent_twice(
    harness: Harness,
) -> None:
    """GETs: none fails. POSTs: at most those that had reached the killed instance."""
    ports = [free_port(), free_port()]
    arms = [await start_arm(port) for port in ports]
    statuses: dict[str, Counter[int]] = {"GET": Counter(), "POST": Counter()}
    stop = asyncio.Event()

    async def load(number: int) -> None:
        method = "GET" if number % 2 else "POST"
        async with connected(harness.port) as client:
            while not stop.is_set():
                reply = await client.ask(f"X-Conversation-Id: {number}", method=method)
                statuses[method][reply.status] += 1

    try:
        await harness.start(table(*(f"127.0.0.1:{port}" for port in ports)))
        tasks = [asyncio.create_task(load(number)) for number in range(8)]
        for turn in range(3):
            await asyncio.sleep(0.4)
            await end(arms[turn % 2])
            await asyncio.sleep(0.3)
            arms[turn % 2] = await start_arm(ports[turn % 2])
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        for process in arms:
            await end(process)
    assert set(statuses["GET"]) == {200}
    assert set(statuses["POST"]) <= {200, 502}
    # what runs on the killed instance, and once more what its socket still took while it died
    assert statuses["POST"][502] <= 3 * 4 * 2
    assert min(sum(found.values()) for found in statuses.values()) > 100
