"""sha256 of blobs by git's name of them, so that an unchanged file is never read again.

Git's names are content hashes, so an entry never goes stale. The file carries its own checksum: one that was cut or
altered is ignored, and a cache that cannot be written is no error.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fairway.canonical import value_digest
from fairway.state_dir import StateDir
from fairway.units import Digest, parse_digest

_MAXIMUM_ENTRIES = 100_000


def _path(root: Path) -> Path:
    return StateDir(root / ".fairway").cache / "blobs.json"


def load_blob_cache(root: Path) -> dict[str, Digest]:
    """Known digests by git object id; empty when there is no usable cache."""
    try:
        cached = json.loads(_path(root).read_bytes())
        blobs = cached["blobs"]
        if cached["checksum"] != value_digest(blobs):
            return {}
        return {oid: parse_digest(digest) for oid, digest in blobs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def store_blob_cache(root: Path, blobs: Mapping[str, Digest]) -> None:
    """Keep digests for the next scan; only where the project already has its state folder."""
    path = _path(root)
    if not path.parent.parent.is_dir() or len(blobs) > _MAXIMUM_ENTRIES:
        return
    temporary: str | None = None
    try:
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="blobs-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"blobs": dict(blobs), "checksum": value_digest(dict(blobs))}, file)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
