"""Run folders: ``.fairway/evals/<run id>/`` with ``run.json``, ``trials.jsonl``, ``results.json``, ``decision.json``.

``run.json`` is small: what was asked, and in the end what came of it. It is written first and replaced in one step, so
that a run that was killed is one whose header says that it has not ended. ``results.json`` is the whole run, scored;
``decision.json`` what the gate said of it and of the attempts before it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fairway.canonical import sha256_digest
from fairway.errors import NotFoundError, PermanentError
from fairway.evals.trials import EvalRun
from fairway.evals.wire import WireError, decode, encode
from fairway.units import Digest

HEADER, RESULTS, DECISION, BASELINE = "run.json", "results.json", "decision.json", "baseline"
_VERSION = 1
_KEEP = 50
_RUN_ID = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{6}$")


def new_run_id(now: datetime) -> str:
    """``20261120-095523-1f0c2a``: sorts by time, unique enough for one project."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """What a run is about, and once it has ended what came of it.

    Attributes:
        asked: How it was asked for, enough to resume it: JSON.
        plan: Suite and id of every case of the whole selection, also of those that other shards play.
        agent, environment: Whose baseline it may become; empty outside a project.
        subject: As a report shows it.
        release: Version, where it is one; ``None``: not known.
        effective: Digest of the subject as it was configured; ``None``: not known.
        sides: Digest over everybody who is asked, and over what is compared with; ``None``: not known.
        attempt_of: See :class:`fairway.evals.trials.EvalRun`.
        repeats: Digest of what it observed, where all of that came from the cache; ``None``: something was asked.
        shard: ``(part, parts)``; ``None``: whole.
        ended: Whether it came to its end; a killed run did not.
        complete: Whether every planned trial was played.
        verdict: Of the gate; ``None``: not decided.
        reasons: Of the gate, most important first.
        attempt: Which attempt on the same content it is, from 1.
        total, passed: Cases.
        spent_micros: Paid, in millionths of a US dollar; ``None``: not known.
        baseline: What it was compared with; ``None``: nothing.
        baseline_run: Id of the kept run it was compared with; ``None``: none, or one that was asked in turn with it.
        derived_from: Ids of the runs it was made from without a call: shards that were merged, a run scored again.
        made_at: When it was made from them, where it is as old as they are; ``None``: ``created_at``.
    """

    run_id: str
    created_at: datetime
    agent: str = ""
    environment: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    plan: tuple[tuple[str, str], ...] = ()
    subject: str = ""
    release: str | None = None
    instrument: Digest | None = None
    effective: Digest | None = None
    sides: Digest | None = None
    attempt_of: Digest | None = None
    repeats: Digest | None = None
    shard: tuple[int, int] | None = None
    ended: bool = False
    complete: bool = False
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    attempt: int = 1
    total: int = 0
    passed: int = 0
    spent_micros: int | None = 0
    baseline: str | None = None
    baseline_run: str | None = None
    derived_from: tuple[str, ...] = ()
    made_at: datetime | None = None


class EvalHistory:
    """The evaluations of one project, or of one folder outside a project."""

    def __init__(self, root: Path) -> None:
        """Take the folder, ``.fairway/evals``; it is made by the first run."""
        self.root = root

    def folder(self, run_id: str) -> Path:
        """Where a run is kept."""
        return self.root / run_id

    def begin(self, header: RunHeader) -> Path:
        """Make the folder of a run, with its header; returns it."""
        folder = self.folder(header.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        self.write_header(header)
        return folder

    def write_header(self, header: RunHeader) -> None:
        """Replace a run's header in one step."""
        write_text(
            self.folder(header.run_id) / HEADER, json.dumps({"version": _VERSION, **encode(header)}, indent=1) + "\n"
        )

    def ids(self) -> tuple[str, ...]:
        """Ids of every run, newest first."""
        if not self.root.is_dir():
            return ()
        found = (path.name for path in self.root.iterdir() if _RUN_ID.match(path.name) and (path / HEADER).is_file())
        return tuple(sorted(found, reverse=True))

    def header(self, run_id: str) -> RunHeader:
        """What a run is about.

        Raises:
            NotFoundError: There is no such run.
            PermanentError: ``eval_run``: its header cannot be read.
        """
        return read_header(self.folder(run_id))

    def headers(self) -> tuple[RunHeader, ...]:
        """Of every run, newest first; a folder whose header cannot be read is left out."""
        found = []
        for run_id in self.ids():
            try:
                found.append(self.header(run_id))
            except PermanentError:
                continue
        return tuple(sorted(found, key=lambda header: header.made_at or header.created_at, reverse=True))

    def find(self, reference: str | None) -> Path:
        """The folder of a run: by id, the beginning of one, ``latest``, or a path.

        Raises:
            NotFoundError: ``eval_run_not_found``: there is none, or several begin so.
        """
        ids = self.ids()
        if reference is None or reference == "latest":
            headers = self.headers()
            if not headers:
                raise NotFoundError("there is no evaluation yet", code="eval_run_not_found", hint="fairway eval run")
            return self.folder(headers[0].run_id)
        path = Path(reference)
        if ("/" in reference or path.is_dir()) and (path / HEADER).is_file():
            return path
        near = [run_id for run_id in ids if reference.strip() and run_id.startswith(reference)]
        if len(near) == 1:
            return self.folder(near[0])
        what = f"{len(near)} evaluations begin with {reference!r}" if near else f"there is no evaluation {reference!r}"
        hint = "they are " + ", ".join((near or ids)[:5]) if ids else "fairway eval run makes one"
        raise NotFoundError(what, code="eval_run_not_found", hint=hint)

    def attempts(self, attempt_of: Digest | None, *, but: str, repeats: Digest | None = None) -> tuple[str, ...]:
        """Ids of all other attempts on the same content that came to an end, in the order they began.

        Also those that began after the attempt at hand: a run that is gone on with, or looked at again, is decided
        about by everything that is known by then. Of attempts that only read the same from the cache one stands for
        all: they are one observation, however often it was looked at.

        Args:
            attempt_of: What they share; ``None``: nothing is known, so there is none.
            but: Id of the attempt at hand.
            repeats: What that one only read from the cache; ``None``: it asked.

        Raises:
            PermanentError: ``eval_run``: a header cannot be read. It may be one of them, and no attempt is left out.
        """
        if attempt_of is None:
            return ()
        found = [
            header
            for header in map(self.header, self.ids())
            if header.attempt_of == attempt_of and header.ended and header.shard is None and header.run_id != but
        ]
        found.sort(key=lambda header: header.created_at)
        first = {header.repeats: header.run_id for header in reversed(found)} | {repeats: but}
        return tuple(h.run_id for h in found if h.repeats is None or first[h.repeats] == h.run_id)

    def derived(self, derived_from: Sequence[str], instrument: Digest) -> str | None:
        """The run that was made from these runs before, with this instrument: it is replaced, not counted twice."""
        wanted = tuple(sorted(derived_from))
        for header in self.headers():
            if header.derived_from == wanted and header.instrument == instrument:
                return header.run_id
        return None

    @property
    def crowded(self) -> bool:
        """Whether there are more runs than are kept: time to find out which are blessed, and prune."""
        return len(self.ids()) > _KEEP

    def prune(self, *, blessed: Sequence[str], keep: int = _KEEP) -> tuple[str, ...]:
        """Remove old runs; returns their ids.

        Kept are the newest, the blessed ones, and every attempt on the content of a run that is kept: no attempt is
        forgotten while another one on the same content counts.
        """
        headers = self.headers()
        kept = {header.run_id for header in headers[:keep]} | set(blessed)
        content = {header.attempt_of for header in headers if header.run_id in kept and header.attempt_of is not None}
        gone = [h.run_id for h in headers if h.run_id not in kept and h.attempt_of not in content]
        for run_id in gone:
            shutil.rmtree(self.folder(run_id), ignore_errors=True)
        return tuple(gone)


