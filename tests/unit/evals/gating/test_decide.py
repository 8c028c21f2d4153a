"""The gate's verdicts, case by case, and the laws no suite may break."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.gating.decide import decide
from fairway.evals.gating.decision import Flag
from fairway.evals.gating.policy import EvalPolicy, Rule
from fairway.evals.trials import CaseTrials, EvalRun, JudgeHealth, Side, SubjectInfo, Trial, side_of
from fairway.evals.values import Case, CaseOutcome, CaseResult, Reply
from fairway.units import Digest, Verdict

P, F, U, I, E = (  # noqa: E741
    CaseOutcome.PASSED,
    CaseOutcome.FAILED,
    CaseOutcome.UNKNOWN,
    CaseOutcome.INVALID,
    CaseOutcome.ERROR,
)
INSTRUMENT = Digest("sha256:" + "1" * 64)
OTHER = Digest("sha256:" + "2" * 64)
COMPARE, SIMPLE = EvalPolicy(), EvalPolicy(rule=Rule.SIMPLE)


def case(name: str, outcomes: Sequence[CaseOutcome], **more) -> CaseTrials:
    count = len(outcomes)
    defaults = {
        "cluster": name,
        "planned": max(1, count),
        "needed": max(1, count),
        "scores": (None,) * count,
        "tokens": (100,) * count,
        "cost_micros": (50,) * count,
        "inclusion": (1.0,) * count,
        "attempts": (0,) * count,
        "waves": (0,) * count,
    }
    return CaseTrials(suite="s", case_id=name, outcomes=tuple(outcomes), **{**defaults, **more})


def side(*cases: CaseTrials, name: str = "candidate", **more) -> Side:
    return Side(name=name, instrument=more.pop("instrument", INSTRUMENT), cases=cases, **more)


def suite(*rows: Sequence[CaseOutcome], **more) -> Side:
    return side(*(case(f"c{index}", row) for index, row in enumerate(rows)), **more)


HUNDRED = [[P] * 4] * 100
WORSE = [[F, F, P, P]] * 20 + [[P] * 4] * 80
SLIGHTLY = [[F, P, P, P]] * 2 + [[P] * 4] * 98


@pytest.mark.parametrize(
    ("candidate", "baseline", "verdict"),
    [
        pytest.param(HUNDRED, HUNDRED, Verdict.PASS, id="nothing-differs"),
        pytest.param(WORSE, HUNDRED, Verdict.FAIL, id="ten-points-worse"),
        pytest.param(HUNDRED, WORSE, Verdict.PASS, id="ten-points-better"),
        pytest.param(SLIGHTLY, HUNDRED, Verdict.PASS, id="half-a-point-is-within-the-margin"),
        pytest.param(HUNDRED[:40], HUNDRED[:40], Verdict.INCONCLUSIVE, id="too-few-cases-to-exclude-the-margin"),
        pytest.param([[F], *[[P]] * 20], [[P]] * 21, Verdict.INCONCLUSIVE, id="one-case-flipped"),
        pytest.param([[F]] * 5 + [[P]] * 16, [[P]] * 21, Verdict.FAIL, id="five-cases-flipped-one-way"),
        pytest.param([], [], Verdict.NO_DATA, id="no-cases"),
        pytest.param([[F]] * 63, [[F]] * 63, Verdict.PASS, id="as-bad-as-before"),
    ],
)
def test_a_comparison_decides_as_the_table_says(candidate, baseline, verdict):
    decision = decide(suite(*candidate), suite(*baseline, name="baseline"), COMPARE)
    assert decision.verdict is verdict
    assert decision.reasons
    assert all(decision.reasons)


@pytest.mark.parametrize(("verdict", "label", "code"), [(P, "PASS", 0), (F, "REGRESSION", 1), (E, "ERROR", 3)])
def test_the_label_and_the_exit_code_are_those_of_the_verdict(verdict, label, code):
    candidate = suite(*[[verdict] * 4] * 100)
    decision = decide(candidate, suite(*HUNDRED), COMPARE)
    assert (decision.label, decision.exit_code) == (label, code)
    assert decide(suite(*HUNDRED[:9]), suite(*HUNDRED[:9]), COMPARE).exit_code == 2
    assert decide(suite([F], [F]), None, SIMPLE).label == "FAIL"


def test_without_a_baseline_a_comparison_is_never_passed():
    decision = decide(suite(*HUNDRED), None, COMPARE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "no baseline" in decision.reasons[0]


def test_another_instrument_is_no_comparison():
    decision = decide(suite(*HUNDRED), suite(*HUNDRED, instrument=OTHER), COMPARE)
    assert decision.verdict is Verdict.ERROR
    assert "instrument" in decision.reasons[0]
    assert decision.quality is None


def test_a_case_the_candidate_lost_is_a_loss_of_coverage_and_is_named():
    decision = decide(suite(*HUNDRED[:99]), suite(*HUNDRED), COMPARE)
    assert decision.verdict is Verdict.ERROR
    assert "c99" in decision.reasons[0]
    assert "coverage" in decision.reasons[0]
    assert [one.name for one in decision.blocking] == ["s/c99"]


def test_a_case_the_baseline_does_not_have_is_named():
    decision = decide(suite(*HUNDRED), suite(*HUNDRED[:98]), COMPARE)
    assert decision.verdict is Verdict.ERROR
    assert "2 cases: c98, c99" in decision.reasons[0]


@pytest.mark.parametrize("which", ["candidate", "baseline"])
@pytest.mark.parametrize("how", ["said", "seen"])
def test_a_run_that_is_not_complete_passes_nothing(which, how):
    whole = suite(*HUNDRED)
    first = replace(whole.cases[0], **dict.fromkeys(("outcomes", "scores", "tokens", "cost_micros"), ()))
    part = replace(whole, complete=False) if how == "said" else replace(whole, cases=(first, *whole.cases[1:]))
    decision = decide(*((part, whole) if which == "candidate" else (whole, part)), COMPARE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "not complete" in decision.reasons[0]


@pytest.mark.parametrize("which", ["candidate", "baseline"])
def test_a_judge_that_drifted_makes_it_inconclusive_even_when_something_failed(which):
    health = JudgeHealth(items=20, sensitivity=0.9, specificity=0.4, problem="specificity fell to 40%")
    drifted, sound = suite(*WORSE, judge=health), suite(*HUNDRED)
    decision = decide(*((drifted, sound) if which == "candidate" else (sound, drifted)), COMPARE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert "specificity fell" in decision.reasons[0]


@pytest.mark.parametrize("broken", [U, I, E])
@pytest.mark.parametrize("which", ["candidate", "baseline"])
def test_one_undecided_trial_is_an_error_unless_some_are_tolerated(which, broken):
    one = suite([broken, P, P, P], *HUNDRED[1:])
    sides = (one, suite(*HUNDRED)) if which == "candidate" else (suite(*HUNDRED), one)
    decision = decide(*sides, COMPARE)
    assert decision.verdict is Verdict.ERROR
    assert "c0" in decision.reasons[0]
    tolerant = EvalPolicy(max_errors=0.01, max_invalid=0.01, max_unknown=0.01)
    assert decide(*sides, tolerant).verdict is Verdict.PASS


def test_tolerated_errors_count_against_the_candidate():
    """Nobody saw that the candidate's would have passed, nor that the baseline's would not have."""
    tolerant = EvalPolicy(max_errors=0.2)
    candidate = suite(*[[E, P, P, P]] * 16, *HUNDRED[16:])
    assert decide(candidate, suite(*HUNDRED), tolerant).verdict is Verdict.INCONCLUSIVE
    failing, known = [[F] * 4] * 16, HUNDRED[16:]
    assert decide(suite(*failing, *known), suite(*failing, *known), tolerant).verdict is Verdict.PASS
    baseline = suite(*[[E, F, F, F]] * 16, *known)
    assert decide(suite(*failing, *known), baseline, tolerant).verdict is Verdict.INCONCLUSIVE


CRITICAL = case("k", [P, P, F], critical=True)


@pytest.mark.parametrize(
    ("outcomes", "needed", "verdict"),
    [
        pytest.param([P, P, P], 3, Verdict.PASS, id="3-of-3"),
        pytest.param([P, P, F], 3, Verdict.FAIL, id="2-of-3-where-all-must"),
        pytest.param([P, P, F], 2, Verdict.PASS, id="2-of-3-where-two-must"),
        pytest.param([P, P, E], 2, Verdict.PASS, id="the-undecided-one-cannot-turn-it"),
        pytest.param([P, E, E], 2, Verdict.ERROR, id="the-undecided-ones-could-turn-it"),
        pytest.param([F, F, E], 2, Verdict.FAIL, id="failed-whatever-the-undecided-one-is"),
    ],
)
@pytest.mark.parametrize("rule", list(Rule))
def test_a_critical_case_must_pass_as_often_as_it_says(outcomes, needed, verdict, rule):
    critical = case("k", outcomes, critical=True, needed=needed)
    tolerant = EvalPolicy(rule=rule, max_errors=1.0)
    whole = suite(*HUNDRED)
    candidate = replace(whole, cases=(critical, *whole.cases))
    baseline = replace(whole, cases=(case("k", [P] * 3, critical=True, needed=needed), *whole.cases))
    decision = decide(candidate, baseline, tolerant)
    assert decision.verdict is verdict
    if verdict is not Verdict.PASS:
        assert "critical case k" in decision.reasons[0]
        assert [one.name for one in decision.blocking] == ["s/k"]


def test_running_a_critical_case_again_does_not_wash_its_failure_out():
    again = case("k", [P, P, F] + [P] * 27, critical=True, planned=3, needed=3, attempts=(0,) * 3 + (1,) * 27)
    whole = suite(*HUNDRED)
    decision = decide(replace(whole, cases=(again, *whole.cases)), None, SIMPLE)
    assert decision.verdict is Verdict.FAIL
    assert "1 of 30 times" in decision.reasons[0]


def test_a_critical_failure_is_a_failure_even_when_nothing_can_be_compared():
    whole = suite(*HUNDRED)
    candidate = replace(whole, cases=(CRITICAL, *whole.cases))
    for baseline in (None, suite(*HUNDRED, instrument=OTHER), suite(*[[E]] * 100)):
        assert decide(candidate, baseline, COMPARE).verdict is Verdict.FAIL


@pytest.mark.parametrize(("met", "verdict"), [(19, Verdict.PASS), (18, Verdict.FAIL)])
@pytest.mark.parametrize("rule", list(Rule))
def test_too_few_expected_tool_calls_fail_although_every_case_passed(met, verdict, rule):
    first = case("t", [P], tools_expected=20, tools_met=met)
    whole = suite(*[[P]] * 70)
    sides = replace(whole, cases=(first, *whole.cases)), replace(whole, cases=(case("t", [P]), *whole.cases))
    decision = decide(*sides, EvalPolicy(rule=rule, tool_accuracy=0.95))
    assert decision.verdict is verdict
    assert decision.tool_accuracy == met / 20


def test_fewer_cases_than_asked_for_pass_nothing():
    policy = EvalPolicy(min_cases=101)
    assert decide(suite(*HUNDRED), suite(*HUNDRED), policy).verdict is Verdict.INCONCLUSIVE
    assert decide(suite(*HUNDRED), None, replace(policy, rule=Rule.SIMPLE)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("rows", "policy", "verdict"),
    [
        pytest.param([], SIMPLE, Verdict.NO_DATA, id="no-cases"),
        pytest.param([[P]], SIMPLE, Verdict.PASS, id="all-pass"),
        pytest.param([[P]] * 9 + [[F]], SIMPLE, Verdict.FAIL, id="exactly-ten-percent-is-not-fewer"),
        pytest.param([[P]] * 10 + [[F]], SIMPLE, Verdict.PASS, id="fewer-than-ten-percent"),
        pytest.param([[P]] * 99 + [[E]], SIMPLE, Verdict.ERROR, id="one-error"),
        pytest.param([[P]] * 99 + [[I]], SIMPLE, Verdict.ERROR, id="one-invalid"),
        pytest.param([[P]] * 99 + [[U]], SIMPLE, Verdict.ERROR, id="one-unknown"),
        pytest.param([[E], [F]], SIMPLE, Verdict.FAIL, id="a-seen-failure-stays-one"),
        pytest.param([[E], [E]], replace(SIMPLE, max_errors=1.0), Verdict.ERROR, id="nothing-decided"),
        pytest.param(
            [[E]] * 90 + [[P]] * 9 + [[F]], replace(SIMPLE, max_errors=1.0), Verdict.FAIL, id="errors-do-not-dilute"
        ),
        pytest.param([[P], [F]], replace(SIMPLE, max_failed=0.0), Verdict.FAIL, id="no-failure-tolerated"),
    ],
)
def test_the_simple_rule_needs_no_baseline(rows, policy, verdict):
    decision = decide(suite(*rows), None, policy)
    assert decision.verdict is verdict
    assert not decision.compared
    if rows:
        assert "nothing was compared" in decision.notes[0]


def test_asking_again_neither_washes_a_failure_out_of_the_simple_rule_nor_adds_it_up():
    def attempts(*failing: set[int]) -> Side:
        rows = [[F if number in one else P for one in failing] for number in range(20)]
        numbers = tuple(range(len(failing)))
        whole = suite(*rows)
        return replace(whole, cases=tuple(replace(case, attempts=numbers, planned=1, needed=1) for case in whole.cases))

    assert decide(attempts({0}, {1}, {2}), None, SIMPLE).verdict is Verdict.PASS
    worse = decide(attempts({0, 1, 2, 3}, {4}, {5}), None, SIMPLE)
    assert worse.verdict is Verdict.FAIL
    assert worse.reasons[0].startswith("6 of 60 cases failed over 3 attempts (10%; fewer than 10% may)")
    assert len(worse.blocking) == 6


def test_the_simple_rule_does_not_count_a_run_that_was_cut_short():
    assert decide(suite(*HUNDRED, complete=False), None, SIMPLE).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("mine", "limit", "verdict"),
    [
        pytest.param(50, 1.2, Verdict.PASS, id="the-same-cost"),
        pytest.param(60, 1.2, Verdict.PASS, id="exactly-at-the-limit"),
        pytest.param(70, 1.2, Verdict.FAIL, id="dearer-than-allowed"),
        pytest.param(70, None, Verdict.PASS, id="no-limit"),
        pytest.param(None, 1.2, Verdict.ERROR, id="an-unknown-price-holds"),
        pytest.param(None, None, Verdict.PASS, id="an-unknown-price-is-only-named-without-a-limit"),
    ],
)
def test_cost_is_held_against_its_limit(mine, limit, verdict):
    candidate = side(*(case(f"c{i}", [P] * 4, cost_micros=(mine,) * 4) for i in range(100)))
    decision = decide(candidate, suite(*HUNDRED), EvalPolicy(cost_ratio=limit))
    assert decision.verdict is verdict
    assert decision.cost is not None
    if mine is None:
        assert decision.cost.ratio is None
        assert "s/c0" in " ".join((*decision.reasons, *decision.notes))
    else:
        assert decision.cost.ratio is not None
        assert decision.cost.ratio.estimate == pytest.approx(mine / 50)


def test_tokens_that_cannot_be_told_from_their_limit_are_inconclusive():
    tokens = [100 + 60 * (index % 2) for index in range(100)]
    candidate = side(*(case(f"c{i}", [P] * 4, tokens=(count,) * 4) for i, count in enumerate(tokens)))
    decision = decide(candidate, suite(*HUNDRED), EvalPolicy(token_ratio=1.27))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.tokens is not None
    assert decision.tokens.ratio is not None
    assert decision.tokens.ratio.low < 1.27 < decision.tokens.ratio.high


def test_a_case_that_is_worse_by_itself_gates_only_when_that_is_declared():
    candidate, baseline = suite([F] * 8, *[[P] * 8] * 149), suite(*[[P] * 8] * 150)
    shown = decide(candidate, baseline, COMPARE)
    assert shown.verdict is Verdict.PASS
    assert [one.case_id for one in shown.cases if one.flag is Flag.WORSE] == ["c0"]
    gated = decide(candidate, baseline, EvalPolicy(gate_flags=True))
    assert gated.verdict is Verdict.FAIL
    assert "c0" in gated.reasons[0]
    assert next(one.flag for one in decide(baseline, candidate, COMPARE).cases) is Flag.BETTER


def test_pass_to_the_k_is_reported_for_both_sides():
    power = decide(suite(*[[P, P, F, P]] * 2), suite(*[[P] * 4] * 2), COMPARE).pass_power
    assert power is not None
    assert (power.k, power.candidate, power.baseline) == (4, 0.0, 1.0)


def test_an_open_comparison_says_what_would_decide_it():
    rows = [[P, F, P, P], [P, P, F, P], [P] * 4, [F] * 4] * 20
    decision = decide(suite(*rows), suite(*rows[::-1]), COMPARE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.would_decide is not None
    assert decision.would_decide.floor == 63
    assert decision.would_decide.cases is not None
    assert decision.would_decide.cases > 80
    assert any("4 times of 5" in note for note in decision.notes)


def test_families_are_one_cluster_so_that_their_common_luck_is_no_evidence():
    """Five families of eight fail together: forty cases, but only five coin tosses."""
    lone = [[F]] * 5 + [[P]] * 95
    assert decide(suite(*lone), suite(*[[P]] * 100), COMPARE).verdict is Verdict.FAIL
    cases = [case(f"c{i}", [F if i < 32 else P], cluster=f"f{i // 8}") for i in range(96)]
    passed = [case(f"c{i}", [P], cluster=f"f{i // 8}") for i in range(96)]
    decision = decide(side(*cases), side(*passed), COMPARE)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.quality is not None
    assert decision.quality.clusters == 12
    assert decision.quality.p_regression == pytest.approx(1 / 16)


def test_the_decision_is_json_all_through():
    decision = decide(suite(*WORSE), suite(*HUNDRED), COMPARE)
    body = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert body["label"] == "REGRESSION"
    assert body["quality"]["difference"]["estimate"] == pytest.approx(-0.1)
    assert len(body["cases"]) == 100
    json.dumps(decide(suite([P]), suite([P]), COMPARE).to_json(), allow_nan=False)


# -- attempts --


def run_of(outcomes: Sequence[Sequence[CaseOutcome]], attempt: int, subject: str = "candidate") -> EvalRun:
    cases = tuple(("s", Case(id=f"c{i}", name="", turns=("hi",), repeat=len(row))) for i, row in enumerate(outcomes))
    played = [(i, index, one) for i, row in enumerate(outcomes) for index, one in enumerate(row)]
    return EvalRun(
        run_id=str(attempt),
        created_at=datetime(2026, 11, 20, attempt, tzinfo=UTC),
        subject=SubjectInfo(kind="python", name=subject),
        instrument=INSTRUMENT,
        cases=cases,
        trials=tuple(Trial(suite="s", case_id=f"c{i}", index=k, replies=(Reply(text="x"),)) for i, k, _ in played),
        results=tuple(CaseResult(suite="s", case_id=f"c{i}", name="", outcome=one) for i, _, one in played),
    )


def test_attempts_accumulate_and_the_decision_says_how_many():
    mine = side_of([run_of([[P]] * 70, attempt) for attempt in range(3)])
    theirs = side_of([run_of([[P]] * 70, attempt, "baseline") for attempt in range(3)])
    decision = decide(mine, theirs, COMPARE)
    assert decision.attempts == 3
    assert decision.quality is not None
    assert decision.quality.trials == (210, 210)
    assert decision.verdict is Verdict.PASS


def test_fresh_attempts_add_up_to_a_pass_and_a_stored_baseline_does_not():
    """Forty cases are too few for one attempt; each fresh one wins again, against the same baseline nothing is won."""

    def verdicts(attempts: int) -> tuple[Verdict, Verdict]:
        mine = side_of([run_of([[P]] * 40, attempt) for attempt in range(attempts)])
        fresh = side_of([run_of([[P]] * 40, attempt, "baseline") for attempt in range(attempts)])
        stored = side_of([run_of([[P]] * 40, 0, "baseline")])
        return decide(mine, fresh, COMPARE).verdict, decide(mine, stored, COMPARE).verdict

    assert [verdicts(attempts)[0] for attempts in (1, 3, 4)] == [Verdict.INCONCLUSIVE] * 2 + [Verdict.PASS]
    assert verdicts(8)[1] is Verdict.INCONCLUSIVE


def test_a_regression_is_not_washed_out_by_running_again():
    bad = [[F]] * 7 + [[P]] * 63
    again = [run_of(bad if attempt == 0 else [[P]] * 70, attempt) for attempt in range(3)]
    fresh = side_of([run_of([[P]] * 70, attempt, "baseline") for attempt in range(3)])
    stored = side_of([run_of([[P]] * 70, 0, "baseline")])
    assert decide(side_of(again[:1]), stored, COMPARE).verdict is Verdict.FAIL
    for baseline in (fresh, stored):
        decision = decide(side_of(again), baseline, COMPARE)
        assert decision.verdict is Verdict.FAIL
        assert "attempt 1" in decision.reasons[0]


def test_a_regression_the_later_attempts_show_withdraws_an_earlier_pass():
    worse = [[F]] * 30 + [[P]] * 40
    mine = side_of([run_of([[P]] * 70, 0), *(run_of(worse, attempt) for attempt in (1, 2))])
    theirs = side_of([run_of([[P]] * 70, attempt, "baseline") for attempt in range(3)])
    assert decide(mine, theirs, COMPARE).verdict is Verdict.FAIL


# -- laws --

rows = st.lists(st.lists(st.sampled_from([P, P, P, F]), min_size=2, max_size=2), min_size=1, max_size=8)
SMALL = EvalPolicy(margin=0.4, alpha=0.2, max_errors=0.2, max_invalid=0.1, max_unknown=0.1)
"""So wide that small suites reach every verdict."""


@st.composite
def pairs(draw):
    mine = draw(rows)
    theirs = draw(
        st.lists(
            st.lists(st.sampled_from([P, P, P, F]), min_size=2, max_size=2), min_size=len(mine), max_size=len(mine)
        )
    )
    return mine, theirs


@settings(max_examples=40)
@given(pairs(), st.data())
def test_more_failures_never_turn_what_did_not_pass_into_a_pass(both, data):
    mine, theirs = both
    before = decide(suite(*mine), suite(*theirs), SMALL).verdict
    worse = [list(row) for row in mine]
    worse[data.draw(st.integers(0, len(mine) - 1))][data.draw(st.integers(0, 1))] = F
    after = decide(suite(*worse), suite(*theirs), SMALL).verdict
    assert before is Verdict.PASS or after is not Verdict.PASS
    assert not (before is Verdict.FAIL and after is Verdict.INCONCLUSIVE)


@settings(max_examples=40)
@given(pairs(), st.data(), st.sampled_from([U, I, E]), st.booleans())
def test_an_error_never_helps(both, data, broken, on_the_candidate):
    mine, theirs = ([list(row) for row in one] for one in both)
    before = decide(suite(*mine), suite(*theirs), SMALL).verdict
    hit = mine if on_the_candidate else theirs
    hit[data.draw(st.integers(0, len(hit) - 1))][data.draw(st.integers(0, 1))] = broken
    after = decide(suite(*mine), suite(*theirs), SMALL).verdict
    assert before is Verdict.PASS or after is not Verdict.PASS


@settings(max_examples=40)
@given(pairs(), st.data())
def test_a_missing_case_never_helps(both, data):
    mine, theirs = both
    whole = suite(*mine)
    gone = data.draw(st.integers(0, len(mine) - 1))
    part = replace(whole, cases=tuple(one for index, one in enumerate(whole.cases) if index != gone))
    assert decide(part, suite(*theirs), SMALL).verdict in (Verdict.ERROR, Verdict.NO_DATA)
    assert decide(whole, replace(suite(*theirs), cases=part.cases), SMALL).verdict is Verdict.ERROR


@settings(max_examples=40)
@given(pairs(), st.randoms())
def test_the_order_of_the_cases_changes_nothing(both, dice):
    mine, theirs = suite(*both[0]), suite(*both[1])
    mixed, others = list(mine.cases), list(theirs.cases)
    dice.shuffle(mixed)
    dice.shuffle(others)
    one = decide(mine, theirs, SMALL)
    other = decide(replace(mine, cases=tuple(mixed)), replace(theirs, cases=tuple(others)), SMALL)
    assert (one.verdict, one.reasons) == (other.verdict, other.reasons)


@settings(max_examples=40)
@given(pairs())
def test_swapping_the_sides_mirrors_the_figures(both):
    one, other = decide(suite(*both[0]), suite(*both[1]), SMALL), decide(suite(*both[1]), suite(*both[0]), SMALL)
    assert one.quality is not None
    assert other.quality is not None
    mine, theirs = one.quality.difference, other.quality.difference
    assert (mine.estimate, mine.low, mine.high) == pytest.approx(
        (-theirs.estimate, -theirs.high, -theirs.low), abs=1e-9
    )
    if Verdict.FAIL in (one.verdict, other.verdict):
        assert one.verdict is not other.verdict


@settings(max_examples=40)
@given(pairs())
def test_a_pass_has_its_lower_bound_within_the_margin(both):
    decision = decide(suite(*both[0]), suite(*both[1]), SMALL)
    assert decision.quality is not None
    if decision.verdict is Verdict.PASS:
        assert decision.quality.difference.low >= -SMALL.margin - 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": 0.0}, {"margin": 1.0}, {"alpha": 0.0}, {"max_errors": 1.1}, {"max_failed": -0.1},
        {"cost_ratio": 0.0}, {"token_ratio": float("inf")}, {"min_cases": 0}, {"tool_accuracy": 2.0}, {"max_repeat": 0},
    ],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        EvalPolicy(**wrong)


@pytest.mark.parametrize("adaptive", [True, False])
def test_all_looks_together_spend_no_more_than_alpha(adaptive):
    policy = EvalPolicy(adaptive=adaptive)
    waves = range(6)
    worse = sum(policy.worse_alpha(attempt, wave) for attempt in range(5000) for wave in waves)
    within = sum(policy.within_alpha(wave) for wave in waves) + policy.later_within_alpha
    assert 0.0499 < worse <= 0.05 + 1e-12
    assert within == pytest.approx(0.05)


# -- the simple rule's laws --

outcomes = st.lists(st.sampled_from(CaseOutcome), max_size=20)


@settings(max_examples=40)
@given(outcomes, st.sets(st.integers(0, 19)))
def test_nothing_undecided_ever_passes_the_simple_rule_without_a_cap(found, critical):
    cases = [case(f"c{index}", [one], critical=index in critical) for index, one in enumerate(found)]
    if decide(side(*cases), None, SIMPLE).verdict is Verdict.PASS:
        assert found
        assert set(found) <= {P, F}
        assert found.count(F) < 0.1 * len(found)
        assert all(found[index] is P for index in critical if index < len(found))


@settings(max_examples=40)
@given(outcomes, st.sets(st.integers(0, 19)), st.integers(0, 19), st.sampled_from([F, U, I, E]))
def test_a_worse_outcome_never_opens_the_simple_gate(found, critical, index, worse):
    policy = replace(SIMPLE, max_errors=0.2, max_invalid=0.1, max_unknown=0.1)

    def verdict() -> Verdict:
        cases = [case(f"c{place}", [one], critical=place in critical) for place, one in enumerate(found)]
        return decide(side(*cases), None, policy).verdict

    if index >= len(found) or found[index] is not P or verdict() is Verdict.PASS:
        return
    found[index] = worse
    assert verdict() is not Verdict.PASS
