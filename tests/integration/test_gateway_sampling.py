"""Requests of sampled conversations reach a listener beside the gateway, and nobody's request notices."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway import sampling
from fairway.gateway.quick_request import quick_request
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket, unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.sampling import LiveSample, Sampling, pack, sample_hash, unpack
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


def table(
    stable: str, candidate: str | None = None, *, share: int = int(WHOLE), body: int = 1024, **more
) -> RouteTable:
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,))]
    if candidate is not None:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)))
    made = RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=1),
        arms=tuple(arms),
        split=Parts(0 if candidate is None else WHOLE // 2),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        block_seconds=1e9,
        sample=Sampling(share=Parts(share), body_bytes=body) if share else None,
    )
    return replace(made, **more)


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(str(tmp_path / "samples.sock"))
        yield made


def heard(listener: socket.socket) -> list[LiveSample]:
    found = []
    while True:
        try:
            found.append(unpack(listener.recv(1 << 20)))
        except BlockingIOError:
            return found


async def ask(client, key: str, body: bytes = b"question"):
    return await client.ask(f"X-Conversation-Id: {key}", method="POST", target="/chat", body=body)


async def test_a_request_and_its_answer_are_told_whole_with_who_served_it(harness, listener) -> None:
    script = always(answer(b'{"response": "hi"}', outcome="status=ok, tokens_in=7, score=0.5"))
    async with ScriptedArm(script) as stable:
        await harness.start(table(stable.endpoint))
        async with connected(harness.port) as client:
            for _ in range(3):
                assert (await ask(client, "c-1", b'{"message": "hello"}')).status == 200
        counted = await harness.counted()
    samples = heard(listener)
    assert len(samples) == 3
    one = samples[0]
    assert one.request is not None
    assert one.request.endswith(b'\r\n\r\n{"message": "hello"}')
    assert one.answer == b'{"response": "hi"}'
    assert one.facts["unit"] == unit_hash("c-1")
    assert (one.facts["release"], one.facts["role"], one.facts["version"]) == (OLD, "stable", "1.0.0")
    assert (one.facts["verdict"], one.facts["status"]) == ("ok", 200)
    assert one.facts["outcome"] == "status=ok, tokens_in=7, score=0.5"
    assert counted[Role.STABLE].sums["samples"] == 3


async def test_a_streamed_answer_is_told_as_the_user_got_it(harness, listener) -> None:
    body = b"data: one\n\ndata: two\n: fairway-outcome status=ok, tokens_out=2\n\n"
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [body[:10], body[10:]]
    raw += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    async with ScriptedArm(always(raw)) as stable:
        await harness.start(table(stable.endpoint))
        async with connected(harness.port) as client:
            await ask(client, "c-1")
        await harness.counted()
    (one,) = heard(listener)
    assert one.answer is not None
    assert b"data: one" in one.answer
    assert b"data: two" in one.answer
    assert one.facts["outcome"] == "status=ok, tokens_out=2"


async def test_both_arms_are_sampled_at_the_same_share_by_whole_conversations(harness, listener) -> None:
    keys = [f"c-{n}" for n in range(400)]
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    found: list[LiveSample] = []
    async with ScriptedArm(always(answer())) as stable, ScriptedArm(always(answer())) as candidate:
        await harness.start(table(stable.endpoint, candidate.endpoint, share=30_000))
        async with connected(harness.port) as client:
            for key in keys * 2:
                await ask(client, key)
                found += heard(listener)
        counted = await harness.counted()
    found += heard(listener)
    taken = {key for key in keys if sample_hash(key.encode()) < Sampling(share=Parts(30_000)).below}
    units = [sample.facts["unit"] for sample in found]
    assert sorted(units) == sorted([unit_hash(key) for key in taken] * 2)
    for role in (Role.STABLE, Role.CANDIDATE):
        share = counted[role].sums["samples"] / counted[role].assigned
        assert 0.22 < share < 0.38


def test_the_share_is_the_same_on_each_side_of_any_split_over_many_keys() -> None:
    below = Sampling(share=Parts(5_000)).below
    sides = {True: [0, 0], False: [0, 0]}
    for n in range(40_000):
        side = sides[bucket("r-9", f"c-{n}") < 20_000]
        side[0] += 1
        side[1] += sample_hash(f"c-{n}".encode()) < below
    for total, sampled in sides.values():
        assert abs(sampled / total - 0.05) < 4 * (0.05 * 0.95 / total) ** 0.5


async def test_without_a_listener_users_are_served_and_samples_are_counted_as_dropped(harness) -> None:
    async with ScriptedArm(always(answer(b"ok"))) as stable:
        await harness.start(table(stable.endpoint))
        async with connected(harness.port) as client:
            for _ in range(5):
                assert (await ask(client, "c-1")).body == b"ok"
        counted = await harness.counted()
    assert counted[Role.STABLE].sums["samples_dropped"] == 5
    assert counted[Role.STABLE].finished == 5


async def test_a_listener_that_does_not_read_costs_samples_and_nothing_else(harness, listener) -> None:
    async with ScriptedArm(always(answer(b"x" * 1000))) as stable:
        await harness.start(table(stable.endpoint))
        async with connected(harness.port) as client:
            for n in range(600):
                assert (await ask(client, f"c-{n}")).status == 200
        counted = await harness.counted()
    sums = counted[Role.STABLE].sums
    assert sums["samples"] + sums["samples_dropped"] == 600
    assert sums["samples_dropped"] > 0


async def test_what_is_too_large_is_told_without_its_body(harness, listener) -> None:
    async with ScriptedArm(always(answer(b"y" * 3000))) as stable:
        await harness.start(table(stable.endpoint, body=2000))
        async with connected(harness.port) as client:
            await ask(client, "c-1", b"small")
            await ask(client, "c-1", b"x" * 2500)
            await ask(client, "c-1", b"x" * 100_000)
        await harness.counted()
    small, large, huge = heard(listener)
    assert small.request is not None
    assert (small.answer, large.request, huge.request) == (None, None, None)


async def test_no_more_are_under_way_than_the_bound(harness, listener, monkeypatch) -> None:
    monkeypatch.setattr(sampling, "MAX_SAMPLES", 2)
    gate = asyncio.Event()

    async def slow(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(answer())

    async with ScriptedArm(slow) as stable:
        await harness.start(table(stable.endpoint))

        async def one(n: int) -> int:
            async with connected(harness.port) as client:
                return (await ask(client, f"c-{n}")).status

        asking = [asyncio.create_task(one(n)) for n in range(5)]
        await asyncio.sleep(0.2)
        gate.set()
        assert await asyncio.gather(*asking) == [200] * 5
        counted = await harness.counted()
    assert counted[Role.STABLE].sums["samples"] == 2
    assert counted[Role.STABLE].sums["samples_dropped"] == 3
    assert harness.worker.sampler.under_way == 0


async def test_a_sampled_request_that_fails_still_runs_again_on_stable(harness, listener) -> None:
    failing = always(answer(b"no", status="500 Internal Server Error", outcome=None))
    async with ScriptedArm(always(answer(b"ok"))) as stable, ScriptedArm(failing) as candidate:
        rerun = Rerun(when=RerunWhen.ON_FAILURE, also=("POST /chat",))
        await harness.start(table(stable.endpoint, candidate.endpoint, split=Parts(WHOLE), rerun=rerun))
        async with connected(harness.port) as client:
            assert (await ask(client, "c-1")).body == b"ok"
        await harness.counted()
    (one,) = heard(listener)
    assert (one.facts["role"], one.facts["verdict"]) == ("candidate", "failed")


async def test_conversations_that_are_not_sampled_keep_the_short_way(harness, listener, monkeypatch) -> None:
    short: dict[bytes, bool] = {}

    def watched(client, data: bytes) -> bool:
        took = quick_request(client, data)
        short[data.split(b"c-", 1)[1].split(b"\r", 1)[0]] = took
        return took

    monkeypatch.setattr("fairway.gateway.client.quick_request", watched)
    below = Sampling(share=Parts(20_000)).below
    async with ScriptedArm(always(answer())) as stable:
        await harness.start(table(stable.endpoint, share=20_000))
        async with connected(harness.port) as client:
            for _ in range(3):
                for n in range(40):
                    await ask(client, f"c-{n}")
    for n in range(40):
        assert short[b"%d" % n] is not (sample_hash(b"c-%d" % n) < below)


@pytest.mark.parametrize("cut", [0, 3, 8, 20])
def test_a_cut_datagram_is_no_sample(cut) -> None:
    whole = pack(LiveSample({"request": "r"}, b"request", b"answer"))
    assert unpack(whole).answer == b"answer"
    with pytest.raises(ValueError, match="is no sample"):
        unpack(whole[:cut])
