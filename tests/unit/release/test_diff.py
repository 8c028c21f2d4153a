"""What differs between two releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairway.release.diff import NamedChange, diff
from fairway.release.store import FileContentStore
from fairway.release.tree import TreeFile, component_digests, read_tree
from fairway.release.values import Component, Manifest


def test_a_changed_prompt_shows_its_file_and_version_and_nothing_else(
    make_manifest: Callable[..., Manifest], store: FileContentStore
) -> None:
    before = make_manifest()
    files = read_tree(store.get(before.tree))
    new = TreeFile(
        path="prompts/support/1.1.0.yaml", mode="100644", digest=store.put(b"v2"), component=Component.PROMPTS
    )
    changed = [
        replace(file, digest=store.put(b"x")) if file.path == "prompts/support/1.0.0.yaml" else file for file in files
    ]
    after = replace(
        make_manifest(release_version="1.3.0"),
        components=component_digests([*changed, new]),
        prompts={"support": {"version": "1.1.0", "sha256": "1" * 64}},
        tools=("lookup", "refund"),
    )
    found = diff(before, after, files, [*changed, new])
    parts = {part.component: part for part in found.components}
    assert [part.component for part in found.components if part.changed] == [Component.PROMPTS]
    assert parts[Component.PROMPTS].added == ("prompts/support/1.1.0.yaml",)
    assert parts[Component.PROMPTS].modified == ("prompts/support/1.0.0.yaml",)
    assert found.prompts == (NamedChange(name="support", before="1.0.0 (00000000)", after="1.1.0 (11111111)"),)
    assert found.tools == (NamedChange(name="refund", before=None, after="declared"),)
    assert found.models == ()


def test_a_release_does_not_differ_from_itself(make_manifest: Callable[..., Manifest], store: FileContentStore) -> None:
    manifest = make_manifest()
    files = read_tree(store.get(manifest.tree))
    found = diff(manifest, manifest, files, files)
    assert found.identical
    assert not any(part.changed or part.added or part.removed or part.modified for part in found.components)
