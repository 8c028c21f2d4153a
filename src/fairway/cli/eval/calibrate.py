"""``fairway eval calibrate``: how well the judge agrees with people."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.judges.calibration import Calibration

_RECORDED = {
    True: "recorded: commit the file of evals.judge.calibration.record",
    False: "not recorded: drift is measured against a judge that may be used",
}

EPILOG = """\b
Examples:
  fairway eval calibrate
  fairway eval calibrate --record      keep what it shows as what drift is measured against

\b
Exit codes: 0 the judge may be used, 1 it may not, 2 something to mend first.
"""


@click.command("calibrate", epilog=EPILOG)
@click.option("--record", is_flag=True, help="Write what it said to evals.judge.calibration.record, if it may be used.")
@click.option("--environment", metavar="NAME", help="Whose models judge; by default evals.environment.")
@project_option
@output_option
def command(record: bool, environment: str | None, project_dir: str | None, output: str) -> None:
    """Try the judge on the labelled items of evals.judge.calibration, and say whether its verdicts may be used.

    Sensitivity and specificity with exact intervals, agreement beyond chance (kappa), how often it contradicts itself,
    and whether it drifted from what was recorded.
    """
    from fairway.cli.eval.place import eval_place
    from fairway.evals.wire import encode
    from fairway.project.load import find_root

    place = eval_place(project_dir)
    find_root(place.root)
    tried = asyncio.run(_tried(place, environment, record=record))
    told = {**encode(tried.health), "calls": tried.calls, "cost_micros": tried.cost_micros}
    told["wrong"] = [
        {"id": item.id, "good": item.good, "said": list(item.said)} for item in tried.items if not item.right
    ]
    told["recorded"] = recorded = record and tried.health.problem is None
    emit(told, output=output, text=lambda: "\n".join([_text(tried), *([_RECORDED[recorded]] if record else [])]))
    raise SystemExit(1 if tried.health.problem else 0)


async def _tried(place: EvalPlace, environment: str | None, *, record: bool) -> Calibration:
    import json
    from contextlib import AsyncExitStack
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from fairway.bundle.files import scan
    from fairway.clock import SystemClock
    from fairway.costs.prices import price_table
    from fairway.errors import UserError
    from fairway.evals.history.folders import write_text
    from fairway.stages.delivery import interpreter_of
    from fairway.stages.examining import examine
    from fairway.stages.judge_panel import seat_judges, try_judges
    from fairway.stages.mock_model import mock_model

    project = place.project
    bundle = scan(place.root)
    examined = examine(place.root, bundle, environment=environment)
    judges = examined.judges
    section = None if judges is None else judges.section.calibration
    if judges is None or section is None:
        raise UserError(
            "there is no judge with a calibration set",
            code="eval_judge",
            hint="evals: {judge: {model: …, calibration: {items: evals/calibration.yaml}}}",
        )
    if record and section.record is None:
        raise UserError(
            "evals.judge.calibration.record names no file", code="eval_judge", hint="record: evals/judge-record.json"
        )
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        mock = None
        if examined.overlay.uses_mock_models:
            # a folder of its own: the log of an earlier mock names an address where nobody answers any more
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="fairway-calibrate-")))
            variables = interpreter_of(project, bundle).environment()
            scenario = place.root / project.llm.mock.scenario
            mock = await stack.enter_async_context(
                mock_model(scenario, folder=folder, environment=variables, clock=clock)
            )
        panel = await seat_judges(
            judges,
            stack,
            clock=clock,
            state=place.state,
            prices=price_table(project.models, project.costs.prices),
            mock_url=mock,
            concurrency=project.evals.concurrency,
        )
        tried = await try_judges(judges, panel, recording=record)
    if tried is None:
        raise UserError("the calibration set is empty", code="eval_judge")
    if record and section.record is not None and tried.health.problem is None:
        write_text(place.root / section.record, json.dumps(tried.record.to_json(), indent=2) + "\n")
    return tried


def _text(tried: Calibration) -> str:
    health = tried.health
    lines = [f"judged {health.items} labelled items in {tried.calls} calls"]
    lines.append(f"  passes good ones   {_share(health.sensitivity, health.sensitivity_interval)}")
    lines.append(f"  fails bad ones     {_share(health.specificity, health.specificity_interval)}")
    lines.append(f"  kappa              {_figure(health.kappa)}")
    lines.append(f"  contradicts itself {_figure(health.flip_rate)}")
    wrong: list[Any] = [item for item in tried.items if not item.right]
    lines += [f"  differs on {item.id}: people say {'good' if item.good else 'bad'}" for item in wrong[:10]]
    lines.append(f"may not be used: {health.problem}" if health.problem else "may be used")
    return "\n".join(lines)


def _share(share: float | None, interval: tuple[float, float]) -> str:
    return "unknown" if share is None else f"{share:.1%} (95 %: {interval[0]:.1%} to {interval[1]:.1%})"


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
