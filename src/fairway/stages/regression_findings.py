"""What prompt regression finds, at the line of a suite it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairway.evals.evaluation import Evaluation
from fairway.evals.reports.explain import Explanation
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.stages.context import DeliveryContext
from fairway.stages.eval_baseline import Compared
from fairway.stages.examining import Examination
from fairway.units import Verdict

_MOST_FINDINGS = 50
_HOW_TO_ADD = (
    "add evals/suites/<name>.yaml with `cases:` (each: id, input, expected_keywords or expected_tools), "
    "or say `evals: {required: false}`"
)


def regression_findings(
    examined: Examination, evaluation: Evaluation, explanations: Sequence[Explanation], compared: Compared
) -> tuple[Finding, ...]:
    """Cases that did not pass, each at its line, and what a person should know besides.

    Args:
        examined: What was asked.
        evaluation: What came of it.
        explanations: Of the cases that did not pass.
        compared: What it was compared with.
    """
    found = [*_cases(examined, evaluation, explanations), *_about_comparison(compared)]
    if examined.judges is None:
        found += _unjudged(examined)
    return (*found, *_written_for_others(examined))


def _cases(examined: Examination, evaluation: Evaluation, explanations: Sequence[Explanation]) -> Iterator[Finding]:
    places = {(suite.name, case.id): (suite.file, case.line) for suite in examined.suites for case in suite.cases}
    blocking = {(case.suite, case.case_id) for case in evaluation.decision.blocking}
    for explanation in explanations[:_MOST_FINDINGS]:
        result = explanation.result
        key = (result.suite, result.case_id)
        file, line = places[key]
        first = explanation.lines()[0]
        problems = result.undecided or "; ".join(violation.message for violation in result.violations)
        check = result.violations[0].check if result.violations else result.outcome.value
        yield Finding(
            severity="error" if key in blocking else "warning",
            rule=f"eval/{check}",
            message=f"{first}: {problems}" if problems and not first.endswith(problems) else first,
            file=file,
            line=line,
            hint=explanation.cause(),
        )


def _about_comparison(compared: Compared) -> Iterator[Finding]:
    if compared.missing is not None:
        yield Finding(
            severity="note",
            rule="eval/not-compared",
            message=compared.missing,
            file="fairway.yaml",
            hint="the simple rule decides: fewer than evals.maximum_failed of the cases may fail",
        )


def _written_for_others(examined: Examination) -> list[Finding]:
    """Cases that say they were written for a prompt version this environment does not serve."""
    served = {pin.version for pin in examined.overlay.prompts.values()}
    wanted = [case.prompt_version for suite in examined.suites for case in suite.cases if case.prompt_version]
    others = [version for version in wanted if version.removeprefix("v") not in served]
    if not others or not served:
        return []
    named = ", ".join(sorted(set(others))[:5])
    message = f"cases written for prompt version {named}, while {', '.join(sorted(served))} is served: {len(others)}"
    return [Finding(severity="note", rule="eval/prompt-version", message=message, file="fairway.yaml")]


def _unjudged(examined: Examination) -> list[Finding]:
    count = sum(case.rubric is not None for suite in examined.suites for case in suite.cases)
    if not count:
        return []
    message = f"cases whose described behaviour nobody judged, because no judge is configured: {count}"
    hint = "set evals.judge.model to an alias of models.yaml"
    return [Finding(severity="note", rule="eval/unjudged", message=message, file="fairway.yaml", hint=hint)]


def without_cases(context: DeliveryContext, examined: Examination) -> StageOutcome:
    """No case is no evidence: the stage fails, unless the project says that it has none."""
    figures = {"total": 0}
    evidence = context.found(Verdict.NO_DATA, figures=figures, environment=examined.environment)
    required = examined.evals.required
    if required:
        finding = Finding(
            severity="error",
            rule="eval/no-cases",
            message="there is no eval case, so nothing vouches for the prompts",
            file="fairway.yaml",
            hint=_HOW_TO_ADD,
        )
        summary = "no eval case"
    else:
        finding = Finding(severity="note", rule="eval/no-cases", message="there is no eval case, and none is required")
        summary = "no eval case, and evals.required is false"
    return StageOutcome(
        status=StageStatus.FAILED if required else StageStatus.SKIPPED,
        summary=summary,
        details={**figures, "verdict": Verdict.NO_DATA.value},
        findings=(finding,),
        evidence=(evidence,),
    )
