"""The tree of a release: which file is in it, with which mode and bytes, and in which component.

Kept as one blob, canonical JSON ``[[path, mode, blob digest, component], …]`` sorted by path, so that the digests of
the components can be recomputed from it by whoever doubts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fairway.canonical import canonical_json, value_digest
from fairway.errors import RefusedError
from fairway.release.values import Component
from fairway.units import Digest, parse_digest

REGULAR, EXECUTABLE, SYMLINK = "100644", "100755", "120000"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file: ``mode`` is git's, ``100644``, ``100755`` or ``120000`` (a link whose content is its target)."""

    path: str
    mode: str
    digest: Digest
    component: Component


def tree_blob(files: Iterable[TreeFile]) -> bytes:
    """The bytes to store."""
    ordered = sorted(files, key=lambda file: file.path)
    return canonical_json([[file.path, file.mode, file.digest, file.component.value] for file in ordered])


def read_tree(content: bytes) -> tuple[TreeFile, ...]:
    """Read what :func:`tree_blob` wrote.

    Raises:
        RefusedError: When it is malformed, or a path would leave the folder it is written to or is there twice
            (``code="bad_tree"``).
    """
    try:
        rows = json.loads(content)
        if not isinstance(rows, list):
            raise ValueError("expected a list")
        files = tuple(
            TreeFile(path=path, mode=mode, digest=parse_digest(digest), component=Component(component))
            for path, mode, digest, component in rows
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise RefusedError(f"the list of the release's files is malformed: {error}", code="bad_tree") from error
    for file in files:
        check_path(file.path)
        if file.mode not in (REGULAR, EXECUTABLE, SYMLINK):
            raise RefusedError(f"{file.path}: mode {file.mode!r} is no file, program or link", code="bad_tree")
    _check_no_clash(files)
    return files


def check_path(path: object) -> None:
    """Refuse a path that is not a plain relative one.

    Raises:
        RefusedError: For absolute paths, ``..``, empty parts, backslashes and control characters (``code="bad_tree"``).
    """
    if (
        not isinstance(path, str)
        or not path
        or "\\" in path
        or any(ord(character) < 32 for character in path)
        or any(part in ("", ".", "..") for part in path.split("/"))
        or PurePosixPath(path).is_absolute()
    ):
        raise RefusedError(f"{path!r} would be written outside the release", code="bad_tree")


def check_link(path: str, target: str) -> None:
    """Refuse a link that leads out of the release: absolute, or up beyond its root.

    ``..`` may only come first: after a name it could climb from where another link leads.

    Raises:
        RefusedError: ``code="bad_tree"``.
    """
    parts = target.split("/")
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if not target or target.startswith("/") or "\x00" in target or ".." in parts[climbs:] or climbs > path.count("/"):
        raise RefusedError(f"the link {path} leads out of the release, to {target!r}", code="bad_tree")


def component_digests(files: Iterable[TreeFile]) -> dict[Component, Digest]:
    """Digest of each of the five components, also of an empty one."""
    rows: dict[Component, list[list[str]]] = {component: [] for component in Component}
    for file in sorted(files, key=lambda file: file.path):
        rows[file.component].append([file.path, file.mode, file.digest])
    return {component: value_digest(entries) for component, entries in rows.items()}


def release_digest(components: Mapping[Component, Digest]) -> Digest:
    """Digest of the five component digests."""
    return value_digest({component.value: components[component] for component in Component})


def _check_no_clash(files: tuple[TreeFile, ...]) -> None:
    paths = {file.path for file in files}
    if len(paths) != len(files):
        raise RefusedError("a file is listed twice", code="bad_tree")
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in paths:
                raise RefusedError(f"{parent} is listed as a file and as a folder", code="bad_tree")
