"""What on-call sees and is asked: going back from a first release, twice, or with nobody there to obey."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fairway.cli import following
from fairway.cli.main import cli
from fairway.errors import FairwayError
from fairway.ledger import open_ledger
from fairway.rollout.next_step import next_step
from fairway.rollout.port import JournalEntry
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import Phase, RouteState
from fairway.rollout.verbs import ONE_STEP_BACK
from fairway.rollout.wire import decision_to_wire, state_to_wire
from fairway.state_dir import StateDir
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, UpLock, write_info
from fairway.targets.local.process import identify
from fairway.testing.rollout_cases import CANDIDATE, GATES, OLDEST, canary_plan, rollout_state, route_state, snapshot
from fairway.traffic.fence import Fence
from fairway.units import RouteId

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py"}
evals: {suites: []}
"""
ROUTE = RouteId(agent="shop", environment="production")
Journal = Callable[[RouteState], None]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    (tmp_path / "app.py").write_text("print('hello')\n")
    for arguments in (["init", "-q"], ["config", "user.email", "ada@example.org"], ["config", "user.name", "Ada"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def journal(root: Path) -> Journal:
    def write(state: RouteState) -> None:
        """As a controller that is gone since."""
        with open_ledger(root / ".fairway" / "ledger.db") as ledger:
            lease = ledger.acquire_lease(ROUTE, "controller-1", seconds=60.0)
            assert lease is not None
            decision = next_step(snapshot(state))
            seq = ledger.head(ROUTE).fence.seq + 1
            ledger.journal(
                JournalEntry(
                    route=ROUTE,
                    fence=Fence(term=lease.term, seq=seq),
                    at=datetime.now(UTC),
                    kind=decision.kind.value,
                    code=decision.code,
                    reason=decision.reason,
                    actor="controller",
                    state=state_to_wire(replace(state, route=ROUTE)),
                    decision=decision_to_wire(decision),
                ),
                lease,
            )
            ledger.release_lease(lease)

    return write


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=True)


def value(*arguments: str) -> Any:
    done = run(*arguments, "-o", "json")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def refused(*arguments: str) -> FairwayError:
    done = run(*arguments)
    assert isinstance(done.exception, FairwayError), done.output
    return done.exception


def pending(root: Path) -> list[Request]:
    with open_ledger(root / ".fairway" / "ledger.db") as ledger:
        return list(ledger.pending(ROUTE))


def first(phase: Phase) -> RouteState:
    """A first release on its way: nothing served before it."""
    served = phase is Phase.SOAKING
    return route_state(rollout_state(phase, stable=None), stable=CANDIDATE if served else None, history=())


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.SOAKING], ids=str)
@pytest.mark.parametrize("command", [("rollback",), ("rollout", "abort")], ids=" ".join)
def test_a_first_release_that_serves_is_taken_away_only_by_whoever_says_so(
    root: Path, journal: Journal, phase: Phase, command: tuple[str, ...]
) -> None:
    journal(first(phase))
    dry = value("rollback", "--dry-run")
    assert (dry["to"], dry["leaves_nothing"]) == (None, True)
    said = run("rollback", "--dry-run").stdout
    assert "ALL TRAFFIC  would be refused (503)" in said
    asked = refused(*command, "--reason", "bad answers")
    assert (asked.code, asked.exit_code) == ("leaves_nothing", 2)
    assert "--to-nothing" in (asked.hint or "")
    assert "fairway deploy" in (asked.hint or "")
    assert pending(root) == []
    assert refused(*command, "--to-nothing", "--reason", "bad answers").code == "no_controller"
    assert [one.verb for one in pending(root)] == [Verb(command[-1])]


def test_before_a_first_release_met_anybody_ending_it_needs_no_more_than_the_word(root: Path, journal: Journal) -> None:
    journal(first(Phase.PREPARING))
    assert value("rollback", "--dry-run")["leaves_nothing"] is False
    assert refused("rollback").code == "no_controller"


def test_a_rollback_where_nothing_ever_served_is_refused_at_once_and_recorded_nowhere(root: Path) -> None:
    asked = refused("rollback", "--reason", "bad answers")
    assert (asked.code, asked.hint) == ("no_stable", "fairway deploy <release>")
    assert pending(root) == []


