"""A worker that mirrors: the shadow gets copies of whole conversations, the user never notices, pairs are compared."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway import client as client_connection
from fairway.gateway import room
from fairway.gateway.left_out import LeftOut
from fairway.observe.fold import FoldState, fold_all, mature_blocks
from fairway.testing.gateway_worker import Client, Harness, connected
from fairway.testing.scripted_arm import ArmRequest, Script, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket, mirror_salt, unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
WHOLE = 100_000


def table(stable: str, shadow: str | None, *, mirror: int = WHOLE, seq: int = 1, **more: object) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,))]
    if shadow is not None:
        arms.append(Arm(role=Role.SHADOW, release=NEW, version="1.1.0", endpoints=(shadow,)))
    made = RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=tuple(arms),
        mirror=Parts(mirror),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=1.0, idle=1.0, total=2.0),
        block_seconds=1.0,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    monkeypatch.setattr(
        room, "BUSY", math.inf
    )  # worker, arms and clients are one process here, and a machine is shared
    made = Harness(tmp_path)
    yield made
    await made.close()


async def ask(client: Client, key: str = "c-1", body: bytes = b"question") -> bytes:
    reply = await client.ask(f"X-Conversation-Id: {key}", method="POST", target="/chat", body=body)
    assert (reply.status, reply.version) == (200, "1.0.0"), reply.headers
    return reply.body


async def until_idle(harness: Harness) -> None:
    """Wait for every copy to have ended."""
    async with asyncio.timeout(5):
        while harness.worker.mirror.room.copies:
            await asyncio.sleep(0.005)


async def sums_of(harness: Harness) -> dict[str, float]:
    counted = await harness.counted()
    return {} if Role.SHADOW not in counted else dict(counted[Role.SHADOW].sums)


def says(
    outcome: str | None = "status=ok", *, body: bytes = b"ok", status: str = "200 OK", after: float = 0.0
) -> Script:
    async def script(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after)
        writer.write(answer(body, outcome=outcome, status=status))

    return script


# --- what the shadow gets ----------------------------------------------------------------------------------------


async def test_each_request_of_a_mirrored_conversation_is_copied_and_marked(harness: Harness) -> None:
    async with ScriptedArm(always(answer(b"real"))) as stable, ScriptedArm(always(answer(b"shadow"))) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(4):
                assert await ask(client, body=b"question %d" % number) == b"real"
        await until_idle(harness)
        assert [request.body for request in shadow.requests] == [b"question %d" % number for number in range(4)]
        for copy, sent in zip(shadow.requests, stable.requests, strict=True):
            assert copy.header("x-fairway-shadow") == "1"
            assert sent.header("x-fairway-shadow") is None
            assert [pair for pair in copy.headers if pair[0] != "x-fairway-shadow"] == list(sent.headers)
            assert (copy.method, copy.target) == (sent.method, sent.target)
        sums = await sums_of(harness)
        assert (sums["shadow_pairs"], sums["shadow_changed"]) == (4, 4)


async def test_a_client_cannot_mark_its_own_request_as_a_shadows(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable:
        await harness.start(table(stable.endpoint, None, mirror=0))
        async with connected(harness.port) as client:
            for name in ("X-Fairway-Shadow", "x_fairway_shadow", "X-Fairway_Shadow"):
                assert (await client.ask("X-Conversation-Id: c", f"{name}: 1")).status == 200
        assert not [pair for request in stable.requests for pair in request.headers if "shadow" in pair[0]]


async def test_the_share_of_conversations_is_that_of_the_table_and_the_same_for_every_request(harness: Harness) -> None:
    keys = [f"c-{number}" for number in range(60)]
    mirrored = {key for key in keys if bucket(mirror_salt("r-1"), key) < 30_000}
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, mirror=30_000))
        async with connected(harness.port) as client:
            for _ in range(3):
                for key in keys:
                    await ask(client, key)
        await until_idle(harness)
        got = [request.header("x-conversation-id") for request in shadow.requests]
        assert sorted(str(key) for key in got) == sorted([*mirrored] * 3)
        assert 0 < len(mirrored) < len(keys)


async def test_a_conversation_that_began_before_the_mirror_is_counted_and_not_copied(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, mirror=0))
        async with connected(harness.port) as client:
            await ask(client, "old")
            await harness.install(table(stable.endpoint, shadow.endpoint, seq=2))
            await ask(client, "old")
            await ask(client, "new")
        await until_idle(harness)
        assert [request.header("x-conversation-id") for request in shadow.requests] == ["new"]
        sums = await sums_of(harness)
        assert (sums["shadow_skipped"], sums["shadow_pairs"]) == (1, 1)


async def test_chunked_requests_and_streams_are_mirrored_too(harness: Harness) -> None:
    events = b'data: {"text": "hi"}\n\n: fairway-outcome status=ok, tools=1\ndata: done\n\n'

    async def stream(request: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, len(events), 7):
            piece = events[at : at + 7]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async with ScriptedArm(stream) as stable, ScriptedArm(stream) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            head = b"POST /chat HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.writer.write(head + b"5\r\nhello\r\n")
            await asyncio.sleep(0.03)
            client.writer.write(b"0\r\n\r\n")
            reply = await client.reply()
            assert b"fairway-outcome" not in reply.body
        await until_idle(harness)
        assert shadow.requests[0].body == b"hello"
        sums = await sums_of(harness)
        assert sums["shadow_pairs"] == 1
        assert "shadow_changed" not in sums
        assert sums["shadow_bytes"] == sums["shadow_primary_bytes"] == len(reply.body)


# --- nobody notices ----------------------------------------------------------------------------------------------


async def test_the_user_is_answered_at_once_while_the_shadow_hangs(harness: Harness) -> None:
    async def hang(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(hang) as shadow:
        patient = Timeouts(connect=0.5, first_byte=2.5, idle=2.5, total=5.0)
        await harness.start(table(stable.endpoint, shadow.endpoint, timeouts=patient))
        async with connected(harness.port) as client:
            began = time.perf_counter()
            for number in range(100):
                await ask(client, f"c-{number}")
            assert time.perf_counter() - began < 2.5, "100 answers, before the first copy's time limit"
        taken_up = room.MAX_COPIES * room.TAKEN_UP
        assert harness.worker.mirror.room.copies == taken_up, "the rest of the room is for the conversations under way"
        await until_idle(harness)
        counted = await harness.counted()
        sums = counted[Role.SHADOW].sums
        assert sums["shadow_dropped"] == 100 - taken_up
        assert sums["shadow_failed"] == sums["shadow_pairs"] == taken_up
        assert counted[Role.STABLE].finished == 100
        assert counted[Role.STABLE].failed == counted[Role.STABLE].unknown == 0
        assert {exemplar["reason"] for exemplar in counted[Role.SHADOW].exemplars} == {"timeout_first_byte"}


async def test_what_a_hanging_shadow_has_no_room_for_takes_the_short_way_and_is_counted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = 0
    whole = client_connection.quick_request

    def counted_quick(client: object, data: bytes) -> bool:
        nonlocal quick
        taken = whole(client, data)  # type: ignore[arg-type]
        quick += taken
        return taken

    monkeypatch.setattr(client_connection, "quick_request", counted_quick)

    async def hang(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(hang) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, block_seconds=60.0))
        async with connected(harness.port) as client:
            for number in range(40):
                await ask(client, f"c-{number}")
            begun = quick
            for _ in range(5):
                for number in range(32, 40):
                    await ask(client, f"c-{number}")
            assert (begun, quick - begun) == (8, 40), "eight had no room, and neither had any of their requests"
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums["shadow_dropped"] == 8 + 40 + 32, "and those cut off by the drain"
        assert (counted[Role.STABLE].assigned, counted[Role.STABLE].finished) == (80, 80)


async def test_a_conversation_the_shadow_has_lost_takes_the_short_way_and_each_request_is_counted(
    harness: Harness,
) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, block_seconds=60.0))
        async with connected(harness.port) as client:
            await ask(client)
            await until_idle(harness)  # only one of the two failed: not followed any longer
            for _ in range(6):
                await ask(client)
            known = harness.worker.serving.known[b"c-1"].known
            assert known.direct
            assert isinstance(known.left_out, LeftOut)
        assert len(shadow.requests) == 1
        sums = await sums_of(harness)
        assert (sums["shadow_failed"], sums["shadow_skipped"]) == (1, 6)


async def test_what_is_left_out_is_counted_once_over_blocks_and_tables(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, block_seconds=0.5))
        async with connected(harness.port) as client:
            await ask(client)
            await until_idle(harness)
            for seq in (2, 3, 4):
                for _ in range(20):
                    await ask(client)
                    await asyncio.sleep(0.02)
                await harness.install(table(stable.endpoint, shadow.endpoint, block_seconds=0.5, seq=seq))
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums["shadow_skipped"] == 60
        assert (counted[Role.STABLE].assigned, counted[Role.STABLE].finished) == (61, 61)


async def test_what_is_left_out_is_counted_once_when_the_same_table_comes_again(harness: Harness) -> None:
    """As with each certificate that is renewed."""
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed")) as shadow:
        made = table(stable.endpoint, shadow.endpoint, block_seconds=60.0)
        await harness.start(made)
        async with connected(harness.port) as client:
            await ask(client)
            await until_idle(harness)
            await harness.reported()
            for count in (6, 4):
                for _ in range(count):
                    await ask(client)
                await harness.install(made)
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums["shadow_skipped"] == 10


async def test_an_unusual_answer_on_the_short_way_is_counted_once(harness: Harness) -> None:
    async def in_chunks(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with ScriptedArm(in_chunks) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, block_seconds=60.0))
        async with connected(harness.port) as client:
            await ask(client)
            await until_idle(harness)
            for _ in range(6):
                await ask(client)
        sums = await sums_of(harness)
        assert (sums["shadow_failed"], sums["shadow_skipped"]) == (1, 6)


async def test_thresholds_hold_for_conversations_the_shadow_does_not_follow(harness: Harness) -> None:
    theta = {"latency_ms": {Role.STABLE: 40.0}}
    slowly = says(None, after=0.06)
    async with ScriptedArm(slowly) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, theta=theta, block_seconds=60.0))
        async with connected(harness.port) as client:
            for _ in range(3):
                await ask(client, "c-2")
                await until_idle(harness)
            assert isinstance(harness.worker.serving.known[b"c-2"].known.left_out, LeftOut)
        counted = await harness.counted()
        assert counted[Role.STABLE].marks["slow"] == (unit_hash("c-2"),)


async def test_conversations_of_the_candidate_are_not_copied_and_take_the_short_way(harness: Harness) -> None:
    candidate = Digest("sha256:" + "c" * 64)
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        made = table(stable.endpoint, shadow.endpoint, block_seconds=60.0)
        arm = Arm(role=Role.CANDIDATE, release=candidate, version="1.0.0", endpoints=(stable.endpoint,))
        await harness.start(replace(made, arms=(*made.arms, arm), split=Parts(WHOLE)))
        async with connected(harness.port) as client:
            for _ in range(3):
                await ask(client)
        assert harness.worker.serving.known[b"c-1"].known.direct
        counted = await harness.counted()
        assert not shadow.requests
        assert Role.SHADOW not in counted, "nothing of it is a shadow's"
        assert counted[Role.CANDIDATE].assigned == 3


async def test_a_client_that_leaves_makes_its_pair_neither_unknown_nor_diverged(harness: Harness) -> None:
    asked = asyncio.Event()

    async def slowly(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(30)

    async with ScriptedArm(slowly) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: c-1\r\n\r\n")
            await asked.wait()
        async with asyncio.timeout(5):
            while not stable.lost:
                await asyncio.sleep(0.01)
        await until_idle(harness)
        assert len(shadow.requests) == 1
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums == {"shadow_client_left": 1}
        assert counted[Role.STABLE].sums["client_aborted"] == 1


async def test_a_slow_shadow_changes_nothing_measurable_for_users(harness: Harness) -> None:
    async def timed(client: Client, prefix: str) -> float:
        times = []
        for number in range(150):
            began = time.perf_counter()
            await ask(client, f"{prefix}-{number}")
            times.append(time.perf_counter() - began)
        return sorted(times)[75]

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(after=0.2)) as shadow:
        await harness.start(table(stable.endpoint, None, mirror=0))
        async with connected(harness.port) as client:
            alone = await timed(client, "alone")
            await harness.install(table(stable.endpoint, shadow.endpoint, seq=2))
            beside = await timed(client, "beside")
        assert beside < alone + 0.005, f"median {alone * 1000:.2f} ms alone, {beside * 1000:.2f} ms beside a shadow"


@pytest.mark.parametrize("breaks", ["refuses", "closes", "nonsense", "cut"])
async def test_a_broken_shadow_fails_its_copies_and_no_user(harness: Harness, breaks: str) -> None:
    async def broken(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if breaks == "nonsense":
            writer.write(b"ICY 200 OK\r\n\r\n")
        elif breaks == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await writer.drain()
        writer.close()

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(broken) as shadow:
        if breaks == "refuses":
            await shadow.close()
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(5):
                await ask(client, f"c-{number}")
        await until_idle(harness)
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums["shadow_failed"] == counted[Role.SHADOW].sums["shadow_pairs"] == 5
        assert (counted[Role.STABLE].finished, counted[Role.STABLE].failed) == (5, 0)
        expected = {
            "refuses": "unreachable",
            "closes": "arm_closed",
            "nonsense": "malformed_answer",
            "cut": "answer_cut",
        }
        assert {exemplar["reason"] for exemplar in counted[Role.SHADOW].exemplars} == {expected[breaks]}


async def test_no_answer_of_a_shadow_is_counted_as_a_users(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed, tokens_in=7")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(6):
                await ask(client, f"c-{number}")
        await until_idle(harness)
        increment = (await harness.counted())[Role.SHADOW]
        assert (
            increment.assigned == increment.served == increment.finished == increment.failed == increment.unknown == 0
        )
        assert not any(increment.histograms.values())
        assert not increment.marks
        assert "tokens_in" not in increment.sums
        assert increment.sums["shadow_failed"] == 6


async def test_a_shadow_serves_nobody_whatever_a_request_or_a_rule_says(harness: Harness) -> None:
    rule = Rule(id="r", kind=RuleKind.HEADER, name="x-beta", values=("1",), to=Role.SHADOW)
    async with ScriptedArm(always(answer(b"real"))) as stable, ScriptedArm(always(answer(b"shadow"))) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, mirror=0, rules=(rule,)))
        async with connected(harness.port) as client:
            for name in ("shadow", "1.1.0", NEW):
                signed = harness.worker.passes.sign(name, expires=int(time.time()) + 60)
                for value in (name, signed):
                    reply = await client.ask("X-Conversation-Id: c", f"X-Fairway-Release: {value}")
                    assert 400 <= reply.status < 500, value
            reply = await client.ask("X-Conversation-Id: c", "X-Beta: 1")
            assert (reply.version, reply.body) == ("1.0.0", b"real")
        assert not shadow.requests


async def test_unmirrored_conversations_go_the_short_way_beside_mirrored_ones(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint, mirror=50_000))
        keys = [f"c-{number}" for number in range(20)]
        async with connected(harness.port) as client:
            for _ in range(3):
                for key in keys:
                    await ask(client, key)
        serving = harness.worker.serving
        for key in keys:
            mirrored = bucket(mirror_salt("r-1"), key) < 50_000
            assert serving.known[key.encode()].known.direct is not mirrored
        assert any(not unit.known.direct for unit in serving.known.values())


async def test_a_pin_of_the_gateway_ends_the_mirror(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint), withheld=(NEW,))
        async with connected(harness.port) as client:
            await ask(client)
        await asyncio.sleep(0.05)
        assert not shadow.requests


# --- bounds ------------------------------------------------------------------------------------------------------


async def test_a_request_too_large_to_be_kept_is_dropped_and_ends_its_conversations_mirror(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            await ask(client, "c", b"small")
            await ask(client, "c", b"x" * 70_000)
            await ask(client, "c", b"small again")
        await until_idle(harness)
        assert [request.body for request in shadow.requests] == [b"small"]
        sums = await sums_of(harness)
        assert (sums["shadow_pairs"], sums["shadow_dropped"], sums["shadow_skipped"]) == (1, 1, 1)


async def test_bytes_held_for_copies_are_bounded(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_BYTES", 100_000)
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(after=0.3)) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(6):
                await ask(client, f"c-{number}", b"x" * 40_000)
                assert harness.worker.mirror.room.held_bytes <= 100_000
        await until_idle(harness)
        assert harness.worker.mirror.room.held_bytes == 0
        sums = await sums_of(harness)
        assert (sums["shadow_pairs"], sums["shadow_dropped"]) == (2, 4)


async def test_the_copies_of_a_conversation_are_sent_one_after_the_other(harness: Harness) -> None:
    running = 0

    async def alone(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.03)
        running -= 1
        writer.write(answer())

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(alone) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(5):
                await ask(client, "c", b"%d" % number)
        await until_idle(harness)
        assert [request.body for request in shadow.requests] == [b"%d" % number for number in range(5)]
        assert (await sums_of(harness))["shadow_pairs"] == 5


async def test_what_runs_when_the_worker_drains_is_dropped_at_once(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(after=10)) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            await ask(client)
        began = time.perf_counter()
        assert (await sums_of(harness)) == {"shadow_dropped": 1}
        assert time.perf_counter() - began < 1.0


async def test_a_stale_kept_connection_of_the_shadow_is_no_failure(harness: Harness) -> None:
    used: set[asyncio.StreamWriter] = set()

    async def once(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        if writer in used:
            writer.close()  # as a server does that closes an idle connection just when a request is on its way
            return
        used.add(writer)
        writer.write(answer())

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(once) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(6):
                await ask(client, f"c-{number}")
                await until_idle(harness)
        assert len(shadow.requests) > 6, "some were sent again"
        sums = await sums_of(harness)
        assert sums["shadow_pairs"] == 6
        assert "shadow_failed" not in sums


# --- what a pair says --------------------------------------------------------------------------------------------


async def test_a_conversation_in_which_only_the_shadow_failed_is_not_followed_any_further(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                await ask(client)
                await until_idle(harness)
        sums = await sums_of(harness)
        assert (sums["shadow_failed"], sums["shadow_pairs"], sums["shadow_skipped"]) == (1, 1, 2)
        assert len(shadow.requests) == 1


async def test_pairs_are_in_the_blocks_a_controller_folds(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=failed")) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            for number in range(10):
                await ask(client, f"c-{number}")
        await until_idle(harness)
        await harness.drained()
    wire = [json.loads(json.dumps(batch.to_wire())) for batch in harness.batches]
    batches = [type(batch).from_wire(each) for batch, each in zip(harness.batches, wire, strict=True)]
    blocks, _ = mature_blocks(fold_all(FoldState(), batches), time.time() + 60)
    arms = [block.arms[NEW] for block in blocks if block.comparable and NEW in block.arms]
    assert {arm.role for arm in arms} == {Role.SHADOW}
    assert sum(arm.sums["shadow_failed"] for arm in arms) == 10
    assert sum(arm.assigned for arm in arms) == 0


async def test_pairs_begun_under_another_regime_are_counted_nowhere(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(after=0.2)) as shadow:
        await harness.start(table(stable.endpoint, shadow.endpoint))
        async with connected(harness.port) as client:
            await ask(client)
            await harness.install(table(stable.endpoint, shadow.endpoint, mirror=0, seq=2))
            await until_idle(harness)
        assert await sums_of(harness) == {}


# --- a shadow that has to say that it is one ---------------------------------------------------------------------


def attested(stable: ScriptedArm, shadow: ScriptedArm) -> RouteTable:
    return table(stable.endpoint, shadow.endpoint, shadow_says=True)


async def test_a_shadow_that_says_so_is_mirrored_to_as_ever(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=ok, shadow=1")) as shadow:
        await harness.start(attested(stable, shadow))
        async with connected(harness.port) as client:
            for number in range(5):
                await ask(client, f"c-{number}")
                await until_idle(harness)
        sums = await sums_of(harness)
        assert sums["shadow_pairs"] == 5
        assert "shadow_unattested" not in sums


@pytest.mark.parametrize("outcome", ["status=ok", "status=ok, shadow=0", None, "status=what", "status=failed"])
async def test_one_answer_without_the_word_ends_the_mirror_for_everybody(harness: Harness, outcome: str | None) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(outcome)) as shadow:
        await harness.start(attested(stable, shadow))
        async with connected(harness.port) as client:
            for number in range(6):
                await ask(client, f"c-{number}")
                await ask(client, f"c-{number}")
                await until_idle(harness)
        assert len(shadow.requests) == 1, "what it did once is once too often"
        assert len(stable.requests) == 12
        counted = await harness.counted()
        assert counted[Role.SHADOW].sums["shadow_unattested"] >= 6
        assert "shadow_pairs" not in counted[Role.SHADOW].sums
        assert counted[Role.STABLE].failed == 0


async def test_until_the_first_word_a_single_copy_is_under_way(harness: Harness) -> None:
    all_asked = asyncio.Event()

    async def at_last(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await all_asked.wait()
        writer.write(answer(outcome="status=ok"))

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(at_last) as shadow:
        await harness.start(replace(attested(stable, shadow), timeouts=Timeouts(first_byte=30.0)))
        async with connected(harness.port) as client:
            for number in range(40):
                await ask(client, f"c-{number}")
        all_asked.set()
        await until_idle(harness)
        assert len(shadow.requests) == 1
        assert (await sums_of(harness))["shadow_dropped"] == 39


async def test_a_shadow_that_stops_saying_so_is_left_and_what_waits_is_not_sent(harness: Harness) -> None:
    answered = 0

    async def forgets(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        await asyncio.sleep(0 if answered < 3 else 0.2)
        writer.write(answer(outcome="status=ok, shadow=1" if answered < 3 else "status=ok"))

    async with ScriptedArm(always(answer())) as stable, ScriptedArm(forgets) as shadow:
        await harness.start(attested(stable, shadow))
        async with connected(harness.port) as client:
            for _ in range(2):
                await ask(client)
                await until_idle(harness)
            for _ in range(5):
                await ask(client)  # one under way, four waiting behind it
            await until_idle(harness)
            await ask(client, "c-9")
        assert len(shadow.requests) == 3


async def test_a_shadow_that_only_fails_has_not_acted_against_its_word(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says(None, status="503 No")) as shadow:
        await harness.start(attested(stable, shadow))
        async with connected(harness.port) as client:
            for number in range(3):
                await ask(client, f"c-{number}")
                await until_idle(harness)
        sums = await sums_of(harness)
        assert (sums["shadow_failed"], len(shadow.requests)) == (3, 3)
        assert "shadow_unattested" not in sums


async def test_an_answer_to_what_changes_nothing_need_not_say_it(harness: Harness) -> None:
    async with ScriptedArm(always(answer(outcome=None))) as stable, ScriptedArm(says(None)) as shadow:
        await harness.start(attested(stable, shadow))
        async with connected(harness.port) as client:
            for _ in range(3):
                assert (await client.ask("X-Conversation-Id: c-1", target="/history")).status == 200
                await until_idle(harness)
        assert len(shadow.requests) == 3
        assert "shadow_unattested" not in await sums_of(harness)


async def test_another_table_of_the_same_mirror_does_not_forget(harness: Harness) -> None:
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(says("status=ok")) as shadow:
        first = attested(stable, shadow)
        await harness.start(first)
        async with connected(harness.port) as client:
            await ask(client)
            await until_idle(harness)
            await harness.install(replace(first, fence=Fence(term=1, seq=2)))
            await ask(client, "c-2")
            await until_idle(harness)
        assert len(shadow.requests) == 1
