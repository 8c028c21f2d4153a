from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fairway.state_dir import StateDir
from fairway.supervise.examination import Check, CheckStatus, examine
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, write_info
from fairway.supervise.supervisor import describe_self
from fairway.targets.local.process import ProcessIdentity, identify
from fairway.targets.local.records import InstanceRecord, RecordFolder
from fairway.targets.local.service import LocalService, Placement
from fairway.targets.port import InstanceState
from fairway.units import AgentName, Digest, EnvironmentName, RouteId

PROJECT = """
version: 1
agent: {name: shop}
service: {command: "sh app.sh {port}"}
gateway: {port: 0, admin_port: 0}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "fairway.yaml").write_text(PROJECT)
    (tmp_path / ".gitignore").write_text(".fairway/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", "first")
    return tmp_path


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True)


def state(root: Path) -> StateDir:
    return StateDir(root / ".fairway")


def about(root: Path, name: str) -> list[Check]:
    return [check for check in examine(root) if check.name == name]


def worst(root: Path) -> set[str]:
    """Names of the checks that are not ok."""
    return {check.name for check in examine(root) if check.status is not CheckStatus.OK}


def test_a_sound_project_has_nothing_to_complain_of_and_looking_makes_nothing(root: Path) -> None:
    assert worst(root) == set()
    assert not state(root).root.exists()


def test_outside_a_project_it_says_how_to_begin(tmp_path: Path) -> None:
    (check,) = about(tmp_path, "project")
    assert check.status is CheckStatus.FAIL
    assert "fairway init" in str(check.hint)


def test_every_complaint_says_what_to_do(root: Path) -> None:
    (root / "fairway.yaml").write_text(PROJECT.replace("sh app.sh", "no-such-program"))
    (root / "new.txt").write_text("")
    complaints = [check for check in examine(root) if check.status is not CheckStatus.OK]
    assert complaints
    assert all(check.hint for check in complaints)


def test_a_mistake_in_the_project_fails_and_the_machine_is_still_looked_at(root: Path) -> None:
    (root / "fairway.yaml").write_text(PROJECT.replace("command", "comand"))
    (check,) = about(root, "project")
    assert check.status is CheckStatus.FAIL
    assert "fairway.yaml:4" in check.detail
    assert about(root, "python")[0].status is CheckStatus.OK


def test_uncommitted_files_are_a_warning(root: Path) -> None:
    (root / "new.txt").write_text("")
    (check,) = about(root, "repository")
    assert (check.status, check.detail) == (CheckStatus.WARN, "1 file(s) differ from the commit")


def test_a_state_folder_git_would_see_is_a_warning(root: Path) -> None:
    (root / ".gitignore").write_text("")
    assert any(".fairway/ is not ignored" in check.detail for check in about(root, "repository"))


def test_a_folder_without_repository_fails(root: Path) -> None:
    (root / ".git").rename(root / "not-git")
    assert about(root, "repository")[0].status is CheckStatus.FAIL


def test_without_git_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (check,) = about(root, "git")
    assert check.status is CheckStatus.FAIL
    assert "install git" in str(check.hint)


def test_a_command_that_is_not_there_fails(root: Path) -> None:
    (root / "fairway.yaml").write_text(PROJECT.replace("sh app.sh", "no-such-program"))
    (check,) = about(root, "service")
    assert (check.status, check.detail) == (
        CheckStatus.FAIL,
        "no-such-program of service.command is not on PATH",
    )


def test_keys_open_to_others_fail_and_public_ones_do_not(root: Path) -> None:
    keys = state(root).keys
    keys.mkdir(parents=True, mode=0o700)
    for name, mode in (("local.key", 0o600), ("local.pub", 0o644)):
        (keys / name).write_text("")
        (keys / name).chmod(mode)
    assert [check.status for check in about(root, "keys")] == [CheckStatus.OK]
    (keys / "local.key").chmod(0o644)
    (check,) = about(root, "keys")
    assert check.status is CheckStatus.FAIL
    assert f"chmod 600 {keys / 'local.key'}" in str(check.hint)


def test_a_ledger_that_is_gone_fails_and_one_that_never_was_does_not(root: Path) -> None:
    assert about(root, "ledger")[0].status is CheckStatus.OK
    state(root).ledger.parent.mkdir(exist_ok=True)
    state(root).ledger.with_suffix(".heads").write_text("\n")
    assert about(root, "ledger")[0].status is CheckStatus.FAIL


def test_a_damaged_ledger_fails_without_a_traceback(root: Path) -> None:
    state(root).root.mkdir()
    state(root).ledger.write_bytes(b"this is no database" * 100)
    assert about(root, "ledger")[0].status is CheckStatus.FAIL


def test_a_full_disk_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 5 * 1024 * 1024})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert about(root, "disk")[0].status is CheckStatus.FAIL


def test_a_key_of_a_real_provider_that_is_not_set_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "models.yaml").write_text(
        "models: {main: {provider: openai, model: gpt-4.1-2025-04-14, api_key: 'env:SHOP_KEY'}}\n"
    )
    monkeypatch.delenv("SHOP_KEY", raising=False)
    assert [check.status for check in about(root, "models")] == [CheckStatus.WARN]
    monkeypatch.setenv("SHOP_KEY", "x")
    assert about(root, "models") == []


def test_a_provider_nobody_knows_is_a_warning_that_names_the_nearest_one(root: Path) -> None:
    models = root / "models.yaml"
    models.write_text("models: {main: {provider: opnai, model: gpt-4.1-2025-04-14}}\n")
    (check,) = about(root, "models")
    assert (check.status, check.hint) == (CheckStatus.WARN, "did you mean openai?")
    models.write_text("models: {main: {provider: opnai, base_url: 'https://example.org/v1', model: a-1}}\n")
    assert about(root, "models") == []


def test_a_taken_port_fails_and_names_its_owner(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (root / "fairway.yaml").write_text(PROJECT.replace("port: 0, admin", f"port: {port}, admin"))
        (check,) = about(root, "ports")
        assert check.status is CheckStatus.FAIL
        assert str(os.getpid()) in check.detail
        # The same port, taken by our own gateway, is as it should be.
        write_info(state(root), up(root, url=f"http://127.0.0.1:{port}"))
        assert [check.status for check in about(root, "ports")] == [CheckStatus.OK]


def me() -> ProcessIdentity:
    found = identify(os.getpid())
    assert found is not None
    return found


def up(root: Path, *, url: str = "http://127.0.0.1:1", process: ProcessIdentity | None = None) -> UpInfo:
    """A ``fairway up`` in which this very process plays every part."""
    info = describe_self(project=root, url=url, admin_url="", mock_url=None, started_at=0)
    children = {
        name: ChildInfo(name=name, state=ChildState.SERVING, process=me()) for name in ("gateway", "controller")
    }
    return replace(info, process=process or me(), children=children)


def test_what_runs_is_ok_and_a_crash_loop_fails(root: Path) -> None:
    info = up(root)
    write_info(state(root), info)
    assert {about(root, name)[0].status for name in ("up", "gateway", "controller")} == {CheckStatus.OK}
    broken = ChildInfo(name="controller", state=ChildState.CRASH_LOOP, detail="exited with code 3")
    write_info(state(root), replace(info, children={**info.children, "controller": broken}))
    (check,) = about(root, "controller")
    assert (check.status, check.detail) == (CheckStatus.FAIL, "the controller keeps ending: exited with code 3")
    gone = replace(info.children["controller"], process=ProcessIdentity(pid=1, mark="another"))
    write_info(state(root), replace(info, children={**info.children, "controller": gone}))  # as with a full disk
    (check,) = about(root, "controller")
    assert check.status is CheckStatus.FAIL
    assert check.detail.startswith("the controller has ended")
    assert "wait a moment" not in str(check.hint)


def test_what_a_killed_up_left_is_a_warning(root: Path) -> None:
    write_info(state(root), up(root, process=ProcessIdentity(pid=1, mark="another")))
    (check,) = about(root, "up")
    assert check.status is CheckStatus.WARN
    assert "gateway, controller still run" in check.detail


@pytest.mark.parametrize(
    ("instance", "alive", "status"),
    [
        (InstanceState.READY, True, CheckStatus.OK),
        (InstanceState.READY, False, CheckStatus.WARN),
        (InstanceState.CRASH_LOOP, False, CheckStatus.FAIL),
        (InstanceState.NEVER_READY, True, CheckStatus.FAIL),
    ],
)
def test_arms_are_looked_at(root: Path, instance: InstanceState, alive: bool, status: CheckStatus) -> None:
    environment = EnvironmentName("production")
    record = InstanceRecord(
        id="one",
        route=RouteId(agent=AgentName("shop"), environment=environment),
        placement=Placement(
            environment=environment,
            release=Digest("sha256:" + "1" * 64),
            effective=Digest("sha256:" + "2" * 64),
            release_version="1.0.0",
            tree=root,
            bundle=root,
        ),
        service=LocalService(command=("x",)),
        port=1,
        log=root / "log",
        process=me() if alive else None,
        state=instance,
    )
    RecordFolder(state(root).arms / "instances").write(record)
    assert about(root, "arms")[0].status is status
