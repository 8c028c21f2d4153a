"""``fairway up`` says it serves when stable's arms take requests, not when its processes run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.ledger import open_ledger
from fairway.project.load import Project, load_project
from fairway.rollout.port import JournalEntry
from fairway.rollout.wire import state_to_wire
from fairway.supervise.served import missing, still_starting
from fairway.testing.rollout_cases import CANDIDATE, STABLE, T0, route_state
from fairway.traffic.fence import Fence

STATE = replace(route_state(None, stable=STABLE), changed_by=Fence(term=2, seq=7))


def seen(release: str = STABLE.release, state: str = "ready", **changes: object) -> dict[str, object]:
    arms = [{"release": release, "instances": [{"id": "1", "state": state}]}]
    return {"at": time.time(), "arms": arms, "gateways": 1, "confirmed": "2.7", **changes}


@pytest.mark.parametrize(
    ("view", "lacks"),
    [
        (None, "the controller has not looked yet"),
        (seen(state="starting"), f"no instance of {STABLE.version} is ready yet"),
        (seen(release=CANDIDATE.release), f"no instance of {STABLE.version} is ready yet"),
        (seen(gateways=0), f"the gateway has not taken the way to {STABLE.version} yet"),
        (seen(confirmed="2.6"), f"the gateway has not taken the way to {STABLE.version} yet"),
        (seen(confirmed=None), f"the gateway has not taken the way to {STABLE.version} yet"),
        (seen(), ""),
    ],
)
def test_clients_are_served_when_an_instance_of_stable_is_ready_and_every_gateway_sends_there(
    view: dict[str, object] | None, lacks: str
) -> None:
    assert missing(STATE, view) == lacks


def test_where_nothing_is_stable_there_is_nothing_to_wait_for() -> None:
    assert missing(route_state(None, stable=None, history=()), None) == ""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "fairway.yaml").write_text('version: 1\nagent: {name: shop}\nservice: {command: "python app.py"}\n')
    return load_project(tmp_path)


def test_what_the_controller_of_an_earlier_up_saw_says_nothing(project: Project) -> None:
    assert still_starting(project, since=0.0) == ""  # no ledger yet
    route = project.route("production")
    with open_ledger(project.state.ledger) as ledger:
        lease = ledger.acquire_lease(route, "controller-1", seconds=10.0)
        assert lease is not None
        state = state_to_wire(replace(STATE, route=route))
        entry = JournalEntry(
            route=route, fence=Fence(term=lease.term, seq=1), at=T0, kind="finish", code="done", reason="done",
            actor="controller", state=state, decision={},
        )  # fmt: skip
        ledger.journal(entry, lease)
    assert still_starting(project, since=0.0) == "the controller has not looked yet"
    view = project.state.root / "run" / "view-production.json"
    view.parent.mkdir(parents=True, exist_ok=True)
    view.write_text(json.dumps(seen(at=time.time() - 2)))
    assert still_starting(project, since=time.time() - 5) == ""
    assert still_starting(project, since=time.time() - 1) == "the controller has not looked yet"
