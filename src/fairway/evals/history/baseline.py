"""Blessed baselines: which run later ones are compared with, who said so, and why. Values and decisions, pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fairway.evals.trials import EvalRun
from fairway.evals.values import UNDECIDED
from fairway.units import Digest

BLESSED = "eval_baseline"
"""Kind of its record in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A run that somebody made the baseline of an agent in an environment, for one instrument.

    Attributes:
        agent: The project's agent, or the subject's name outside a project.
        environment: Whose configuration the subject ran with; empty outside a project.
        results: Digest of the run's results, so that a folder changed later is not taken for what was blessed.
        subject: What was examined, as a report shows it.
        release: Its digest; ``None``: not known.
        overridden: What spoke against it when it was blessed all the same; empty: nothing.
    """

    agent: str
    environment: str
    instrument: Digest
    run_id: str
    results: Digest
    subject: str
    release: Digest | None
    actor: str
    reason: str
    at: datetime
    overridden: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What there is one baseline of: the subject of its record."""
        return baseline_key(self.agent, self.environment, self.instrument)


def baseline_key(agent: str, environment: str, instrument: Digest) -> str:
    """Agent, environment and instrument as one text."""
    return f"{agent}/{environment or '-'}@{instrument}"


class BaselineStore(Protocol):
    """Where baselines are on record; append-only."""

    def bless(self, baseline: Baseline) -> None:
        """Put one on record; the last of a key counts."""
        ...

    def all(self) -> tuple[Baseline, ...]:
        """Every one on record, oldest first."""
        ...


def blessed(store: BaselineStore, *, agent: str, environment: str, instrument: Digest) -> Baseline | None:
    """The baseline that counts; ``None`` when nobody blessed one for this instrument."""
    key = baseline_key(agent, environment, instrument)
    return next((one for one in reversed(store.all()) if one.key == key), None)


def why_not_blessed(run: EvalRun) -> tuple[str, ...]:
    """What speaks against making a run a baseline; empty: nothing."""
    against = []
    if run.shard is not None:
        against.append(f"it is part {run.shard[0]} of {run.shard[1]} of a run")
    if not run.complete:
        against.append("it is not complete")
    if not run.results:
        against.append("it has no result")
    undecided = sum(result.outcome in UNDECIDED for result in run.results)
    if undecided:
        against.append(f"{undecided} of its {len(run.results)} trials could not be decided")
    if run.attempt_of is None:
        against.append("nobody knows which version of the subject it examined")
    if run.subject.release is not None and run.subject.release.startswith("dev:"):
        against.append("it examined uncommitted files")
    if run.judge is not None and run.judge.problem is not None:
        against.append(f"its judge may not be used: {run.judge.problem}")
    return tuple(against)
