"""A request that fails on another release is run again on stable: which, when, how often, and what counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.testing.gateway_worker import Harness, Reply, connected
from fairway.testing.scripted_arm import ArmRequest, ScriptedArm, always, answer
from fairway.traffic.bucket import bucket, unit_hash
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ON_FAILURE = Rerun(when=RerunWhen.ON_FAILURE, also=("POST /search",))
BROKEN = answer(b"boom", status="500 Internal Server Error", outcome=None)
KEY = next(f"c-{n}" for n in range(1_000) if bucket("r-1", f"c-{n}") < 50_000)
CONVERSATION = f"x-conversation-id: {KEY}"


def table(stable: str, candidate: str, *, rerun: Rerun = ON_FAILURE, seq: int = 1, masked: bool = False) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        split=Parts(50_000),
        salt="r-1",
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(connect=0.5, first_byte=0.4, idle=5.0, total=10.0),
        block_seconds=2.0,
        masks=(NEW,) if masked else (),
        rerun=rerun,
    )


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


Asked = tuple[Reply, list[ArmRequest], list[ArmRequest]]


async def asked(
    harness: Harness,
    *headers: str,
    candidate: bytes = BROKEN,
    rerun: Rerun = ON_FAILURE,
    method: str = "GET",
    target: str = "/",
    body: bytes = b"",
) -> Asked:
    """One request of the candidate's conversation; with what stable and the candidate were asked."""
    async with ScriptedArm(always(answer(b"from stable"))) as old, ScriptedArm(always(candidate)) as new:
        await harness.start(table(old.endpoint, new.endpoint, rerun=rerun))
        async with connected(harness.port) as client:
            reply = await client.ask(CONVERSATION, *headers, method=method, target=target, body=body)
        return reply, old.requests, new.requests


