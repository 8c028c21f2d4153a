"""The stage cache: what a stage found, by the digest of everything its result depends on.

An entry is a folder that appears whole or not at all. Whatever is wrong with one - half-written, altered, from another
version - makes it a miss, never an error: the cache may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import UserError
from fairway.pipeline.port import StageResult, StageStatus
from fairway.pipeline.wire import result_from_wire, result_to_wire

_VERSION = 1
_KEEP_DAYS = 30
_KEPT = (StageStatus.PASSED, StageStatus.SKIPPED)


def stage_key(stage: str, *, code: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The cache key of a stage: 64 hex digits.

    Args:
        stage: Its id.
        code: Version of the code that runs it; another version never shares results.
        config: Its section of ``fairway.yaml``, JSON-able.
        inputs: ``{what it reads: digest}``.

    Raises:
        ValueError: When ``config`` holds what JSON cannot.
    """
    value = {"version": _VERSION, "stage": stage, "code": code, "config": dict(config), "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(value)).hexdigest()


class StageCache:
    """Results and artifacts under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _folder(self, key: str) -> Path:
        return self._root / key[:2] / key

    def find(self, key: str) -> StageResult | None:
        """The kept result with its artifacts, or ``None``; a damaged entry is removed and is ``None``."""
        folder = self._folder(key)
        try:
            entry = json.loads((folder / "result.json").read_bytes())
            body = entry["body"]
            if entry["sha256"] != hashlib.sha256(canonical_json(body)).hexdigest():
                raise ValueError("altered")
            result = result_from_wire(body["result"], folder=folder)
            for name, path in result.artifacts.items():
                if _file_sha256(path) != body["artifacts"][name]:
                    raise ValueError("artifact altered")
        except FileNotFoundError:
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
            return None
        except (OSError, ValueError, KeyError, TypeError, UserError):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # used: :meth:`prune` goes by it
        return result

    def prune(self, *, now: datetime) -> int:
        """Remove entries that nobody has used for thirty days, and drafts a kill left; returns how many."""
        limit = (now - timedelta(days=_KEEP_DAYS)).timestamp()
        draft_limit = (now - timedelta(days=1)).timestamp()
        removed = 0
        for entry in self._root.glob("??/*"):
            with contextlib.suppress(OSError):
                if entry.stat().st_mtime < (draft_limit if entry.name.startswith(".draft-") else limit):
                    shutil.rmtree(entry, ignore_errors=True)
                    removed += 1
        return removed

    def keep(self, key: str, result: StageResult) -> None:
        """Keep a result; only PASSED and the stage's own SKIPPED are kept. Atomic; the same key again is a no-op.

        Raises:
            OSError: When the disk refuses; nothing half-written is ever found.
        """
        if result.status not in _KEPT or result.caused_by is not None:
            return
        target = self._folder(key)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
        try:
            self._write(draft, result)
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not target.exists():  # somebody else kept the same key first: as good as ours
                raise

    @staticmethod
    def _write(draft: Path, result: StageResult) -> None:
        digests: dict[str, str] = {}
        paths: dict[str, Path] = {}
        for index, (name, path) in enumerate(sorted(result.artifacts.items())):
            paths[name] = draft / f"{index}-{path.name}"
            shutil.copyfile(path, paths[name])
            digests[name] = _file_sha256(paths[name])
        kept = replace(result, artifacts=paths, log=None)
        body = {"result": result_to_wire(kept, folder=draft), "artifacts": digests}
        # Through JSON once, so that the checksum is over what a reader gets back.
        body = json.loads(json.dumps(body))
        entry = {"version": _VERSION, "sha256": hashlib.sha256(canonical_json(body)).hexdigest(), "body": body}
        with (draft / "result.json").open("wb") as file:
            file.write(json.dumps(entry).encode())
            file.flush()
            os.fsync(file.fileno())


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
