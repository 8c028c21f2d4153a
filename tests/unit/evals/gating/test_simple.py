from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.gating.simple import GatePolicy, judge_run
from fairway.evals.values import CaseOutcome, CaseResult, RunResult, Violation
from fairway.units import Verdict

P, F, U, I, E = (  # noqa: E741
    CaseOutcome.PASSED,
    CaseOutcome.FAILED,
    CaseOutcome.UNKNOWN,
    CaseOutcome.INVALID,
    CaseOutcome.ERROR,
)


def run(*outcomes: CaseOutcome, critical: frozenset[int] = frozenset()) -> RunResult:
    return RunResult(
        details=tuple(
            CaseResult(
                suite="s",
                case_id=f"c{index}",
                name="",
                outcome=outcome,
                critical=index in critical,
                undecided="why" if outcome in (U, I, E) else None,
            )
            for index, outcome in enumerate(outcomes)
        )
    )


@pytest.mark.parametrize(
    ("result", "policy", "verdict"),
    [
        pytest.param(run(), GatePolicy(), Verdict.NO_DATA, id="no-cases"),
        pytest.param(run(P), GatePolicy(), Verdict.PASS, id="all-pass"),
        pytest.param(run(F), GatePolicy(), Verdict.FAIL, id="all-fail"),
        pytest.param(run(*[P] * 9, F), GatePolicy(), Verdict.FAIL, id="exactly-ten-percent-is-not-fewer"),
        pytest.param(run(*[P] * 10, F), GatePolicy(), Verdict.PASS, id="fewer-than-ten-percent"),
        pytest.param(run(F, *[P] * 20, critical=frozenset({0})), GatePolicy(), Verdict.FAIL, id="critical-failed"),
        pytest.param(run(P, *[P] * 20, critical=frozenset({0})), GatePolicy(), Verdict.PASS, id="critical-passed"),
        pytest.param(run(*[P] * 99, U), GatePolicy(), Verdict.ERROR, id="one-unknown"),
        pytest.param(run(*[P] * 99, I), GatePolicy(), Verdict.ERROR, id="one-invalid"),
        pytest.param(run(*[P] * 99, E), GatePolicy(), Verdict.ERROR, id="one-error"),
        pytest.param(run(*[P] * 9, E), GatePolicy(max_errors=0.1), Verdict.PASS, id="errors-at-the-cap"),
        pytest.param(run(*[P] * 8, E, E), GatePolicy(max_errors=0.1), Verdict.ERROR, id="errors-beyond-the-cap"),
        pytest.param(
            run(E, *[P] * 50, critical=frozenset({0})), GatePolicy(max_errors=0.5), Verdict.ERROR, id="critical-errored"
        ),
        pytest.param(run(E, E), GatePolicy(max_errors=1.0), Verdict.ERROR, id="nothing-decided"),
        pytest.param(run(E, F), GatePolicy(), Verdict.FAIL, id="a-seen-failure-stays-one"),
        pytest.param(
            run(*[E] * 90, *[P] * 9, F),
            GatePolicy(max_errors=1.0),
            Verdict.FAIL,
            id="errors-do-not-dilute-the-failed-share",
        ),
        pytest.param(run(P, F), GatePolicy(max_failed=0.0), Verdict.FAIL, id="no-failure-tolerated"),
        pytest.param(run(P, P), GatePolicy(max_failed=0.0), Verdict.PASS, id="no-failure-tolerated-and-none"),
    ],
)
def test_the_gate_decides_as_the_table_says(result, policy, verdict):
    finding = judge_run(result, policy)
    assert finding.verdict is verdict
    assert finding.reasons


@pytest.mark.parametrize(
    ("met", "least", "verdict"),
    [(19, 0.95, Verdict.PASS), (18, 0.95, Verdict.FAIL), (0, None, Verdict.PASS), (20, 1.0, Verdict.PASS)],
)
def test_too_few_expected_tool_calls_fail_the_run_even_when_few_cases_did(met, least, verdict):
    details = (*run(*[P] * 19).details, replace(run(P).details[0], tools_expected=20, tools_met=met))
    assert judge_run(RunResult(details=details), GatePolicy(min_tool_accuracy=least)).verdict is verdict


def test_the_reasons_name_the_critical_case_and_the_share():
    details = run(F, P, critical=frozenset({0})).details
    violations = tuple(Violation(check="x", message=message) for message in ("no order number", "too long"))
    finding = judge_run(RunResult(details=(replace(details[0], violations=violations), details[1])), GatePolicy())
    assert finding.reasons[0] == "critical case c0 failed: no order number and 1 more"
    assert "1 of 2 cases failed (50%; fewer than 10% may)" in finding.reasons[1]
    assert [result.case_id for result in finding.blocking] == ["c0"]


outcomes = st.lists(st.sampled_from(CaseOutcome), max_size=30)


@given(outcomes, st.sets(st.integers(0, 29)))
def test_nothing_undecided_ever_passes_without_a_cap(found, critical):
    finding = judge_run(run(*found, critical=frozenset(critical)), GatePolicy())
    if finding.verdict is Verdict.PASS:
        assert found
        assert set(found) <= {P, F}
        assert found.count(F) < 0.1 * len(found)
        assert all(found[index] is P for index in critical if index < len(found))


@given(outcomes, st.sets(st.integers(0, 29)), st.integers(0, 29), st.sampled_from([F, U, I, E]))
def test_a_worse_outcome_never_opens_the_gate(found, critical, index, worse):
    policy = GatePolicy(max_errors=0.2, max_invalid=0.1, max_unknown=0.1)
    marks = frozenset(critical)
    if index >= len(found) or judge_run(run(*found, critical=marks), policy).verdict is Verdict.PASS:
        return
    if found[index] is not P:
        return
    found[index] = worse
    assert judge_run(run(*found, critical=marks), policy).verdict is not Verdict.PASS
