"""A small release to sign, store and break."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fairway.release.store import FileContentStore
from fairway.release.tree import TreeFile, component_digests, release_digest, tree_blob
from fairway.release.trust import SigningKey
from fairway.release.values import Component, Manifest
from fairway.units import AgentName, EnvironmentName

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)

FILES = {
    "app/main.py": (b"print('hello')\n", "100644", Component.CODE),
    "bin/serve": (b"#!/bin/sh\nexec python app/main.py\n", "100755", Component.CODE),
    "prompts/support/1.0.0.yaml": (b"template: hi\n", "100644", Component.PROMPTS),
    "models.yaml": (b"fast: {}\n", "100644", Component.MODELS),
    "tools.yaml": (b"[]\n", "100644", Component.TOOLS),
    "fairway.yaml": (b"version: 1\n", "100644", Component.POLICIES),
}


@pytest.fixture
def key() -> SigningKey:
    return SigningKey(bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path) -> FileContentStore:
    return FileContentStore(tmp_path / "store")


@pytest.fixture
def make_manifest(store: FileContentStore) -> Callable[..., Manifest]:
    def make(**changes: object) -> Manifest:
        files = [
            TreeFile(path=path, mode=mode, digest=store.put(content), component=component)
            for path, (content, mode, component) in FILES.items()
        ]
        components = component_digests(files)
        whole = release_digest(components)
        values: dict[str, object] = {
            "agent": AgentName("shop"),
            "release_version": "1.2.0",
            "tag": "v1.2.0",
            "commit_sha": "ab" * 20,
            "components": components,
            "release_digest": whole,
            "effective": {EnvironmentName("production"): whole},
            "tree": store.put(tree_blob(files)),
            "prompts": {"support": {"version": "1.0.0", "sha256": "0" * 64}},
            "tools": ("lookup",),
            "models": {"fast": "mock/small"},
            "created_at": NOW,
            "publisher": "ada@example.org",
        }
        return Manifest(**(values | changes))  # type: ignore[arg-type]

    return make
