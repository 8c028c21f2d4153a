"""Golden vectors, version 1: whoever writes a release elsewhere must get these very bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fairway.canonical import sha256_digest
from fairway.release.tree import component_digests, read_tree, release_digest
from fairway.release.trust import SigningKey, sign, verify
from fairway.release.values import Evidence, Manifest
from fairway.release.wire import manifest_bytes, read_manifest
from fairway.units import EnvironmentName, Verdict

VECTOR = Path(__file__).parents[2] / "vectors" / "release.json"


def golden_release(make_manifest: Callable[..., Manifest]) -> Manifest:
    manifest = make_manifest(authors=("ada@example.org", "grace@example.org"))
    finding = Evidence(
        kind="prompt_regression", release=manifest.release_digest, verdict=Verdict.PASS, produced_by="fairway 0.1.0",
        at=datetime(2026, 11, 20, 8, 30, tzinfo=UTC), effective=manifest.release_digest,
        instrument=manifest.tree, environment=EnvironmentName("production"), figures={"cases": 59, "score": 0.985},
        expires=datetime(2026, 12, 20, 8, 30, tzinfo=UTC),
    )  # fmt: skip
    return replace(manifest, evidence=(finding,))


def make_vector(manifest: Manifest, tree: bytes, key: SigningKey) -> dict[str, object]:
    payload = manifest_bytes(manifest)
    return {
        "version": 1,
        "tree": tree.decode(),
        "tree_digest": sha256_digest(tree),
        "release_digest": manifest.release_digest,
        "manifest": payload.decode(),
        "manifest_digest": sha256_digest(payload),
        "key_seed": key.seed.hex(),
        "key_id": key.key_id,
        "envelope": sign(manifest, key),
    }


def test_a_release_is_the_same_bytes_as_ever(
    make_manifest: Callable[..., Manifest], store: object, key: SigningKey
) -> None:
    manifest = golden_release(make_manifest)
    tree = store.get(manifest.tree)  # type: ignore[attr-defined]
    assert make_vector(manifest, tree, key) == json.loads(VECTOR.read_text())


def test_a_release_of_version_1_is_read_for_ever(key: SigningKey) -> None:
    vector = json.loads(VECTOR.read_text())
    manifest = verify(vector["envelope"], {vector["key_id"]: key.public})
    assert manifest == read_manifest(vector["manifest"].encode())
    files = read_tree(vector["tree"].encode())
    assert component_digests(files) == manifest.components
    assert release_digest(component_digests(files)) == vector["release_digest"]
    assert manifest.tree == vector["tree_digest"]