def test_a_dry_run_right_after_going_back_says_that_it_would_be_refused_and_how_to_go_further(
    root: Path, journal: Journal
) -> None:
    back = rollout_state(Phase.ROLLED_BACK, phase_at=datetime.now(UTC), cause="aborted", counted_from=0.0)
    journal(route_state(back, history=(OLDEST,)))
    way = value("rollback", "--dry-run")
    assert "went back to 1.0.0" in way["refused"]
    assert f"{OLDEST.version} would be next: say --to" in way["refused"]
    assert "REFUSED      the users of 1.1.0 went back" in run("rollback", "--dry-run").stdout
    journal(route_state(replace(back, phase_at=datetime.now(UTC) - ONE_STEP_BACK), history=(OLDEST,)))
    assert value("rollback", "--dry-run")["refused"] == ""


def test_what_is_asked_without_a_controller_will_be_answered_not_applied_for_sure(root: Path, journal: Journal) -> None:
    journal(route_state(rollout_state(Phase.DONE)))
    asked = refused("rollback", "--reason", "bad answers", "--if-version", "7")
    assert "is recorded and will be answered when one is" in asked.message
    assert [one.if_version for one in pending(root)] == [7]
    assert refused("rollback", "--dry-run", "--if-version", "7").code == "bad_option"


def test_who_follows_a_rollout_is_told_that_nobody_decides(
    root: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_SAID_EVERY_SECONDS", 0.0)
    journal(route_state(rollout_state(Phase.STEPPING)))
    watched = run("rollout", "watch", "--lines", "--timeout", "1s")
    assert isinstance(watched.exception, FairwayError)
    assert watched.exception.code == "watch_timeout"
    assert watched.stdout.count("no controller is running: fairway up") == 1
    for_a_program = run("rollout", "watch", "--timeout", "1s", "-o", "json")
    assert for_a_program.stderr.count("no controller is running: fairway up") == 1
    assert all(json.loads(line) for line in for_a_program.stdout.splitlines())


def unproved(phase: Phase) -> RouteState:
    """After a switch that nothing was compared before: gates of the soak have to pass."""
    plan = canary_plan(steps=(), soak_gates=tuple(replace(gate, must_pass=True) for gate in GATES))
    return route_state(rollout_state(phase, plan=plan))


def test_a_switch_nothing_was_compared_before_is_watched_until_its_soak_has_ended(root: Path, journal: Journal) -> None:
    journal(route_state(rollout_state(Phase.SOAKING)))
    assert run("rollout", "watch", "--timeout", "1s").exit_code == 0  # its steps have compared it
    journal(unproved(Phase.SOAKING))
    pending_soak = run("rollout", "watch", "--timeout", "1s")
    assert isinstance(pending_soak.exception, FairwayError)
    assert "still soaking" in pending_soak.exception.message
    journal(unproved(Phase.ROLLED_BACK))
    assert run("rollout", "watch", "--timeout", "1s").exit_code == 1
    journal(unproved(Phase.DONE))
    assert run("rollout", "watch", "--timeout", "1s").exit_code == 0


def test_a_second_up_is_not_told_to_use_one_whose_controller_keeps_ending(root: Path) -> None:
    state = StateDir(root / ".fairway")
    me = identify(os.getpid())
    assert me is not None
    loops = ChildInfo(name="controller", state=ChildState.CRASH_LOOP, detail="exited with code 3", process=me)
    url = "http://127.0.0.1:1"
    for children, said in (({}, "use it as it is"), ({"controller": loops}, "fairway doctor")):
        lock = UpLock(state)
        lock.take()
        write_info(state, UpInfo(process=me, project=root, url=url, admin_url=url, children=children))
        second = refused("up", "--detach")
        lock.release()
        assert second.code == "already_up"
        assert said in (second.hint or "")
        assert ("the controller keeps ending: exited with code 3" in second.message) is bool(children)
    status = run("rollout", "status").stdout
    assert "controller the controller keeps ending: exited with code 3" in status