async def test_a_candidate_that_fails_half_its_reads_is_seen_by_nobody_and_counted_in_full(harness: Harness) -> None:
    served = 0

    async def every_other(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(BROKEN if served % 2 else answer(b"from the candidate"))

    async with ScriptedArm(always(answer(b"from stable"))) as old, ScriptedArm(every_other) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            replies = [await client.ask(CONVERSATION) for _ in range(40)]
        assert {reply.status for reply in replies} == {200}
        assert [reply.version for reply in replies] == ["1.0.0", "1.1.0"] * 20
        assert [reply.body for reply in replies] == [b"from stable", b"from the candidate"] * 20
        assert (len(new.requests), len(old.requests)) == (40, 20)
        ids = {request.header("x-fairway-request") for request in new.requests[::2]}
        assert {request.header("x-fairway-request") for request in old.requests} == ids
        assert {request.header("x-fairway-rerun") for request in old.requests} == {"1"}
        counted = await harness.counted()
        assert Role.STABLE not in counted  # what it did for the candidate is neither its success nor its failure
        candidate = counted[Role.CANDIDATE]
        assert (candidate.assigned, candidate.finished, candidate.failed, candidate.unknown) == (40, 40, 20, 0)
        assert candidate.served == 40
        assert candidate.sums == {"reruns": 20, "reruns_ok": 20}
        assert candidate.marks["failed"] == (unit_hash(KEY),)
        assert {exemplar["reason"] for exemplar in candidate.exemplars} == {"status_500"}


@pytest.mark.parametrize(
    ("method", "target", "header", "again"),
    [
        ("GET", "/x?a=b", "x-own: 1", True),
        ("PUT", "/x", "x-own: 1", True),
        ("DELETE", "/x", "x-own: 1", True),
        ("HEAD", "/x", "x-own: 1", True),
        ("POST", "/x", "x-own: 1", False),
        ("POST", "/x", "idempotency-key: 7", True),
        ("POST", "/x", "Idempotency-Key:", False),
        ("PATCH", "/x", "idempotency-key: 7", True),
        ("POST", "/search?q=1", "x-own: 1", True),
        ("POST", "/searching", "x-own: 1", False),
        ("PATCH", "/search", "x-own: 1", False),
    ],
)
async def test_only_what_may_be_run_twice_is_run_again(
    harness: Harness, method: str, target: str, header: str, again: bool
) -> None:
    body = b"question" if method in ("POST", "PUT", "PATCH") else b""
    broken = BROKEN if method != "HEAD" else BROKEN[: -len(b"boom")]
    reply, stable, candidate = await asked(harness, header, method=method, target=target, body=body, candidate=broken)
    assert len(candidate) == 1
    assert reply.status == (200 if again else 500)
    assert [(request.method, request.target, request.body) for request in stable] == (
        [(method, target, body)] if again else []
    )


async def test_what_a_pass_sent_to_a_release_is_not_run_again(harness: Harness) -> None:
    async with ScriptedArm(always(answer(b"from stable"))) as old, ScriptedArm(always(BROKEN)) as new:
        await harness.start(table(old.endpoint, new.endpoint, rerun=ON_FAILURE))
        value = harness.worker.passes.sign("candidate", expires=int(time.time()) + 60)
        async with connected(harness.port) as client:
            assert (await client.ask(CONVERSATION, f"x-fairway-release: {value}")).status == 500
        assert (len(old.requests), len(new.requests)) == (0, 1)


async def cut_off(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (answer(b"no", outcome="status=failed"), "outcome_failed"),
        (answer(b"", status="503 Slow Down", outcome="status=ok"), "status_503"),
        (b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", "status_500"),
        (b"nonsense\r\n\r\n", "malformed_answer"),
    ],
)
async def test_a_failure_known_before_anything_was_sent_is_run_again(harness: Harness, raw: bytes, reason: str) -> None:
    reply, stable, _ = await asked(harness, candidate=raw)
    assert (reply.status, reply.body, len(stable)) == (200, b"from stable", 1)
    assert "fairway-outcome" not in reply.headers
    counted = (await harness.counted())[Role.CANDIDATE]
    assert (counted.failed, counted.finished, counted.exemplars[0]["reason"]) == (1, 1, reason)


async def test_a_candidate_that_dies_over_a_request_leaves_it_to_stable(harness: Harness) -> None:
    async with ScriptedArm(always(answer(b"from stable"))) as old, ScriptedArm(cut_off) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(CONVERSATION)).body == b"from stable"
            assert (await client.ask(CONVERSATION, method="POST", body=b"x")).status == 502
        assert len(old.requests) == 1


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FAILED_LATE = b"data: x\n: fairway-outcome status=failed\n\n"


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"in part", outcome="status=partial"),
        answer(b"not that", outcome="status=refused"),
        answer(b"what", outcome="status=what"),
        answer(b"gone", status="404 Not Found"),
        STREAM + b"%x\r\n%b\r\n0\r\n\r\n" % (len(FAILED_LATE), FAILED_LATE),
    ],
    ids=["partial", "refused", "malformed outcome", "the user's error", "a stream that says so at its end"],
)
async def test_what_is_an_answer_or_of_unknown_outcome_is_not_run_again(harness: Harness, raw: bytes) -> None:
    reply, stable, candidate = await asked(harness, candidate=raw)
    assert (reply.version, len(stable), len(candidate)) == ("1.1.0", 0, 1)
    assert "reruns" not in (await harness.counted())[Role.CANDIDATE].sums


async def test_what_timed_out_may_still_run_and_is_not_run_again(harness: Harness) -> None:
    async def hangs(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with ScriptedArm(always(answer())) as old, ScriptedArm(hangs) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(CONVERSATION)).status == 504
        assert old.requests == []


async def test_a_request_too_large_to_be_kept_is_not_run_again(harness: Harness) -> None:
    reply, stable, _ = await asked(harness, method="PUT", body=b"x" * 70_000)
    assert (reply.status, stable) == (500, [])


async def test_stable_is_asked_once_and_its_failure_is_the_answer(harness: Harness) -> None:
    failing = answer(b"stable too", status="500 Internal Server Error")
    async with ScriptedArm(always(failing)) as old, ScriptedArm(always(BROKEN)) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            reply = await client.ask(CONVERSATION)
        assert (reply.status, reply.body, reply.version) == (500, b"stable too", "1.0.0")
        assert (len(old.requests), len(new.requests)) == (1, 1)
        counted = await harness.counted()
        assert counted[Role.CANDIDATE].sums == {"reruns": 1, "reruns_failed": 1}
        assert counted[Role.CANDIDATE].failed == 1
        assert [cell.open for cell in harness.worker.telemetry._cells.values()] == [0]


