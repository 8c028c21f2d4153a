"""Routing by a real gateway: shares, restarts that move nobody, explain, passes, masks and instances from the shell."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.errors import FairwayError
from fairway.observe.blocks import Batch
from fairway.testing.gateway_process import GatewayProcess, until
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.bucket import bucket
from fairway.traffic.endpoints import Health
from fairway.traffic.fence import Fence
from fairway.traffic.routers.gateway import GatewayRouter
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
ALL = bool(os.environ.get("FAIRWAY_REQUIRE_ALL"))
REQUESTS = int(os.environ.get("FAIRWAY_GATEWAY_REQUESTS", "2000" if ALL else "600"))
"""For the shares of arms; 20,000 and more in CI."""


def table(stable: str, candidate: str, *, split: int, seq: int = 1, salt: str = "r-1") -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=(
            Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=(stable,)),
            Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=(candidate,)),
        ),
        rules=(Rule(id="acme", kind=RuleKind.TENANT, name="", values=("acme",), to=Role.CANDIDATE),),
        split=Parts(split),
        salt=salt,
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        timeouts=Timeouts(total=10.0),
        block_seconds=1.0,
    )


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    made = GatewayProcess(tmp_path)
    yield made
    if made.process is not None:
        await made.kill()


@pytest.fixture
async def arms() -> AsyncIterator[tuple[str, str]]:
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer())) as new:
        yield old.endpoint, new.endpoint


async def serve(gateway: GatewayProcess, served: RouteTable, *, workers: int = 1) -> None:
    file = gateway.folder / "table.json"
    file.write_text(json.dumps(served.to_wire()))
    await gateway.start("--table", str(file), "--workers", str(workers))


async def versions(port: int, keys: Iterable[bytes], *, connections: int = 8) -> dict[bytes, str]:
    """Which release serves each key, asked over a few connections."""
    found: dict[bytes, str] = {}
    waiting = list(keys)

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while waiting:
                key = waiting.pop()
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Conversation-Id: %b\r\n\r\n" % key)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                found[key] = head.split(b"x-fairway-release:")[1].split(b"\r\n")[0].strip().decode()
        finally:
            writer.close()

    async with asyncio.timeout(240):
        await asyncio.gather(*(one() for _ in range(connections)))
    return found


def within_bounds(found: int, of: int, share: float) -> bool:
    """Whether a count is one in which a fair split lies in all but 1 of 100 million runs (5.73 sigma, and a half)."""
    return abs(found - of * share) <= 5.73 * math.sqrt(of * share * (1 - share)) + 0.5


ODD = [
    b"a b", b"\xff\xfe", "\N{SNOWMAN}".encode(), b"%2F", b"x" * 512, b"'\";=,", b"0", b"\xc3\x28", b"-", b"a\tb",
    b"\xed\xa0\x80", b"{}", b"..", b"\\",
]  # fmt: skip


@pytest.mark.parametrize("share", [1_000, 30_000])
async def test_arms_get_their_share_and_each_conversation_its_bucket(
    gateway: GatewayProcess, arms: tuple[str, str], share: int
) -> None:
    draw = random.Random(share)
    keys = [*ODD, *(f"{draw.getrandbits(64):x}".encode() for _ in range(REQUESTS // 2))]
    await serve(gateway, table(*arms, split=share), workers=2)
    found = await versions(gateway.port, keys)
    assert {key: version == "1.1.0" for key, version in found.items()} == {
        key: bucket("r-1", key.decode("utf-8", "surrogateescape")) < share for key in keys
    }
    assert within_bounds(sum(version == "1.1.0" for version in found.values()), len(found), share / 100_000)


async def test_growth_moves_nobody_back_and_neither_does_a_restart(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    keys = [*ODD, *(f"c-{n}".encode() for n in range(200))]
    await serve(gateway, table(*arms, split=10_000), workers=2)
    first = await versions(gateway.port, keys)
    assert Counter(first.values())["1.1.0"] > 0
    assert await gateway.stop() == 0
    await serve(gateway, table(*arms, split=50_000, seq=2), workers=2)
    assert await versions(gateway.port, keys) == first, "they end where they began"
    fresh = [f"late-{n}".encode() for n in range(100)]
    found = await versions(gateway.port, fresh)
    assert found == {key: "1.1.0" if bucket("r-1", key.decode()) < 50_000 else "1.0.0" for key in fresh}


# --- from the shell ----------------------------------------------------------------------------------------------


async def fairway(folder: Path, *arguments: str, refused: bool = False) -> Any:
    """What a command says as JSON; ``refused``: the message of the error it ends with."""
    words = ["gateway", *arguments, "--project", str(folder), "-o", "json"]
    done = await asyncio.to_thread(CliRunner().invoke, cli, words)
    if refused:
        assert isinstance(done.exception, FairwayError), done.output
        return done.exception.message
    assert done.exception is None, done.output
    return json.loads(done.stdout)


async def asked(port: int, *headers: str) -> tuple[int, str | None]:
    """Status, and the release that served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(["GET / HTTP/1.1", "Host: a", "Connection: close", *headers, "", ""]).encode())
        head = (await reader.read()).partition(b"\r\n\r\n")[0].decode("latin-1").lower()
    finally:
        writer.close()
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return int(head.split(" ")[1]), lines.get("x-fairway-release")


