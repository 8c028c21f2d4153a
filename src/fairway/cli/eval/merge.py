"""``fairway eval merge``: shards as the one run they are parts of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.eval.report_files import Files, report_options
from fairway.cli.output import output_option, project_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fairway.evals.history.folders import RunHeader
    from fairway.evals.trials import EvalRun

EPILOG = """\b
Examples:
  fairway eval merge shards/*                       the run folders of every job, brought together
  fairway eval merge 20261120-095523 20261120-095524 --junit junit.xml

\b
Exit codes: 0 PASS, 1 REGRESSION or FAIL, 2 INCONCLUSIVE, 3 an error (also a missing or doubled shard).
"""


@click.command("merge", epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@report_options
@project_option
@output_option
def command(
    runs: tuple[str, ...],
    files: Files,
    project_dir: str | None,
    output: str,
) -> None:
    """Put shards together: one run, and the verdict the unsharded run would have had.

    RUN is a run of --shard k/n: its id, or the folder .fairway/evals/<id> as a job left it. Every shard must be there
    exactly once, cut from the same selection and measured by the same instrument.
    """
    from datetime import UTC, datetime

    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.policy import gate_policy
    from fairway.cli.eval.reading import find_run
    from fairway.cli.eval.reporting import tell
    from fairway.cli.eval.told import content_of
    from fairway.evals.evaluation import keep
    from fairway.evals.history.folders import RunHeader, new_run_id, read_header
    from fairway.evals.history.merge import merge_runs
    from fairway.evals.wire import decode

    place = eval_place(project_dir)
    folders = [place.history.find(run) for run in runs]
    headers = [read_header(folder) for folder in folders]
    candidates, baselines = _sides(folders)
    first = headers[0]
    names = tuple(sorted(header.run_id for header in headers))
    run_id = place.history.derived(names, candidates[0].instrument) or new_run_id(datetime.now(UTC))
    _same_plans(headers)
    merged = merge_runs(candidates, plan=first.plan, run_id=run_id)
    other = merge_runs(baselines, plan=first.plan, run_id=run_id) if baselines else None
    if other is None and first.baseline_run is not None:
        other = find_run(place, first.baseline_run)
    header = RunHeader(
        run_id=run_id,
        created_at=merged.created_at,
        agent=first.agent,
        environment=first.environment,
        asked=first.asked,
        plan=first.plan,
        release=first.release,
        derived_from=names,
        made_at=datetime.now(UTC),
    )
    place.history.begin(header)
    policy = gate_policy(
        place, decode(Asked, dict(first.asked)), compared=other is not None, interleaved=bool(baselines)
    )
    evaluation = keep(place.history, header, merged, other, policy, interleaved=bool(baselines))
    tell(content_of(evaluation), files, output=output)
    raise SystemExit(evaluation.decision.exit_code)


def _sides(folders: Sequence[Path]) -> tuple[list[EvalRun], list[EvalRun]]:
    """The shards' runs, and their baselines where they were asked in turn.

    Raises:
        RefusedError: ``eval_merge``: only some of them have a baseline.
    """
    from fairway.errors import RefusedError
    from fairway.evals.history.folders import BASELINE, read_run

    candidates = [read_run(folder) for folder in folders]
    baselines = [read_run(folder / BASELINE) for folder in folders if (folder / BASELINE).is_dir()]
    if baselines and len(baselines) != len(candidates):
        raise RefusedError("cannot merge: only some shards were asked in turn with a baseline", code="eval_merge")
    return candidates, baselines


def _same_plans(headers: Sequence[RunHeader]) -> None:
    """Refuse shards of other selections, compared with other runs, or asked for with another margin."""
    from fairway.errors import RefusedError

    first = headers[0]
    for header in headers[1:]:
        if header.plan != first.plan:
            raise RefusedError(
                f"cannot merge: {first.run_id} and {header.run_id} were cut from different selections of cases",
                code="eval_merge",
            )
        if header.baseline_run != first.baseline_run:
            raise RefusedError(
                f"cannot merge: {first.run_id} and {header.run_id} were compared with different runs",
                code="eval_merge",
            )
        if header.asked.get("margin") != first.asked.get("margin"):
            raise RefusedError(
                f"cannot merge: {first.run_id} and {header.run_id} were asked for with different --margin",
                code="eval_merge",
            )
