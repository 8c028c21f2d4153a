"""What tables and projects say of endpoints: read back as written, defaults unsaid, nonsense refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fairway.traffic.config import GatewaySection
from fairway.traffic.endpoints import DEFAULT_EJECTION, Ejection, Health
from fairway.traffic.fence import Fence
from fairway.traffic.table import Limits, RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId


def table(**given: Any) -> RouteTable:
    return RouteTable(
        route=RouteId(agent=AgentName("a"), environment=EnvironmentName("e")),
        fence=Fence(term=1, seq=1),
        arms=(),
        **given,
    )


@pytest.mark.parametrize(
    "given",
    [
        {"health": Health(path="/ready", interval=0.5, timeout=0.1, healthy=1, unhealthy=9)},
        {"ejection": Ejection(after=1, base=1.0, longest=2.0, share=0)},
        {"limits": Limits(arm_in_flight=3, queue=0, queue_wait=0.5)},
    ],
)
def test_what_is_said_of_endpoints_is_read_back_and_no_matter_of_the_regime(given: dict[str, Any]) -> None:
    found = table(**given)
    assert RouteTable.from_wire(found.to_wire()) == found != table()
    assert found.regime == table().regime


def test_a_default_is_left_unsaid_so_that_older_gateways_read_the_table() -> None:
    wire = table().to_wire()
    assert not {"health", "ejection"} & wire.keys()
    assert set(wire["limits"]) == {"head_bytes", "body_bytes", "in_flight", "connections"}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("health", {}),
        ("health", {"path": "ready"}),
        ("health", {"path": "/a b"}),
        ("health", {"path": "/r\r\nx: y"}),
        ("health", {"path": "/", "interval": 0}),
        ("health", {"path": "/", "unhealthy": 0}),
        ("health", {"path": "/", "unknown": 1}),
        ("ejection", {"after": 0}),
        ("ejection", {"base": 9.0, "longest": 1.0}),
        ("ejection", {"share": 100_001}),
        ("limits", {"arm_in_flight": 0}),
        ("limits", {"queue": -1}),
    ],
)
def test_a_table_that_says_nonsense_of_endpoints_is_refused(part: str, value: dict[str, Any]) -> None:
    wire = table().to_wire()
    with pytest.raises(ValueError, match=r"."):
        RouteTable.from_wire(wire | {part: wire.get(part, {}) | value})


def test_a_project_says_it_in_its_own_units() -> None:
    section = GatewaySection.model_validate(
        {
            "limits": {"arm_in_flight": 8, "queue": 4, "queue_wait": "500ms"},
            "health": {"path": "/readiness", "interval": "2s"},
            "ejection": {"share": "10%", "base": "1m"},
        }
    )
    assert section.table_limits() == Limits(arm_in_flight=8, queue=4, queue_wait=0.5)
    assert section.table_health() == Health(path="/readiness", interval=2.0)
    assert section.table_ejection() == Ejection(share=10_000, base=60.0)
    plain = GatewaySection()
    assert (plain.table_limits(), plain.table_health(), plain.table_ejection()) == (Limits(), None, DEFAULT_EJECTION)


@pytest.mark.parametrize(
    "given",
    [
        {"health": {"path": "ready"}},
        {"health": {"interval": "10ms"}},
        {"health": {"timeout": "0s"}},
        {"health": {"healthy": 0}},
        {"ejection": {"base": "10m", "longest": "1m"}},
        {"ejection": {"share": "101%"}},
        {"limits": {"queue": -1}},
        {"limits": {"arm_in_flight": 0}},
    ],
)
def test_a_project_that_says_nonsense_is_told(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GatewaySection.model_validate(given)
