"""What may be run again on stable, as the table carries it and as the project says it."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from fairway.rollout.config import RolloutSection
from fairway.rollout.desired import RoutePolicy, policy_digest
from fairway.traffic.fence import Fence
from fairway.traffic.rerun import Rerun, RerunWhen
from fairway.traffic.table import RouteTable
from fairway.units import AgentName, EnvironmentName, RouteId

TABLE = RouteTable(
    route=RouteId(agent=AgentName("a"), environment=EnvironmentName("production")), fence=Fence(term=1, seq=1), arms=()
)


@pytest.mark.parametrize("rerun", [Rerun(), Rerun(when=RerunWhen.NEVER), Rerun(also=("POST /search", "PATCH /a/b"))])
def test_a_table_brings_it_to_gateways(rerun: Rerun) -> None:
    table = RouteTable(route=TABLE.route, fence=TABLE.fence, arms=(), rerun=rerun)
    assert RouteTable.from_wire(json.loads(json.dumps(table.to_wire()))) == table


def test_a_table_that_says_nothing_of_it_is_as_it_was_before() -> None:
    assert "rerun" not in TABLE.to_wire()


@pytest.mark.parametrize("wire", [{"when": "always", "also": []}, {"when": "masked"}, {"when": "masked", "also": [3]}])
def test_a_gateway_does_not_guess(wire: object) -> None:
    with pytest.raises(ValueError, match=r"malformed|always"):
        RouteTable.from_wire({**TABLE.to_wire(), "rerun": wire})


def test_another_policy_is_another_table() -> None:
    assert policy_digest(RoutePolicy()) != policy_digest(RoutePolicy(rerun=Rerun(when=RerunWhen.ON_FAILURE)))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({}, Rerun(when=RerunWhen.MASKED)),
        ({"rerun": "on_failure"}, Rerun(when=RerunWhen.ON_FAILURE)),
        ({"rerun": {"when": "never"}}, Rerun(when=RerunWhen.NEVER)),
        ({"rerun": {"also": ["POST /a"]}}, Rerun(also=("POST /a",))),
    ],
)
def test_a_project_says_it_in_one_word_or_more(said: object, meant: Rerun) -> None:
    assert RolloutSection.model_validate(said).rerun.table_rerun() == meant


@pytest.mark.parametrize("entry", ["GET /a", "POST a", "POST", "/a", "POST /a b", "post /a", "POST /a?b", "POST /ä"])
def test_what_is_declared_is_a_method_and_a_path(entry: str) -> None:
    with pytest.raises(ValidationError, match="is not POST or PATCH and a path"):
        RolloutSection.model_validate({"rerun": {"also": [entry]}})
