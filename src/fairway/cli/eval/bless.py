"""``fairway eval bless``: make a run the baseline that later ones are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.evals.history.baseline import Baseline

EPILOG = """\b
Examples:
  fairway eval bless latest --reason "1.4.0 as released, reviewed case by case"
  fairway eval bless 20261120-095523-1f0c2a --actor ada --reason "new suite, first good run"
"""


@click.command("bless", epilog=EPILOG)
@click.argument("run", default="latest")
@click.option("--reason", required=True, help="Why it is good enough to compare with.")
@click.option("--actor", help="Who says so; by default git's user.email.")
@click.option("--override", metavar="WHY", help="Bless it although something speaks against it; kept on record.")
@project_option
@output_option
def command(
    run: str, reason: str, actor: str | None, override: str | None, project_dir: str | None, output: str
) -> None:
    """Make a run the baseline of its agent, environment and instrument: who, when and why goes on record.

    Refused for a run that is incomplete, a shard, has undecided cases, or examined nobody knows what.
    """
    from dataclasses import replace
    from datetime import UTC, datetime

    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.reading import find_folder
    from fairway.errors import RefusedError, UserError
    from fairway.evals.history.baseline import Baseline, why_not_blessed
    from fairway.evals.history.folders import read_header, read_run, results_digest
    from fairway.evals.wire import encode

    if not reason.strip() or (override is not None and not override.strip()):
        raise UserError("why is what the record is for: --reason and --override are not empty", code="eval_option")
    place = eval_place(project_dir)
    folder = find_folder(place, run)
    header, found = read_header(folder), read_run(folder)
    against = why_not_blessed(found)
    if against and not override:
        raise RefusedError(
            f"{found.run_id} is no baseline: {'; '.join(against)}",
            code="eval_not_blessed",
            hint="run it again whole, or say why it is all the same: --override …",
        )
    baseline = Baseline(
        agent=place.agent,
        environment=header.environment,
        instrument=found.instrument,
        run_id=found.run_id,
        results=results_digest(folder),
        subject=found.subject.name,
        release=found.subject.release,
        actor=actor or place.actor,
        reason=reason,
        at=datetime.now(UTC),
    )
    if against:
        baseline = replace(baseline, overridden=against, reason=f"{reason}; override: {override}")
    with place.baselines() as store:
        store.bless(baseline)
    emit(encode(baseline), output=output, text=lambda: _text(baseline, header.verdict, against))


def _text(baseline: Baseline, verdict: str | None, against: tuple[str, ...]) -> str:
    lines = [f"{baseline.run_id} ({baseline.subject}) is the baseline now"]
    if verdict not in ("PASS", None):
        lines.append(f"  its own verdict was {verdict}: later ones are compared with that")
    lines += [f"  although {one}" for one in against]
    return "\n".join(lines)
