"""``fairway simulate``: what a policy would do, before it is trusted."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairway.simulate.study import Study

_SHAPES = ("iid", "heavy", "autocorrelated", "outage", "drift", "late", "delayed")
_EFFECTS = (
    "aa",
    "at-margin-errors",
    "at-margin-p95",
    "twice-margin-errors",
    "twice-margin-p95",
    "errors-1-3",
    "errors-1-10",
    "p95-50",
    "p95-10",
)


def _numbers(_: click.Context, option: click.Parameter, given: tuple[float, ...]) -> tuple[float, ...]:
    """``nan`` is within every range, because it compares with nothing."""
    for value in given:
        if not math.isfinite(value):
            raise click.BadParameter(f"{value} is not a number of conversations.", param=option)
    return given


@click.command(
    "simulate",
    epilog="Example: fairway simulate --per-minute 600 --effect aa --effect errors-1-10 --runs 50",
)
@click.argument("policy", required=False, type=click.Path(path_type=Path))
@click.option(
    "--per-minute",
    "levels",
    multiple=True,
    type=click.FloatRange(min=0.1, max=100_000),
    callback=_numbers,
    help="Conversations that begin in a minute, on both arms together; may be given several times. [default: 100]",
)
@click.option(
    "--shape", "shapes", multiple=True, type=click.Choice(_SHAPES), help="How traffic behaves. [default: iid]"
)
@click.option(
    "--effect", "effects", multiple=True, type=click.Choice(_EFFECTS), help="What is wrong. [default: all of them]"
)
@click.option("--held", help="Hold the candidate at this step of the policy, such as 5%; else it follows the steps.")
@click.option("--for", "time", default="1h", show_default=True, help="Simulated time; a look every ten seconds.")
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Rollouts of each combination.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed gives the same bytes."
)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture of it (SVG).")
@click.option("--all", "everything", is_flag=True, help="The default policy in every shape: the page of the docs.")
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path), help="With --all: write the page here, in Markdown."
)
@project_option
@output_option
@click.pass_context
def command(
    context: click.Context,
    policy: Path | None,
    levels: tuple[float, ...],
    shapes: tuple[str, ...],
    effects: tuple[str, ...],
    held: str | None,
    time: str,
    runs: int,
    seed: int,
    plot: Path | None,
    everything: bool,
    write: Path | None,
    project_dir: str | None,
    output: str,
) -> None:
    """Roll modelled candidates out under POLICY in virtual time, with the real gates and decisions.

    POLICY is a fairway.yaml or a file with a rollout section; by default the project's own, and without a project the
    default policy. Shows how often a healthy candidate is rolled back, how often a bad one is promoted, how long it
    takes to stop one and who was exposed, with exact 95 % intervals, beside what the rules of Argo Rollouts and
    Flagger would have done on the same traffic. Exits 1 when a promise of the policy is disproved.
    """
    from fairway.errors import UserError
    from fairway.simulate.page import page_of
    from fairway.simulate.plot import svg_of
    from fairway.simulate.suite import every_study, studies_of
    from fairway.simulate.tables import text_of

    if write is not None and not everything:
        raise UserError("--write goes with --all", code="bad_option", hint="or use -o json > FILE, or --plot FILE.svg")
    if everything:
        groups = every_study(runs)
        studies = [study for group in groups for study in group.studies]
    else:
        studies = studies_of(
            policy,
            project=None if project_dir is None else Path(project_dir),
            levels=levels or (100.0,),
            shapes=shapes or ("iid",),
            effects=effects or _EFFECTS,
            held=held,
            time=time,
            runs=runs,
        )
    interrupted = _run(studies, seed)
    done = [study for study in studies if study.outcomes]
    if plot is not None and done:
        plot.write_text(svg_of(done), encoding="utf-8")
        say(f"wrote {plot}")
    if write is not None and not interrupted:
        write.write_text(page_of(groups, runs=runs, seed=seed), encoding="utf-8")
        say(f"wrote {write}")
    broken = [study for study in done if study.broken_promise()]
    wire = {"seed": seed, "runs": runs, "complete": not interrupted, "studies": [study.to_wire() for study in done]}
    if done:
        emit(wire, output=output, text=lambda: text_of(done))
    context.exit(130 if interrupted else 1 if broken else 0)


def _run(studies: Sequence[Study], seed: int) -> bool:
    """Simulate everything; whether somebody pressed Ctrl-C, which keeps what is done so far."""
    progress, begun = sys.stderr.isatty(), time.process_time()
    try:
        for number, study in enumerate(studies, start=1):
            for done, _ in enumerate(study.run(seed), start=1):
                if progress:
                    line = f"{number}/{len(studies)} {study.scenario.name}: {done} of {study.wanted}"
                    click.echo(f"\r\x1b[2K{line}", nl=False, err=True)
    except KeyboardInterrupt:
        say(("\n" if progress else "") + "interrupted: this is what was done so far")
        return True
    finally:
        if progress:
            click.echo("\r\x1b[2K", nl=False, err=True)
    taken, rollouts = time.process_time() - begun, sum(len(study.outcomes) for study in studies)
    say(f"{rollouts:,} rollouts in {taken:.1f} s of one core: {60 * rollouts / max(taken, 1e-3):,.0f} a minute")
    return False
