"""Putting the agent's database back: asked for, told what is lost, approved by others, carried out once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.bootstrap import Workspace
from fairway.cli.main import cli
from fairway.errors import FairwayError, RefusedError
from fairway.ledger import open_ledger
from fairway.observe.fold import ArmBlock, Block
from fairway.project.load import load_project
from fairway.recovery.database import acts, back_up
from fairway.recovery.database_request import (
    LASTS,
    RestoreRequest,
    approve_restore,
    ask_restore,
    carry_out,
    lost_by,
    lost_since,
    open_request,
    requests_of,
)
from fairway.release.store import FileContentStore
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest

ALONE = """\
version: 1
agent: {name: shop}
service: {command: "python app.py"}
rollback:
  database:
    backup: [sh, -c, "echo backup-7"]
    restore: [sh, -c, "echo {backup} >> restored"]
"""
PEOPLE = (
    ALONE
    + "people: {roles: {operator: [ada, olga], release_manager: [grace], qa: [linus], developer: [ken]}}\n"
    + "rollout: {approval: {quorum: 2, expires: 1h}}\n"
)


def workspace(root: Path, text: str, clock: VirtualClock) -> Iterator[Workspace]:
    root.mkdir()
    (root / "fairway.yaml").write_text(text)
    project = load_project(root)
    with open_ledger(project.state.ledger, clock=clock) as ledger:
        yield Workspace(project=project, ledger=ledger, store=FileContentStore(project.state.blobs), clock=clock)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def listed(tmp_path: Path, clock: VirtualClock) -> Iterator[Workspace]:
    yield from workspace(tmp_path / "shop", PEOPLE, clock)


@pytest.fixture
def alone(tmp_path: Path, clock: VirtualClock) -> Iterator[Workspace]:
    yield from workspace(tmp_path / "shop", ALONE, clock)


async def asked(place: Workspace, clock: VirtualClock) -> RestoreRequest:
    await back_up(place, actor="ada", reason="before 1.1.0")
    clock.advance(3600)
    return ask_restore(place, None, actor="ada", reason="orders are gone")


def restored(place: Workspace) -> list[str]:
    path = place.project.root / "restored"
    return path.read_text().splitlines() if path.is_file() else []


async def refused(place: Workspace, request: RestoreRequest, **changes: bool) -> str:
    with pytest.raises(FairwayError) as error:
        await carry_out(place, request, actor="ada", **changes)
    return error.value.code


async def test_nothing_is_put_back_without_the_quorum_of_the_policy(listed: Workspace, clock: VirtualClock) -> None:
    request = await asked(listed, clock)
    assert (request.needed, request.backup) == (2, "backup-7")
    assert await refused(listed, request) == "database_unapproved"
    approve_restore(listed, request.id, actor="grace")
    approve_restore(listed, request.id, actor="Grace")
    assert await refused(listed, request) == "database_unapproved", "the same person twice is one"
    approve_restore(listed, request.id, actor="linus")
    assert restored(listed) == []
    done = await carry_out(listed, request, actor="olga")
    assert (done.good, restored(listed)) == (True, ["backup-7"])
    assert done.reason == f"{request.id}: orders are gone"


@pytest.mark.parametrize(
    ("actor", "code"), [("ada", "author_approves"), ("ADA", "author_approves"), ("ken", "not_an_approver")]
)
async def test_neither_who_asked_nor_who_lacks_the_role_approves(
    listed: Workspace, clock: VirtualClock, actor: str, code: str
) -> None:
    request = await asked(listed, clock)
    with pytest.raises(RefusedError) as error:
        approve_restore(listed, request.id, actor=actor)
    assert error.value.code == code
    assert requests_of(listed)[0].given == ()


async def test_it_is_done_once_and_another_time_takes_another_request(listed: Workspace, clock: VirtualClock) -> None:
    request = await asked(listed, clock)
    for name in ("grace", "linus"):
        approve_restore(listed, request.id, actor=name)
    await carry_out(listed, request, actor="ada")
    assert await refused(listed, request) == "restore_over"
    assert await refused(listed, request, again=True) == "restore_over"
    assert (restored(listed), open_request(listed)) == (["backup-7"], None)
    assert ask_restore(listed, None, actor="ada", reason="again").given == ()


async def test_killed_once_it_was_begun_it_is_never_begun_again_by_itself(
    listed: Workspace, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await asked(listed, clock)
    for name in ("grace", "linus"):
        approve_restore(listed, request.id, actor=name)

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fairway.recovery.database.run_command", killed)
    with pytest.raises(KeyboardInterrupt):
        await carry_out(listed, request, actor="ada")
    monkeypatch.undo()
    assert await refused(listed, request, again=True) == "restore_over"
    assert [act.ended for act in acts(listed) if act.verb == "restore"] == [False]
    assert restored(listed) == []


async def test_while_nobody_knows_how_another_act_ended_the_request_is_not_spent(
    listed: Workspace, clock: VirtualClock
) -> None:
    request = await asked(listed, clock)
    for name in ("grace", "linus"):
        approve_restore(listed, request.id, actor=name)
    wire = {"id": "x", "verb": "backup", "reason": "r", "backup": "", "code": None, "ended": False}
    listed.ledger.append_audit("database", "backup", "ada", wire, clock.now())
    assert await refused(listed, request) == "database_unknown"
    assert (await carry_out(listed, request, actor="ada", again=True)).good


async def test_a_yes_and_a_request_run_out(listed: Workspace, clock: VirtualClock) -> None:
    request = await asked(listed, clock)
    approve_restore(listed, request.id, actor="grace")
    clock.advance(3601)
    approve_restore(listed, request.id, actor="linus")
    assert await refused(listed, request) == "database_unapproved", "a yes counts for an hour"
    clock.advance(LASTS.total_seconds())
    assert await refused(listed, request) == "restore_over"
    with pytest.raises(RefusedError) as error:
        approve_restore(listed, request.id, actor="grace")
    assert error.value.code == "restore_over"
    assert open_request(listed) is None


async def test_what_is_lost_is_told_as_far_as_it_is_known(listed: Workspace, clock: VirtualClock) -> None:
    request = await asked(listed, clock)
    arm = ArmBlock(role=Role.STABLE, assigned=40, finished=40)
    t0 = clock.now().timestamp() // 10 * 10 - 60
    blocks = [
        Block(t0=t0 + 10 * n, seconds=10, fence=Fence(term=1, seq=1), arms={Digest("sha256:" + "1" * 64): arm})
        for n in range(3)
    ]
    listed.ledger.add_blocks(listed.route, [block.to_wire() for block in blocks])
    words = lost_since(listed, request.backup).words(clock.now())
    assert words.endswith("UTC, 1h ago: at least 120 requests were answered since"), "most of the hour is not on record"
    assert lost_since(listed, "by hand").words(clock.now()).endswith("nobody knows when that was")


def block(t0: float, finished: int = 0, **changes: bool) -> Block:
    arms = {Digest("sha256:" + "1" * 64): ArmBlock(role=Role.STABLE, assigned=finished, finished=finished)}
    return replace(Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms=arms if finished else {}), **changes)


HOLES = {
    "nothing on record": ([], None, 0),
    "all of it": ([block(1000, 5), block(1010, 5), block(1020, 7)], 17, 17),
    "the backup was made within a block without requests": ([block(995), block(1005, 5), block(1015, 7)], 12, 12),
    "it was made within a block with some": ([block(995, 3), block(1005, 5), block(1015, 7)], None, 12),
    "what came before it": ([block(980, 9), block(990, 9), block(1000, 5), block(1010, 5), block(1020, 7)], 17, 17),
    "the beginning is missing": ([block(1010, 5), block(1020, 7)], None, 12),
    "the middle is missing": ([block(1000, 5), block(1020, 7)], None, 12),
    "the end is missing": ([block(1000, 5), block(1010, 5)], None, 10),
    "telemetry was lost": ([block(1000, 5), block(1010, 4, gap=True), block(1020, 7)], None, 16),
    "a first release that serves nobody": ([block(1000), block(1010), block(1020)], 0, 0),
}


@pytest.mark.parametrize(("blocks", "requests", "at_least"), HOLES.values(), ids=HOLES.keys())
def test_what_is_not_on_record_is_never_counted_as_no_request(
    blocks: list[Block], requests: int | None, at_least: int
) -> None:
    since = datetime.fromtimestamp(1000, UTC)
    lost = lost_by(blocks, since=since, now=since + timedelta(seconds=25))
    assert (lost.requests, lost.at_least) == (requests, at_least)
    known = f"at least {at_least} requests" if at_least else "an unknown number of requests"
    told = known if requests is None else f": {requests} requests"
    assert f"{told} were answered since" in lost.words(since + timedelta(hours=9))


async def test_what_could_not_even_be_started_has_not_spent_the_request(tmp_path: Path, clock: VirtualClock) -> None:
    text = PEOPLE.replace('[sh, -c, "echo {backup} >> restored"]', "[./put-back, '{backup}']")
    for place in workspace(tmp_path / "other", text, clock):
        request = await asked(place, clock)
        for name in ("grace", "linus"):
            approve_restore(place, request.id, actor=name)
        assert await refused(place, request) == "command_not_found"
        assert open_request(place) is not None
        script = place.project.root / "put-back"
        script.write_text('#!/bin/sh\necho "$1" >> restored\n')
        script.chmod(0o755)
        assert (await carry_out(place, request, actor="olga")).good
        assert (restored(place), await refused(place, request)) == (["backup-7"], "restore_over")


async def test_a_restore_that_ran_and_failed_has_spent_the_request(tmp_path: Path, clock: VirtualClock) -> None:
    for place in workspace(tmp_path / "other", PEOPLE.replace("echo {backup} >> restored", "exit 127"), clock):
        request = await asked(place, clock)
        for name in ("grace", "linus"):
            approve_restore(place, request.id, actor=name)
        assert not (await carry_out(place, request, actor="ada")).good
        assert await refused(place, request) == "restore_over"


async def test_one_request_is_open_at_a_time(listed: Workspace, clock: VirtualClock) -> None:
    request = await asked(listed, clock)
    with pytest.raises(RefusedError) as error:
        ask_restore(listed, "other", actor="olga", reason="mine")
    assert (error.value.code, request.id in error.value.message) == ("restore_asked", True)


async def test_with_people_listed_and_no_approvals_in_the_policy_one_other_person_says_yes(
    tmp_path: Path, clock: VirtualClock
) -> None:
    text = PEOPLE.replace("rollout: {approval: {quorum: 2, expires: 1h}}\n", "rollout: {approval: none}\n")
    for place in workspace(tmp_path / "other", text, clock):
        request = await asked(place, clock)
        assert request.needed == 1
        approve_restore(place, request.id, actor="linus")
        assert (await carry_out(place, request, actor="ada")).good


# -- as commands --


def said(root: Path, *words: str, by: str = "ada", code: int = 0) -> dict[str, object]:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "config", "user.email", by], cwd=root, check=True)
    done = CliRunner().invoke(cli, [*words, "--project", str(root), "-o", "json"])
    if isinstance(done.exception, FairwayError):
        return {"code": done.exception.code}
    assert done.exit_code == code, done.output
    return dict(json.loads(done.stdout))


def test_the_commands_ask_approve_and_carry_out(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "fairway.yaml").write_text(PEOPLE)
    assert said(root, "rollback", "backup", "--reason", "before")["good"]
    assert said(root, "rollback", "--database", "--reason", "gone", by="ken")["code"] == "role_missing"
    assert said(root, "rollback", "--database")["code"] == "reason_needed"
    made = said(root, "rollback", "--database", "--reason", "orders are gone")
    number = str(made["request"])
    assert (made["missing"], made["given"]) == (2, [])
    assert said(root, "rollback", "--database", "--yes")["code"] == "database_unapproved"
    assert said(root, "rollout", "approve", number)["code"] == "author_approves"
    assert said(root, "rollout", "approve", number, by="grace")["given"] == ["grace"]
    assert said(root, "rollout", "approve", number, by="linus")["missing"] == 0
    text = CliRunner().invoke(cli, ["rollback", "--database", "--project", str(root)]).output  # linus looks
    assert "lost       everything written since" in text
    assert "waits for  approved by grace, linus; carry it out with fairway rollback --database --yes" in text
    assert said(root, "rollback", "--database", "--yes")["good"]
    assert (root / "restored").read_text() == "backup-7\n"
    assert said(root, "rollout", "approve", number, by="grace")["code"] == "restore_over"
    assert said(root, "rollout", "approve", "restore-none", by="grace")["code"] == "no_restore_request"


def test_alone_with_nobody_listed_a_reason_and_a_yes_are_enough(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "fairway.yaml").write_text(ALONE + "rollout: {approval: none}\n")
    said(root, "rollback", "backup", "--reason", "before")
    done = said(root, "rollback", "--database", "--yes", "--reason", "orders are gone")
    assert done["good"]
    assert (root / "restored").read_text() == "backup-7\n"


def test_a_request_lasts_a_day() -> None:
    assert timedelta(hours=1) <= LASTS <= timedelta(days=1)
