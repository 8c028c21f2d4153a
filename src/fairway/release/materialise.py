"""A release as a folder: complete, verified and read-only, or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from fairway.canonical import sha256_digest
from fairway.errors import FairwayError, NotFoundError, PermanentError, RefusedError
from fairway.release.port import ContentStore
from fairway.release.store import sync_folder
from fairway.release.tree import EXECUTABLE, SYMLINK, TreeFile, check_link, component_digests, read_tree, release_digest
from fairway.release.trust import TrustedKeys, verify
from fairway.release.values import Manifest, SignedRelease
from fairway.units import Digest, short

COMPLETE = ".fairway-complete"
"""Holds the tree's digest; written last, so that a folder with it is whole."""


def materialise(tree: Digest, store: ContentStore, parent: Path) -> Path:
    """Write a release's files to ``parent/<first 16 hex digits of the tree>`` and return that folder.

    Every blob is verified on the way, and the folder appears in one rename. Asking again reads what is there: a folder
    whose files were altered is replaced. Files are read-only, and executable where the release says so.

    Raises:
        NotFoundError: When a blob is missing (``code="blob_not_found"``).
        PermanentError: When one is damaged (``corrupt_blob``), or on a full disk (``disk_full``).
        RefusedError: When the list of files is malformed or reaches outside (``bad_tree``).
    """
    target = parent / tree.removeprefix("sha256:")[:16]
    files = read_tree(store.get(tree))
    if _is_complete(target, tree, files):
        return target
    temporary = parent / f".{target.name}.{secrets.token_hex(6)}"
    try:
        temporary.mkdir(parents=True)
        for file in files:
            _write(temporary, file, store.get(file.digest))
        (temporary / COMPLETE).write_text(tree + "\n", encoding="ascii")
        _publish(temporary, target, tree, files)
    except OSError as error:
        raise _disk_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def verify_release(release: SignedRelease, store: ContentStore, trusted: TrustedKeys) -> Manifest:
    """Prove a release before it is deployed: signature, component digests from the tree, every blob read and matched.

    Returns:
        The manifest that was signed; use this one.

    Raises:
        RefusedError: When the signature is missing, unknown or wrong (codes of :func:`fairway.release.trust.unseal`);
            ``altered_release`` when the recorded manifest is not the signed one; ``digest_mismatch`` when the files do
            not give the digests it names; ``missing_blob``; ``dirty_tree`` for a ``dev:`` digest.
        PermanentError: When a blob is damaged (``corrupt_blob``).
    """
    manifest = verify(release.envelope, trusted)
    if manifest != release.manifest:
        raise RefusedError(
            f"the record of release {manifest.release_version} differs from what was signed",
            code="altered_release",
            hint="run fairway audit verify: somebody changed the ledger",
        )
    if manifest.release_digest.startswith("dev:"):
        raise RefusedError("a release of uncommitted files cannot be deployed", code="dirty_tree")
    try:
        files = read_tree(store.get(manifest.tree))
        for file in files:
            store.get(file.digest)
    except NotFoundError as error:
        raise RefusedError(
            f"release {manifest.release_version} is incomplete: {error.message}", code="missing_blob", hint=error.hint
        ) from error
    found = component_digests(files)
    wrong = [c.value for c, digest in found.items() if manifest.components.get(c) != digest]
    if wrong or release_digest(found) != manifest.release_digest:
        raise RefusedError(
            f"the files of release {manifest.release_version} do not give its digest ({', '.join(wrong) or 'whole'}: "
            f"expected {short(manifest.release_digest)})",
            code="digest_mismatch",
        )
    return manifest


def _is_complete(target: Path, tree: Digest, files: tuple[TreeFile, ...]) -> bool:
    try:
        if (target / COMPLETE).read_text(encoding="ascii").strip() != tree:
            return False
        return all(sha256_digest(_read(target, file)) == file.digest for file in files)
    except (OSError, UnicodeDecodeError):
        return False


def _read(root: Path, file: TreeFile) -> bytes:
    path = root / file.path
    return os.fsencode(path.readlink()) if file.mode == SYMLINK else path.read_bytes()


def _write(root: Path, file: TreeFile, content: bytes) -> None:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.mode == SYMLINK:
        target = os.fsdecode(content)
        check_link(file.path, target)
        path.symlink_to(target)
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        os.fchmod(handle.fileno(), 0o555 if file.mode == EXECUTABLE else 0o444)


def _publish(temporary: Path, target: Path, tree: Digest, files: tuple[TreeFile, ...]) -> None:
    """Rename into place; whoever was first with the same tree wins, an altered folder there is moved away.

    Moved, not emptied: an arm that runs in it keeps its files until it ends.
    """
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if _is_complete(target, tree, files):
            return
        altered = target.with_name(f".{target.name}.{secrets.token_hex(6)}.altered")
        target.rename(altered)
        temporary.rename(target)
        shutil.rmtree(altered, ignore_errors=True)
    sync_folder(target.parent)


def _disk_error(target: Path, error: OSError) -> FairwayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PermanentError(
            f"the disk is full; {target} was not written",
            code="disk_full",
            hint="free some space and run the same command again; nothing was half-written",
        )
    return PermanentError(f"cannot write {target}: {error.strerror}", code="materialise_write")
