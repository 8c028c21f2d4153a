"""What gateways read of answers: as the project says it, on the wire, and out of the way of who serves whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fairway.traffic.config import GatewaySection
from fairway.traffic.fence import Fence
from fairway.traffic.reading import DEFAULT_READING, Reading
from fairway.traffic.table import RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId

TABLE = RouteTable(
    route=RouteId(agent=AgentName("a"), environment=EnvironmentName("e")), fence=Fence(term=1, seq=1), arms=()
)


@settings(deadline=None)
@given(st.booleans(), st.floats(0.001, 1e6))
def test_a_table_carries_it_and_nothing_of_the_regime_depends_on_it(usage: bool, stall: float) -> None:
    table = replace(TABLE, reading=Reading(usage=usage, stall_seconds=stall))
    assert RouteTable.from_wire(table.to_wire()) == table
    assert table.regime == TABLE.regime


def test_the_usual_is_not_on_the_wire_so_that_older_gateways_read_it() -> None:
    assert "reading" not in TABLE.to_wire()
    assert RouteTable.from_wire(TABLE.to_wire()).reading == DEFAULT_READING


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"usage": True}, {"usage": 1, "stall_seconds": 2.0}, {"usage": True, "stall_seconds": 0},
        {"usage": True, "stall_seconds": "soon"}, {"usage": True, "stall_seconds": float("inf")}, None, [],
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_no_table(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        RouteTable.from_wire({**TABLE.to_wire(), "reading": wrong})


def test_a_project_says_it_in_its_gateway_section() -> None:
    section = GatewaySection.model_validate({"usage": False, "stall": "500ms", "access_log": "access.jsonl"})
    assert section.table_reading() == Reading(usage=False, stall_seconds=0.5)
    assert GatewaySection().table_reading() == DEFAULT_READING
    assert GatewaySection().access_log is None
    for wrong in ({"stall": "0s"}, {"usage": "yes"}, {"access_log": ""}, {"access_log": "a\nb"}):
        with pytest.raises(ValidationError):
            GatewaySection.model_validate(wrong)