def read_header(folder: Path) -> RunHeader:
    """The header of a run's folder.

    Raises:
        NotFoundError: There is none.
        PermanentError: ``eval_run``: it cannot be read.
    """
    path = folder / HEADER
    try:
        wire = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(wire, dict) or wire.pop("version", None) != _VERSION:
            raise WireError(f"it is not version {_VERSION}")
        return decode(RunHeader, wire)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no evaluation in {folder}", code="eval_run_not_found") from error
    except (OSError, ValueError, WireError) as error:
        raise PermanentError(f"{path} cannot be read: {error}", code="eval_run") from error


def write_run(folder: Path, run: EvalRun) -> None:
    """Write a run, scored, beside its header."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": _VERSION, **encode(run)}, ensure_ascii=False, separators=(",", ":"))
    write_text(folder / RESULTS, text + "\n")


def read_run(folder: Path) -> EvalRun:
    """A run as it was scored.

    Raises:
        NotFoundError: ``eval_run_not_found``: it has no results, because it was stopped.
        PermanentError: ``eval_run``: they cannot be read.
    """
    path = folder / RESULTS
    try:
        wire = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(wire, dict) or wire.pop("version", None) != _VERSION:
            raise WireError(f"it is not version {_VERSION}")
        return decode(EvalRun, wire)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"evaluation {folder.name} has no results: it was stopped",
            code="eval_run_not_found",
            hint=f"fairway eval run --resume {folder.name}",
        ) from error
    except (OSError, ValueError, WireError) as error:
        raise PermanentError(f"{path} cannot be read: {error}", code="eval_run") from error


def results_digest(folder: Path) -> Digest:
    """Digest of a run's results as they are on disk.

    Raises:
        NotFoundError: ``eval_run_not_found``: it has none.
    """
    try:
        return sha256_digest((folder / RESULTS).read_bytes())
    except OSError as error:
        raise NotFoundError(
            f"evaluation {folder.name} has no results", code="eval_run_not_found", hint="fairway eval run --resume"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step; a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
