"""The verbs of people as commands, answered by a controller over a real ledger."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.cli.steering import VERBS
from fairway.errors import ConflictError, FairwayError, RefusedError
from fairway.ledger import SqlLedger, open_ledger
from fairway.rollout.next_step import next_step
from fairway.rollout.people import People, Role
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import HoldKind
from fairway.rollout.values import Hold, Phase, RouteState
from fairway.rollout.wire import decision_to_wire, snapshot_to_bytes, state_from_wire, state_to_wire
from fairway.testing.rollout_cases import (
    CANDIDATE,
    GATES,
    ROUTE,
    finding,
    measured,
    rollout_state,
    route_state,
    snapshot,
)
from fairway.traffic.fence import Fence
from fairway.units import Verdict

FILE = """version: 1
agent: {name: support}
service: {command: python app.py, health: /health, ready: /ready}
"""
OPEN = replace(measured(Verdict.INCONCLUSIVE), findings=tuple(finding(g, Verdict.INCONCLUSIVE) for g in GATES))


class Controller:
    """Answers requests as a controller does, over a snapshot in which nothing else happens."""

    def __init__(self, path: Path, start: RouteState, people: People) -> None:
        self.path, self.start, self.people = path, start, people
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Controller:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()

    def run(self) -> None:
        with open_ledger(self.path) as ledger:
            self.tick(ledger, first=True)
            while not self.stopping.wait(0.02):
                self.tick(ledger)

    def tick(self, ledger: SqlLedger, *, first: bool = False) -> None:
        lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=10.0)
        assert lease is not None
        head = ledger.head(ROUTE)
        state = self.start if head.state is None else state_from_wire(head.state)
        asked = ledger.pending(ROUTE)
        if not asked and not first:
            return
        seen = snapshot(replace(state, table=""), requests=asked, people=self.people, measured=OPEN)
        taken = replace(seen, head=head.fence, term=lease.term)
        decision = next_step(taken)
        entry = JournalEntry(
            route=ROUTE,
            fence=Fence(term=lease.term, seq=head.fence.seq + 1),
            at=taken.now,
            kind=decision.kind.value,
            code=decision.code,
            reason=decision.reason,
            actor=decision.actor,
            state=state_to_wire(decision.state),
            decision=decision_to_wire(decision),
            snapshot=snapshot_to_bytes(taken),
            answers=decision.answers,
        )
        ledger.journal(entry, lease)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fairway.yaml").write_text(FILE)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "user.email", "grace"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    with open_ledger(tmp_path / ".fairway/ledger.db"):
        return tmp_path


def controlled(root: Path, phase: Phase, people: People | None = None, **changes: Any) -> Controller:
    state = route_state(rollout_state(phase), **changes)
    return Controller(root / ".fairway/ledger.db", state, people or People())


def fairway(*arguments: str) -> Any:
    """What a command prints with ``-o json``; its error is raised."""
    done = CliRunner().invoke(cli, [*arguments, "-o", "json"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def status() -> Any:
    return fairway("rollout", "status")


@pytest.fixture
def stepping(root: Path) -> Iterator[None]:
    with controlled(root, Phase.STEPPING):
        eventually(lambda: status()["seq"] >= 1)
        yield


@pytest.mark.usefixtures("stepping")
def test_a_step_is_skipped_with_a_reason_and_status_says_it_was_not_passed() -> None:
    answer = fairway("rollout", "skip", "--reason", "too little traffic at night")
    assert answer["result"] == "applied"
    told = status()
    assert told["rollout"]["step"] == 2
    assert told["overrides"][0] | {"at": ""} == {
        "verb": "skip",
        "by": "grace",
        "at": "",
        "reason": "too little traffic at night",
        "past": "failures INCONCLUSIVE, p95 INCONCLUSIVE, 1 other not passed; 16m40s observed",
        "whole": False,
    }
    screen = CliRunner().invoke(cli, ["rollout", "status"], standalone_mode=False).stdout
    assert "OVERRIDE   skip by grace" in screen


@pytest.mark.usefixtures("stepping")
def test_if_version_makes_two_clicks_one_step() -> None:
    seq = str(status()["seq"])
    assert fairway("rollout", "promote", "--reason", "seen", "--if-version", seq)["result"] == "applied"
    with pytest.raises(ConflictError) as caught:
        fairway("rollout", "promote", "--reason", "seen", "--if-version", seq)
    assert caught.value.code == "moved"
    assert "ask again" in (caught.value.hint or "")
    assert status()["rollout"]["step"] == 2


def test_a_role_is_asked_for_and_broken_glass_is_loud_until_it_is_explained(root: Path) -> None:
    people = People(roles={Role.RELEASE_MANAGER: ("ada",)})
    with controlled(root, Phase.STEPPING, people):
        eventually(lambda: status()["seq"] >= 1)
        with pytest.raises(
            RefusedError, match="grace has no role in this project; skip in production is for"
        ) as caught:
            fairway("rollout", "skip", "--reason", "site is down")
        assert (caught.value.code, "--break-glass" in (caught.value.hint or "")) == ("role_missing", True)
        answer = fairway("rollout", "skip", "--reason", "site is down", "--break-glass")
        assert answer["message"].startswith("BREAK GLASS: grace skipped")
        assert status()["glass"][0]["note"] == ""
        fairway("audit", "note", str(answer["seq"]), "provider outage, ticket 12")
        assert status()["glass"][0] | {"at": ""} == {
            "event": answer["seq"],
            "verb": "skip",
            "by": "grace",
            "at": "",
            "reason": "site is down",
            "note": "provider outage, ticket 12",
            "noted_by": "grace",
        }
    log = CliRunner().invoke(cli, ["audit", "log", "--kind", "event"], standalone_mode=False).stdout
    assert "BREAK GLASS: grace skipped" in log
    assert fairway("audit", "replay")["different"] == []
    assert fairway("audit", "verify")["ok"]


def test_what_was_rolled_back_is_tried_again_by_default_the_last_one(root: Path) -> None:
    with controlled(root, Phase.ROLLED_BACK, blocked=(CANDIDATE.release,)) as controller:
        eventually(lambda: status()["seq"] >= 1)
        with pytest.raises(FairwayError) as caught:  # the release is in no ledger here, so nothing verifies it
            fairway("rollout", "retry", "v9.9.9", "--reason", "the shop was down")
        assert caught.value.code == "release_not_found"
        answer = fairway("rollout", "retry", "--reason", "the shop was down, not us")
    assert answer["message"] == "grace tries 1.1.0 again, every gate anew: the shop was down, not us"
    told = status()
    assert (told["rollout"]["attempt"], told["rollout"]["phase"], told["blocked"]) == (2, "preparing", [])
    assert controller.start.blocked == (CANDIDATE.release,)


def test_a_hold_is_let_go_of_by_its_own_command(root: Path) -> None:
    hold = Hold(kind=HoldKind.NO_ADVANCE, actor="grace", reason="launch")
    with controlled(root, Phase.STEPPING, hold=hold):
        eventually(lambda: status()["seq"] >= 1)
        assert status()["hold"]["by"] == "grace"
        assert fairway("rollout", "release-hold")["message"] == "grace released the hold"
        with pytest.raises(FairwayError) as caught:
            fairway("rollout", "release-hold")
        assert (caught.value.code, caught.value.exit_code) == ("no_hold", 2)


def test_a_request_without_a_controller_is_shown_withdrawn_and_never_obeyed(root: Path) -> None:
    with pytest.raises(FairwayError) as caught:
        fairway("rollout", "pause", "--reason", "launch in an hour")
    assert caught.value.code == "no_controller"
    (waiting,) = status()["requests"]
    assert (waiting["verb"], waiting["by"], waiting["withdrawn_by"]) == ("pause", "grace", None)
    assert f"fairway rollout withdraw {waiting['id'][:8]}" in (caught.value.hint or "")
    with pytest.raises(FairwayError, match="no request that begins with 'feedbeef'"):
        fairway("rollout", "withdraw", "feedbeef")
    taken = fairway("rollout", "withdraw", waiting["id"][:8])
    assert taken["result"] == "pending"
    assert status()["requests"][0]["withdrawn_by"] == "grace"
    with controlled(root, Phase.STEPPING):
        eventually(lambda: not status()["requests"])
    told = status()
    assert told["rollout"]["paused"] == ""
    with open_ledger(root / ".fairway/ledger.db") as ledger:
        assert ledger.answer(waiting["id"]).code == "withdrawn"
    assert fairway("audit", "replay")["different"] == []


def test_people_shows_who_may_do_what(root: Path) -> None:
    (root / "fairway.yaml").write_text(FILE + "people: {roles: {operator: [grace], release_manager: ada}}\n")
    told = fairway("people")
    assert told["you"] == {"name": "grace", "roles": ["operator"]}
    may = {one["right"] for one in told["rights"] if one["you"]}
    assert {"resume", "abort", "freeze"} <= may
    assert not {"skip", "promote", "approve"} & may
    staging = fairway("people", "--environment", "staging")
    assert {one["right"] for one in staging["rights"] if one["you"]} > may


VERBS_AT_A_VERSION = [["rollout", verb.name, *(["x"] if verb.params[0].param_type_name == "argument" else [])]
                      for verb in VERBS]  # fmt: skip
BEYOND = "99999999999999999999999"


@pytest.mark.parametrize(
    "words",
    [
        *([*words, "--if-version", BEYOND] for words in VERBS_AT_A_VERSION),
        ["audit", "note", BEYOND, "x"],
        ["audit", "note", "1", "x", "--if-version", BEYOND],
        ["audit", "log", "--after", BEYOND],
        ["audit", "replay", "--from", BEYOND],
        ["audit", "replay", "--to", BEYOND],
    ],
    ids=" ".join,
)
def test_a_seq_that_no_ledger_can_hold_is_refused_before_anything_is_asked(words: list[str]) -> None:
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 2, refused.exception
    assert f"{BEYOND} is not in the range" in refused.output