async def explained(gateway: GatewayProcess, headers: dict[str, str]) -> dict[str, Any]:
    answer = await gateway.ask("POST", "/v1/explain", {"headers": headers, "path": "/"})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


async def test_what_the_running_gateway_explains_is_what_its_requests_meet(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    draw = random.Random(5)
    await serve(gateway, table(*arms, split=30_000), workers=2)

    async def agree(requests: int) -> None:
        for _ in range(requests):
            headers = {"x-conversation-id": f"c-{draw.randrange(20)}"}
            if draw.random() < 0.2:
                headers["x-tenant"] = draw.choice(["acme", "other"])
            found = await explained(gateway, headers)
            status, version = await asked(gateway.port, *(f"{name}: {value}" for name, value in headers.items()))
            assert (status, version) == (200, found["served"]["version"]), found

    await agree(30)
    for decision in (
        {"path": "/v1/mask", "body": {"release": "1.1.0", "masked": True}},
        {"path": "/v1/mask", "body": {"release": "1.1.0", "masked": False}},
        {"path": "/v1/pin", "body": {"to": "stable"}},
        {"path": "/v1/pin", "body": {"to": None}},
    ):
        done = await gateway.ask("POST", decision["path"], decision["body"])  # type: ignore[arg-type]
        assert done.status == 200
        await agree(10)
    held = {f"c-{n}" for n in range(20)}
    remembered = [key for key in held if (await explained(gateway, {"x-conversation-id": key}))["remembered"]]
    assert len(remembered) > 15, "what the workers remember is seen by the parent"
    assert await gateway.stop() == 0
    key = remembered[0]
    left = await fairway(gateway.folder, "explain", "-H", f"x-conversation-id: {key}")
    assert (left["source"], left["why"], left["remembered"]["release"]) == (
        "disk", "pin", left["assigned"]["release"],
    )  # fmt: skip


async def test_a_pass_from_the_shell_leads_to_its_release_and_nowhere_else(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    await serve(gateway, table(*arms, split=0))
    made = await fairway(gateway.folder, "pass", "candidate", "--for", "10m")
    header = f"{made['header']}: {made['value']}"
    assert await asked(gateway.port, header) == (200, "1.1.0")
    assert await asked(gateway.port, "x-fairway-release: candidate") == (403, None)
    found = await fairway(gateway.folder, "explain", "-H", header)
    assert (found["source"], found["named"], found["served"]["version"]) == ("gateway", "candidate", "1.1.0")
    assert (await fairway(gateway.folder, "explain", "-H", "x-fairway-release: candidate"))["refused"] == "pass_missing"
    assert "between 1 second and 7 days" in await fairway(
        gateway.folder, "pass", "candidate", "--for", "8d", refused=True
    )
    await fairway(gateway.folder, "mask", "1.1.0")
    assert await asked(gateway.port, header) == (503, None), "a masked release is reached by nobody"


async def test_a_mask_from_the_shell_holds_over_a_restart_and_until_it_is_taken_off(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    await serve(gateway, table(*arms, split=100_000))
    assert await asked(gateway.port, "X-Conversation-Id: c") == (200, "1.1.0")
    done = await fairway(gateway.folder, "mask", "candidate")
    assert (done["applied"], done["kept"], done["all_masked"]) == (True, True, [NEW])
    assert await asked(gateway.port, "X-Conversation-Id: c") == (200, "1.0.0")
    assert "serves as stable" in await fairway(gateway.folder, "mask", "stable", refused=True)
    assert "names no release" in await fairway(gateway.folder, "mask", "9.9.9", refused=True)

    async def counted() -> bool:
        batches = [Batch.from_wire(one) for one in (await gateway.ask("GET", "/v1/deltas")).json()["batches"]]
        return sum(one.failed for batch in batches for one in batch.increments if one.release == NEW) == 1

    await until(counted, within=30.0)
    assert await gateway.stop() == 0
    await serve(gateway, table(*arms, split=100_000, seq=2))
    assert await asked(gateway.port, "X-Conversation-Id: c-2") == (200, "1.0.0")
    assert (await gateway.status())["masked"] == [NEW]
    assert (await fairway(gateway.folder, "unmask", NEW))["all_masked"] == []
    assert await asked(gateway.port, "X-Conversation-Id: c-3") == (200, "1.1.0")


async def test_a_masked_release_that_became_a_shadow_can_be_unmasked(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    first = table(*arms, split=0)
    await serve(gateway, first)
    await fairway(gateway.folder, "mask", "candidate")
    shadow = replace(first.arms[1], role=Role.SHADOW)
    wire = replace(first, arms=(first.arms[0], shadow), fence=Fence(term=1, seq=2)).to_wire()
    (gateway.folder / "table.json").write_text(json.dumps(wire))
    os.kill(gateway.pid, signal.SIGHUP)

    async def in_force() -> bool:
        return bool((await gateway.status())["table"]["fence"] == "1.2")

    await until(in_force)
    assert "serves nobody" in await fairway(gateway.folder, "mask", "shadow", refused=True)
    assert (await fairway(gateway.folder, "unmask", "1.1.0"))["all_masked"] == []


async def test_instances_are_listed_with_what_they_say_and_a_heartbeat_brings_no_traffic(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    await serve(gateway, replace(table(*arms, split=0)))
    found = (await fairway(gateway.folder, "instances"))["instances"]
    assert [(one["agent_id"], one["version"], one["gray_tag"], one["status"]) for one in found] == [
        ("support", "1.0.0", "stable", "unknown"), ("support", "1.1.0", "candidate", "unknown"),
    ]  # fmt: skip
    beat = {"agent_id": "support", "version": "1.1.0", "model": "m-1", "region": "eu", "endpoint": arms[1]}
    assert (await gateway.ask("POST", "/v1/heartbeat", beat)).status == 200
    assert (await gateway.ask("POST", "/v1/heartbeat", {"agent_id": "support"})).status == 400
    assert await asked(gateway.port, "X-Conversation-Id: c") == (200, "1.0.0")

    async def heard() -> bool:
        known = {one["endpoint"]: one for one in (await gateway.ask("GET", "/v1/instances")).json()["instances"]}
        candidate, stable = known[arms[1]], known[arms[0]]
        said = (candidate["model"], candidate["region"], candidate["status"])
        return said == ("m-1", "eu", "ready") and stable["seen_seconds_ago"] is not None

    await until(heard, within=30.0)


async def test_what_an_instance_says_at_its_health_check_is_in_the_registry(gateway: GatewayProcess) -> None:
    body = json.dumps({"release": NEW, "model": "m-2", "region": "us", "agent_id": "not its own word"}).encode()
    async with ScriptedArm(always(answer())) as old, ScriptedArm(always(answer(body))) as new:
        health = Health(path="/ready", interval=0.1, timeout=5.0)
        await serve(gateway, replace(table(old.endpoint, new.endpoint, split=0), health=health))

        async def told() -> bool:
            found = (await gateway.ask("GET", "/v1/instances")).json()["instances"]
            said = [(one["agent_id"], one["status"], one["model"], one["region"]) for one in found]
            return said == [("support", "ready", None, None), ("support", "ready", "m-2", "us")]

        await until(told, within=30.0)
        await new.close()

        async def down() -> bool:
            found = (await gateway.ask("GET", "/v1/instances")).json()["instances"][1]
            explained = (await gateway.ask("POST", "/v1/explain", {"headers": {"x-tenant": "acme"}})).json()
            return (found["status"], explained["served"]["version"], explained["by"]) == ("down", "1.0.0", "fallback")

        await until(down, within=30.0)


async def test_a_mask_made_while_no_controller_runs_is_told_to_it_once_it_does(
    gateway: GatewayProcess, arms: tuple[str, str]
) -> None:
    served = table(*arms, split=100_000)
    router = GatewayRouter(gateway.state.socket("controller"))
    await router.start()
    await router.apply(served)
    await gateway.start("--workers", "1")

    async def told(masked: tuple[str, ...]) -> None:
        async def same() -> bool:
            return (await router.observe(served.route)).masked == masked

        await until(same, within=30.0)

    async def confirmed() -> bool:
        return (await router.observe(served.route)).confirmed == served.fence

    await until(confirmed, within=30.0)
    await told(())
    await router.close()
    assert (await gateway.ask("POST", "/v1/mask", {"release": "candidate", "masked": True})).status == 200
    assert await asked(gateway.port, "X-Conversation-Id: c") == (200, "1.0.0")
    router = GatewayRouter(gateway.state.socket("controller"))
    await router.start()
    await router.apply(served)
    try:
        await told((NEW,))
        assert (await gateway.ask("POST", "/v1/mask", {"release": NEW, "masked": False})).status == 200
        await told(())
    finally:
        await router.close()
