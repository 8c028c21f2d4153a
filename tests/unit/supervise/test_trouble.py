"""Why no controller stays alive, also when a full disk keeps the supervisor from writing what it knows."""

from __future__ import annotations

import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.state_dir import StateDir
from fairway.supervise import trouble
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, write_info
from fairway.supervise.trouble import controller_trouble
from fairway.targets.local.process import ProcessIdentity, identify

_Usage = namedtuple("_Usage", "total used free")
DEAD = ProcessIdentity(pid=1, mark="another")


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / ".fairway")


def up(state: StateDir, controller: ChildInfo, process: ProcessIdentity | None = None) -> None:
    me = identify(os.getpid())
    assert me is not None
    children = {"controller": replace(controller, process=me if controller.process is None else controller.process)}
    url = "http://127.0.0.1:1"
    write_info(state, UpInfo(process=process or me, project=state.root, url=url, admin_url=url, children=children))


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trouble.shutil, "disk_usage", lambda _: _Usage(10_000, 10_000, 0))


CHILD = ChildInfo(name="controller", state=ChildState.SERVING)
LOOPS = replace(CHILD, state=ChildState.CRASH_LOOP, detail="exited with code 3 1s after its start; starting again\nx")
STALE = replace(CHILD, process=DEAD)
"""What the file still says after a full disk kept it from being written again."""


@pytest.mark.parametrize("child", [LOOPS, STALE], ids=["a crash loop", "a stale file"])
def test_with_a_full_disk_the_disk_is_named(state: StateDir, monkeypatch: pytest.MonkeyPatch, child: ChildInfo) -> None:
    up(state, child)
    full(monkeypatch)
    said = controller_trouble(state)
    assert said.startswith("the controller keeps ending: the disk is full (0 KiB free")
    assert "free some space" in said


def test_the_last_words_of_the_controller_count_where_the_disk_has_room_again(state: StateDir) -> None:
    up(state, LOOPS)
    state.logs.mkdir(parents=True)
    (state.logs / "controller.log").write_text("ERROR fairway.controller: the disk is full\n")
    assert "the disk is full" in controller_trouble(state)


def test_another_crash_loop_is_told_by_how_it_ended(state: StateDir) -> None:
    up(state, LOOPS)
    assert controller_trouble(state) == (
        "the controller keeps ending: exited with code 3 1s after its start; starting again"
    )


@pytest.mark.parametrize("child", [CHILD, replace(CHILD, state=ChildState.STARTING)], ids=["serves", "starts"])
def test_one_that_serves_or_only_starts_is_in_no_trouble(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, child: ChildInfo
) -> None:
    up(state, child)
    full(monkeypatch)
    assert controller_trouble(state) == ""


def test_without_a_fairway_up_there_is_nothing_to_say(state: StateDir) -> None:
    assert controller_trouble(state) == ""
    up(state, LOOPS, process=DEAD)
    assert controller_trouble(state) == ""
