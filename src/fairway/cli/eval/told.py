"""The content of reports: of an evaluation that just ended, or of one that was kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairway.errors import PermanentError
from fairway.evals.history.folders import BASELINE, DECISION, RESULTS, read_header, read_run
from fairway.evals.reports.content import ReportContent
from fairway.evals.wire import WireError, decode

if TYPE_CHECKING:
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.evaluation import Evaluation
    from fairway.evals.reports.explain import Explanation
    from fairway.evals.trials import EvalRun


def content_of(evaluation: Evaluation, *, explanations: Sequence[Explanation] = ()) -> ReportContent:
    """What reports show of an evaluation that just ended."""
    run = evaluation.run
    attempt = f", attempt {evaluation.attempt}" if evaluation.attempt > 1 else ""
    return ReportContent(
        title=f"{run.subject.name}{attempt}, run {run.run_id}",
        candidate=run,
        baseline=evaluation.baseline,
        explanations=tuple(explanations),
        decision=evaluation.decision,
        see_more=f"fairway eval show {run.run_id} --html report.html",
    )


def explained(place: EvalPlace, evaluation: Evaluation, environment: str) -> tuple[Explanation, ...]:
    """Why the cases of the project's agent that did not pass did not: the rule that is gone, what changed in prompts.

    Args:
        place: The project.
        evaluation: Of its agent, from what is checked out.
        environment: Whose prompts.
    """
    import tempfile

    from fairway.bundle.files import scan
    from fairway.evals.reports.content import pair_cases
    from fairway.evals.reports.explain import explain_case, prompt_changes
    from fairway.stages.previous_prompts import previous_prompt_texts, prompt_texts

    pairs = pair_cases(ReportContent(title="", candidate=evaluation.run))
    wrong = [pair.result for pair in pairs if not pair.result.passed]
    if not wrong:
        return ()
    current = prompt_texts(place.project, environment)
    with tempfile.TemporaryDirectory(prefix="fairway-") as folder:
        previous = previous_prompt_texts(scan(place.root), environment, Path(folder) / "previous")
    changes = () if previous is None else prompt_changes(previous, current)
    return tuple(explain_case(result, changes, previous=previous, current=current) for result in wrong)


def kept_content(folder: Path) -> ReportContent:
    """What reports show of a run that was kept.

    Raises:
        NotFoundError: It has no results.
        PermanentError: It cannot be read.
    """
    from fairway.evals.gating.decision import EvalDecision

    header, run = read_header(folder), read_run(folder)
    beside = folder / BASELINE
    baseline = read_run(beside) if (beside / RESULTS).is_file() else _stored(folder, header.baseline_run)
    try:
        decision = decode(EvalDecision, json.loads((folder / DECISION).read_text(encoding="utf-8")))
    except FileNotFoundError:
        decision = None
    except (OSError, ValueError, WireError) as error:
        raise PermanentError(f"{folder / DECISION} cannot be read: {error}", code="eval_run") from error
    attempt = f", attempt {header.attempt}" if header.attempt > 1 else ""
    return ReportContent(
        title=f"{header.subject}{attempt}, run {header.run_id}",
        candidate=run,
        baseline=baseline,
        decision=decision,
        see_more=f"fairway eval show {header.run_id} --html report.html",
    )


def _stored(folder: Path, run_id: str | None) -> EvalRun | None:
    """The kept run it was compared with; ``None``: there was none, or it is not here any more."""
    if run_id is None or not (folder.parent / run_id / RESULTS).is_file():
        return None
    return read_run(folder.parent / run_id)
