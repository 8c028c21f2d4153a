"""``fairway eval compare``: decide about one run against another, without a call."""

from __future__ import annotations

import click

from fairway.cli.eval.report_files import Files, report_options
from fairway.cli.output import output_option, project_option

EPILOG = """\b
Examples:
  fairway eval compare blessed
  fairway eval compare 20261119-1630 20261120-0955 --margin 0.02 --html report.html

\b
Exit codes: 0 PASS, 1 REGRESSION, 2 INCONCLUSIVE, 3 an error (also runs that cannot be compared).
"""


@click.command("compare", epilog=EPILOG)
@click.argument("baseline")
@click.argument("candidate", default="latest")
@click.option("--margin", type=float, help="How much worse than the baseline is allowed: 0.05 is five points.")
@report_options
@project_option
@output_option
def command(
    baseline: str,
    candidate: str,
    margin: float | None,
    files: Files,
    project_dir: str | None,
    output: str,
) -> None:
    """Decide about CANDIDATE (by default the latest run) against BASELINE, by the gate, without a call.

    Each is a run's id, the beginning of one, latest, blessed, or the path of its folder. Two runs compare only when the
    same instrument measured them. Attempts on the same content are all counted.
    """
    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.policy import gate_policy
    from fairway.cli.eval.reading import find_folder, find_run
    from fairway.cli.eval.reporting import tell
    from fairway.errors import UserError
    from fairway.evals.evaluation import decided
    from fairway.evals.history.folders import read_header, read_run
    from fairway.evals.reports.content import ReportContent

    place = eval_place(project_dir)
    asked = Asked(margin=margin)
    folder = find_folder(place, candidate)
    run = read_run(folder)
    environment = read_header(folder).environment
    other = find_run(place, baseline, instrument=run.instrument, environment=environment)
    if other.run_id == run.run_id:
        raise UserError(
            f"{run.run_id} is both sides: a run compared with itself shows nothing",
            code="eval_option",
            hint="run the candidate first, or name another run: fairway eval history lists them",
        )
    policy = gate_policy(place, asked, compared=True)
    decision, attempt = decided(place.history, run, other, policy, interleaved=False)
    content = ReportContent(
        title=f"{run.subject.name} (run {run.run_id}{f', attempt {attempt}' if attempt > 1 else ''})"
        f" against {other.subject.name} (run {other.run_id})",
        candidate=run,
        baseline=other,
        decision=decision,
    )
    tell(content, files, output=output)
    raise SystemExit(decision.exit_code)
