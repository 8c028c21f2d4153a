"""What the bundle needs from git: the index, a commit's tree, what is dirty, and the content of blobs.

Each call is one process with an argument list. Paths are bytes on the wire (``-z``), relative to the project, which may
be a subfolder of the repository.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fairway.errors import ConflictError, FairwayError, NotFoundError, PermanentError, UserError
from fairway.units import Digest

_TIMEOUT = 60.0  # seconds for one git command; a hung network file system must not hang us
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GitEntry:
    """One entry of the index or of a tree; ``mode`` is git's: 100644, 100755, 120000 (symlink), 160000 (submodule)."""

    path: str
    mode: str
    oid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitStatus:
    """The commit that is checked out and the paths that differ from it.

    Attributes:
        commit_sha: ``None`` before the first commit.
        changed: Tracked files that differ from the commit in index or work tree, deleted ones included.
        untracked: Files git neither tracks nor ignores.
    """

    commit_sha: str | None
    changed: frozenset[str]
    untracked: frozenset[str]


def is_inside_repository(root: Path) -> bool:
    """Whether ``root`` or a folder above it has a ``.git``."""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def head_commit(root: Path) -> str:
    """The commit that is checked out; empty outside of a repository and before the first commit.

    Raises:
        FairwayError: When there is a repository and git does not say.
    """
    if not is_inside_repository(root):
        return ""
    try:
        return _run(root, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])[0].decode().strip()
    except PermanentError:
        if _run(root, ["for-each-ref", "--count=1"])[0]:
            raise
        return ""


def descends(root: Path, commit: str, of: str) -> bool:
    """Whether a commit is another one or came after it; also ``False`` when git does not know one of them."""
    try:
        _run(root, ["merge-base", "--is-ancestor", of, commit])
    except PermanentError:
        return False
    return True


def git_paths(root: Path, *names: str) -> tuple[Path, ...]:
    """Where git keeps files of its own for this work tree, such as ``index.lock``; they need not exist.

    Raises:
        FairwayError: When this is no repository, or git does not say.
    """
    asked = [word for name in names for word in ("--git-path", name)]
    return tuple(root / line for line in os.fsdecode(_run(root, ["rev-parse", *asked])[0]).splitlines())


def read_index(root: Path) -> tuple[tuple[GitEntry, ...], GitStatus]:
    """Entries of the index below ``root`` and what differs from the commit; two processes side by side.

    Raises:
        UserError: When git is missing, the path is not in a repository, or a merge is unfinished.
    """
    listing, status, prefix = _run(
        root,
        ["ls-files", "--stage", "-z", "--", "."],
        ["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", "."],
        ["rev-parse", "--show-prefix"],
    )
    return _parse_index(listing), _parse_status(status, os.fsdecode(prefix).rstrip("\n"))


def read_tree(root: Path, rev: str) -> tuple[str, tuple[GitEntry, ...]]:
    """Commit id and entries of a revision below ``root``.

    Raises:
        NotFoundError: When there is no such revision.
    """
    if rev.startswith("-"):
        raise NotFoundError(f"there is no revision {rev!r}", code="revision_not_found")
    command = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}"]
    try:
        sha = _run(root, command)[0].decode().strip()
    except PermanentError as error:
        raise NotFoundError(f"there is no revision {rev!r}", code="revision_not_found") from error
    output = _run(root, ["ls-tree", "-r", "-z", sha, "--", "."])[0]
    entries = []
    for record in output.split(b"\0"):
        if record:
            head, _, path = record.partition(b"\t")
            mode, _kind, oid = head.split()
            entries.append(GitEntry(path=_text(path), mode=mode.decode(), oid=oid.decode()))
    return sha, tuple(entries)


def hash_blobs(root: Path, oids: Iterable[str]) -> dict[str, Digest]:
    """sha256 of the content of each blob, in one process, streamed.

    Raises:
        PermanentError: When the repository lacks one of them.
    """
    digests: dict[str, Digest] = {}
    for oid, size, stream in _batch(root, oids):
        hasher = hashlib.sha256()
        for chunk in _chunks(stream, size):
            hasher.update(chunk)
        digests[oid] = Digest("sha256:" + hasher.hexdigest())
    return digests


