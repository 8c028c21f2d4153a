"""The bundle of a project: every file by path, mode and content, and the digests over them.

Digest, version 1: ``sha256`` over canonical JSON (RFC 8785) of the list of ``[path, mode, blob digest]`` sorted by the
code points of the path. Paths are NFC and ``/``-separated; content is what git committed or staged, so neither line
ends of a checkout, nor umask, nor times matter; of modes only the executable bit, symlinks and submodules. What
differs from the commit is read from the work tree and marks its component, and the whole, ``dev:``.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fairway.bundle import git
from fairway.bundle.blob_cache import load_blob_cache, store_blob_cache
from fairway.bundle.components import Component, component_of, mark_dev, release_digest
from fairway.canonical import sha256_digest, value_digest
from fairway.errors import ConflictError, NotFoundError, UserError
from fairway.units import Digest

FILE = "100644"
EXECUTABLE = "100755"
SYMLINK = "120000"
SUBMODULE = "160000"
PROJECT_FILE = "fairway.yaml"

_NEVER = frozenset({".git", ".fairway"})
"""Folders that are no part of any bundle, whatever git says."""
_UNTRACKED_NOISE = frozenset(
    {
        "__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", ".venv", "venv", "node_modules",
        ".coverage", ".DS_Store", ".idea", ".vscode",
    }
)  # fmt: skip
"""Leftovers of tools: an untracked one does not make a tree dirty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """One file.

    Attributes:
        mode: ``100644``, ``100755``, ``120000`` (symlink, content is its target) or ``160000`` (submodule).
        digest: Of the content; of a submodule the digest of its commit id.
        component: ``None``: part of the instrument, outside the release.
        oid: Git's name of the content; ``None`` when it stands only in the work tree.
    """

    path: str
    mode: str
    digest: Digest
    component: Component | None
    oid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What defines an agent's behaviour at one moment.

    Attributes:
        files: Sorted by path, the instrument's included.
        components: Digest of each of the five.
        digest: Of the five component digests.
        instrument: Digest over ``evals/**`` and ``tests/**``.
        commit_sha: ``None``: no commit yet, or no git.
        changes: Paths that differ from the commit, sorted; empty for a clean tree.
    """

    root: Path
    files: tuple[BundleFile, ...]
    components: Mapping[Component, Digest]
    digest: Digest
    instrument: Digest
    commit_sha: str | None
    changes: tuple[str, ...] = ()
    _by_path: Mapping[str, BundleFile] = field(default_factory=dict, repr=False, compare=False)

    @property
    def dirty(self) -> bool:
        """Whether anything differs from the commit; such a bundle can be examined, never released."""
        return bool(self.changes) or self.commit_sha is None

    def find(self, path: str) -> BundleFile | None:
        """The file at a path, or ``None``."""
        return self._by_path.get(path)

    def release_files(self) -> tuple[BundleFile, ...]:
        """The files of the five components: what a release is made of."""
        return tuple(file for file in self.files if file.component is not None)

    def read(self, path: str) -> bytes:
        """Content of one file.

        Raises:
            NotFoundError: When the bundle has no such file.
            ConflictError: When the work tree changed since the scan.
        """
        file = self.find(path)
        if file is None:
            raise NotFoundError(f"the bundle has no file {path}", code="file_not_found")
        return next(content for _, content in self.contents([file]))

    def contents(self, files: Iterable[BundleFile] | None = None) -> Iterator[tuple[BundleFile, bytes]]:
        """Files with their content, by default those of the release; one git process for all.

        Raises:
            UserError: On a submodule: its content is not in this repository.
            ConflictError: When the work tree changed since the scan.
        """
        wanted = list(self.release_files() if files is None else files)
        for file in wanted:
            if file.mode == SUBMODULE:
                raise UserError(
                    f"{file.path} is a submodule; its files are not part of this repository",
                    code="submodule",
                    hint="copy its files in, or install it as a dependency",
                )
        committed = [file for file in wanted if file.oid is not None]
        blobs = git.read_blobs(self.root, [file.oid for file in committed if file.oid is not None])
        for file in wanted:
            if file.oid is not None:
                yield file, next(blobs)[1]
                continue
            content = _work_tree_content(self.root, file.path, file.mode)
            if content is None or sha256_digest(content) != file.digest:
                raise ConflictError(f"{file.path} changed while it was read", hint="run the same command again")
            yield file, content


def tree_digest(files: Iterable[BundleFile]) -> Digest:
    """Digest of a set of files; does not depend on their order."""
    return value_digest(sorted([file.path, file.mode, file.digest] for file in files))


def scan(root: Path, *, rev: str | None = None) -> Bundle:
    """The bundle of the project at ``root``.

    Args:
        root: Folder of ``fairway.yaml``; may be a subfolder of its repository.
        rev: A commit, tag or branch; by default the index and the work tree. Without git, the files as they are, with
            ``dev:`` digests.

    Raises:
        UserError: On a file name that is not UTF-8, or two names that are the same text.
        ConflictError: During an unfinished merge.
        NotFoundError: When there is no such revision.
    """
    if rev is not None:
        sha, entries = git.read_tree(root, rev)
        return _assemble(root, _committed(root, entries), commit_sha=sha, changes=frozenset())
    found = git.read_index(root) if git.is_inside_repository(root) else None
    if found is None or _ignored_by_git(root, *found):
        files = _walk(root)
        return _assemble(root, files, commit_sha=None, changes=frozenset(file.path for file in files))
    entries, status = found
    untracked = {path for path in status.untracked if not _is_noise(path)}
    changed = {path for path in status.changed if not _is_excluded(path)}
    clean = [entry for entry in entries if entry.path not in changed]
    files = _committed(root, clean) + _from_work_tree(root, changed | untracked, entries)
    return _assemble(root, files, commit_sha=status.commit_sha, changes=frozenset(changed | untracked))


def _ignored_by_git(root: Path, entries: Iterable[git.GitEntry], status: git.GitStatus) -> bool:
    """Whether the project stands in a folder that the repository around it ignores: then git knows nothing of it."""
    known = any(entry.path == PROJECT_FILE for entry in entries) or PROJECT_FILE in status.untracked
    return not known and (root / PROJECT_FILE).exists() and not status.changed


def _assemble(root: Path, files: Sequence[BundleFile], *, commit_sha: str | None, changes: frozenset[str]) -> Bundle:
    ordered = tuple(sorted(files, key=lambda file: file.path))
    for one, other in itertools.pairwise(ordered):
        if one.path == other.path:
            raise UserError(
                f"two files are named {one.path}, in different Unicode forms", code="file_name", hint="rename one"
            )
    dirty = {component_of(_normal(path)) for path in changes}
    without_commit = commit_sha is None

    def digest_of(component: Component | None) -> Digest:
        digest = tree_digest(file for file in ordered if file.component is component)
        return mark_dev(digest) if without_commit or component in dirty else digest

    components = {component: digest_of(component) for component in Component}
    return Bundle(
        root=root,
        files=ordered,
        components=components,
        digest=release_digest(components),
        instrument=digest_of(None),
        commit_sha=commit_sha,
        changes=tuple(sorted(changes)),
        _by_path={file.path: file for file in ordered},
    )


def _committed(root: Path, entries: Iterable[git.GitEntry]) -> list[BundleFile]:
    """Files by what git holds; digests come from a cache by git's own content names."""
    wanted = [entry for entry in entries if not _is_excluded(entry.path)]
    oids = {entry.oid for entry in wanted if entry.mode != SUBMODULE}
    cache = load_blob_cache(root)
    known = {oid: cache[oid] for oid in oids if oid in cache}
    if missing := sorted(oids - known.keys()):
        fresh = git.hash_blobs(root, missing)
        store_blob_cache(root, cache | fresh)
        known |= fresh
    return [
        _file(
            entry.path,
            entry.mode,
            sha256_digest(f"gitlink:{entry.oid}".encode()) if entry.mode == SUBMODULE else known[entry.oid],
            oid=entry.oid,
        )
        for entry in wanted
    ]


def _from_work_tree(root: Path, paths: Iterable[str], entries: Iterable[git.GitEntry]) -> list[BundleFile]:
    """Files that differ from the commit, as they stand in the work tree; a deleted one is not there."""
    submodules = {entry.path: entry for entry in entries if entry.mode == SUBMODULE}
    files = []
    for path in sorted(paths):
        if path in submodules:
            digest = sha256_digest(f"gitlink:{submodules[path].oid}".encode())
            files.append(_file(path, SUBMODULE, digest, oid=submodules[path].oid))
            continue
        mode = _work_tree_mode(root, path)
        content = None if mode is None else _work_tree_content(root, path, mode)
        if mode is not None and content is not None:
            files.append(_file(path, mode, sha256_digest(content)))
    return files


def _walk(root: Path) -> list[BundleFile]:
    """Every file of a folder that git does not know, but for leftovers of tools."""
    files = []
    for folder, folders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not _is_noise(name) and not (Path(folder) / name).is_symlink())
        for name in sorted(names):
            path = (inside / name).as_posix()
            mode = None if _is_noise(path) else _work_tree_mode(root, path)
            if mode is not None:
                files.append(_file(path, mode, _hash_file(root / path, mode)))
    return files


def _file(path: str, mode: str, digest: Digest, *, oid: str | None = None) -> BundleFile:
    normal = _normal(path)
    return BundleFile(path=normal, mode=mode, digest=digest, component=component_of(normal), oid=oid)


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _is_excluded(path: str) -> bool:
    return PurePosixPath(path).parts[0] in _NEVER


def _is_noise(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return _is_excluded(path) or path.endswith(".pyc") or any(part in _UNTRACKED_NOISE for part in parts)


def _work_tree_mode(root: Path, path: str) -> str | None:
    try:
        status = (root / path).lstat()
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return SYMLINK
    if not stat.S_ISREG(status.st_mode):
        return None
    return EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE


def _work_tree_content(root: Path, path: str, mode: str) -> bytes | None:
    for form in (path, unicodedata.normalize("NFD", path)):  # the folder may hold either form of the name
        try:
            return os.fsencode(os.readlink(root / form)) if mode == SYMLINK else (root / form).read_bytes()
        except FileNotFoundError:
            continue
    return None


def _hash_file(path: Path, mode: str) -> Digest:
    if mode == SYMLINK:
        return sha256_digest(os.fsencode(os.readlink(path)))
    with path.open("rb") as handle:
        return Digest("sha256:" + hashlib.file_digest(handle, "sha256").hexdigest())


Reader = Callable[[str], bytes]
"""Content of a file of a bundle or of a materialised release by its path."""
