"""What doctor says about the sources of custom gates."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.clock import SystemClock
from fairway.ledger import open_ledger
from fairway.project.load import load_project
from fairway.rollout.port import JournalEntry
from fairway.rollout.values import RouteState
from fairway.rollout.wire import state_to_wire
from fairway.sources.placeholders import Names
from fairway.sources.values import Answered, SourceAnswer, SourceGate
from fairway.supervise import outside
from fairway.supervise.examined import Check, CheckStatus
from fairway.supervise.outside import look_at_sources
from fairway.testing.rollout_cases import STABLE
from fairway.traffic.fence import Fence

PROJECT = """version: 1
agent: {name: shop}
service: {command: python app.py, health: /health, ready: /ready}
rollout:
  gates:
    custom:
      - name: cpu
        prometheus: {url: 'http://127.0.0.1:1', query: 'cpu{release="{{arm}}"}'}
        at_most: 0.8
        for: 5m
"""


class Scripted:
    """An asker that answers as it was told, and remembers whom it was asked about."""

    answer = SourceAnswer(outcome=Answered.VALUE, value=0.5)
    about: list[str] = []

    async def ask(self, gate: SourceGate, names: Names, *, role: str) -> SourceAnswer:
        self.about.append(names.candidate.version)
        return self.answer


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    project = load_project(tmp_path)
    route = project.route("production")
    project.state.ledger.parent.mkdir(parents=True, exist_ok=True)
    with open_ledger(project.state.ledger, clock=SystemClock()) as ledger:
        lease = ledger.acquire_lease(route, "test", seconds=30)
        assert lease is not None
        state = RouteState(route=route, stable=STABLE)
        entry = JournalEntry(
            route=route,
            fence=Fence(term=lease.term, seq=1),
            at=SystemClock().now(),
            kind="idle",
            code="settled",
            reason="",
            actor="controller",
            state=state_to_wire(state),
            decision={},
            snapshot=b"{}",
            answers=(),
        )
        ledger.journal(entry, lease)
    return tmp_path


def told(root: Path) -> Check:
    (check,) = look_at_sources(load_project(root))
    return check


def test_without_custom_gates_nothing_is_asked(tmp_path: Path) -> None:
    (tmp_path / "fairway.yaml").write_text(PROJECT.split("rollout:")[0])
    assert list(look_at_sources(load_project(tmp_path))) == []


def test_before_anything_serves_there_is_nothing_to_ask_about(tmp_path: Path) -> None:
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    check = told(tmp_path)
    assert check.status is CheckStatus.WARN
    assert "nothing serves yet" in check.detail
    assert not (tmp_path / ".fairway").exists()


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (SourceAnswer(outcome=Answered.VALUE, value=0.5), CheckStatus.OK, "0.5, asked for at most 0.8"),
        (SourceAnswer(outcome=Answered.VALUE, value=0.9), CheckStatus.WARN, "0.9, asked for at most 0.8"),
        (SourceAnswer(outcome=Answered.EMPTY, detail="no sample"), CheckStatus.WARN, "no sample"),
        (SourceAnswer(outcome=Answered.SEVERAL, detail="3 series"), CheckStatus.FAIL, "3 series"),
    ],
)
def test_each_gate_is_asked_now_about_what_serves_and_told_with_what_it_is_worth(
    serving: Path, monkeypatch: pytest.MonkeyPatch, answer: SourceAnswer, status: CheckStatus, says: str
) -> None:
    asker = Scripted()
    asker.answer, asker.about = answer, []
    monkeypatch.setattr(outside, "HttpAsker", lambda: asker)
    check = told(serving)
    assert check.status is status
    assert check.detail.startswith("cpu (guarantee: none): ")
    assert says in check.detail
    assert asker.about == [STABLE.version]


def test_a_server_that_is_not_there_fails_the_check(serving: Path) -> None:
    check = told(serving)
    assert check.status is CheckStatus.FAIL
    assert "cannot be reached" in check.detail
    assert check.hint is not None
