"""Roles are obeyed as fairway.yaml says them now, put on record, and never dropped by a broken file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fairway.controller.checked_out import GitCheckedOut
from fairway.controller.people import PeopleFile, people_digest, unlike
from fairway.errors import PermanentError
from fairway.ledger import open_ledger
from fairway.ledger.sql_ledger import SqlLedger
from fairway.project.load import load_project
from fairway.rollout.people import NOBODY_LISTED, People, Role
from fairway.rollout.requests import AnswerKind, Verb
from fairway.rollout.values import Phase
from fairway.testing.rollout_cases import ROUTE
from fairway.testing.rollout_world import RolloutWorld
from fairway.testing.virtual_clock import VirtualClock

BASE = """version: 1
agent: {name: shop}
service: {command: python app.py, health: /health, ready: /ready}
"""
LISTED = "people: {roles: {release_manager: [ada], developer: [ken]}}\n"
OTHERS = "people: {roles: {release_manager: [grace]}}\n"


def _write(root: Path, text: str) -> None:
    """Another file in its place, whose time differs from the last one's whatever the file system counts in."""
    path = root / "fairway.yaml"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(BASE + text)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def _reader(root: Path, ledger: SqlLedger) -> PeopleFile:
    in_force = load_project(root).people.to_people()
    clock, commits = VirtualClock(), GitCheckedOut(root)
    return PeopleFile(root=root, route=ROUTE, ledger=ledger, clock=clock, in_force=in_force, commits=commits)


def _twice(reader: PeopleFile) -> People:
    reader()
    return reader()


def _recorded(ledger: SqlLedger) -> list[object]:
    return [entry.payload["payload"]["digest"] for entry in ledger.audit_log(0, kind="people") if entry.payload]


def test_roles_added_while_it_runs_are_in_force_from_then_on_and_on_record(tmp_path: Path) -> None:
    _write(tmp_path, "")
    ledger = open_ledger(tmp_path / "ledger.db")
    reader = _reader(tmp_path, ledger)
    assert _twice(reader) == NOBODY_LISTED
    assert _recorded(ledger) == []
    _write(tmp_path, LISTED)
    assert _twice(reader).roles[Role.RELEASE_MANAGER] == ("ada",)
    _write(tmp_path, OTHERS)
    assert _twice(reader).roles == {Role.RELEASE_MANAGER: ("grace",)}
    assert len(_recorded(ledger)) == len(set(_recorded(ledger))) == 2
    again = _reader(tmp_path, ledger)
    _twice(again)
    assert len(_recorded(ledger)) == 2
    ledger.close()


@pytest.mark.parametrize("text", ["people: {roles: {tsar: [ada]}}\n", "people: [\n", "people: {roles: {qa: []}}\n", ""])
def test_what_cannot_be_read_or_lists_nobody_leaves_the_roles_in_force(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, LISTED)
    ledger = open_ledger(tmp_path / "ledger.db")
    reader = _reader(tmp_path, ledger)
    before = _twice(reader)
    _write(tmp_path, text)
    for _ in range(5):
        assert reader() == before
    assert len([one for one in caplog.records if "the roles in force stay" in one.message]) == 1
    assert unlike(people_digest(before), NOBODY_LISTED).startswith("the controller still obeys other roles")
    _write(tmp_path, OTHERS)
    assert _twice(reader).roles == {Role.RELEASE_MANAGER: ("grace",)}
    assert unlike(people_digest(reader.in_force), load_project(tmp_path).people.to_people()) == ""
    ledger.close()


def test_roles_that_cannot_be_put_on_record_are_not_in_force_and_stop_no_controller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, LISTED)
    ledger = open_ledger(tmp_path / "ledger.db")
    reader = _reader(tmp_path, ledger)
    before = _twice(reader)
    _write(tmp_path, OTHERS)

    def full(*_: object) -> int:
        raise PermanentError("the disk is full", code="disk_full")

    with monkeypatch.context() as broken:
        broken.setattr(SqlLedger, "append_audit", full)
        assert [reader() for _ in range(4)] == [before] * 4
    assert len([one for one in caplog.records if "the disk is full" in one.message]) == 1
    assert reader().roles == {Role.RELEASE_MANAGER: ("grace",)}
    ledger.close()


def test_a_file_that_is_being_written_is_read_once_it_rests(tmp_path: Path) -> None:
    _write(tmp_path, LISTED)
    ledger = open_ledger(tmp_path / "ledger.db")
    reader = _reader(tmp_path, ledger)
    before = _twice(reader)
    _write(tmp_path, OTHERS)
    assert reader() == before
    _write(tmp_path, OTHERS + "x-more: 1\n")
    assert reader() == before
    assert reader() != before
    ledger.close()


# -- another commit is checked out -------------------------------------------------------------------------------------


