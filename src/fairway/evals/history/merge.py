"""Shards of one evaluation as the one run they are parts of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairway.errors import RefusedError
from fairway.evals.trials import EvalRun, JudgeHealth
from fairway.evals.values import Case

Key = tuple[str, str]


def merge_runs(runs: Sequence[EvalRun], *, plan: Sequence[Key], run_id: str) -> EvalRun:
    """The unsharded run: the same cases, trials and results in the same order, so that the gate says the same.

    Args:
        runs: Every shard, in any order; each carries the cases that were its own.
        plan: Suite and id of every case of the whole, in order: what the shards were cut from.
        run_id: Of the merged run.

    Raises:
        RefusedError: ``eval_merge``: nothing to merge, a run that is no shard, other instruments or subjects, a missing
            or doubled shard, a case that two shards or none played.
    """
    _parts(runs)
    first = runs[0]
    _same(runs)
    cases = _planned(runs, plan)
    order = {key: number for number, key in enumerate(plan)}
    rows = [row for run in runs for row in zip(run.trials, run.results, strict=True)]
    rows.sort(key=lambda row: (order[row[0].suite, row[0].case_id], row[0].index))
    spent = [run.spent_micros for run in runs]
    return replace(
        first,
        run_id=run_id,
        created_at=min(run.created_at for run in runs),
        cases=cases,
        trials=tuple(trial for trial, _ in rows),
        results=tuple(result for _, result in rows),
        judge=_judge([run.judge for run in runs]),
        shard=None,
        complete=all(run.complete for run in runs),
        spent_micros=None if None in spent else sum(one for one in spent if one is not None),
        adaptive=any(run.adaptive for run in runs),
    )


def _parts(runs: Sequence[EvalRun]) -> None:
    """Refuse what is not each of the shards 1 … n once."""
    if not runs:
        raise _refused("there is nothing to merge")
    shards = [run.shard for run in runs if run.shard is not None]
    if len(shards) != len(runs):
        whole = next(run.run_id for run in runs if run.shard is None)
        raise _refused(f"{whole} is no shard", hint="only runs made with --shard k/n are merged")
    counts = sorted({of for _, of in shards})
    if len(counts) != 1:
        raise _refused(f"they are parts of {' and of '.join(map(str, counts))}")
    have = sorted(part for part, _ in shards)
    doubled = sorted({part for part in have if have.count(part) > 1})
    if doubled:
        raise _refused(f"shard {doubled[0]}/{counts[0]} is there more than once")
    missing = sorted(set(range(1, counts[0] + 1)) - set(have))
    if missing:
        raise _refused(f"shard {', '.join(f'{part}/{counts[0]}' for part in missing)} is missing")


def _same(runs: Sequence[EvalRun]) -> None:
    """Refuse runs of other instruments or subjects."""
    first = runs[0]
    for run in runs[1:]:
        if run.instrument != first.instrument:
            raise _refused(
                f"{first.run_id} and {run.run_id} were measured by different instruments",
                hint="the suites, the judge or the scorer changed between the shards",
            )
        if (run.attempt_of, run.subject) != (first.attempt_of, first.subject) and not _alike(run, first):
            raise _refused(f"{first.run_id} examined {first.subject.name}, and {run.run_id} {run.subject.name}")


def _alike(one: EvalRun, other: EvalRun) -> bool:
    """Whether both are known to have examined the same."""
    if one.attempt_of is not None or other.attempt_of is not None:
        return one.attempt_of == other.attempt_of
    return (one.subject.kind, one.subject.name) == (other.subject.kind, other.subject.name)


def _planned(runs: Sequence[EvalRun], plan: Sequence[Key]) -> tuple[tuple[str, Case], ...]:
    """The cases of the plan in its order, each from the one shard that had it."""
    found: dict[Key, tuple[str, Case]] = {}
    for run in runs:
        for suite, case in run.cases:
            if (suite, case.id) in found:
                raise _refused(f"case {suite}/{case.id} is in two shards")
            found[suite, case.id] = (suite, case)
    lost = [f"{suite}/{case}" for suite, case in plan if (suite, case) not in found]
    if lost or len(found) != len(plan):
        what = f"case {lost[0]} is in no shard" if lost else "the shards hold cases that were not planned"
        raise _refused(what, hint="the shards must be cut from the same selection of the same suites")
    return tuple(found[key] for key in plan)


def _judge(found: Sequence[JudgeHealth | None]) -> JudgeHealth | None:
    """The worst of them: a judge that may not be used in one shard may not be used at all."""
    known = [one for one in found if one is not None]
    return next((one for one in known if one.problem is not None), known[0] if known else None)


def _refused(message: str, *, hint: str | None = None) -> RefusedError:
    return RefusedError(f"cannot merge: {message}", code="eval_merge", hint=hint)
