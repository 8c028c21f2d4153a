"""``fairway eval score``: score a run again, by today's suites, without a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.eval.report_files import Files, report_options
from fairway.cli.output import output_option, project_option

if TYPE_CHECKING:
    from pathlib import Path

    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.history.folders import RunHeader
    from fairway.evals.playing_out import Measured
    from fairway.evals.trials import EvalRun

EPILOG = """\b
Examples:
  fairway eval score latest
  fairway eval score 20261120-0955 --junit junit.xml

\b
Exit codes: 0 PASS, 1 REGRESSION or FAIL, 2 INCONCLUSIVE, 3 an error.
"""


@click.command("score", epilog=EPILOG)
@click.argument("run", default="latest")
@report_options
@project_option
@output_option
def command(
    run: str,
    files: Files,
    project_dir: str | None,
    output: str,
) -> None:
    """Score a run again by the suites as they are now, without asking the agent or a judge.

    A case whose words changed was never asked, and what no judge graded is unknown: both hold the gate. So is what
    another judge or another version of a script measured. The result is a run of its own; it is no further attempt,
    since nothing new was observed. Every attempt on the same content is scored again with it, and decides with it.
    """
    from datetime import UTC, datetime

    from fairway.cli.eval.asked import PIPELINE, Asked
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.policy import gate_policy
    from fairway.cli.eval.reading import find_folder
    from fairway.cli.eval.reporting import tell
    from fairway.cli.eval.told import content_of
    from fairway.evals.evaluation import keep
    from fairway.evals.history.folders import RunHeader, new_run_id, read_header, read_run
    from fairway.evals.wire import decode

    place = eval_place(project_dir)
    folder = find_folder(place, run)
    before, source = read_header(folder), read_run(folder)
    asked = Asked() if PIPELINE in before.asked else decode(Asked, dict(before.asked))
    measured = _measured(place, asked, before.environment)
    names = (source.run_id,)
    now = datetime.now(UTC)
    header = RunHeader(
        run_id=place.history.derived(names, measured.instrument) or new_run_id(now),
        created_at=now,
        agent=before.agent,
        environment=before.environment,
        asked=asked.to_json(),
        plan=measured.plan,
        release=before.release,
        derived_from=names,
    )
    other = _baseline(place, before, folder)
    scored = _again(measured, source, header)
    baseline = None if other is None else _again(measured, other, header)
    others = place.history.attempts(source.attempt_of, but=source.run_id)
    attempts = [
        _again(measured, read_run(place.history.folder(name)), header) for name in others if name != before.baseline_run
    ]
    place.history.begin(header)
    policy = gate_policy(place, asked, compared=baseline is not None, interleaved=baseline is not None)
    evaluation = keep(
        place.history, header, scored, baseline, policy, interleaved=baseline is not None, others=attempts
    )
    tell(content_of(evaluation), files, output=output)
    raise SystemExit(evaluation.decision.exit_code)


def _measured(place: EvalPlace, asked: Asked, environment: str) -> Measured:
    """What the run would be measured with today."""
    if place.in_project:
        from fairway.cli.eval.in_project import measured_today

        return measured_today(place, asked, environment)
    from fairway.cli.eval.bare import bare_measured

    return bare_measured(asked)


def _baseline(place: EvalPlace, header: RunHeader, folder: Path) -> EvalRun | None:
    """What the run was compared with; ``None``: nothing.

    Raises:
        NotFoundError: It is not here any more.
    """
    from fairway.evals.history.folders import BASELINE, read_run

    if (folder / BASELINE).is_dir():
        return read_run(folder / BASELINE)
    if header.baseline_run is None:
        return None
    return read_run(place.history.find(header.baseline_run))


def _again(measured: Measured, source: EvalRun, header: RunHeader) -> EvalRun:
    """A run under today's cases; no attempt of its own, since nothing new was observed."""
    from dataclasses import replace

    from fairway.evals.evaluation import scored
    from fairway.evals.history.rescoring import trials_under
    from fairway.evals.playing_out import Outcome

    alike = _measured_alike(source, measured)
    judge = source.judge if alike else None
    outcome = Outcome(trials={}, judge=judge, complete=source.complete, adaptive=source.adaptive)
    trials = trials_under(source, measured.suites, measured_alike=alike)
    run = scored(measured, source.subject, trials, run_id=header.run_id, created_at=header.created_at, outcome=outcome)
    return replace(run, attempt_of=None)


def _measured_alike(source: EvalRun, measured: Measured) -> bool:
    """Whether only the suites changed since a run: with its own, today's judge and scripts are the same instrument."""
    from fairway.evals.history.rescoring import suites_of

    if source.instrument == measured.instrument:
        return True
    return measured.instrument_of is not None and measured.instrument_of(suites_of(source)) == source.instrument
