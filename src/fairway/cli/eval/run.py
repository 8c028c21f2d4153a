"""``fairway eval run``: play suites against an agent, and let the gate decide."""

from __future__ import annotations

import gc
from typing import Any

import click

from fairway.cli.eval.report_files import Files, report_options
from fairway.cli.output import output_option, project_option

EPILOG = """\b
Examples:
  fairway eval run                                             the project's agent with the mock model
  fairway eval run --baseline stable --repeat 4                asked in turn with the stable release
  fairway eval run --layer smoke                               five messages to the real model
  fairway eval run cases.yaml --target http://127.0.0.1:8000/chat --judge openai:small
  fairway eval run cases.yaml --target openai:small@http://127.0.0.1:9000/v1 --baseline latest
  fairway eval run --shard 2/8 --json shard.json
  fairway eval run --resume                                    go on with the last run, without asking twice

\b
Targets: http://…, cmd:…, python:module:function, openai:model@url, anthropic:model@url, prompt:name@version.
Exit codes: 0 PASS, 1 REGRESSION or FAIL, 2 INCONCLUSIVE, 3 an error, 130 interrupted.
"""


def _selection(function: Any) -> Any:
    """Options that say what is played."""
    for option in reversed(
        (
            click.option("--suite", "suites", multiple=True, metavar="NAME", help="Only suites of this name, or glob."),
            click.option(
                "--case", "cases", multiple=True, metavar="ID", help="Only this case: id, suite/id or a glob."
            ),
            click.option("--tag", "tags", multiple=True, help="Only cases with this tag; !tag: without it."),
            click.option("--filter", "text", metavar="TEXT", help="Only cases whose id, name or input holds this."),
            click.option("--sample", type=click.IntRange(min=1), help="So many cases, drawn by --seed."),
            click.option("--shard", metavar="K/N", help="The K-th of N parts; put together by fairway eval merge."),
            click.option("--layer", type=click.Choice(["smoke"]), help="smoke: at most 5 messages, to the real model."),
        )
    ):
        function = option(function)
    return function


def _limits(function: Any) -> Any:
    """Options that say how it is played."""
    for option in reversed(
        (
            click.option("--repeat", type=click.IntRange(1, 1000), help="How often each case runs that does not say."),
            click.option("--adaptive", is_flag=True, help="Add repeats where the outcome is in doubt."),
            click.option("--concurrency", type=click.IntRange(1, 10_000), help="Calls in flight at most."),
            click.option("--timeout", type=float, metavar="SECONDS", help="Of one trial."),
            click.option("--total-timeout", type=float, metavar="SECONDS", help="Of the whole run."),
            click.option("--spend", type=float, metavar="USD", help="Hard stop; agents and judges together."),
            click.option("--cache/--no-cache", default=None, help="Keep answers of bare models; by default so."),
            click.option("--seed", type=int, default=0, show_default=True, help="Of everything random."),
            click.option("--resume", is_flag=False, flag_value="latest", metavar="[RUN]", help="Go on with a run."),
        )
    ):
        function = option(function)
    return function


@click.command("run", epilog=EPILOG)
@click.argument("paths", nargs=-1, metavar="[SUITE]...")
@click.option("--target", help="Whom to ask; by default the project's agent, started as one environment would run it.")
@click.option("--target-version", metavar="TEXT", help="What is behind the target, so that answers and attempts count.")
@click.option("--judge", multiple=True, metavar="MODEL", help="Who grades, outside a project; several are a panel.")
@click.option("--environment", metavar="NAME", help="Whose configuration the project's agent runs with.")
@click.option("--baseline", metavar="WHAT", help="A run, latest, blessed, stable, or another target.")
@click.option("--margin", type=float, help="How much worse than the baseline is allowed: 0.05 is five points.")
@_selection
@_limits
@report_options
@project_option
@output_option
def command(
    paths: tuple[str, ...],
    project_dir: str | None,
    output: str,
    files: Files,
    resume: str | None,
    **options: Any,
) -> None:
    """Play suites against an agent and let the gate decide.

    SUITE is a file, or a glob; without one the project's suites are played. Without --baseline the simple rule decides
    (fewer than a tenth of the cases may fail) and nothing is compared. What is run again on the same content adds to
    what is known: the gate decides over every attempt. Ctrl-C keeps what was done and says how to go on.
    """
    gc.disable()  # nothing that is loaded is garbage, and looking for it takes a tenth of the loading
    from fairway.cli.eval.asked import Asked, asked_before
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.playing import play
    from fairway.cli.eval.reporting import tell
    from fairway.cli.eval.told import content_of, explained

    place = eval_place(project_dir)
    run_id, asked = None, Asked(paths=paths, **options)
    if resume is not None:
        asked.refuse_beside_resume()
        run_id, asked = asked_before(place, resume)
    evaluation = play(place, asked, resumed=run_id)
    own = place.in_project and asked.target is None
    why = explained(place, evaluation, place.history.header(evaluation.run.run_id).environment) if own else ()
    tell(content_of(evaluation, explanations=why), files, output=output)
    if place.history.crowded:
        with place.baselines() as store:
            place.history.prune(blessed=[one.run_id for one in store.all()])
    raise SystemExit(evaluation.decision.exit_code)
