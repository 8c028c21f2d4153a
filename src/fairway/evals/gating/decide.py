"""The gate: may this candidate go on? Pure, total, and closed unless everything it needs is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fairway.evals.gating.comparable import incomplete, judge_problem, what_prevents
from fairway.evals.gating.decision import CaseFigure, EvalDecision, Flag, Quality, Ratio, WouldDecide
from fairway.evals.gating.figures import case_figures, pass_power
from fairway.evals.gating.guards import (
    Held,
    attempt_outcomes,
    critical_guards,
    tool_accuracy,
    tool_guard,
    undecided_guards,
)
from fairway.evals.gating.matching import Pairing, pair_sides
from fairway.evals.gating.policy import EvalPolicy, Rule
from fairway.evals.gating.quality import compare_quality
from fairway.evals.gating.ratios import compare_figures
from fairway.evals.gating.would_decide import would_decide
from fairway.evals.trials import Side
from fairway.evals.values import CaseOutcome
from fairway.units import Verdict

_WORST = 10


def decide(candidate: Side, baseline: Side | None, policy: EvalPolicy) -> EvalDecision:
    """Decide whether the candidate may go on.

    In this order: a judge nobody can rely on (INCONCLUSIVE); a critical case that failed, or too few expected tool
    calls (FAIL); sides that cannot be compared (ERROR), or are not complete (INCONCLUSIVE); too many undecided trials
    (ERROR); quality (FAIL when worse than chance explains and not shown to be within the margin); cost and tokens
    against their limits; then what is left open (INCONCLUSIVE); else PASS. A failure that was seen stays one, however
    many trials broke. Without cases: NO_DATA.

    Args:
        candidate: All its attempts with this instrument (:func:`fairway.evals.trials.side_of`), oldest first.
        baseline: What it is compared with; ``None``: nothing. COMPARE never passes then; SIMPLE does not need it.
        policy: As fixed before the first attempt.
    """
    pairing = _pairing(candidate, baseline, policy)
    if pairing and any(wave for _, wave in pairing.looks):
        policy = replace(policy, adaptive=True)  # the waves were looked at, whoever asks now
    figures = case_figures(candidate, baseline, policy.alpha)
    quality_verdict, quality = compare_quality(pairing, policy) if pairing else (Verdict.INCONCLUSIVE, None)
    cost, tokens = _ratios(pairing, policy)
    if policy.rule is Rule.SIMPLE:
        held = _simple(candidate, figures, policy)
    else:
        held = _compared(candidate, baseline, policy, figures, quality_verdict, quality, (cost, tokens))
    verdict = held[0].verdict if held else Verdict.PASS
    undecided = verdict is Verdict.INCONCLUSIVE and pairing is not None and policy.rule is Rule.COMPARE
    open_question = would_decide(pairing, policy) if undecided and pairing else None
    return EvalDecision(
        verdict=verdict,
        rule=policy.rule,
        compared=policy.rule is Rule.COMPARE and baseline is not None,
        reasons=tuple(one.reason for one in held) or (_passed(candidate, policy, figures, quality),),
        blocking=_blocking(held, verdict, figures),
        quality=quality,
        pass_power=pass_power(candidate, baseline),
        cost=cost,
        tokens=tokens,
        cases=figures,
        would_decide=open_question,
        counts=Counter(outcome for case in candidate.cases for outcome in case.outcomes),
        tool_accuracy=tool_accuracy(candidate),
        notes=_notes(candidate, pairing, policy, quality_verdict, quality, (cost, tokens), open_question),
        attempts=1 + max((attempt for case in candidate.cases for attempt in case.attempts), default=0),
    )


def _pairing(candidate: Side, baseline: Side | None, policy: EvalPolicy) -> Pairing | None:
    """The sides case by case; ``None`` when not one case can be compared."""
    if baseline is None or candidate.instrument != baseline.instrument:
        return None
    pairing = pair_sides(candidate, baseline, max_repeat=policy.max_repeat)
    return pairing if pairing.looks and pairing.theirs else None


def _ratios(pairing: Pairing | None, policy: EvalPolicy) -> tuple[Ratio | None, Ratio | None]:
    if pairing is None:
        return None, None
    cost = compare_figures(pairing, "cost", lambda case: case.cost_micros, limit=policy.cost_ratio, alpha=policy.alpha)
    tokens = compare_figures(pairing, "tokens", lambda case: case.tokens, limit=policy.token_ratio, alpha=policy.alpha)
    return cost, tokens


def _compared(
    candidate: Side,
    baseline: Side | None,
    policy: EvalPolicy,
    figures: Sequence[CaseFigure],
    verdict: Verdict,
    quality: Quality | None,
    ratios: tuple[Ratio | None, Ratio | None],
) -> list[Held]:
    """Everything that holds a comparison, what decides first."""
    if not candidate.cases:
        return [Held(verdict=Verdict.NO_DATA, reason="there are no cases")]
    critical = critical_guards(candidate)
    held = [*judge_problem(candidate, "the")]
    held += [one for one in critical if one.verdict is Verdict.FAIL]
    held += tool_guard(candidate, policy)
    if baseline is None:
        held.append(Held(verdict=Verdict.INCONCLUSIVE, reason="there is no baseline to compare with"))
        return held + list(undecided_guards(candidate, policy, whose=""))
    held += judge_problem(baseline, "the baseline's")
    held += what_prevents(candidate, baseline)
    held += [one for one in critical if one.verdict is not Verdict.FAIL]
    held += undecided_guards(candidate, policy, whose="the candidate's ")
    held += undecided_guards(baseline, policy, whose="the baseline's ")
    held += _flagged(figures, policy)
    regression = verdict is Verdict.FAIL and quality is not None
    if regression and quality:
        held.append(Held(verdict=Verdict.FAIL, reason=_fell(quality), blocking=_worse(figures)))
    over = [one for ratio in ratios for one in _over(ratio)]
    held += sorted(over, key=lambda one: (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE).index(one.verdict))
    held += _too_few(figures, policy)
    if not regression and verdict is not Verdict.PASS and quality:
        held.append(Held(verdict=Verdict.INCONCLUSIVE, reason=_open(quality, policy), blocking=_worse(figures)))
    if quality is None and not held:
        held.append(Held(verdict=Verdict.INCONCLUSIVE, reason="not one case could be compared"))
    return held


def _simple(candidate: Side, figures: Sequence[CaseFigure], policy: EvalPolicy) -> list[Held]:
    """Everything that holds the rule that needs no baseline: fewer than ``max_failed`` of the decided cases failed."""
    if not candidate.cases:
        return [Held(verdict=Verdict.NO_DATA, reason="there are no cases")]
    critical = critical_guards(candidate)
    held = [*judge_problem(candidate, "the")]
    held += [one for one in critical if one.verdict is Verdict.FAIL]
    held += _too_many_failed(candidate, policy)
    held += tool_guard(candidate, policy)
    held += [one for one in critical if one.verdict is not Verdict.FAIL]
    held += undecided_guards(candidate, policy, whose="", by_case=True)
    held += incomplete(candidate, "the")
    held += _too_few(figures, policy)
    return held


def _too_few(figures: Sequence[CaseFigure], policy: EvalPolicy) -> list[Held]:
    """Fewer cases than asked for were decided, on both sides where there are two."""
    sides = [(one.candidate, one.baseline) if policy.rule is Rule.COMPARE else (one.candidate,) for one in figures]
    decided = sum(all(counts is not None and counts[1] > 0 for counts in both) for both in sides)
    if decided >= policy.min_cases:
        return []
    reason = f"{decided} cases were decided, fewer than the {policy.min_cases} that are asked for"
    return [Held(verdict=Verdict.INCONCLUSIVE, reason=reason)]


def _too_many_failed(candidate: Side, policy: EvalPolicy) -> list[Held]:
    """Cases that failed, as a share of all attempts: asking again neither washes a failure out nor adds one up."""
    outcomes = {(case.suite, case.case_id): attempt_outcomes(case) for case in candidate.cases}
    failed = sum(found.count(CaseOutcome.FAILED) for found in outcomes.values())
    decided = failed + sum(found.count(CaseOutcome.PASSED) for found in outcomes.values())
    if not failed or failed < policy.max_failed * decided:
        return []
    attempts = max(len(found) for found in outcomes.values())
    over = f" over {attempts} attempts" if attempts > 1 else ""
    reason = (
        f"{failed} of {decided} cases failed{over} ({failed / decided:.0%}; fewer than {policy.max_failed:.0%} may)"
    )
    blocking = tuple(key for key, found in outcomes.items() if CaseOutcome.FAILED in found)
    return [Held(verdict=Verdict.FAIL, reason=reason, blocking=blocking)]


def _flagged(figures: Sequence[CaseFigure], policy: EvalPolicy) -> list[Held]:
    if not policy.gate_flags:
        return []
    return [
        Held(
            verdict=Verdict.FAIL,
            reason=f"case {one.case_id} is worse by itself: {_of(one.candidate)} passed, {_of(one.baseline)} before "
            f"(p = {one.adjusted:.2g} after Holm's correction)",
            blocking=((one.suite, one.case_id),),
        )
        for one in figures
        if one.flag is Flag.WORSE
    ]


def _over(ratio: Ratio | None) -> list[Held]:
    """What a limit of cost or tokens has against the candidate."""
    if ratio is None or ratio.limit is None or ratio.verdict is Verdict.PASS:
        return []
    if ratio.verdict is Verdict.ERROR or ratio.ratio is None:
        known = f" of {len(ratio.unknown)} cases, first {ratio.unknown[0]}" if ratio.unknown else ""
        return [Held(verdict=Verdict.ERROR, reason=f"{_not_known(ratio)}{known}, and a limit is declared")]
    seen = f"{ratio.what} of a case: {_times(ratio)}"
    if ratio.verdict is Verdict.FAIL:
        return [Held(verdict=Verdict.FAIL, reason=f"{seen}, and at most {ratio.limit:.2f} times is allowed")]
    return [Held(verdict=Verdict.INCONCLUSIVE, reason=f"{seen}, which cannot be told from the limit {ratio.limit:.2f}")]


def _not_known(ratio: Ratio) -> str:
    return f"{ratio.what} {'are' if ratio.what.endswith('s') else 'is'} not known"


def _times(ratio: Ratio) -> str:
    assert ratio.ratio is not None
    one = ratio.ratio
    return f"{one.estimate:.2f} times the baseline's [{one.low:.2f}, {one.high:.2f}]"


def _worse(figures: Sequence[CaseFigure]) -> tuple[tuple[str, str], ...]:
    """Cases that passed less often than in the baseline, the worst first."""
    found = [
        (one.candidate[0] / one.candidate[1] - one.baseline[0] / one.baseline[1], one)
        for one in figures
        if one.candidate and one.baseline and one.candidate[1] and one.baseline[1]
    ]
    return tuple((one.suite, one.case_id) for fall, one in sorted(found, key=lambda pair: pair[0]) if fall < 0)


def _blocking(held: Sequence[Held], verdict: Verdict, figures: Sequence[CaseFigure]) -> tuple[CaseFigure, ...]:
    by_key = {(one.suite, one.case_id): one for one in figures}
    keys = dict.fromkeys(key for one in held if one.verdict is verdict for key in one.blocking)
    return tuple(by_key[key] for key in keys if key in by_key)


def _fell(quality: Quality) -> str:
    if quality.decided_earlier:
        return f"the pass rate fell, as {_look_name(quality)} showed and nothing since contradicts: {_now(quality)}"
    return (
        f"the pass rate fell by {_points(-quality.difference.estimate)} ({_rates(quality)}); without a change so much "
        f"happens with p = {quality.p_regression:.2g}, and {quality.alpha:.2g} is allowed"
    )


def _open(quality: Quality, policy: EvalPolicy) -> str:
    return f"neither a regression nor a fall of less than {_points(policy.margin)} is shown: {_now(quality)}"


def _passed(candidate: Side, policy: EvalPolicy, figures: Sequence[CaseFigure], quality: Quality | None) -> str:
    if policy.rule is Rule.COMPARE and quality and quality.decided_earlier:
        return (
            f"a fall by {_points(policy.margin)} is excluded, as {_look_name(quality)} showed and nothing since "
            f"contradicts: {_now(quality)}"
        )
    if policy.rule is Rule.COMPARE and quality:
        return f"{_rates(quality)}: difference {_difference(quality)}, within the margin of {_points(policy.margin)}"
    passed = sum(one.outcome is CaseOutcome.PASSED for one in figures)
    return f"{passed} of {len(candidate.cases)} cases passed"


def _notes(
    candidate: Side,
    pairing: Pairing | None,
    policy: EvalPolicy,
    verdict: Verdict,
    quality: Quality | None,
    ratios: tuple[Ratio | None, Ratio | None],
    would: WouldDecide | None,
) -> tuple[str, ...]:
    notes = []
    if policy.rule is Rule.SIMPLE:
        notes.append("nothing was compared with a baseline" if pairing is None else "the baseline decides nothing here")
    if quality and verdict is Verdict.PASS and quality.p_regression <= quality.alpha:
        notes.append(
            f"the candidate is worse than the baseline (p = {quality.p_regression:.2g}), by less than the margin"
        )
    if pairing and any(wave for _, wave in pairing.looks):
        notes.append(
            "adaptive trials count by their chance of being played: the difference is not that of the two rates"
        )
    for ratio in ratios:
        if ratio and ratio.limit is None and ratio.unknown:
            notes.append(f"{_not_known(ratio)} of {len(ratio.unknown)} cases, first {ratio.unknown[0]}")
    if pairing and not pairing.fresh and len(pairing.looks) > 1:
        notes.append(
            "every attempt is compared with the same run of the baseline, whose luck repeats do not average out"
        )
    if would and pairing:
        notes.extend(_would_say(would, policy, pairing))
    return tuple(notes)


def _would_say(would: WouldDecide, policy: EvalPolicy, pairing: Pairing) -> list[str]:
    said, cases, clusters = [], len(pairing.cases), len(pairing.clusters)
    if clusters < would.floor:
        said.append(
            f"at least {would.floor} cases are needed to exclude a fall of {_points(policy.margin)}, even without one "
            f"failure; there are {clusters}"
        )
    more = [f"{would.cases} cases" if would.cases else "", f"{would.repeats} repeats" if would.repeats else ""]
    if would.cases and would.cases <= cases:
        more = ["another run like this one"]
    if any(more):
        said.append(f"if nothing changed, {' or '.join(one for one in more if one)} would pass it 4 times of 5")
    if would.detectable:
        said.append(f"a fall of {_points(would.detectable)} would have been seen 4 times of 5")
    return said


def _now(quality: Quality) -> str:
    return f"{_rates(quality)}, difference {_difference(quality)}"


def _look_name(quality: Quality) -> str:
    attempt, wave = quality.decided or (0, 0)
    return f"attempt {attempt + 1}" + (f", wave {wave + 1}," if wave else "")


def _rates(quality: Quality) -> str:
    return f"{quality.candidate:.1%} against {quality.baseline:.1%}"


def _difference(quality: Quality) -> str:
    one = quality.difference
    return f"{100 * one.estimate:+.1f} points [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def _points(share: float) -> str:
    return f"{100 * share:.3g} points"


def _of(counts: tuple[int, int] | None) -> str:
    return f"{counts[0]} of {counts[1]}" if counts else "none"
