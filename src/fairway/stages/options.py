"""What is asked of a run, and whether anything changed since it was asked last; light, so that *no* is told at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import fairway
from fairway.pipeline.cache import StageCache
from fairway.pipeline.port import RunReport
from fairway.pipeline.unchanged import Question, engine_version, fingerprint, recall
from fairway.stages.interpreter import current_interpreter
from fairway.state_dir import StateDir

_NO_STAGE_CODE = (
    "__pycache__", "cli", "controller", "gateway", "ledger", "observe", "rollout", "scaffold", "stats", "supervise",
    "testing", "traffic", "verdict",
)  # fmt: skip
"""Packages whose change changes no cached result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is asked of a run.

    Attributes:
        start, stop: First and last stage.
        only: These stages and no others.
        resume: Go on with this run (a beginning of its id is enough); ``""``: the last one; ``None``: a new run.
        version: What to release; ``None``: by the tag on the commit, else a development run.
        environment: The last environment it may reach; ``None``: all.
        cache: Whether results of earlier runs count.
    """

    start: str | None = None
    stop: str | None = None
    only: tuple[str, ...] = ()
    resume: str | None = None
    version: str | None = None
    environment: str | None = None
    cache: bool = True


def stage_code_version() -> str:
    """Version of the code that runs stages."""
    return engine_version(Path(fairway.__file__).parent, fairway.__version__, leave_out=_NO_STAGE_CODE)


def unchanged_folder(state: StateDir) -> Path:
    """Where the last run that passed is remembered."""
    return state.cache / "unchanged"


def unchanged_key(root: Path, options: RunOptions) -> str | None:
    """Stands for everything a run with these options depends on; ``None`` when it cannot be said, or must not count."""
    if options.resume is not None or not options.cache:
        return None
    question = Question(
        engine=stage_code_version(), interpreter=current_interpreter().fingerprint(), options=asdict(options)
    )
    return fingerprint(root, question)


def nothing_changed(start: Path, options: RunOptions, *, run_id: str, now: datetime) -> RunReport | None:
    """The report of a run that would find everything cached; ``None`` when that is not certain.

    Args:
        start: The project's folder, or one below it.
        options: What is asked.
        run_id: Of the run that asks.
        now: When it began.
    """
    root = next((folder for folder in (start, *start.parents) if (folder / "fairway.yaml").is_file()), None)
    key = None if root is None else unchanged_key(root, options)
    if root is None or key is None:
        return None
    state = StateDir(root / ".fairway")
    return recall(unchanged_folder(state), key, StageCache(state.cache / "stages"), run_id=run_id, now=now)
