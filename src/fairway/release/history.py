"""What git says about a commit: its version, and who wrote what came since the last release."""

from __future__ import annotations

import getpass
import signal
import subprocess
from pathlib import Path

from fairway.errors import PermanentError, UserError
from fairway.release.versions import Version, VersionKind, dev_version

_GIT_SECONDS = 30


def commit_version(root: Path, commit: str = "HEAD") -> Version:
    """The version of a commit: the highest version tag on it, else a dev version that no other commit has.

    Args:
        root: Any folder of the git repository.
        commit: Anything git can resolve.

    Raises:
        UserError: When there is no repository or no such commit (``code="no_commit"``).
    """
    sha = commit_sha(root, commit)
    here = _versions(_git(root, "tag", "--points-at", sha))
    if here:
        return max(here)
    nearest = _newest_behind(root, sha)
    span = sha if nearest is None else f"{_tag_as_written(root, nearest)}..{sha}"
    return dev_version(nearest, int(_git(root, "rev-list", "--count", span)), sha)


def nearest_release(root: Path, commit: str) -> str | None:
    """The commit of the newest release tag at or behind a commit; ``None`` when there is none.

    Raises:
        UserError: When there is no such commit (``code="no_commit"``).
    """
    nearest = _newest_behind(root, commit_sha(root, commit))
    return None if nearest is None else tagged_commit(root, nearest)


def tagged_commit(root: Path, version: Version) -> str | None:
    """The commit a version's tag is on, in whatever case the tag is written; ``None`` when git has no such tag."""
    tag = _tag_as_written(root, version)
    return None if tag is None else commit_sha(root, tag)


def commit_sha(root: Path, commit: str = "HEAD") -> str:
    """The full id of a commit.

    Raises:
        UserError: When there is no repository or no such commit (``code="no_commit"``).
    """
    try:
        return _git(root, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").strip()
    except PermanentError as error:
        raise UserError(
            f"no commit {commit!r} here", code="no_commit", hint="commit first: git add -A && git commit"
        ) from error


def identity(root: Path) -> str:
    """Who works here: git's ``user.email``, else the operating system's user."""
    try:
        email = _git(root, "config", "user.email").strip()
    except PermanentError:
        email = ""
    return email or getpass.getuser()


def authors_since(root: Path, commit: str, previous: str | None) -> tuple[str, ...]:
    """E-mail addresses of who wrote the commits up to ``commit`` since ``previous``, sorted.

    Args:
        root: Any folder of the git repository.
        commit: The last commit counted.
        previous: Commit of the release before; ``None`` or a commit that is not there any more: since the beginning,
            so that an author is never forgotten.
    """
    known = previous is not None and _has_commit(root, previous)
    span = f"{previous}..{commit}" if known else commit
    return tuple(
        sorted({line.strip().lower() for line in _git(root, "log", "--format=%ae", span).splitlines() if line})
    )


def _has_commit(root: Path, commit: str) -> bool:
    try:
        commit_sha(root, commit)
    except UserError:
        return False
    return True


def _versions(tags: str) -> list[Version]:
    found = []
    for tag in tags.split():
        try:
            found.append(Version.parse(tag))
        except UserError:
            continue  # a tag that is not a version belongs to somebody else
    return found


def _newest_behind(root: Path, sha: str) -> Version | None:
    behind = [v for v in _versions(_git(root, "tag", "--merged", sha)) if v.kind is VersionKind.RELEASE]
    return max(behind, default=None)


def _tag_as_written(root: Path, version: Version) -> str | None:
    """The tag's own spelling: ``V1.0.0`` is read as 1.0.0 but git knows only what was written."""
    for tag in _git(root, "tag").split():
        if tag.lower() in (str(version), version.tag):
            return f"refs/tags/{tag}"
    return None


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise UserError("git is not installed", code="no_git", hint="install git and run the command again") from error
    if done.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C reaches every process of the terminal, and git may be the first to end
    if done.returncode != 0:
        raise PermanentError(f"git {arguments[0]}: {done.stderr.strip()}", code="git_failed")
    return done.stdout
