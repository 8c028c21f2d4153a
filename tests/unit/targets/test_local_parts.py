from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.clock import SystemClock
from fairway.errors import UserError
from fairway.targets.local.log import redact, rotate, secrets_of, tail
from fairway.targets.local.process import (
    GroupProcess,
    ProcessIdentity,
    free_port,
    identify,
    is_running,
    listener_of,
    open_connections,
    port_is_free,
    says_port_taken,
)
from fairway.targets.local.records import Goal, InstanceRecord, RecordFolder, write_json
from fairway.targets.local.service import (
    LocalService,
    Placement,
    agent_path,
    command_line,
    service_environment,
    split_command,
)
from fairway.targets.port import InstanceState
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

PLACEMENT = Placement(
    environment=EnvironmentName("production"),
    release=Digest("sha256:" + "1" * 64),
    effective=Digest("sha256:" + "2" * 64),
    release_version="1.2.0",
    tree=Path("/srv/tree"),
    bundle=Path("/srv/bundle"),
)


def start(folder: Path, *command: str) -> GroupProcess:
    return GroupProcess.start(command, cwd=folder, environment=dict(os.environ), log=folder / "log")


# -- processes --------------------------------------------------------------------------------------------------------


def test_an_identity_is_of_one_process_not_of_a_pid() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me == identify(os.getpid())
    assert is_running(me)
    assert not is_running(ProcessIdentity(pid=me.pid, mark=me.mark + "0"))


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_a_pid_nobody_has_is_nobody(pid: int) -> None:
    assert identify(pid) is None


async def test_a_zombie_no_longer_runs_and_its_exit_code_is_known(tmp_path: Path) -> None:
    process = start(tmp_path, "sh", "-c", "exit 7")
    while identify(process.identity.pid) is not None:
        time.sleep(0.01)
    ended = process.poll()
    assert ended is not None
    assert ended.code == 7
    assert process.poll() == ended


async def test_the_grace_is_for_the_group_not_for_its_shell(tmp_path: Path) -> None:
    script = "trap 'sleep 0.4; touch finished; exit 0' TERM; touch started; while true; do sleep 0.05; done"
    process = start(tmp_path, "sh", "-c", f'sh -c "{script}" & wait')
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    await process.stop(grace=5.0, clock=SystemClock())
    assert (tmp_path / "finished").exists()
    assert process.pids() == []


async def test_what_outlives_the_grace_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "sh", "-c", "trap '' TERM; touch started; while true; do sleep 0.05; done")
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    assert str(await process.stop(grace=0.2, clock=SystemClock())) == "was killed by SIGKILL"


async def test_an_adopted_child_can_still_be_waited_for(tmp_path: Path) -> None:
    process = start(tmp_path, "sleep", "60")
    adopted = GroupProcess.adopt(process.identity, marker=None)
    process.disown()
    assert adopted.poll() is None
    assert (await adopted.stop(grace=2.0, clock=SystemClock())).code == -15


def test_a_port_that_is_listened_on_is_not_free_and_its_listener_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not port_is_free(port)
        assert str(os.getpid()) in (listener_of(port) or "")
    assert port_is_free(port)


