"""JSON Schemas: published as the code reads, valid, and true of real values."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from fairway.errors import NotFoundError
from fairway.observe.blocks import Batch, Increment
from fairway.project.schemas import json_schema, schema_names
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.wire import evidence_to_wire, manifest_to_wire
from fairway.rollout.requests import Answer, AnswerKind
from fairway.rollout.values import Plan, Step, Strategy
from fairway.rollout.wire import plan_to_wire
from fairway.traffic.fence import Fence
from fairway.traffic.table import Arm, KeyExtractor, KeyKind, Role, RouteTable, Rule, RuleKind, Trip
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId, UnitHash, Verdict
from fairway.verdict.values import GateFinding, GateKind, GateSpec

VECTORS = Path(__file__).parents[2] / "vectors" / "schemas"
DIGEST = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "f" * 64)
ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPEC = GateSpec(name="failures", kind=GateKind.FAILURES, margin=0.05, alpha_fail=0.02, alpha_pass=0.05)
EVIDENCE = Evidence(kind="unit_test", release=DIGEST, verdict=Verdict.PASS, produced_by="x", at=AT, figures={"n": 1})


def problems(name: str, value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(json_schema(name)).iter_errors(value)]


@pytest.mark.parametrize("name", schema_names())
def test_published_schemas_are_those_of_the_code(name: str) -> None:
    published = json.loads((VECTORS / f"{name}.json").read_text())
    assert published == json_schema(name), "run: fairway schema --all tests/vectors/schemas, and look at the diff"


def test_nothing_else_is_published() -> None:
    assert {path.name for path in VECTORS.iterdir()} == {f"{name}.json" for name in schema_names()}


@pytest.mark.parametrize("name", schema_names())
def test_every_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(json_schema(name))


def test_an_unknown_schema_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean 'fairway\.yaml'"):
        json_schema("farway.yaml")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fairway.yaml", "fairway.yaml"),
        ("models.yaml", "models.yaml"),
        ("tools.yaml", "tools.yaml"),
        ("prompt", "prompts/support/1.0.0.yaml"),
        ("prompts.lock", "prompts.lock"),
    ],
)
def test_files_that_load_are_valid_by_their_schema(full_files: dict[str, str], name: str, file: str) -> None:
    assert problems(name, yaml.safe_load(full_files[file])) == []


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("fairway.yaml", "fairway.yaml", "servise"),
        ("models.yaml", "models.yaml", "rolls"),
        ("prompt", "prompts/support/1.0.0.yaml", "templat"),
    ],
)
def test_an_unknown_key_is_invalid_by_the_schema(full_files: dict[str, str], name: str, file: str, key: str) -> None:
    assert problems(name, {**yaml.safe_load(full_files[file]), key: 1})


TABLE = RouteTable(
    route=ROUTE,
    fence=Fence(term=3, seq=7),
    arms=(
        Arm(role=Role.STABLE, release=DIGEST, version="1.0.0", endpoints=("127.0.0.1:1",)),
        Arm(role=Role.CANDIDATE, release=OTHER, version="1.1.0", endpoints=()),
    ),
    rules=(Rule(id="r", kind=RuleKind.TENANT, name="x-tenant", values=("a",), to=Role.CANDIDATE),),
    split=Parts(5000),
    keys=(KeyExtractor(kind=KeyKind.HEADER, name="x"),),
    masks=(DIGEST,),
    trip=Trip(max_excess_bad_units=5, window_seconds=60, min_units=20),
    theta={"latency_ms": {Role.STABLE: 100.0}},
)
BATCH = Batch(
    gateway="g", boot="b", worker=0, seq=1, at=1.0, block_seconds=10, timeout=60,
    increments=(
        Increment(
            t0=10, release=DIGEST, role=Role.STABLE, fence=Fence(term=1, seq=2), assigned=2, by={"hash": 2},
            histograms={"latency_ms": {-3: 1, 12: 4}}, sums={"tokens_in": 5.0}, marks={"active": (UnitHash("00" * 8),)},
            exemplars=({"id": "x"},),
        ),
    ),
)  # fmt: skip
MANIFEST = Manifest(
    agent=AgentName("support"), release_version="1.0.0", tag="v1.0.0", commit_sha="a" * 40,
    components=dict.fromkeys(Component, DIGEST), release_digest=DIGEST, effective={ROUTE.environment: DIGEST},
    tree=DIGEST, prompts={"support": {"version": "1.0.0", "sha256": DIGEST}}, tools=("lookup",),
    models={"main": "mock/x"}, created_at=AT, publisher="a@example.com", evidence=(EVIDENCE,),
)  # fmt: skip
PLAN = Plan(
    strategy=Strategy.CANARY, steps=(Step(split=Parts(5000), gates=(SPEC,), dwell=1, cap=2),), policy_digest=DIGEST
)
FINDING = GateFinding(gate="x", kind=GateKind.SUCCESS, verdict=Verdict.NO_DATA, margin=0.995, reason="none yet")
WIRE: dict[str, Any] = {
    "route-table": TABLE.to_wire(),
    "batch": BATCH.to_wire(),
    "manifest": manifest_to_wire(MANIFEST),
    "evidence": evidence_to_wire(EVIDENCE),
    "answer": dataclasses.asdict(Answer(request_id="r", kind=AnswerKind.APPLIED, seq=3)),
    "gate-spec": dataclasses.asdict(SPEC),
    "gate-finding": dataclasses.asdict(FINDING),
    "plan": plan_to_wire(PLAN),
}


@pytest.mark.parametrize("name", WIRE)
def test_what_is_written_on_the_wire_is_valid(name: str) -> None:
    assert problems(name, json.loads(json.dumps(WIRE[name]))) == []


@pytest.mark.parametrize("name", WIRE)
def test_an_unknown_key_on_the_wire_is_invalid(name: str) -> None:
    assert problems(name, {**json.loads(json.dumps(WIRE[name])), "extra": 1})


def test_a_route_table_without_one_of_its_keys_is_invalid() -> None:
    wire = TABLE.to_wire()
    for key in wire:
        assert problems("route-table", {k: v for k, v in wire.items() if k != key}), key
