"""What changed between two bundles or releases, by component, and the text of a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff

from fairway.bundle.components import Component
from fairway.bundle.files import BundleFile


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesDiff:
    """Paths, sorted; ``changed`` differ in content or mode."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDiff:
    """What differs, by component; a component without a difference is not there.

    Attributes:
        instrument: What differs in suites and tests, which are no part of a release.
    """

    components: Mapping[Component, FilesDiff]
    instrument: FilesDiff

    def __bool__(self) -> bool:
        return bool(self.components or self.instrument)


def diff_files(old: Iterable[BundleFile], new: Iterable[BundleFile]) -> BundleDiff:
    """What ``new`` has that ``old`` has not, and the other way round."""
    before = {file.path: file for file in old}
    after = {file.path: file for file in new}
    parts: dict[Component | None, tuple[list[str], list[str], list[str]]] = {}
    for path in sorted(before.keys() | after.keys()):
        one, other = before.get(path), after.get(path)
        file = other or one
        assert file is not None
        lists = parts.setdefault(file.component, ([], [], []))
        if one is None:
            lists[0].append(path)
        elif other is None:
            lists[1].append(path)
        elif (one.digest, one.mode) != (other.digest, other.mode):
            lists[2].append(path)
    diffs = {
        component: FilesDiff(added=tuple(added), removed=tuple(removed), changed=tuple(changed))
        for component, (added, removed, changed) in parts.items()
    }
    return BundleDiff(
        components={component: diffs[component] for component in Component if diffs.get(component)},
        instrument=diffs.get(None, FilesDiff()),
    )


def text_diff(old: bytes, new: bytes, *, old_name: str, new_name: str) -> str:
    """Unified diff of two texts; says so when one of them is not text. Empty when they are the same."""
    if old == new:
        return ""
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        return f"--- {old_name}\n+++ {new_name}\nbinary files differ"
    return "\n".join(unified_diff(before, after, old_name, new_name, lineterm=""))