def _git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _committed(root: Path, text: str) -> str:
    _write(root, text)
    _git(root, "add", "fairway.yaml")
    _git(root, "commit", "-q", "-m", "roles")
    return _git(root, "rev-parse", "HEAD")


def _checked_out(root: Path, commit: str) -> None:
    before = (root / "fairway.yaml").stat().st_mtime_ns
    _git(root, "checkout", "-q", commit)
    os.utime(root / "fairway.yaml", ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_who_checks_an_older_commit_out_changes_nobodys_role_and_is_told_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _git(tmp_path, "init", "-q")
    old = _committed(tmp_path, OTHERS)
    now = _committed(tmp_path, LISTED)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        reader = _reader(tmp_path, ledger)
        before = _twice(reader)
        _checked_out(tmp_path, old)
        assert [reader() for _ in range(4)] == [before] * 4
        (told,) = [one.getMessage() for one in caplog.records if "the roles in force stay" in one.message]
        assert f"commit {old[:12]}, which does not come after {now[:12]}; check that out again, or restart" in told
        told = unlike(people_digest(before), load_project(tmp_path).people.to_people())
        assert "one that came with another commit: check out again what it ran on, or restart" in told
        _write(tmp_path, "people: {roles: {release_manager: [linus]}}\n")
        assert _twice(reader) == before, "an edit of the older commit is of another line too"
        _checked_out_anew(tmp_path, now)
        assert _twice(reader) == before
        _write(tmp_path, OTHERS)
        assert _twice(reader).roles == {Role.RELEASE_MANAGER: ("grace",)}


def _checked_out_anew(root: Path, commit: str) -> None:
    _git(root, "checkout", "-q", "--", "fairway.yaml")
    _checked_out(root, commit)


def test_roles_edited_then_committed_or_pulled_are_in_force_and_what_came_before_them_is_not_any_more(
    tmp_path: Path,
) -> None:
    _git(tmp_path, "init", "-q")
    first = _committed(tmp_path, LISTED)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        reader = _reader(tmp_path, ledger)
        _twice(reader)
        _write(tmp_path, OTHERS)
        grace = _twice(reader)
        assert grace.roles == {Role.RELEASE_MANAGER: ("grace",)}
        _git(tmp_path, "commit", "-q", "-a", "-m", "grace")
        assert _twice(reader) == grace
        _checked_out(tmp_path, first)
        assert _twice(reader) == grace
        _checked_out(tmp_path, "-")
        assert _twice(reader) == grace
        _git(tmp_path, "checkout", "-q", "-b", "later")
        _committed(tmp_path, "people: {roles: {release_manager: [linus]}}\n")
        assert _twice(reader).roles == {Role.RELEASE_MANAGER: ("linus",)}


def test_while_git_is_checking_files_out_the_file_is_not_read_yet(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    _committed(tmp_path, LISTED)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        reader = _reader(tmp_path, ledger)
        before = _twice(reader)
        (tmp_path / ".git" / "index.lock").touch()
        _write(tmp_path, OTHERS)
        assert [reader() for _ in range(4)] == [before] * 4
        (tmp_path / ".git" / "index.lock").unlink()
        assert _twice(reader) != before


def test_where_git_does_not_say_which_commit_it_is_the_roles_in_force_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-q")
    _committed(tmp_path, LISTED)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        reader = _reader(tmp_path, ledger)
        before = _twice(reader)
        _write(tmp_path, OTHERS)
        with monkeypatch.context() as without:
            without.setenv("PATH", str(tmp_path))
            assert [reader() for _ in range(4)] == [before] * 4
            unknown = _reader(tmp_path, ledger)
        assert "git is not installed" in caplog.text
        assert unknown() == load_project(tmp_path).people.to_people(), "a restart obeys what is there"


def test_before_the_first_commit_a_changed_file_is_obeyed(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    _write(tmp_path, LISTED)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        reader = _reader(tmp_path, ledger)
        _twice(reader)
        _committed(tmp_path, OTHERS)
        assert _twice(reader).roles == {Role.RELEASE_MANAGER: ("grace",)}


async def test_a_controller_refuses_by_the_roles_of_now() -> None:
    world = RolloutWorld(1, kills=0)
    world.serve_first()
    await world.until(Phase.DONE)
    world.controller.people_of = lambda: people
    people = NOBODY_LISTED
    first = world.ask(Verb.HOLD, kind="no-advance")
    await world.run(2)
    people = People(roles={Role.RELEASE_MANAGER: ("ada",)})
    second = world.ask(Verb.HOLD, kind="no-advance")
    await world.run(2)
    told = {answer.request_id: answer for event in world.events for answer in event.answers}
    assert told[first].kind is AnswerKind.APPLIED
    assert told[second].code == "role_missing"
