"""A gateway that has just begun, with the table of a life before: what nobody can answer is no release's failure.

From the first arm that is reached, or named by the controller, on everything counts: an arm that goes away fails.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.gateway.parent import Gateway
from fairway.gateway.settings import GatewaySettings
from fairway.state_dir import StateDir
from fairway.testing.gateway_worker import Harness, connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
KEY = "x-conversation-id: c-1"


def table(stable: str | None, candidate: str | None = None, *, split: int = 0, seq: int = 1) -> RouteTable:
    """``None``: the arm is there, and nobody of it is ready."""
    arms = [Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=() if stable is None else (stable,))]
    if candidate is not None:
        arms.append(Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)))
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


def nobody() -> str:
    """An endpoint where nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("before", [nobody, lambda: None], ids=["arms that have gone", "no arm is ready"])
async def test_what_nobody_could_answer_yet_is_no_releases_failure_and_what_comes_after_is(
    harness: Harness, before: object
) -> None:
    gone = before()  # type: ignore[operator]
    await harness.start(table(gone), arms_known=False)
    async with connected(harness.port) as client:
        assert (await client.ask(KEY)).status in (502, 503)
        assert (await client.ask()).status in (502, 503)
        assert sum(harness.worker.refused.values()) == 2  # told to whoever watches, held against nobody
        async with ScriptedArm(always(answer(body=b"hello"))) as arm:
            await harness.install(table(arm.endpoint, seq=2))
            assert (await client.ask(KEY)).status == 200
        await harness.install(table(gone, seq=3), arms_known=False)  # the arm crashed: its own doing
        assert (await client.ask(KEY)).status in (502, 503)
    counted = (await harness.counted())[Role.STABLE]
    assert (counted.assigned, counted.served, counted.finished, counted.failed) == (2, counted.served, 2, 1)
    assert len(counted.marks["active"]) == 1
    assert len(counted.marks["failed"]) == 1


async def test_an_arm_that_answered_is_known_without_a_word_of_the_controller(harness: Harness) -> None:
    async with ScriptedArm(always(answer(body=b"hello"))) as arm:
        await harness.start(table(arm.endpoint), arms_known=False)
        async with connected(harness.port) as client:
            assert (await client.ask(KEY)).status == 200
    async with connected(harness.port) as client:
        assert (await client.ask(KEY)).status == 502
    counted = (await harness.counted())[Role.STABLE]
    assert (counted.assigned, counted.finished, counted.failed) == (2, 2, 1)


async def test_a_candidate_that_cannot_be_reached_does_not_excuse_itself_by_the_start_of_a_gateway(
    harness: Harness,
) -> None:
    async with ScriptedArm(always(answer(body=b"hello"))) as stable:
        first = table(stable.endpoint, nobody(), split=WHOLE)
        await harness.start(first, arms_known=False)
        async with connected(harness.port) as client:
            assert (await client.ask(KEY)).status == 200  # stable took it, and the candidate failed
    counted = (await harness.counted())[Role.CANDIDATE]
    assert (counted.assigned, counted.served, counted.finished, counted.failed) == (1, 0, 1, 1)


@pytest.mark.parametrize("controlled", [True, False])
async def test_only_a_table_of_this_life_that_names_an_arm_makes_them_known(tmp_path: Path, controlled: bool) -> None:
    state = StateDir(tmp_path / ".fairway")
    pulled = state.socket("controller") if controlled else None
    gateway = Gateway(GatewaySettings(state=state, controller_socket=pulled))
    gateway._adopt(table("127.0.0.1:1"))  # as it was kept on disk
    assert gateway.first_message()["arms_known"] is not controlled
    for new, known in ((table(None, seq=2), False), (table("127.0.0.1:2", seq=3), True), (table(None, seq=4), True)):
        await gateway.install(replace(new))
        assert gateway.first_message()["arms_known"] is (known or not controlled)
