"""The gate over a run's results: pure, and closed unless everything it needs is known."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.evals.values import UNDECIDED, CaseOutcome, CaseResult, RunResult
from fairway.units import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What a run must show.

    Attributes:
        min_tool_accuracy: Share of the expected tool calls of all cases that must be made; ``None``: not looked at.
        max_failed: Failed cases must be *fewer* than this share of those that could be decided.
        max_errors, max_invalid, max_unknown: Share of all cases that may end so; 0 tolerates none.
    """

    max_failed: float = 0.10
    max_errors: float = 0.0
    max_invalid: float = 0.0
    max_unknown: float = 0.0
    min_tool_accuracy: float | None = None

    def cap(self, outcome: CaseOutcome) -> float:
        """The tolerated share of an undecided outcome."""
        caps = {CaseOutcome.ERROR: self.max_errors, CaseOutcome.INVALID: self.max_invalid}
        return caps.get(outcome, self.max_unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFinding:
    """The gate's verdict and why, most important reason first."""

    verdict: Verdict
    reasons: tuple[str, ...]
    blocking: tuple[CaseResult, ...] = ()
    """Cases that made the verdict what it is: failed ones for FAIL, undecided ones for ERROR."""


_WORDS = {
    CaseOutcome.ERROR: "ended in an error",
    CaseOutcome.INVALID: "got no valid answer from the judge",
    CaseOutcome.UNKNOWN: "could not be checked",
}


def judge_run(run: RunResult, policy: GatePolicy) -> GateFinding:
    """Decide whether a run lets the release go on.

    NO_DATA without cases; FAIL when a critical case failed, too many cases did, or too few expected tools were called;
    ERROR when a critical case is undecided, more cases are undecided than their caps allow, or nothing was decided;
    else PASS. FAIL comes before ERROR: a failure that was seen stays one, however many other cases broke.
    """
    if not run.details:
        return GateFinding(verdict=Verdict.NO_DATA, reasons=("there are no cases",))
    failed = tuple(result for result in run.details if result.outcome is CaseOutcome.FAILED)
    decided = len(run.details) - run.count(*UNDECIDED)
    reasons = [_critical(result) for result in failed if result.critical]
    if decided and len(failed) >= policy.max_failed * decided and failed:
        share = len(failed) / decided
        limit = f"fewer than {policy.max_failed:.0%} may"
        reasons.append(f"{len(failed)} of {decided} cases failed ({share:.0%}; {limit})")
    accuracy = run.tool_accuracy
    if policy.min_tool_accuracy is not None and accuracy is not None and accuracy < policy.min_tool_accuracy:
        reasons.append(
            f"{accuracy:.1%} of the expected tool calls were made (at least {policy.min_tool_accuracy:.1%} must)"
        )
    if reasons:
        return GateFinding(verdict=Verdict.FAIL, reasons=tuple(reasons), blocking=failed)
    undecided = tuple(result for result in run.details if result.outcome in UNDECIDED)
    reasons = _undecided_reasons(run, policy, decided, undecided)
    if reasons:
        return GateFinding(verdict=Verdict.ERROR, reasons=tuple(reasons), blocking=undecided)
    passed = run.count(CaseOutcome.PASSED)
    return GateFinding(verdict=Verdict.PASS, reasons=(f"{passed} of {len(run.details)} cases passed",))


def _critical(result: CaseResult) -> str:
    more = len(result.violations) - 1
    said = f": {result.violations[0].message}" + (f" and {more} more" if more else "") if result.violations else ""
    return f"critical case {result.case_id} failed{said}"


def _undecided_reasons(
    run: RunResult, policy: GatePolicy, decided: int, undecided: tuple[CaseResult, ...]
) -> list[str]:
    reasons = [
        f"critical case {result.case_id} {_WORDS[result.outcome]}: {result.undecided}"
        for result in undecided
        if result.critical
    ]
    for outcome in UNDECIDED:
        count = run.count(outcome)
        if count > policy.cap(outcome) * len(run.details):
            first = next(result for result in undecided if result.outcome is outcome)
            allowed = f"at most {policy.cap(outcome):.0%} may"
            reasons.append(
                f"{count} of {len(run.details)} cases {_WORDS[outcome]} ({allowed}), "
                f"first {first.case_id}: {first.undecided}"
            )
    if not decided and not reasons:
        reasons.append("no case could be decided")
    return reasons
