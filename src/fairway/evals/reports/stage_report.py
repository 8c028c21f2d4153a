"""A run of the evals as Markdown, for a person who has to mend something."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.evals.gating.simple import GateFinding
from fairway.evals.reports.explain import Explanation
from fairway.evals.values import CaseOutcome, CaseResult, RunResult

_MARKS = {
    CaseOutcome.PASSED: "✓",
    CaseOutcome.FAILED: "✗",
    CaseOutcome.UNKNOWN: "?",
    CaseOutcome.INVALID: "?",
    CaseOutcome.ERROR: "!",
}


def report_markdown(run: RunResult, gate: GateFinding, explanations: Sequence[Explanation], *, title: str) -> str:
    """The report: verdict and reasons, what went wrong case by case, then every case in a table.

    Args:
        run: Results.
        gate: The verdict over them.
        explanations: Of the cases that did not pass.
        title: What was examined.
    """
    lines = [f"# Prompt regression: {gate.verdict}", "", title, ""]
    lines += [f"- {_text(reason)}" for reason in gate.reasons]
    for explanation in explanations:
        first, *rest = explanation.lines()
        lines += ["", f"## {_text(first)}", "", *(f"    {line}" for line in rest)]
        if explanation.result.response_preview:
            lines += ["", "The agent answered:", "", f"    {explanation.result.response_preview}"]
    lines += ["", "## All cases", "", "| | suite | case | score | tokens | tools | violations |", "|-|-|-|-|-|-|-|"]
    lines += [_row(result) for result in run.details]
    return "\n".join(lines) + "\n"


def _row(result: CaseResult) -> str:
    score = "-" if result.score is None else f"{result.score:.2f}"
    tokens = "unknown" if result.token_count is None else str(result.token_count)
    said = result.undecided or "; ".join(violation.message for violation in result.violations) or ""
    cells = [
        _MARKS[result.outcome],
        result.suite,
        f"{result.case_id}{' (critical)' if result.critical else ''}",
        score,
        tokens,
        ", ".join(result.tools_called),
        said,
    ]
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(text: str) -> str:
    """Text of an agent inside a table or heading: on one line, and never markup of ours."""
    flat = " ".join(text.split())
    for mark in ("\\", "|", "<", "`", "[", "!", "*", "_"):
        flat = flat.replace(mark, "\\" + mark)
    return flat
