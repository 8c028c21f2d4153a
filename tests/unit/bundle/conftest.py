from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Repository = Callable[..., Path]


def run_git(root: Path, *arguments: str) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    done = subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def git() -> Callable[..., str]:
    return run_git


@pytest.fixture
def make_repository(tmp_path: Path) -> Repository:
    """Writes files, in the order given, into a new repository and commits them."""

    def make(files: Mapping[str, str | bytes], *, name: str = "repo", commit: bool = True) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True)
        run_git(root, "init", "-q", "-b", "main")
        write(root, files)
        if commit:
            run_git(root, "add", "-A")
            run_git(root, "commit", "-q", "-m", "first")
        return root

    return make


def write(root: Path, files: Mapping[str, str | bytes]) -> None:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def write_files() -> Callable[[Path, Mapping[str, str | bytes]], None]:
    return write
