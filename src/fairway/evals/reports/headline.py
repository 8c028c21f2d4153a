"""One case in one line, as every report says it: pure."""

from __future__ import annotations

from fairway.evals.values import AssertionResult, CaseOutcome, CaseResult, Found

MARKS = {
    CaseOutcome.PASSED: "✓",
    CaseOutcome.FAILED: "✗",
    CaseOutcome.UNKNOWN: "?",
    CaseOutcome.INVALID: "?",
    CaseOutcome.ERROR: "!",
}
_LONGEST = 160


def headline(result: CaseResult) -> str:
    """Why the case ended as it did: what could not be decided, else the first violated assertion; empty: it passed."""
    if result.outcome is CaseOutcome.PASSED:
        return ""
    if result.outcome is not CaseOutcome.FAILED and result.undecided:
        return short(result.undecided)
    if result.violations:
        return short(result.violations[0].message)
    first = first_violated(result)
    return short(first.message or f"{first.type} does not hold") if first else short(result.undecided or "")


def first_violated(result: CaseResult) -> AssertionResult | None:
    """The first assertion that counts and does not hold; ``None``: every one holds or is undecided."""
    return next((one for one in result.assertions if one.found is Found.VIOLATED and one.weight > 0), None)


def short(text: str, longest: int = _LONGEST) -> str:
    """The text on one line, cut with an ellipsis when it is longer than ``longest``."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