def read_blobs(root: Path, oids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Content of each blob, in the order asked for, in one process.

    Raises:
        PermanentError: When the repository lacks one of them.
    """
    for oid, size, stream in _batch(root, oids):
        yield oid, b"".join(_chunks(stream, size))


def _batch(root: Path, oids: Iterable[str]) -> Iterator[tuple[str, int, IO[bytes]]]:
    wanted = list(oids)
    if not wanted:
        return
    # The names go through a file: writing them into a pipe while git blocks on its output would never end.
    with tempfile.TemporaryFile() as names:
        names.write("".join(f"{oid}\n" for oid in wanted).encode())
        names.seek(0)
        process = subprocess.Popen(
            ["git", "cat-file", "--batch"], cwd=root, env=_environment(), stdin=names, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            for oid in wanted:
                header = process.stdout.readline().split()
                if len(header) != 3:
                    raise PermanentError(
                        f"git has no object {oid}",
                        code="git_object_missing",
                        hint="the clone is partial or damaged; run git fsck, or clone again",
                    )
                yield oid, int(header[2]), process.stdout
                process.stdout.read(1)  # the newline after the content
        finally:
            process.stdout.close()
            process.terminate()
            process.wait(_TIMEOUT)


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(_CHUNK, size))
        if not chunk:
            raise PermanentError("git stopped in the middle of an object", code="git_failed")
        size -= len(chunk)
        yield chunk


def _environment() -> dict[str, str]:
    """No ``GIT_DIR`` of a hook we may run in; never take the index lock; English messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1"}


def _run(root: Path, *commands: list[str]) -> list[bytes]:
    """Output of git commands that run side by side; each is waited for even when another failed."""
    processes = [_start(root, command) for command in commands]
    outputs: list[bytes] = []
    failure: FairwayError | KeyboardInterrupt | None = None
    for process in processes:
        try:
            outputs.append(_finish(process))
        except (FairwayError, KeyboardInterrupt) as error:
            if failure is None or isinstance(error, KeyboardInterrupt):
                failure = error
    if failure is not None:
        raise failure
    return outputs


def _start(root: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *arguments], cwd=root, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UserError("git is not installed", code="no_git", hint="install git and run it again") from error


def _finish(process: subprocess.Popen[bytes]) -> bytes:
    try:
        output, errors = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise PermanentError(f"git did not answer within {_TIMEOUT:.0f}s", code="git_failed") from error
    if process.returncode == 0:
        return output
    if process.returncode in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C reaches every process of the terminal, and git may be the first to end
    said = errors.decode(errors="replace").strip()
    if "not a git repository" in said:
        raise UserError("this is not a git repository", code="not_a_repository", hint="run git init and commit")
    if "dubious ownership" in said:
        raise UserError("git refuses a repository of another owner", code="git_ownership", hint=said.splitlines()[-1])
    last = said.splitlines()[-1] if said else f"exit code {process.returncode}"
    raise PermanentError(f"git failed: {last}", code="git_failed")


def _text(path: bytes) -> str:
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError as error:
        shown = path.decode("utf-8", errors="backslashreplace")
        raise UserError(f"the file name {shown} is not UTF-8", code="file_name", hint="rename the file") from error


def _parse_index(output: bytes) -> tuple[GitEntry, ...]:
    entries = []
    for record in output.split(b"\0"):
        if not record:
            continue
        head, _, path = record.partition(b"\t")
        mode, oid, stage = head.split()
        if stage != b"0":
            raise ConflictError(
                f"{_text(path)} has an unresolved merge conflict", code="merge_conflict", hint="finish the merge first"
            )
        entries.append(GitEntry(path=_text(path), mode=mode.decode(), oid=oid.decode()))
    return tuple(entries)


def _parse_status(output: bytes, prefix: str) -> GitStatus:
    commit_sha: str | None = None
    changed: set[str] = set()
    untracked: set[str] = set()
    for record in output.split(b"\0"):
        if record.startswith(b"# branch.oid "):
            sha = record.removeprefix(b"# branch.oid ").decode()
            commit_sha = None if sha == "(initial)" else sha
        elif record.startswith(b"? "):
            untracked.add(_text(record[2:]).removeprefix(prefix))
        elif record.startswith(b"1 "):
            changed.add(_text(record.split(b" ", 8)[8]).removeprefix(prefix))
        elif record.startswith(b"u "):
            changed.add(_text(record.split(b" ", 10)[10]).removeprefix(prefix))
    return GitStatus(commit_sha=commit_sha, changed=frozenset(changed), untracked=frozenset(untracked))