def test_free_ports_avoid_those_already_given() -> None:
    given: set[int] = set()
    for _ in range(100):
        port = free_port(taken=given)
        assert port not in given
        given.add(port)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_open_connections_counts_clients_and_not_the_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert open_connections(port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert open_connections(port) == 1


@pytest.mark.parametrize(
    "words",
    [
        "OSError: [Errno 98] Address already in use",
        "Error: listen EADDRINUSE: address already in use :::3000",
        "[Errno 48] error while attempting to bind on address ('127.0.0.1', 8000): address already in use",
        "Web server failed to start. Port 8080 was already in use. The port is already in use",
    ],
)
def test_the_ways_servers_say_that_their_port_is_taken(words: str) -> None:
    assert says_port_taken(words)


def test_another_complaint_is_not_about_the_port() -> None:
    assert not says_port_taken("ModuleNotFoundError: No module named 'port'")


# -- logs -------------------------------------------------------------------------------------------------------------


def test_the_tail_is_of_the_present_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("one\n\ntwo\nthree\n")
    assert tail(log, lines=2, since=since) == "two\nthree"
    assert tail(log, since=since) == "one\ntwo\nthree"
    assert tail(log, since=10_000) == "old\none\ntwo\nthree"
    assert tail(tmp_path / "none") == ""


def test_a_log_is_bounded_while_its_writer_keeps_it_open(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("a") as writer:
        for number in range(100):
            writer.write(f"line {number} {'x' * 50}\n")
            writer.flush()
            rotate(log, limit=1000)
            assert log.stat().st_size <= 1100
    assert (tmp_path / "log.1").stat().st_size <= 1100
    assert "line 99" in log.read_text() + (tmp_path / "log.1").read_text()


def test_values_of_variables_that_look_secret_are_redacted_longest_first() -> None:
    environment = {
        "OPENAI_API_KEY": "sk-abcdef",
        "DB_PASSWORD": "sk-abcdef-longer",
        "COLOUR": "magenta",
        "A_TOKEN": "abc",  # too short: it would blank out words
        "SSH_AUTH_SOCK": "/run/agent.sock",
    }
    secrets = secrets_of(environment)
    assert secrets == ("sk-abcdef-longer", "sk-abcdef")
    text = "key sk-abcdef, password sk-abcdef-longer, magenta, abc"
    assert redact(text, secrets) == "key [redacted], password [redacted], magenta, abc"


# -- how a service is started -----------------------------------------------------------------------------------------


def test_a_command_is_split_as_a_shell_would_without_one() -> None:
    assert split_command("python -m 'my app' --port {port}") == ("python", "-m", "my app", "--port", "{port}")
    assert split_command(["run", "a b"]) == ("run", "a b")


@pytest.mark.parametrize("command", ["", "  ", "python 'unfinished", []])
def test_a_command_that_cannot_be_read_is_a_user_error(command: str | list[str]) -> None:
    with pytest.raises(UserError):
        split_command(command)


def test_port_and_host_are_filled_in_and_other_braces_stay() -> None:
    service = LocalService(command=("serve", "--bind={host}:{port}", '{"a": 1}'))
    assert command_line(service, port=81) == ("serve", "--bind=127.0.0.1:81", '{"a": 1}')


def test_what_fairway_sets_wins_and_what_is_not_the_arms_business_is_taken_out() -> None:
    service = LocalService(command=("x",), environment={"FAIRWAY_PORT": "1", "COLOUR": "green"})
    inherited = {"COLOUR": "red", "HOME": "/h", "FAIRWAY_LEASH_FD": "3", "FAIRWAY_INSTANCE": "up", "PATH": "/bin"}
    environment = service_environment(service, PLACEMENT, port=81, inherited=inherited)
    assert environment["FAIRWAY_PORT"] == "81"
    assert environment["COLOUR"] == "green"
    assert environment["HOME"] == "/h"
    assert environment["FAIRWAY_VERSION"] == "1.2.0"
    assert "FAIRWAY_LEASH_FD" not in environment
    assert "FAIRWAY_INSTANCE" not in environment


def test_python_is_the_projects_when_fairway_was_called_from_its_virtual_environment(tmp_path: Path) -> None:
    prefix = str(tmp_path)
    assert agent_path("/bin", prefix=prefix, activated=False) == "/bin"  # not a virtual environment
    (tmp_path / "pyvenv.cfg").touch()
    assert agent_path("/bin", prefix=prefix, activated=False) == f"{prefix}/bin:/bin"
    assert agent_path(f"{prefix}/bin:/bin", prefix=prefix, activated=False) == f"{prefix}/bin:/bin"
    assert agent_path("/bin", prefix=prefix, activated=True) == "/bin"
    (tmp_path / "uv-receipt.toml").touch()  # Fairway's own, by `uv tool install`
    assert agent_path("/bin", prefix=prefix, activated=False) == "/bin"


# -- records ----------------------------------------------------------------------------------------------------------


def record(folder: Path) -> InstanceRecord:
    return InstanceRecord(
        id="production-1111-0",
        route=RouteId(agent=AgentName("shop"), environment=EnvironmentName("production")),
        placement=PLACEMENT,
        service=LocalService(command=("serve", "{port}"), environment={"A": "b"}, secrets=("MODEL_KEY",)),
        port=4711,
        log=folder / "log",
        process=ProcessIdentity(pid=7, mark="boot:12"),
        started_at=1.5,
        goal=Goal.DRAIN,
        state=InstanceState.DRAINING,
        detail="why",
    )


def test_a_record_is_read_as_it_was_written_and_is_its_owners_only(tmp_path: Path) -> None:
    records = RecordFolder(tmp_path)
    one = record(tmp_path)
    records.write(one)
    assert records.read_all() == [one]
    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*.json")] == [0o600]
    records.remove(one.id)
    records.remove(one.id)
    assert records.read_all() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"version": 2}', '{"version": 1, "id": "x"}'])
def test_a_damaged_record_is_left_out_and_can_be_removed(tmp_path: Path, text: str) -> None:
    records = RecordFolder(tmp_path)
    records.write(replace(record(tmp_path), id="good"))
    (tmp_path / "bad.json").write_text(text)
    assert [one.id for one in records.read_all()] == ["good"]
    records.remove_unreadable()
    assert [path.name for path in tmp_path.iterdir()] == ["good.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    circular: dict[str, object] = {}
    circular["me"] = circular
    with pytest.raises(ValueError, match="Circular"):
        write_json(tmp_path / "a.json", circular)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{"a": 1}'
