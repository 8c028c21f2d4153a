"""A worker between wires where everything happens in any order; ``FAIRWAY_GATEWAY_STORM`` is how much."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.testing.framing_oracle import DisagreementError
from fairway.testing.gateway_storm import Storm
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.sampling import Sampling
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

STEPS = int(os.environ.get("FAIRWAY_GATEWAY_STORM", "40000"))
EACH, ROUNDS = 2_000, 5
FIRST = int(os.environ.get("FAIRWAY_GATEWAY_STORM_SEED", "0"))
OLD, NEW, SHADOW = (Digest("sha256:" + letter * 64) for letter in "abc")
TABLE = RouteTable(
    route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("127.0.0.1:1",)),),
    salt="r-1",
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),),
    block_seconds=3600.0,
)
BOTH = replace(
    TABLE,
    arms=(
        Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("127.0.0.1:1", "127.0.0.1:2")),
        Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("127.0.0.1:3",)),
    ),
    split=Parts(WHOLE // 2),
)
COPIED = replace(
    BOTH,
    arms=(*BOTH.arms, Arm(role=Role.SHADOW, release=SHADOW, version="1.2.0", endpoints=("127.0.0.1:4",))),
    mirror=Parts(WHOLE // 2),
)
TABLES = [
    TABLE,
    TABLE,
    BOTH,
    replace(BOTH, rerun=Rerun(when=RerunWhen.ON_FAILURE)),
    replace(BOTH, masks=(NEW,)),
    replace(TABLE, limits=Limits(in_flight=3)),
    replace(TABLE, limits=Limits(arm_in_flight=2, queue=2, queue_wait=0.01)),
    COPIED,
    replace(TABLE, sample=Sampling(share=Parts(WHOLE // 2))),
    replace(TABLE, keys=(KeyExtractor(kind=KeyKind.JSON_POINTER, name="/id"),)),
]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(1, STEPS // EACH // ROUNDS)))
async def test_whatever_happens_in_whatever_order_every_byte_reaches_whom_it_is_for(tmp_path: Path, seed: int) -> None:
    with Storm(tmp_path, TABLES, seed) as storm:
        for number in range(ROUNDS):
            try:
                await storm.blow(EACH)
            except DisagreementError as error:
                raise AssertionError(f"seed {seed}, round {number}: {error}") from error
        assert storm.events["whole 200"] > 100
