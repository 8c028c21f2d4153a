from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fairway.state_dir import StateDir
from fairway.supervise.board import LineBoard, LiveBoard
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, read_info, running, write_info
from fairway.supervise.leash import Leash, leash_fd
from fairway.targets.local.process import ProcessIdentity, identify
from fairway.targets.local.records import InstanceRecord, RecordFolder
from fairway.targets.local.service import LocalService, Placement
from fairway.targets.port import InstanceState
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

CHILD = ChildInfo(
    name="gateway",
    state=ChildState.SERVING,
    process=ProcessIdentity(pid=7, mark="x"),
    url="http://127.0.0.1:8700",
    fingerprint="one",
)


def instance(state: StateDir) -> InstanceRecord:
    return InstanceRecord(
        id="production-1-0",
        route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
        placement=Placement(
            environment=EnvironmentName("production"),
            release=Digest("sha256:" + "1" * 64),
            effective=Digest("sha256:" + "2" * 64),
            release_version="1.2.0",
            tree=state.root,
            bundle=state.root,
        ),
        service=LocalService(command=("x",)),
        port=4711,
        log=state.root / "log",
    )


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / ".fairway")


def test_each_change_is_one_line_and_no_change_none(state: StateDir) -> None:
    lines: list[str] = []
    board = LineBoard(state, write=lines.append)
    records = RecordFolder(state.arms / "instances")
    board.child(replace(CHILD, state=ChildState.STARTING))
    board.child(CHILD)
    board.child(CHILD)
    board.child(replace(CHILD, state=ChildState.BACKING_OFF, process=None, restarts=1, detail="exited with code 1"))
    records.write(instance(state))
    board.arms()
    board.arms()
    records.write(replace(instance(state), state=InstanceState.READY))
    board.arms()
    records.remove("production-1-0")
    board.arms()
    assert lines == [
        "gateway     serving at http://127.0.0.1:8700 (pid 7)",
        "gateway     backing_off: exited with code 1",
        "arm         production 1.2.0 (11111111) starting at 127.0.0.1:4711",
        "arm         production 1.2.0 (11111111) ready at 127.0.0.1:4711",
        "arm         production-1-0 ended",
    ]


def test_a_reader_that_has_gone_stops_nothing(state: StateDir) -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    board = LineBoard(state, write=closed)
    board.child(CHILD)
    board.line("still here")


def test_a_terminal_shows_a_table_that_stays(state: StateDir) -> None:
    screen = io.StringIO()
    RecordFolder(state.arms / "instances").write(replace(instance(state), state=InstanceState.READY))
    with LiveBoard(state, console=Console(file=screen, force_terminal=True, width=100)) as board:
        board.child(CHILD)
        board.arms()
        board.line("everything serves")
    shown = screen.getvalue()
    assert "http://127.0.0.1:8700" in shown
    assert "production 1.2.0" in shown
    assert "everything serves" in shown


def info(pid: int, mark: str) -> UpInfo:
    return UpInfo(
        process=ProcessIdentity(pid=pid, mark=mark),
        project=Path("/srv/shop"),
        url="http://127.0.0.1:8700",
        admin_url="http://127.0.0.1:8701",
        mock_url=None,
        started_at=1.5,
        children={"gateway": CHILD},
    )


def test_what_is_written_is_read_and_only_a_living_process_counts_as_running(state: StateDir) -> None:
    me = identify(os.getpid())
    assert me is not None
    assert read_info(state) is None
    write_info(state, info(me.pid, me.mark))
    assert read_info(state) == info(me.pid, me.mark)
    assert running(state) == info(me.pid, me.mark)
    write_info(state, info(me.pid, "an earlier process with this pid"))
    assert running(state) is None
    assert read_info(state) is not None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"version": 1}', '{"version": 9}', '{"version": 1, "process": 3}']
)
def test_a_damaged_file_is_nobody(state: StateDir, text: str) -> None:
    state.pid_file("up").parent.mkdir(parents=True)
    state.pid_file("up").write_text(text)
    assert read_info(state) is None
    assert running(state) is None


def test_a_child_notices_the_end_of_its_supervisor_and_not_before() -> None:
    leash = Leash()
    program = (
        "import asyncio\nfrom fairway.supervise.leash import leash_cut\n"
        "async def main():\n"
        "    print('waiting', flush=True)\n"
        "    try: await asyncio.wait_for(leash_cut(), 0.3)\n"
        "    except TimeoutError: print('held', flush=True)\n"
        "    await asyncio.wait_for(leash_cut(), 20); print('cut', flush=True)\n"
        "asyncio.run(main())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **leash.environment()},
        pass_fds=(leash.read_fd,),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    assert child.stdout.readline() == "held\n"
    leash.close()
    assert child.stdout.readline() == "cut\n"
    assert child.wait(timeout=10) == 0
    child.stdout.close()


@pytest.mark.parametrize("value", ["", "x", "-1", "999"])
def test_without_a_leash_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FAIRWAY_LEASH_FD", value)
    assert leash_fd() is None
