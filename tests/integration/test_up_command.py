"""``fairway up`` and ``fairway doctor`` as a person calls them, with the real gateway and controller."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.errors import PermanentError, UserError
from fairway.state_dir import StateDir
from fairway.supervise.detached import start_detached
from fairway.supervise.info import UpInfo, read_info, running
from fairway.supervise.supervisor import marker_prefix
from fairway.targets.local.process import find_marked, identify

pytestmark = pytest.mark.slow

PROJECT = """
version: 1
agent: {name: shop}
service: {command: "python app.py {port}", drain: 1s}
gateway: {port: 0, admin_port: 0, timeouts: {total: 2s}}
"""


class Cli:
    """A project, and the command line in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = StateDir(root / ".fairway")
        (root / "fairway.yaml").write_text(PROJECT)
        (root / "app.py").write_text("")
        (root / ".gitignore").write_text(".fairway/\n")
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        for words in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "first")):
            subprocess.run(["git", *words], cwd=root, check=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "fairway", *words],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return process.returncode, out, err

    def up(self) -> UpInfo:
        """A running one in the background."""
        code, out, err = self.run("up", "--detach", "-o", "json")
        assert code == 0, err
        info = running(self.state)
        assert info is not None
        assert json.loads(out)["url"] == info.url
        return info

    def left(self) -> list[str]:
        return sorted(find_marked(marker_prefix(self.state)))


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    one = Cli(tmp_path)
    yield one
    info = read_info(one.state)
    pids = [identity.pid for found in find_marked(marker_prefix(one.state)).values() for identity in found]
    for pid in [*pids, *([info.process.pid] if info is not None and running(one.state) else [])]:
        os.killpg(pid, signal.SIGKILL)


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def until_gone(pid: int, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while identify(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_up_serves_in_the_background_doctor_agrees_a_second_is_refused_and_stop_ends_everything(cli: Cli) -> None:
    info = cli.up()
    assert status_of(info.url) == 503  # no release yet, and the gateway says so
    assert status_of(f"{info.admin_url}/metrics") == 200
    code, out, _ = cli.run("doctor", "-o", "json")
    assert code == 0
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert {checks[name]["status"] for name in ("up", "gateway", "controller", "repository", "ledger")} == {"ok"}
    code, _, err = cli.run("up", "--port", "0")
    assert code == 2
    assert f"already runs for this project (pid {info.process.pid}) and serves {info.url}" in err
    code, out, _ = cli.run("up", "--stop", "-o", "json")
    assert (code, json.loads(out)) == (0, {"ended": True})
    assert running(cli.state) is None
    assert cli.left() == []
    assert cli.run("up", "--stop")[1] == "nothing runs\n"


def test_after_kill_9_the_gateway_goes_on_and_the_next_up_takes_it_over(cli: Cli) -> None:
    before = cli.up()
    gateway, controller = before.children["gateway"].process, before.children["controller"].process
    assert gateway is not None
    assert controller is not None
    os.kill(before.process.pid, signal.SIGKILL)
    until_gone(controller.pid)
    assert status_of(before.url) == 503
    code, out, _ = cli.run("doctor")
    assert code == 0
    assert "fairway up was killed; gateway still run" in out
    after = cli.up()
    assert after.url == before.url
    assert after.children["gateway"].process == gateway
    assert after.children["controller"].process != controller
    assert cli.run("up", "--stop")[0] == 0
    assert cli.left() == []


def test_what_a_killed_up_left_can_be_ended(cli: Cli) -> None:
    before = cli.up()
    os.kill(before.process.pid, signal.SIGKILL)
    code, out, err = cli.run("up", "--stop")
    assert (code, out) == (0, "ended\n")
    assert "process(es) and 0 arm(s) that a killed fairway up had left" in err
    assert cli.left() == []


@pytest.mark.parametrize("after", [0.3, 0.8, 1.5])
def test_ctrl_c_at_any_moment_ends_everything_in_order(cli: Cli, after: float) -> None:
    process = cli.start("up")
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    # On a slow machine the signal may come before Python has begun to read our code: then it just ends.
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert "Traceback" not in err
    assert cli.left() == []
    assert running(cli.state) is None


def test_a_taken_port_is_named_with_its_owner_before_anything_starts(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, _, err = cli.run("up", "--port", str(port))
        assert code == 2
        assert f"port {port} on 127.0.0.1 is taken by" in err
        assert f"pid {os.getpid()}" in err
        code, out, _ = cli.run("up", "--port", str(port), "--detach", "-o", "json")
        assert code == 2
        error = json.loads(out)["error"]
        assert error["code"] == "port_taken"
        assert error["message"].startswith(f"port {port} on 127.0.0.1 is taken by")
        assert "--port" in error["hint"]
    assert cli.left() == []


@pytest.mark.slow
async def test_a_background_up_has_begun_to_serve_when_nothing_is_missing_any_more(cli: Cli) -> None:
    lacking = ["no instance is ready yet"] * 3
    info = await start_detached(
        cli.state, cli.root, ("--port", "0"), starting=lambda _: lacking.pop() if lacking else ""
    )
    assert lacking == []
    assert info.serving()
    assert cli.run("up", "--stop")[0] == 0


async def test_a_background_up_that_ends_without_a_reason_is_told_with_its_last_words(cli: Cli) -> None:
    with pytest.raises(UserError) as mistaken:
        await start_detached(cli.state, cli.root, ("--no-such-option",))
    assert mistaken.value.code == "usage"
    (cli.root / "fairway").mkdir()  # in the working directory, so it is found before the real one
    (cli.root / "fairway/__init__.py").touch()
    (cli.root / "fairway/__main__.py").write_text("import sys; sys.exit('the reason')")
    with pytest.raises(PermanentError) as caught:
        await start_detached(cli.state, cli.root, ())
    assert caught.value.code == "up_ended"
    assert "the reason" in (caught.value.hint or "")


def test_a_missing_mock_scenario_is_named(cli: Cli) -> None:
    (cli.root / "models.yaml").write_text("models: {main: {provider: mock, model: small}}\n")
    code, _, err = cli.run("up")
    assert code == 2
    assert "evals/mock-llm.yaml is missing" in err
    code, out, _ = cli.run("doctor")
    assert code == 1
    assert "no scenario file" in out


def test_a_mistake_in_the_project_is_told_with_its_line(cli: Cli) -> None:
    (cli.root / "fairway.yaml").write_text(PROJECT.replace("drain: 1s", "drian: 1s"))
    for words in (("up",), ("up", "--detach"), ("up", "--stop")):
        code, _, err = cli.run(*words)
        assert code == 2
        assert "fairway.yaml:4" in err
    code, out, _ = cli.run("doctor", "-o", "json")
    assert code == 1
    (check,) = [check for check in json.loads(out)["checks"] if check["name"] == "project"]
    assert "drain" in str(check)
