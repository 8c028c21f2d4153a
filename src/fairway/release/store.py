"""Blobs by digest in a folder: written once, read-only, verified whenever they are read."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from pathlib import Path

from fairway.errors import FairwayError, NotFoundError, PermanentError
from fairway.units import Digest, short


class FileContentStore:
    """A :class:`fairway.release.port.ContentStore` in a folder: ``<root>/sha256/ab/cdef…``.

    A blob is written to a temporary file, synced, and renamed into place: a reader sees all of it or nothing, also
    after a power cut. Any number of processes may write at once; the same bytes are one blob.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def root(self) -> Path:
        """The folder; made at the first write."""
        return self._root

    def path(self, digest: Digest) -> Path:
        """Where a blob is or would be.

        Raises:
            NotFoundError: When ``digest`` is not ``sha256:<64 hex>``: nothing else can be stored.
        """
        digits = digest.removeprefix("sha256:")
        if len(digits) != 64 or not digest.startswith("sha256:") or not set(digits) <= set("0123456789abcdef"):
            raise NotFoundError(f"{digest!r} cannot be a blob", code="blob_not_found")
        return self._root / "sha256" / digits[:2] / digits[2:]

    def put(self, content: bytes) -> Digest:
        """Store bytes; a damaged blob of the same digest is replaced.

        Raises:
            PermanentError: When the disk is full (``code="disk_full"``) or cannot be written (``code="store_write"``).
        """
        digest = Digest("sha256:" + hashlib.sha256(content).hexdigest())
        path = self.path(digest)
        try:
            if path.is_file() and path.read_bytes() == content:
                return digest
            self._write(path, content)
        except OSError as error:
            raise _write_error(self._root, error) from error
        return digest

    def get(self, digest: Digest) -> bytes:
        """Bytes of a blob, verified.

        Raises:
            NotFoundError: When it is not there (``code="blob_not_found"``).
            PermanentError: When what is there does not match (``code="corrupt_blob"``) or cannot be read.
        """
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(
                f"blob {short(digest)} is not in the content store",
                code="blob_not_found",
                hint="package the release again, or copy the store of the machine that did",
            ) from error
        except OSError as error:
            raise PermanentError(f"cannot read {path}: {error.strerror}", code="store_read") from error
        if hashlib.sha256(content).hexdigest() != digest.removeprefix("sha256:"):
            raise PermanentError(
                f"blob {short(digest)} is damaged: its content has another digest",
                code="corrupt_blob",
                hint=f"delete {path} and package the release again",
            )
        return content

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there (its content is verified by :meth:`get`)."""
        try:
            return self.path(digest).is_file()
        except NotFoundError:
            return False

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name[:8]}.{secrets.token_hex(6)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(root: Path, error: OSError) -> FairwayError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PermanentError(
            f"the disk is full; the blob was not stored in {root}",
            code="disk_full",
            hint="free some space and run the same command again; nothing was half-written",
        )
    return PermanentError(f"cannot write to {root}: {error.strerror}", code="store_write")
