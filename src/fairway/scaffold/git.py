"""The little of git that a new project needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

TIMEOUT_SECONDS = 30.0


def find_git() -> str | None:
    """Path of git, ``None`` when it is not installed."""
    return shutil.which("git")


def enclosing_repository(directory: Path) -> Path | None:
    """The top folder of the repository a folder is in, ``None`` outside of one or without git."""
    existing = next((path for path in (directory, *directory.parents) if path.is_dir()), None)
    if existing is None or find_git() is None:
        return None
    result = _git(existing, "rev-parse", "--show-toplevel")
    return Path(result.stdout.strip()) if result.returncode == 0 and result.stdout.strip() else None


def first_commit(root: Path, message: str) -> tuple[str | None, str | None]:
    """Make a folder a repository with everything in its first commit.

    Returns:
        The commit's hash, or ``None`` and why there is none.
    """
    if find_git() is None:
        return None, "git is not installed; Fairway needs it: install it, then `git init` and commit"
    identity = {}
    if not _git(root, "config", "user.email").stdout.strip() and "GIT_AUTHOR_EMAIL" not in os.environ:
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "fairway init"), ("EMAIL", "fairway@localhost"))
        }
    steps = (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("commit", "--quiet", "--no-gpg-sign", "--no-verify", "-m", message),
    )
    for step in steps:
        result = _git(root, *step, environment=identity)
        if result.returncode != 0:
            reason = (result.stderr.strip() or result.stdout.strip() or "no reason given").splitlines()[-1]
            return None, f"git {step[0]} failed: {reason}"
    return _git(root, "rev-parse", "HEAD").stdout.strip(), None


def _git(root: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # A repository that calls this from a hook must not have its own folders meant.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_DIR", "GIT_INDEX"))}
    return subprocess.run(
        ["git", *arguments],
        cwd=root,
        env={**inherited, **(environment or {}), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
