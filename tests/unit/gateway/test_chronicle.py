"""What was decided at a gateway is known, once, until somebody has put it on record."""

from __future__ import annotations

import asyncio
import errno
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.controller.gateway_decisions import GatewayDecisions
from fairway.errors import TransientError
from fairway.gateway import chronicle
from fairway.gateway.chronicle import MAX_EVENTS, UNNAMED, Chronicle, Did, actor_in, changes
from fairway.gateway.state import LocalDecisions
from fairway.traffic.local_http import LocalRequest
from fairway.units import AgentName, EnvironmentName, RouteId

ROUTE = RouteId(agent=AgentName("support"), environment=EnvironmentName("production"))
NAMES = st.sampled_from(["sha256:a", "sha256:b", "sha256:c"])
DECISIONS = st.builds(
    LocalDecisions,
    pinned=st.booleans(),
    pinned_to=st.none() | NAMES,
    tripped=st.none() | NAMES,
    tripped_to=st.none() | NAMES,
    masked=st.sets(NAMES).map(lambda found: tuple(sorted(found))),
)


@given(before=DECISIONS, after=DECISIONS)
def test_the_changes_say_what_is_in_force_after_them(before: LocalDecisions, after: LocalDecisions) -> None:
    pinned, tripped, masked = before.pinned, before.tripped, set(before.masked)
    for change in changes(before, after):
        match change.did:
            case Did.PINNED | Did.UNPINNED:
                pinned = change.did is Did.PINNED
            case Did.TRIPPED:
                tripped = change.release
            case Did.UNTRIPPED | Did.TRIP_ENDED:
                tripped = None
            case Did.MASKED:
                masked.add(change.release or "")
            case Did.UNMASKED:
                masked.discard(change.release or "")
    assert (pinned, tripped, masked) == (after.pinned, after.tripped, set(after.masked))
    assert list(changes(after, after)) == []


def told(path: Path, boot: str = "b") -> Chronicle:
    return Chronicle(path, gateway="g", boot=boot, wall=lambda: 100.0)


def test_what_was_noted_outlives_the_process_and_its_names_are_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "decided.json"
    first = told(path)
    tripped = LocalDecisions(tripped="sha256:a", tripped_to="sha256:b")
    first.note(changes(LocalDecisions(), tripped), actor=None, evidence={"bad": 9, "units": 12}, fence="1.4")
    second = told(path, boot="c")
    second.note(changes(tripped, LocalDecisions()), actor="ada", evidence=None, fence="1.4")
    third = told(path, boot="d")
    assert [(event["did"], event["actor"]) for event in third.events] == [
        ("tripped", "gateway g"),
        ("untripped", "ada"),
    ]
    assert len({event["id"] for event in third.events}) == 2
    assert third.events[0]["evidence"] == {"bad": 9, "units": 12}
    third.adopt(second.events)
    assert len(third.events) == 2


def test_a_full_disk_loses_nothing_as_long_as_the_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "decided.json"
    kept = told(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(chronicle, "write_json", full)
        kept.note(changes(LocalDecisions(), LocalDecisions(pinned=True)), actor="ada", evidence=None, fence="0.0")
        assert (kept.kept, path.exists()) == (False, False)
    kept.keep()
    assert (kept.kept, len(json.loads(path.read_text()))) == (True, 1)


def test_only_so_many_are_kept_and_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "decided.json"
    path.write_text('[{"id"')
    kept = told(path)
    for number in range(MAX_EVENTS + 5):
        pinned = LocalDecisions(pinned=number % 2 == 0)
        kept.note(changes(replace(pinned, pinned=not pinned.pinned), pinned), actor="ada", evidence=None, fence="0.0")
    assert len(kept.events) == MAX_EVENTS
    assert kept.events[-1]["id"] == f"g-b-{MAX_EVENTS + 5}"


@pytest.mark.parametrize(
    ("said", "actor"), [("ada", "ada"), ("", UNNAMED), ("a\nb\x00", "ab"), ("x" * 999, "x" * 200)], ids=repr
)
def test_who_decides_is_one_line_of_text(said: str, actor: str) -> None:
    assert actor_in(LocalRequest(method="POST", path="/v1/pin", query={"actor": said}, body=b"")) == actor


class Ledger:
    """Keeps what is recorded, and may be away."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, Any, datetime]] = []
        self.away = False

    def append_audit(self, kind: str, subject: str, actor: str, payload: Any, at: datetime) -> int:
        if self.away:
            raise TransientError("busy", code="busy")
        self.rows.append((kind, actor, payload, at))
        return len(self.rows)

    def audit_log(self, after: int | None = 0, limit: int = 200, *, kind: str | None = None) -> Any:
        return [SimpleNamespace(payload={"payload": payload}) for _, _, payload, _ in self.rows[-limit:]]


def event(number: int, **other: object) -> dict[str, Any]:
    return {"id": f"g-b-{number}", "at": 100.0 + number, "did": "pinned", "release": None, "actor": "ada", **other}


async def test_each_decision_is_recorded_once_with_who_and_when_by_one_controller_after_the_other() -> None:
    ledger, events = Ledger(), [event(1), event(2, actor="gateway g", did="tripped", evidence={"bad": 9})]

    async def ask() -> list[dict[str, Any]]:
        return events

    for _ in range(2):
        controller = GatewayDecisions(route=ROUTE, ledger=ledger, ask=ask)
        await asyncio.gather(controller.record())
        await controller.record()
    assert [(kind, actor, at) for kind, actor, _, at in ledger.rows] == [
        ("gateway", "ada", datetime.fromtimestamp(101.0, UTC)),
        ("gateway", "gateway g", datetime.fromtimestamp(102.0, UTC)),
    ]
    assert ledger.rows[1][2]["evidence"] == {"bad": 9}


async def test_what_the_ledger_does_not_take_now_is_recorded_later_and_one_unreadable_holds_up_no_other() -> None:
    ledger, events = Ledger(), [{"id": "odd"}, event(1)]

    async def ask() -> list[dict[str, Any]]:
        return events

    controller = GatewayDecisions(route=ROUTE, ledger=ledger, ask=ask)
    ledger.away = True
    await controller.record_safely()
    assert ledger.rows == []
    ledger.away = False
    await controller.record_safely()
    assert [payload["id"] for _, _, payload, _ in ledger.rows] == ["g-b-1"]
