"""Content store, materialised releases, and the proof before a deploy (laws 1 and 9)."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.canonical import canonical_json
from fairway.errors import FairwayError, NotFoundError, PermanentError, RefusedError
from fairway.release.materialise import materialise, verify_release
from fairway.release.store import FileContentStore
from fairway.release.tree import TreeFile, component_digests, read_tree, release_digest, tree_blob
from fairway.release.trust import SigningKey, signed
from fairway.release.values import Component, Manifest
from fairway.units import Digest

MakeManifest = Callable[..., Manifest]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(FairwayError) as caught:
        action()
    return caught.value.code


def test_the_same_bytes_are_one_read_only_blob(store: FileContentStore) -> None:
    digest = store.put(b"hello")
    assert digest == "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert store.put(b"hello") == digest
    assert store.get(digest) == b"hello"
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.path(digest)]
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o444


def test_a_flipped_byte_is_refused_when_read_and_mended_when_stored_again(store: FileContentStore) -> None:
    digest = store.put(b"hello")
    damage(store.path(digest), b"hellp")
    assert code_of(lambda: store.get(digest)) == "corrupt_blob"
    store.put(b"hello")
    assert store.get(digest) == b"hello"


def test_what_is_not_there_is_not_found(store: FileContentStore) -> None:
    for digest in ("sha256:" + "0" * 64, "sha256:../../etc/passwd", "dev:sha256:" + "0" * 64, ""):
        assert not store.has(Digest(digest))
        with pytest.raises(NotFoundError):
            store.get(Digest(digest))


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    store: FileContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert code_of(lambda: store.put(b"hello")) == "disk_full"
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_many_writers_of_the_same_blobs_agree(store: FileContentStore) -> None:
    contents = [bytes([n]) * 2000 for n in range(20)]
    threads = [threading.Thread(target=lambda: [store.put(content) for content in contents]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([path for path in store.root.rglob("*") if path.is_file()]) == 20


def test_a_release_becomes_a_folder_with_its_bytes_and_modes(
    store: FileContentStore, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    tree = make_manifest().tree
    folder = materialise(tree, store, tmp_path / "arms")
    assert (folder / "app/main.py").read_bytes() == b"print('hello')\n"
    assert stat.S_IMODE((folder / "app/main.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((folder / "bin/serve").stat().st_mode) == 0o555
    before = (folder / "app/main.py").stat().st_ino
    assert materialise(tree, store, tmp_path / "arms") == folder
    assert (folder / "app/main.py").stat().st_ino == before
    assert [path.name for path in (tmp_path / "arms").iterdir()] == [folder.name]


def test_a_flipped_byte_in_any_blob_leaves_no_folder(
    store: FileContentStore, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    tree = make_manifest().tree
    for file in read_tree(store.get(tree)):
        good = store.get(file.digest)
        damage(store.path(file.digest), good[:-1] + bytes([good[-1] ^ 1]))
        assert code_of(lambda: materialise(tree, store, tmp_path / "arms")) == "corrupt_blob"
        assert list((tmp_path / "arms").iterdir()) == []
        damage(store.path(file.digest), good)


def test_a_folder_altered_or_half_written_is_replaced(
    store: FileContentStore, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    tree = make_manifest().tree
    folder = materialise(tree, store, tmp_path)
    damage(folder / "app/main.py", b"import evil\n")
    assert (materialise(tree, store, tmp_path) / "app/main.py").read_bytes() == b"print('hello')\n"
    (folder / ".fairway-complete").unlink()
    (folder / "app/main.py").unlink()
    assert (materialise(tree, store, tmp_path) / "app/main.py").exists()


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "", "a\\b", "a/..", "..", "a\x00b", "a\nb"]
)
def test_no_path_leads_out_of_the_release(store: FileContentStore, tmp_path: Path, path: str) -> None:
    tree = store.put(canonical_json([[path, "100644", store.put(b"x"), "code"]]))
    assert code_of(lambda: materialise(tree, store, tmp_path / "arms")) == "bad_tree"
    assert not (tmp_path / "arms").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "a/../../x", "", "b/..", "../.."])
def test_no_link_leads_out_of_the_release(store: FileContentStore, tmp_path: Path, target: str) -> None:
    tree = store.put(canonical_json([["d/link", "120000", store.put(target.encode()), "code"]]))
    assert code_of(lambda: materialise(tree, store, tmp_path / "arms")) == "bad_tree"
    assert list((tmp_path / "arms").iterdir()) == []


def test_a_link_inside_the_release_is_kept(store: FileContentStore, tmp_path: Path) -> None:
    rows = [["a.txt", "100644", store.put(b"a"), "code"], ["d/link", "120000", store.put(b"../a.txt"), "code"]]
    tree = store.put(canonical_json(rows))
    folder = materialise(tree, store, tmp_path / "arms")
    assert (folder / "d/link").read_bytes() == b"a"
    assert (folder / "d/link").is_symlink()
    assert materialise(tree, store, tmp_path / "arms") == folder


@pytest.mark.parametrize(
    "rows",
    [
        "{}", "[1]", '[["a"]]', '[["a","160000","D","code"]]', '[["a","100644","D","evals"]]',
        '[["a","100644","D","code"],["a","100644","D","code"]]',
        '[["a","100644","D","code"],["a/b","100644","D","code"]]',
    ],
)  # fmt: skip
def test_a_malformed_list_of_files_is_refused(rows: str) -> None:
    content = rows.replace('"D"', '"sha256:' + "0" * 64 + '"').encode()
    assert code_of(lambda: read_tree(content)) == "bad_tree"


files = st.lists(
    st.builds(
        TreeFile,
        path=st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}x)?", fullmatch=True).map(lambda path: path + ".txt"),
        mode=st.sampled_from(["100644", "100755"]),
        digest=st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True).map(Digest),
        component=st.sampled_from(Component),
    ),
    unique_by=lambda file: file.path,
    max_size=6,
)


@given(files, st.randoms())
def test_digests_do_not_depend_on_the_order_of_files(found: list[TreeFile], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert component_digests(shuffled) == component_digests(found)
    assert tree_blob(shuffled) == tree_blob(found)
    assert set(read_tree(tree_blob(found))) == set(found)


@given(files.filter(bool), st.sampled_from(["path", "mode", "digest", "component"]))
def test_any_change_of_a_file_changes_the_release_digest(found: list[TreeFile], what: str) -> None:
    first = found[0]
    change = {
        "path": first.path + "x",
        "mode": "100755" if first.mode == "100644" else "100644",
        "digest": Digest("sha256:" + ("1" if first.digest[7] == "0" else "0") + first.digest[8:]),
        "component": next(part for part in Component if part is not first.component),
    }
    changed = [replace(first, **{what: change[what]}), *found[1:]]  # type: ignore[arg-type]
    assert release_digest(component_digests(changed)) != release_digest(component_digests(found))


def test_a_sound_release_is_proved(store: FileContentStore, make_manifest: MakeManifest, key: SigningKey) -> None:
    release = signed(make_manifest(), key)
    assert verify_release(release, store, {key.key_id: key.public}) == release.manifest


def test_every_way_a_release_can_be_unsound_is_refused(
    store: FileContentStore, make_manifest: MakeManifest, key: SigningKey
) -> None:
    trusted = {key.key_id: key.public}
    good = make_manifest()
    whole = good.release_digest

    def refused(manifest: Manifest) -> str:
        return code_of(lambda: verify_release(signed(manifest, key), store, trusted))

    altered = replace(signed(good, key), manifest=replace(good, publisher="eve"))
    assert code_of(lambda: verify_release(altered, store, trusted)) == "altered_release"
    assert refused(replace(good, release_digest=Digest("sha256:" + "0" * 64))) == "digest_mismatch"
    assert refused(replace(good, components={**good.components, Component.CODE: whole})) == "digest_mismatch"
    assert refused(replace(good, release_digest=Digest("dev:" + whole))) == "dirty_tree"
    assert refused(replace(good, tree=Digest("sha256:" + "0" * 64))) == "missing_blob"
    other = signed(good, SigningKey(b"\x01" * 32))
    assert code_of(lambda: verify_release(other, store, trusted)) == "unknown_signer"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(data=st.data())
def test_no_flipped_bit_in_any_blob_is_deployed(
    data: st.DataObject, store: FileContentStore, make_manifest: MakeManifest, key: SigningKey
) -> None:
    release = signed(make_manifest(), key)
    blobs = [path for path in store.root.rglob("*") if path.is_file()]
    path = data.draw(st.sampled_from(sorted(blobs)))
    good = path.read_bytes()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damage(path, bytes(bad))
    try:
        with pytest.raises((RefusedError, PermanentError)):
            verify_release(release, store, {key.key_id: key.public})
    finally:
        damage(path, good)


def test_a_missing_blob_is_refused_before_a_deploy(
    store: FileContentStore, make_manifest: MakeManifest, key: SigningKey
) -> None:
    release = signed(make_manifest(), key)
    store.path(read_tree(store.get(release.manifest.tree))[0].digest).unlink()
    assert code_of(lambda: verify_release(release, store, {key.key_id: key.public})) == "missing_blob"


def damage(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(0o444)
