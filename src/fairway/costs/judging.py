"""One verdict on what the call logs say. Pure."""

from __future__ import annotations

from fairway.costs.comparison import Compared
from fairway.costs.examination import Examined
from fairway.units import Verdict


def judge_logs(examined: Examined, *, compare: bool) -> tuple[Verdict, tuple[str, ...]]:
    """Whether spending is within budget, and no release takes more calls for a task.

    Args:
        examined: What the logs say.
        compare: Whether the comparison of two releases was asked for: then it has to pass; else it only must not fail.

    Returns:
        FAIL before NO_DATA before INCONCLUSIVE before PASS, and every reason for what is no PASS.
    """
    projection, pair = examined.projection, examined.pair
    found: list[tuple[Verdict, str]] = [(projection.verdict, reason) for reason in projection.reasons]
    if pair is None:
        if compare:
            found.append((Verdict.NO_DATA, "the logs do not hold two releases to compare"))
    else:
        held = compare or pair.calls.verdict is Verdict.FAIL
        if held and pair.calls.verdict is not Verdict.PASS:
            found.append((pair.calls.verdict, told(pair.candidate, pair.baseline, pair.calls)))
    bad = [(verdict, reason) for verdict, reason in found if verdict is not Verdict.PASS]
    order = (Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE)
    worst = next((verdict for verdict in order if any(verdict is one for one, _ in bad)), Verdict.PASS)
    return worst, tuple(reason for _, reason in bad)


def told(candidate: str, baseline: str, compared: Compared) -> str:
    """A comparison in one sentence."""
    if compared.verdict is Verdict.NO_DATA:
        return f"{compared.what} a task of {candidate} cannot be compared with {baseline}: {compared.reason}"
    return f"{compared.what} a task of {candidate} against {baseline}: {compared.reason}"
