from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fairway.bundle.overlay import resolve
from fairway.bundle.prompts import PromptRegistry
from fairway.cli.init import command
from fairway.errors import UserError
from fairway.project.load import load_project
from fairway.scaffold import make_project
from fairway.scaffold.lockfile import lock_text


@pytest.fixture(autouse=True)
def _own_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_a_project_is_whole_committed_and_clean(tmp_path: Path) -> None:
    result = make_project(tmp_path / "shop-agent")
    assert (result.name, result.notes) == ("shop-agent", ())
    assert git(result.directory, "rev-parse", "HEAD") == result.commit
    assert git(result.directory, "status", "--porcelain") == ""
    assert git(result.directory, "ls-files").split() == list(result.files)
    assert git(result.directory, "branch", "--show-current") == "main"
    assert {".gitignore", ".env.template", "fairway.yaml", "prompts.lock", "requirements.lock"} <= set(result.files)
    assert [path.name for path in tmp_path.iterdir()] == ["shop-agent"]


def test_fairway_reads_every_file_of_it(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path / "a", name="helpdesk", commit=False).directory)
    assert project.agent.name == "helpdesk"
    for name, role in (("dev", "small"), ("staging", "small"), ("production", "full")):
        overlay = resolve(project, name)
        assert overlay.uses_mock_models
        assert overlay.roles == {"orchestrator": role}
        assert overlay.prompts["support"].version == "1.0.0"
        assert len(overlay.tools) == 4


def test_the_lock_is_the_digest_of_the_prompt(tmp_path: Path) -> None:
    root = make_project(tmp_path / "a", commit=False).directory
    registry = PromptRegistry(root)
    assert registry.lock.digest_of("support", "1.0.0") == registry.sha256("support", "1.0.0")
    assert not registry.misplaced


def test_nothing_of_it_is_a_secret_or_names_this_machine(tmp_path: Path) -> None:
    root = make_project(tmp_path / "a", commit=False).directory
    for path in (path for path in root.rglob("*") if path.is_file()):
        text = path.read_text("utf-8")
        assert str(tmp_path) not in text
        assert "\r" not in text
        assert "sk-" not in text


def test_an_empty_folder_that_is_there_is_filled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    inode = (tmp_path / "a").stat().st_ino
    assert make_project(tmp_path / "a").commit
    assert (tmp_path / "a").stat().st_ino == inode
    assert (tmp_path / "a" / "fairway.yaml").is_file()


def test_a_folder_with_something_in_it_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not empty: thesis\.txt"):
        make_project(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        make_project(tmp_path / "a" / "thesis.txt")


@pytest.mark.parametrize("name", ["Support Agent", "-x", "", "a" * 64])
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        make_project(tmp_path / "a", name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("folder", "name"), [("My Shop", "my-shop"), ("2nd", "support"), ("__", "support")])
def test_the_name_comes_from_the_folder_when_it_can(tmp_path: Path, folder: str, name: str) -> None:
    assert make_project(tmp_path / folder, commit=False).name == name


def test_the_name_is_where_it_belongs_and_nowhere_else(tmp_path: Path) -> None:
    root = make_project(tmp_path / "a", name="helpdesk", commit=False).directory
    assert yaml.safe_load((root / "fairway.yaml").read_text())["agent"]["name"] == "helpdesk"
    assert 'name = "helpdesk"' in (root / "pyproject.toml").read_text()
    assert (root / "README.md").read_text().startswith("# helpdesk\n")
    assert (root / "support" / "app.py").is_file()


def test_without_git_it_is_said_and_the_project_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    result = make_project(tmp_path / "a")
    assert result.commit is None
    assert "git is not installed" in result.notes[0]
    assert result.next_steps[0].startswith("install git first")
    assert not (result.directory / ".git").exists()


def test_inside_a_repository_no_other_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_CEILING_DIRECTORIES")
    git(tmp_path, "init", "-q")
    result = make_project(tmp_path / "agents" / "a")
    assert "inside the git repository" in result.notes[0]
    assert not (result.directory / ".git").exists()


def test_when_writing_fails_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fairway.scaffold.plain.write_lock", full)
    with pytest.raises(OSError, match="No space"):
        make_project(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_file_pins_what_is_needed_and_leaves_out_extras() -> None:
    shelf = {
        "app": ("1.0", ("Lib_Two>=2; python_version > '3'", "odd; sys_platform == 'other'", 'dev; extra == "dev"')),
        "lib-two": ("2.1", ("app",)),
        "dev": ("9", ()),
    }
    text = lock_text(["app"], installed=lambda name: shelf.get(name.lower().replace("_", "-")))
    assert text.splitlines()[1:] == ["app==1.0", "lib-two==2.1"]
    with pytest.raises(UserError, match="absent"):
        lock_text(["absent"], installed=lambda _: None)


def test_the_command_gives_a_program_what_it_needs(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "a"), "--no-git", "-o", "json"])
    said = json.loads(result.stdout)
    assert (said["name"], said["template"], said["commit"]) == ("a", "plain", None)
    assert "support/app.py" in said["files"]
    text = CliRunner().invoke(command, [str(tmp_path / "b")]).stdout
    assert "fairway run" in text


def test_options_of_the_other_template_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(tmp_path / "a"), "--health", "/x"])
    assert isinstance(result.exception, UserError)
    assert not (tmp_path / "a").exists()
