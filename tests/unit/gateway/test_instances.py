"""The registry of instances: what each is, as far as the gateway knows, and nothing that it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fairway.errors import ConflictError, UserError
from fairway.gateway.endpoints.health import Answered, Checked, Fitness
from fairway.gateway.instances import MAX_ANNOUNCED, InstanceStatus, Registry
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

OLD, NEW = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
TABLE = RouteTable(
    route=RouteId(agent=AgentName("support"), environment=EnvironmentName("production")),
    fence=Fence(term=1, seq=1),
    arms=(
        Arm(role=Role.STABLE, release=OLD, version="1.0.0", endpoints=("h:1", "h:2")),
        Arm(role=Role.CANDIDATE, release=NEW, version="1.1.0", endpoints=("h:3",)),
    ),
)
NOW = 1_000.0
BEAT = {"agent_id": "support", "version": "1.1.0", "model": "m-1", "gray_tag": "blue", "region": "eu"}


def ready(**said: Any) -> Answered:
    return Answered(status=200, body=json.dumps(said).encode())


def statuses(registry: Registry, checked: dict[Any, Checked] | None = None, **known: Any) -> dict[str | None, str]:
    found = registry.instances(known.pop("table", TABLE), checked or {}, now=NOW, **known)
    return {one.endpoint: one.status.value for one in found}


def test_an_instance_nobody_has_heard_of_is_unknown_and_never_ready() -> None:
    assert statuses(Registry()) == {"h:1": "unknown", "h:2": "unknown", "h:3": "unknown"}
    assert statuses(Registry(), {(OLD, "h:1"): Checked()})["h:1"] == "unknown"


def test_an_instance_of_the_table_is_told_with_what_it_says_at_its_ready_path() -> None:
    registry = Registry()
    registry.heard((NEW, "h:3"), ready(model="m-1", region="eu", agent_id="somebody", version="9"), NOW - 2)
    (found,) = (one for one in registry.instances(TABLE, {}, now=NOW) if one.endpoint == "h:3")
    assert found.to_wire(NOW) == {
        "agent_id": "support", "model": "m-1", "version": "1.1.0", "gray_tag": "candidate", "status": "ready",
        "region": "eu", "endpoint": "h:3", "release": NEW, "source": "table", "seen_seconds_ago": 2.0, "detail": "",
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"model": 7, "region": "a\\nb"}', b"[" * 5000, b'{"model": ""}'])
def test_what_is_no_text_is_not_said(body: bytes) -> None:
    registry = Registry()
    registry.heard((OLD, "h:1"), Answered(status=200, body=body), NOW)
    found = registry.instances(TABLE, {}, now=NOW)[0]
    assert (found.model, found.region, found.status) == (None, None, InstanceStatus.READY)


def test_why_an_instance_is_not_ready_is_told_the_worst_first() -> None:
    registry = Registry()
    for arm in TABLE.arms:
        for endpoint in arm.endpoints:
            registry.heard((arm.release, endpoint), ready(), NOW)
    unfit = {(OLD, "h:1"): Checked(fitness=Fitness.UNFIT, detail="it answered 500")}
    assert statuses(registry, unfit, ejected={(OLD, "h:2"), (OLD, "h:1")}, withheld={NEW}) == {
        "h:1": "down", "h:2": "ejected", "h:3": "draining",
    }  # fmt: skip
    assert statuses(registry, table=replace(TABLE, masks=(NEW,)))["h:3"] == "draining"


def test_an_instance_that_announces_itself_is_listed_until_it_falls_silent_and_serves_nobody() -> None:
    registry = Registry()
    registry.announce({**BEAT, "endpoint": "far:9", "ttl": 5}, NOW - 3)
    found = registry.instances(TABLE, {}, now=NOW)[-1]
    assert found.to_wire(NOW) == {
        "agent_id": "support", "model": "m-1", "version": "1.1.0", "gray_tag": "blue", "status": "ready",
        "region": "eu", "endpoint": "far:9", "release": None, "source": "announced", "seen_seconds_ago": 3.0,
        "detail": "",
    }  # fmt: skip
    assert all("far:9" not in arm.endpoints for arm in TABLE.arms)
    assert len(registry.instances(TABLE, {}, now=NOW + 3)) == 3


def test_a_heartbeat_of_an_instance_of_the_table_adds_what_it_says_and_changes_not_whose_it_is() -> None:
    registry = Registry()
    registry.announce({**BEAT, "endpoint": "h:1", "status": "down"}, NOW)
    found = registry.instances(TABLE, {}, now=NOW)
    assert len(found) == 3
    assert (found[0].version, found[0].gray_tag, found[0].model, found[0].seen) == ("1.0.0", "stable", "m-1", NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        [], {}, {"agent_id": "a"}, {**BEAT, "model": 7}, {**BEAT, "region": "a\nb"}, {**BEAT, "version": "x" * 129},
        {**BEAT, "ttl": 0}, {**BEAT, "ttl": 1e9}, {**BEAT, "ttl": True}, {**BEAT, "status": "fine"}, {**BEAT, "x": "y"},
    ],
    ids=str,
)  # fmt: skip
def test_a_heartbeat_that_is_none_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(UserError, match="not a heartbeat: "):
        Registry().announce(wrong, NOW)


def test_no_more_instances_are_kept_than_there_is_room_for_and_the_silent_ones_make_room() -> None:
    registry = Registry()
    for number in range(MAX_ANNOUNCED):
        registry.announce({**BEAT, "endpoint": f"h:{number}", "ttl": 10}, NOW)
    registry.announce({**BEAT, "endpoint": "h:0"}, NOW)
    with pytest.raises(ConflictError):
        registry.announce({**BEAT, "endpoint": "another:1"}, NOW)
    registry.announce({**BEAT, "endpoint": "another:1"}, NOW + 11)
    assert len(registry.instances(None, {}, now=NOW + 11)) == 2
