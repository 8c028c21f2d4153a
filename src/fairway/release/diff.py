"""What differs between two releases, component by component."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairway.release.tree import TreeFile
from fairway.release.values import Component, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentDiff:
    """One component: ``changed`` says whether its digest differs; paths are sorted."""

    component: Component
    changed: bool
    added: tuple[str, ...]
    removed: tuple[str, ...]
    modified: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedChange:
    """A prompt, model alias, tool or environment: what it was and is, ``None`` where it does not exist."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDiff:
    """Everything that differs from one release to the other.

    Attributes:
        prompts: Prompt versions that changed.
        models: Aliases whose ``provider/model`` changed.
        tools: Tools added or removed.
        environments: Environments whose effective digest changed.
    """

    before: str
    after: str
    identical: bool
    components: tuple[ComponentDiff, ...]
    prompts: tuple[NamedChange, ...]
    models: tuple[NamedChange, ...]
    tools: tuple[NamedChange, ...]
    environments: tuple[NamedChange, ...]


def diff(
    before: Manifest, after: Manifest, files_before: Iterable[TreeFile], files_after: Iterable[TreeFile]
) -> ReleaseDiff:
    """Compare two releases; the files are those of their trees."""
    old, new = tuple(files_before), tuple(files_after)
    return ReleaseDiff(
        before=before.release_version,
        after=after.release_version,
        identical=before.release_digest == after.release_digest,
        components=tuple(_component(part, before, after, old, new) for part in Component),
        prompts=_changes(_prompt_versions(before), _prompt_versions(after)),
        models=_changes(dict(before.models), dict(after.models)),
        tools=_changes(dict.fromkeys(before.tools, "declared"), dict.fromkeys(after.tools, "declared")),
        environments=_changes(
            {str(name): str(digest) for name, digest in before.effective.items()},
            {str(name): str(digest) for name, digest in after.effective.items()},
        ),
    )


def _component(
    part: Component, before: Manifest, after: Manifest, old: tuple[TreeFile, ...], new: tuple[TreeFile, ...]
) -> ComponentDiff:
    was = {file.path: (file.mode, file.digest) for file in old if file.component is part}
    now = {file.path: (file.mode, file.digest) for file in new if file.component is part}
    return ComponentDiff(
        component=part,
        changed=before.components[part] != after.components[part],
        added=tuple(sorted(set(now) - set(was))),
        removed=tuple(sorted(set(was) - set(now))),
        modified=tuple(sorted(path for path in set(was) & set(now) if was[path] != now[path])),
    )


def _prompt_versions(manifest: Manifest) -> dict[str, str]:
    return {
        name: f"{entry.get('version', '?')} ({entry.get('sha256', '')[:8]})" for name, entry in manifest.prompts.items()
    }


def _changes(before: dict[str, str], after: dict[str, str]) -> tuple[NamedChange, ...]:
    return tuple(
        NamedChange(name=name, before=before.get(name), after=after.get(name))
        for name in sorted(set(before) | set(after))
        if before.get(name) != after.get(name)
    )
