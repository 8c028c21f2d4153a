"""The regime of a route table: what has to stay the same for counts to be comparable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Limits, Role, RouteTable, Rule, RuleKind, Timeouts
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
STABLE = Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("h:1",))
CANDIDATE = Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("h:2",))
TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(STABLE, CANDIDATE),
    split=Parts(10_000),
    salt="r-1",
    masks=(OLD,),
)


@pytest.mark.parametrize(
    "same",
    [
        replace(TABLE, fence=Fence(term=2, seq=9)),
        replace(TABLE, arms=(STABLE, replace(CANDIDATE, endpoints=()))),
        replace(TABLE, arms=(CANDIDATE, replace(STABLE, endpoints=("h:3", "h:4")))),
        replace(TABLE, timeouts=Timeouts(idle=1.0), limits=Limits(in_flight=1)),
        replace(TABLE, rerun=Rerun(when=RerunWhen.ON_FAILURE)),
        RouteTable.from_wire(replace(TABLE, shadow_says=True).to_wire()),
        RouteTable.from_wire(TABLE.to_wire()),
    ],
    ids=["fence", "a crash", "a restart", "limits", "re-runs", "a shadow that has to say so", "read back"],
)
def test_a_restarted_arm_is_the_same_regime(same: RouteTable) -> None:
    assert same.regime == TABLE.regime
    assert len(same.regime) == 16


@pytest.mark.parametrize(
    "other",
    [
        replace(TABLE, split=Parts(10_001)),
        replace(TABLE, salt="r-2"),
        replace(TABLE, masks=(OLD, NEW)),
        replace(TABLE, mirror=Parts(1)),
        replace(TABLE, theta={"latency_ms": {Role.STABLE: 9.0}}),
        replace(TABLE, keys=(KeyExtractor(kind=KeyKind.HEADER, name="x"),)),
        replace(TABLE, rules=(Rule(id="r", kind=RuleKind.TENANT, name="", values=("a",), to=Role.CANDIDATE),)),
        replace(TABLE, arms=(STABLE, replace(CANDIDATE, release=Digest("sha256:" + "c" * 64)))),
        replace(TABLE, arms=(replace(STABLE, release=NEW), replace(CANDIDATE, release=OLD))),
    ],
    ids=["split", "salt", "masks", "mirror", "theta", "keys", "rules", "release", "roles"],
)
def test_whatever_decides_who_goes_where_is_another_regime(other: RouteTable) -> None:
    assert other.regime != TABLE.regime
