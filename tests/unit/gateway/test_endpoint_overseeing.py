"""What the gateway's parent says of endpoints: the worst that anyone found, and totals that only grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairway.gateway.endpoints.ejection import Standing, Why
from fairway.gateway.endpoints.health import Checked, Fitness
from fairway.gateway.endpoints.line import Turn
from fairway.gateway.endpoints.overseeing import MAX_RELEASES, Overseer
from fairway.gateway.metrics import MetricsBook
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

RELEASE = Digest("sha256:" + "a" * 64)
ARM = Arm(role=Role.STABLE, release=RELEASE, version="1.0.0", endpoints=("h:1", "h:2"))
TABLE = RouteTable(
    route=RouteId(agent=AgentName("a"), environment=EnvironmentName("e")), fence=Fence(term=1, seq=1), arms=(ARM,)
)


def told(
    *states: Standing, busy: int = 0, ejections: int = 0, full: int = 0, retries: int = 0, verified: bool = False
) -> dict[str, Any]:
    endpoints = {
        endpoint: {"state": state.value, "busy": busy, "verified": verified}
        for endpoint, state in zip(ARM.endpoints, states, strict=True)
    }
    return {
        "waiting": 3,
        "retries": retries,
        "turned_away": {Turn.FULL.value: full} if full else {},
        "ejections": {Why.BROKEN.value: ejections} if ejections else {},
        "endpoints": endpoints,
    }


def overseer(**workers: dict[str, Any]) -> Overseer:
    made = Overseer(lambda: None)
    for name, arms in workers.items():
        made.take(int(name.removeprefix("w")), {"arms": {RELEASE: arms}})
    return made


def test_an_endpoint_is_shown_as_the_worst_that_any_worker_found() -> None:
    found = overseer(w0=told(Standing.IN, Standing.IN, busy=2), w1=told(Standing.OUT, Standing.TRIAL, busy=1))
    first, second = found.of_arm(ARM)
    assert (first["state"], first["in_flight"], first["left_out_by"]) == ("ejected", 3, 1)
    assert (second["state"], found.waiting(ARM)) == ("trial", 6)


def test_what_the_parent_found_itself_comes_first() -> None:
    found = overseer(w0=told(Standing.OUT, Standing.IN, verified=True))
    found.checker.known[RELEASE, "h:1"] = Checked(fitness=Fitness.UNFIT, detail="it answered 503")
    first, second = found.of_arm(ARM)
    assert (first["state"], first["detail"], second["state"]) == ("unhealthy", "it answered 503", "healthy")
    assert (first["verified"], second["verified"]) == (True, True)


@pytest.mark.parametrize("state", [Standing.OUT, Standing.TRIAL, Standing.WRONG], ids=str)
def test_a_release_that_any_worker_serves_without_an_endpoint_is_told(state: Standing) -> None:
    found = overseer(w0=told(Standing.IN, Standing.IN), w1=told(Standing.IN, state))
    assert found.left_out(TABLE) == (RELEASE,)
    assert found.left_out(None) == ()
    found.forget(1)
    assert found.left_out(TABLE) == ()
    found.checker.known[RELEASE, "h:2"] = Checked(fitness=Fitness.UNFIT)
    assert found.left_out(TABLE) == (RELEASE,)
    gone = replace(TABLE, arms=(replace(ARM, endpoints=("h:1",)),))
    assert found.left_out(gone) == (), "what the table does not name is left out by nobody"


def test_a_worker_that_is_gone_says_nothing_more() -> None:
    found = overseer(w0=told(Standing.OUT, Standing.IN))
    found.forget(0)
    assert [endpoint["state"] for endpoint in found.of_arm(ARM)] == ["healthy", "healthy"]
    assert found.waiting(ARM) == 0


def exposition(found: Overseer) -> list[str]:
    text = MetricsBook().render("a/e", found.gauges(TABLE, {RELEASE: "1.0.0"}))
    return [line for line in text.splitlines() if line.startswith("fairway_gateway_")]


def test_totals_only_grow_over_the_deaths_of_workers_and_releases() -> None:
    found = overseer(w0=told(Standing.IN, Standing.IN, ejections=2, full=5, retries=7))
    found.take(0, {"arms": {RELEASE: told(Standing.IN, Standing.IN, ejections=3, full=5, retries=9)}})
    found.forget(0)
    found.take(1, {"arms": {RELEASE: told(Standing.IN, Standing.IN, ejections=1, retries=1)}})
    found.take(1, {"arms": {}})
    found.take(1, {"arms": {RELEASE: told(Standing.IN, Standing.IN, retries=1)}})
    values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in exposition(found))}
    assert values['fairway_gateway_ejections_total{route="a/e",release="1.0.0",reason="broken"}'] == 4
    assert values['fairway_gateway_turned_away_total{route="a/e",release="1.0.0",reason="queue_full"}'] == 5
    assert values['fairway_gateway_retries_total{route="a/e",release="1.0.0"}'] == 11


def test_the_states_of_an_arms_endpoints_add_up_and_each_metric_stands_together() -> None:
    found = overseer(w0=told(Standing.OUT, Standing.IN, verified=True))
    lines = exposition(found)
    states = [line for line in lines if line.startswith("fairway_gateway_endpoints{")]
    assert sum(float(line.rpartition(" ")[2]) for line in states) == len(ARM.endpoints)
    assert 'fairway_gateway_endpoints{route="a/e",release="1.0.0",role="stable",state="ejected"} 1' in lines
    assert 'fairway_gateway_endpoints_verified{route="a/e",release="1.0.0",role="stable"} 2' in lines
    names = [line.partition("{")[0] for line in lines]
    assert len(set(names)) == sum(name != before for name, before in zip(names, ["", *names], strict=False))


def test_the_number_of_series_is_bounded() -> None:
    found = Overseer(lambda: None)
    for number in range(10 * MAX_RELEASES):
        found.take(0, {"arms": {f"sha256:{number:064x}": told(Standing.IN, Standing.IN, ejections=1, retries=1)}})
    assert sum("ejections_total" in line for line in exposition(found)) == MAX_RELEASES
