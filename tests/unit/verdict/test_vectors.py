"""Golden vectors: blocks as they are kept, and what the gates find in them, for whoever replays a ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fairway.observe.fold import Block
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.values import GateKind, GateSpec

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "verdicts.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["gates"], ids=lambda vector: vector["spec"]["name"])
def test_recorded_blocks_give_the_recorded_findings(vector: dict[str, dict[str, object]]) -> None:
    spec = GateSpec(**{**vector["spec"], "kind": GateKind(vector["spec"]["kind"])})  # type: ignore[arg-type]
    state = start(spec)
    for wire in VECTORS["blocks"]:
        block = Block.from_wire(wire)
        assert block.to_wire() == wire
        state = observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
    finding = find(spec, state)
    expected = vector["finding"]
    assert (finding.verdict.value, finding.reason) == (expected["verdict"], expected["reason"])
    for name in ("log_e_fail", "log_e_pass", "estimate_candidate", "estimate_stable"):
        assert getattr(finding, name) == pytest.approx(expected[name], abs=1e-9)
    for name in ("units_candidate", "units_stable", "bad_candidate", "bad_stable", "units_needed", "stable_fails_too"):
        assert getattr(finding, name) == expected[name]