async def test_once_means_once_also_when_another_release_is_stable_by_then(harness: Harness) -> None:
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_end.wait()
        writer.write(BROKEN)

    third = Digest("sha256:" + "c" * 64)
    async with (
        ScriptedArm(slowly) as old,
        ScriptedArm(always(BROKEN)) as new,
        ScriptedArm(always(answer())) as last,
    ):
        first = table(old.endpoint, new.endpoint)
        await harness.start(first)
        async with connected(harness.port) as client:
            waiting = asyncio.create_task(client.ask(CONVERSATION))
            await asked.wait()
            arms = (Arm(role=Role.STABLE, release=third, version="1.2.0", endpoints=(last.endpoint,)),)
            await harness.install(replace(first, fence=Fence(term=1, seq=2), arms=arms, split=Parts(0)))
            may_end.set()
            assert (await waiting).status == 500
        assert last.requests == []


async def test_a_connection_that_dies_over_a_rerun_does_not_make_stable_run_it_twice(harness: Harness) -> None:
    async with ScriptedArm(cut_off) as old, ScriptedArm(always(BROKEN)) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(CONVERSATION)).status == 502
        assert len(old.requests) == 1


async def test_a_client_that_leaves_while_it_runs_again_is_counted_once(harness: Harness) -> None:
    async def hangs(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with ScriptedArm(hangs) as old, ScriptedArm(always(BROKEN)) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            client.writer.write(f"GET / HTTP/1.1\r\nHost: a\r\n{CONVERSATION}\r\n\r\n".encode())
            async with asyncio.timeout(5):
                while not old.requests:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while not old.lost:
                await asyncio.sleep(0.01)
        counted = (await harness.counted())[Role.CANDIDATE]
        assert (counted.finished, counted.failed, counted.unknown) == (1, 1, 0)
        assert counted.sums == {"reruns": 1, "reruns_unknown": 1}
        assert harness.worker.in_flight == 0


@pytest.mark.parametrize("how", ["masked", "withheld", "gone"])
@pytest.mark.parametrize("when", list(RerunWhen))
async def test_by_default_only_what_fails_on_a_release_taken_away_meanwhile_is_run_again(
    harness: Harness, how: str, when: RerunWhen
) -> None:
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_end.wait()
        writer.write(BROKEN)

    async with ScriptedArm(always(answer(b"from stable"))) as old, ScriptedArm(slowly) as new:
        first = table(old.endpoint, new.endpoint, rerun=Rerun(when=when))
        await harness.start(first)
        async with connected(harness.port) as client, connected(harness.port) as other:
            waiting = asyncio.create_task(client.ask(CONVERSATION))
            await asked.wait()
            later = replace(first, fence=Fence(term=1, seq=2), masks=(NEW,) if how == "masked" else ())
            if how == "gone":
                later = replace(later, arms=later.arms[:1], split=Parts(0))
            await harness.install(later, withheld=(NEW,) if how == "withheld" else ())
            may_end.set()
            assert (await waiting).status == (500 if when is RerunWhen.NEVER else 200)
            assert (await other.ask(CONVERSATION)).version == "1.0.0"  # the next turn is stable's by the table


async def test_while_the_candidate_has_traffic_the_default_passes_its_failures_on(harness: Harness) -> None:
    reply, stable, _ = await asked(harness, rerun=Rerun())
    assert (reply.status, stable) == (500, [])


async def test_the_next_request_of_a_conversation_still_goes_where_it_began(harness: Harness) -> None:
    served = 0

    async def once_bad(_: ArmRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        writer.write(BROKEN if served == 1 else answer())

    async with ScriptedArm(always(answer())) as old, ScriptedArm(once_bad) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert [(await client.ask(CONVERSATION)).version for _ in range(3)] == ["1.0.0", "1.1.0", "1.1.0"]


async def test_a_failing_stable_is_not_asked_again(harness: Harness) -> None:
    other = next(f"c-{n}" for n in range(1_000) if bucket("r-1", f"c-{n}") >= 50_000)
    async with ScriptedArm(always(BROKEN)) as old, ScriptedArm(always(answer())) as new:
        await harness.start(table(old.endpoint, new.endpoint))
        async with connected(harness.port) as client:
            assert (await client.ask(f"x-conversation-id: {other}")).status == 500
        assert (len(old.requests), len(new.requests)) == (1, 0)
