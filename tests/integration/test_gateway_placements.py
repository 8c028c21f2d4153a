"""No placement kept at hand outlives what it was made from: tables, masks, pins, what is withheld, endpoints."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from fairway.gateway.conversations import DEFAULT_GROUPS
from fairway.testing.gateway_worker import Client, Harness, connected
from fairway.testing.scripted_arm import ScriptedArm, always, answer
from fairway.traffic.bucket import bucket
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Timeouts
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

STEPS = int(os.environ.get("FAIRWAY_GATEWAY_PLACEMENTS", "700"))
RELEASES = tuple(Digest("sha256:" + letter * 64) for letter in "abc")
VERSIONS = {release: f"1.{number}.0" for number, release in enumerate(RELEASES)}
KEYS = tuple(f"c-{number}" for number in range(12))


@dataclass
class Model:
    """Where each conversation belongs, by the rules of the page about routing, without anything kept at hand."""

    table: RouteTable
    withheld: tuple[Digest, ...] = ()
    began: dict[str, Digest] = field(default_factory=dict)

    def serves(self, key: str, pin: Digest | None) -> Digest:
        """Who serves the next request of a conversation that brings a pin, or none; it is remembered."""
        named = {arm.release: arm for arm in self.table.arms if arm.release not in self.table.masks}
        stable = next(arm for arm in self.table.arms if arm.role is Role.STABLE)
        home = pin if pin in named else self.began.get(key)
        fresh = home not in named
        if fresh:
            candidate = self.table.arm(Role.CANDIDATE)
            assigned = candidate if bucket(self.table.salt, key) < self.table.split else stable
        else:
            assert home is not None
            assigned = named[home]
        assert assigned is not None
        ready = assigned.release in named and assigned.release not in self.withheld and assigned.endpoints
        served = assigned if ready else stable
        if fresh:
            self.began[key] = served.release
        return served.release


def table(chance: random.Random, endpoints: dict[Digest, str], seq: int, salt: str) -> tuple[RouteTable, list[Digest]]:
    """Any table: who is what, how large the split is, what is masked or not ready; with what a gateway withholds."""
    releases = chance.sample(RELEASES, k=chance.choice((2, 2, 3)))
    arms = []
    for role, release in zip((Role.STABLE, Role.CANDIDATE, Role.BASELINE), releases, strict=False):
        ready = role is Role.STABLE or chance.random() < 0.85
        arms.append(
            Arm(role=role, release=release, version=VERSIONS[release], endpoints=(endpoints[release],) if ready else ())
        )
    others = releases[1:]
    found = RouteTable(
        route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
        fence=Fence(term=1, seq=seq),
        arms=tuple(arms),
        split=Parts(chance.choice((0, 30_000, 60_000, int(WHOLE)))),
        salt=salt,
        keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
        masks=tuple(release for release in others if chance.random() < 0.15),
        timeouts=Timeouts(connect=2.0, first_byte=5.0, idle=5.0, total=10.0),
        block_seconds=1.0,
    )
    return found, [release for release in others if chance.random() < 0.15]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    made = Harness(tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("seed", range(2))
async def test_every_request_is_served_by_whom_the_tables_pins_and_masks_of_this_moment_say(
    harness: Harness, seed: int
) -> None:
    assert len(KEYS) * 8 < DEFAULT_GROUPS, "nobody is forgotten"
    chance = random.Random(seed)
    async with (
        ScriptedArm(always(answer(outcome=None))) as a,
        ScriptedArm(always(answer(outcome=None))) as b,
        ScriptedArm(always(answer(outcome=None))) as c,
    ):
        endpoints = dict(zip(RELEASES, (a.endpoint, b.endpoint, c.endpoint), strict=True))
        seq, salt = 1, "r-1"
        found, withheld = table(chance, endpoints, seq, salt)
        model = Model(found, tuple(withheld))
        await harness.start(found, withheld=tuple(withheld))
        pins: dict[str, list[tuple[str, Digest]]] = {key: [] for key in KEYS}
        async with connected(harness.port) as first, connected(harness.port) as second:
            for step in range(STEPS):
                if chance.random() < 0.03:
                    seq += 1
                    salt = chance.choice((salt, f"r-{seq}"))
                    found, withheld = table(chance, endpoints, seq, salt)
                    if chance.random() < 0.3:  # the same once more, but for what the gateway withholds
                        found = replace(model.table, fence=Fence(term=1, seq=seq))
                        withheld = [arm.release for arm in found.arms[1:] if chance.random() < 0.5]
                    model.table, model.withheld = found, tuple(withheld)
                    await harness.install(found, withheld=tuple(withheld))
                await one_step(chance, model, chance.choice((first, second)), pins, step)
        counted = await harness.counted()
        assert sum(increment.assigned for increment in counted.values()) == STEPS


async def one_step(
    chance: random.Random, model: Model, client: Client, pins: dict[str, list[tuple[str, Digest]]], step: int
) -> None:
    key = chance.choice(KEYS)
    lines, pin = [f"X-Conversation-Id: {key}"], None
    if pins[key] and chance.random() < 0.4:
        token, pin = chance.choice(pins[key])
        lines.append(
            chance.choice(
                (f"X-Fairway-Pin: {token}", f"Cookie: fairway_pin={token}", f"Cookie: a=b; fairway_pin={token}")
            )
        )
    elif chance.random() < 0.1:
        other = chance.choice(KEYS)
        if other != key and pins[other]:
            lines.append(f"Cookie: fairway_pin={chance.choice(pins[other])[0]}")  # another conversation's is none
    known = model.began.get(key)
    expected = model.serves(key, pin)
    reply = await client.ask(*lines, method=chance.choice(("GET", "POST")))
    table = model.table
    told = f"step {step}, {lines}, began on {known}: {table.arms}, split {table.split}, masks {table.masks}, withheld"
    told = f"{told} {model.withheld}"
    assert (reply.status, reply.version) == (200, VERSIONS[expected]), told
    if "x-fairway-pin" in reply.headers:
        pins[key] = [*pins[key], (reply.headers["x-fairway-pin"], expected)][-4:]
