"""Attempts on the same content accumulate, so that asking again until it is green does not help. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from fairway.canonical import sha256_digest, value_digest
from fairway.evals.judges.kinds import JUDGE_KINDS
from fairway.evals.trials import EvalRun, Side, SubjectInfo, Trial, side_of
from fairway.evals.values import Found
from fairway.evals.wire import encode
from fairway.units import Digest


def attempt_digest(subject: SubjectInfo, instrument: Digest) -> Digest | None:
    """What attempts on the same subject, measured by the same instrument, share.

    By the digests of a release as an environment runs it, else by the subject's whole identity; ``None`` for a subject
    whose version nobody knows: two runs of it may be runs of two things.
    """
    if subject.release is not None and subject.effective is not None:
        return value_digest({"release": subject.release, "effective": subject.effective, "instrument": instrument})
    if subject.identity is not None:
        return value_digest({"identity": dict(subject.identity), "instrument": instrument})
    return None


def sides_digest(candidate: SubjectInfo, baseline: SubjectInfo | None, stored: EvalRun | None) -> Digest:
    """Who is asked in a run and what it is compared with: only with the same a run is gone on with.

    Args:
        candidate: Who is examined.
        baseline: Who is asked in turn with it; ``None``: nobody.
        stored: The kept run it is compared with; ``None``: none.
    """
    return value_digest(
        {
            "candidate": encode(candidate),
            "baseline": None if baseline is None else encode(baseline),
            "stored": None if stored is None else stored.run_id,
        }
    )


def accumulated(runs: Sequence[EvalRun]) -> Side:
    """Every attempt as one side of the gate.

    Three kinds of trials of earlier attempts are not counted: those that had trouble and were played again later (an
    outage of a provider says nothing about the subject), those a later attempt only read back from the cache (they
    would be one observation counted twice), and those whose grades came from a judge that may not be used, once they
    were graded again by one that may. No other trial that was decided is ever left out.

    Args:
        runs: One or more, oldest first, of one subject with one instrument.

    Raises:
        ValueError: There is none, or their instruments differ.
    """
    return side_of(independent(runs))


def independent(runs: Sequence[EvalRun]) -> tuple[EvalRun, ...]:
    """The attempts, each observation once; see :func:`accumulated`."""
    last = {trial.key: number for number, run in enumerate(runs) for trial in run.trials}
    graded_later = [_graded_later(runs, number) for number in range(len(runs))]
    seen: set[tuple[str, str, int]] = set()
    kept = []
    for number, run in enumerate(runs):
        rows = [
            (trial, result)
            for trial, result in zip(run.trials, run.results, strict=True)
            if not _played_again(trial, last[trial.key] > number)
            and not (trial.cached and trial.key in seen)
            and not (_only_graded(trial) and trial.key in graded_later[number])
        ]
        seen.update(trial.key for trial, _ in rows if trial.trouble is None)
        kept.append(replace(run, trials=tuple(t for t, _ in rows), results=tuple(r for _, r in rows)))
    # an attempt that was cut short is not incomplete any more once a later one played everything
    whole = bool(runs) and runs[-1].complete
    return tuple(replace(run, complete=whole) for run in kept)


def _only_graded(trial: Trial) -> bool:
    """Whether what was measured against it, if anything, is a judge's word: what a script refuted stays refuted."""
    against = [one.type.removeprefix("not-") for one in trial.measured.values() if one.found is Found.VIOLATED]
    return bool(trial.measured) and all(kind in JUDGE_KINDS for kind in against)


def _graded_later(runs: Sequence[EvalRun], number: int) -> frozenset[tuple[str, str, int]]:
    """Trials of an attempt whose judge may not be used that a later attempt has from a judge that may."""
    judge = runs[number].judge
    if judge is None or judge.problem is None:
        return frozenset()
    later = [run for run in runs[number + 1 :] if run.judge is not None and run.judge.problem is None]
    return frozenset(trial.key for run in later for trial in run.trials if trial.measured)


def only_repeats(run: EvalRun, baseline: EvalRun | None) -> Digest | None:
    """Digest of what a run and its baseline observed, when every reply came from the cache; ``None``: one did not."""
    sides = [run] if baseline is None else [run, baseline]
    if not all(trial.cached for side in sides for trial in side.trials):
        return None
    seen = [
        [
            (*trial.key, [reply.text for reply in trial.replies], result.outcome.value)
            for trial, result in zip(side.trials, side.results, strict=True)
        ]
        for side in sides
    ]
    return sha256_digest(json.dumps(seen).encode())


def _played_again(trial: Trial, later: bool) -> bool:
    """Whether a later attempt has what trouble kept this trial from showing.

    Not for a trial of an adaptive wave: it was chosen by what had been seen, and a chosen trial that is not there would
    be taken for one that was not chosen.
    """
    return trial.trouble is not None and trial.wave == 0 and later
