"""Whether nothing changed since a run that passed: asked before anything heavy is loaded.

The answer is a proof, not a guess: the same commit and tags, the same differences to it, the same Fairway, the same
interpreter with the same packages, the same question - and every result still in the cache, whole and unexpired.
Whatever is missing, odd or new means *no*, and the run takes the long way, which asks each stage.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import FairwayError
from fairway.pipeline.cache import StageCache
from fairway.pipeline.port import RunReport, StageResult, StageStatus
from fairway.pipeline.wire import result_from_wire, result_to_wire

_VERSION = 2
_KEPT = "last.json"
_GIT_SECONDS = 10
_DIRTY_LIMIT = 500
"""Files that differ from the commit; with more than these the long way is hardly longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a run depends on beside the repository.

    Attributes:
        engine: Version of the code that runs stages.
        interpreter: Fingerprint of the project's interpreter, when it is the one on the path.
        options: What was asked of the run.
    """

    engine: str
    interpreter: str
    options: Mapping[str, Any]


def fingerprint(root: Path, question: Question) -> str | None:
    """64 hex digits that stand for everything a run depends on; ``None`` when that cannot be said.

    Args:
        root: Folder of ``fairway.yaml``.
        question: What is asked.
    """
    try:
        refs, status, top = _git(root)
        dirty = [_dirty_file(Path(top), line) for line in status]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if len(dirty) > _DIRTY_LIMIT or None in dirty:
        return None
    value = {
        "version": _VERSION,
        "root": str(root),
        "engine": question.engine,
        "interpreter": question.interpreter,
        "options": dict(question.options),
        "refs": refs,
        "dirty": dirty,
    }
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _git(root: Path) -> tuple[list[str], list[str], str]:
    """HEAD and the tags, the differences to HEAD, and the folder these are named from.

    Raises:
        ValueError: When git does not answer.
    """
    commands = (
        ["git", "show-ref", "--head", "--tags", "--dereference"],
        ["git", "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", "."],
        ["git", "rev-parse", "--show-toplevel"],
    )
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            )
            for command in commands
        ]
        answers = [process.communicate(timeout=_GIT_SECONDS)[0] for process in running]
    if any(process.returncode != 0 for process in running):
        raise ValueError("git does not answer")
    refs, status, top = answers
    return refs.splitlines(), [line for line in status.split("\0") if line], top.rstrip("\n")


def _dirty_file(top: Path, line: str) -> list[Any] | None:
    """What tells one state of a changed file from another; ``None`` for what cannot be told (a folder, a submodule)."""
    path = top / line[3:]
    try:
        status = path.lstat()
    except FileNotFoundError:
        return [line, None]
    if path.is_dir():
        return None
    # Also the time of change, which nobody can set back: an editor may keep size and time of modification.
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"  # as text: more digits than a JSON number holds
    return [line, status.st_mode, status.st_size, str(status.st_ino), times]


def forget(folder: Path) -> None:
    """Forget the run that passed: something newer was found.

    Raises:
        OSError: When the disk refuses.
    """
    (folder / _KEPT).unlink(missing_ok=True)


def remember(
    folder: Path,
    key: str,
    report: RunReport,
    keys: Mapping[str, str | None],
    *,
    recorded_in: Path | None = None,
    until: datetime | None = None,
) -> None:
    """Keep a run that passed, if all of it could be had again from the cache.

    Args:
        folder: Where such runs are kept; only the last one is.
        key: From :func:`fingerprint`, taken *before* the run began.
        report: The run.
        keys: Cache keys by stage; ``None`` for one that is never cached.
        recorded_in: File that holds what was found; the run does not count once it is gone or another.
        until: When the run stops counting; ``None``: never by time alone.

    Raises:
        OSError: When the disk refuses; nothing half-written is ever read.
    """
    if report.verdict != "passed" or not all(_repeatable(result, keys) for result in report.results):
        return
    body = {
        "version": _VERSION,
        "key": key,
        "agent": report.agent,
        "release": report.release,
        "release_version": report.release_version,
        "note": report.note,
        "recorded_in": None if recorded_in is None else [str(recorded_in), _identity(recorded_in)],
        "until": None if until is None else until.isoformat(),
        "prompts": {name: dict(prompt) for name, prompt in report.prompts.items()},
        "titles": dict(report.titles),
        "stages": [
            {"stage": result.stage, "key": keys.get(result.stage), "result": _own_skip(result, keys)}
            for result in report.results
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{secrets.token_hex(6)}"
    draft.write_text(json.dumps(body), encoding="utf-8")
    draft.replace(folder / _KEPT)


def _identity(file: Path) -> str | None:
    """Tells one file at a path from another; ``None``: there is none."""
    try:
        return str(file.stat().st_ino)
    except FileNotFoundError:
        return None


def _repeatable(result: StageResult, keys: Mapping[str, str | None]) -> bool:
    if keys.get(result.stage) is not None:
        return True
    return result.status is StageStatus.SKIPPED  # switched off: decided by fairway.yaml, which is in the fingerprint


def _own_skip(result: StageResult, keys: Mapping[str, str | None]) -> dict[str, Any] | None:
    return None if keys.get(result.stage) is not None else result_to_wire(replace(result, log=None))


def recall(folder: Path, key: str, cache: StageCache, *, run_id: str, now: datetime) -> RunReport | None:
    """The report of a run that would change nothing, every stage cached; ``None`` when there is none.

    Args:
        folder: As in :func:`remember`.
        key: From :func:`fingerprint`.
        cache: Where the results must still be.
        run_id: Of the run that asks.
        now: When it began.
    """
    try:
        body = json.loads((folder / _KEPT).read_bytes())
        if body["version"] != _VERSION or body["key"] != key or not _counts(body, now):
            return None
        results = [_recalled(stage, cache, now=now) for stage in body["stages"]]
        if any(result is None for result in results):
            return None
        return RunReport(
            run_id=run_id,
            agent=body["agent"],
            release=body["release"],
            release_version=body["release_version"],
            started_at=now,
            duration_seconds=0.0,
            results=tuple(result for result in results if result is not None),
            prompts=body["prompts"],
            titles=body["titles"],
            note=body["note"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FairwayError):
        return None


def _counts(body: Mapping[str, Any], now: datetime) -> bool:
    """Whether what the run found is still written down where it was, and its time is not over."""
    if body["until"] is not None and now >= datetime.fromisoformat(body["until"]):
        return False
    return body["recorded_in"] is None or _identity(Path(body["recorded_in"][0])) == body["recorded_in"][1]


def _recalled(stage: Mapping[str, Any], cache: StageCache, *, now: datetime) -> StageResult | None:
    if stage["key"] is None:
        return result_from_wire(stage["result"])
    found = cache.find(stage["key"])
    if found is None or not is_fresh(found, now):
        return None
    return as_cached(found)


def as_cached(result: StageResult) -> StageResult:
    """A kept result as a later run shows it: CACHED, or SKIPPED as the stage said itself."""
    status = StageStatus.SKIPPED if result.status is StageStatus.SKIPPED else StageStatus.CACHED
    return replace(result, status=status, duration_seconds=0.0)


def is_fresh(result: StageResult, now: datetime) -> bool:
    """Whether none of its evidence has expired."""
    return all(evidence.expires is None or evidence.expires > now for evidence in result.evidence)


def engine_version(package: Path, version: str, *, leave_out: Sequence[str]) -> str:
    """Version of the code that runs stages: its number, and times and sizes of its files, so that a change counts.

    Args:
        package: Folder of the code.
        version: Its number.
        leave_out: Folders whose change changes no result.
    """
    digest = hashlib.sha256(version.encode())
    for folder, folders, names in os.walk(package):
        folders[:] = sorted(name for name in folders if name not in leave_out)
        for name in sorted(names):
            if name.endswith(".py"):
                status = os.stat(os.path.join(folder, name))
                digest.update(f"{folder}/{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return f"{version}+{digest.hexdigest()[:16]}"
