from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.evals.history.attempts import accumulated, attempt_digest, independent, only_repeats
from fairway.evals.trials import JudgeHealth, SubjectInfo
from fairway.evals.values import AssertionResult, CaseOutcome, Found

RELEASE = "sha256:" + "a" * 64
EFFECTIVE = "sha256:" + "b" * 64
INSTRUMENT = "sha256:" + "c" * 64

P, F, E = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR


def test_attempts_on_one_release_as_configured_share_a_digest_and_nothing_else_does():
    arm = SubjectInfo(kind="arm", name="1.4.0", release=RELEASE, effective=EFFECTIVE)
    same = attempt_digest(arm, INSTRUMENT)
    assert same == attempt_digest(replace(arm, name="called otherwise"), INSTRUMENT)
    others = [
        attempt_digest(replace(arm, release=EFFECTIVE), INSTRUMENT),
        attempt_digest(replace(arm, effective=RELEASE), INSTRUMENT),
        attempt_digest(arm, RELEASE),
        attempt_digest(SubjectInfo(kind="openai", name="m", identity={"model": "m"}), INSTRUMENT),
    ]
    assert len({same, *others}) == 5


def test_a_service_whose_version_nobody_knows_adds_to_nothing():
    assert attempt_digest(SubjectInfo(kind="url", name="http://x"), INSTRUMENT) is None


def test_trials_of_every_attempt_count(make_run):
    side = accumulated([make_run({"a": "F"}), make_run({"a": "P"}), make_run({"a": "P"})])
    assert side.cases[0].outcomes == (F, P, P)
    assert side.cases[0].attempts == (0, 1, 2)


def test_what_an_outage_kept_from_being_asked_is_not_counted_once_it_was_asked(make_run):
    side = accumulated([make_run({"a": "E", "b": "F"}), make_run({"a": "P", "b": "P"})])
    assert [case.outcomes for case in side.cases] == [(P,), (F, P)]


def test_trouble_of_a_chosen_repeat_counts_because_a_missing_one_would_be_taken_for_not_chosen(make_run):
    first = make_run({"a": "PE"})
    chosen = replace(first, trials=(first.trials[0], replace(first.trials[1], wave=1, inclusion=0.5)))
    (case,) = accumulated([chosen, make_run({"a": "PP"})]).cases
    assert len(case.outcomes) == 4


def test_trouble_of_the_last_attempt_counts(make_run):
    side = accumulated([make_run({"a": "P"}), make_run({"a": "E"})])
    assert side.cases[0].outcomes == (P, E)


def test_an_answer_read_back_from_the_cache_is_one_observation(make_run):
    side = accumulated([make_run({"a": "F"}), make_run({"a": "F"}, cached=True)])
    assert side.cases[0].outcomes == (F,)


def test_a_cached_answer_counts_where_no_earlier_attempt_has_it(make_run):
    assert accumulated([make_run({"a": "F"}, cached=True)]).cases[0].outcomes == (F,)


def graded(run, problem: str | None):
    """The run with its first case graded by a judge that has this problem."""
    judge = JudgeHealth(items=50, sensitivity=0.9, specificity=0.9, problem=problem)
    held = {0: AssertionResult(type="llm-rubric", found=Found.HELD)}
    trials = tuple(replace(one, measured=held) if one.case_id == "a" else one for one in run.trials)
    return replace(run, judge=judge, trials=trials)


def test_grades_of_a_judge_that_may_not_be_used_give_way_to_those_of_one_that_may_and_nothing_else_does(make_run):
    drifted, sound = graded(make_run({"a": "F", "b": "F"}), "drifted"), graded(make_run({"a": "P", "b": "P"}), None)
    side = accumulated([drifted, sound])
    assert [case.outcomes for case in side.cases] == [(P,), (F, P)]
    assert side.judge is sound.judge
    again = accumulated([sound, drifted])
    assert [case.outcomes for case in again.cases] == [(P, F), (P, F)]
    assert again.judge is drifted.judge


def test_what_a_script_refuted_stays_refuted_whoever_judged_beside_it(make_run):
    drifted = graded(make_run({"a": "F"}), "drifted")
    script = AssertionResult(type="python", found=Found.VIOLATED)
    (trial,) = drifted.trials
    refuted = replace(drifted, trials=(replace(trial, measured={**trial.measured, 1: script}),))
    side = accumulated([refuted, graded(make_run({"a": "P"}), None)])
    assert side.cases[0].outcomes == (F, P)


def test_grades_of_a_judge_that_may_not_be_used_stay_while_nobody_graded_again(make_run):
    side = accumulated([graded(make_run({"a": "F"}), "drifted"), make_run({"a": "P"})])
    assert side.cases[0].outcomes == (F, P)
    assert side.judge is not None
    assert side.judge.problem == "drifted"


def test_only_a_run_that_asked_nobody_is_the_same_observation_as_another(make_run):
    cached = make_run({"a": "PF"}, cached=True)
    assert only_repeats(cached, None) == only_repeats(replace(cached, run_id="20261120-095524-00000b"), None)
    assert only_repeats(make_run({"a": "PF"}), None) is None
    assert only_repeats(cached, make_run({"a": "PF"})) is None
    assert only_repeats(cached, None) != only_repeats(make_run({"a": "PP"}, cached=True), None)
    assert only_repeats(cached, None) != only_repeats(cached, cached)


def test_an_attempt_that_was_cut_short_is_made_whole_by_a_later_one(make_run):
    assert accumulated([make_run({"a": "P"}, complete=False), make_run({"a": "P"})]).complete
    assert not accumulated([make_run({"a": "P"}), make_run({"a": "P"}, complete=False)]).complete


def test_attempts_measured_by_different_instruments_are_no_side(make_run):
    with pytest.raises(ValueError, match="instrument"):
        accumulated([make_run({"a": "P"}), make_run({"a": "P"}, instrument=RELEASE)])


@given(attempts=st.lists(st.lists(st.sampled_from("PFE?"), min_size=1, max_size=4), min_size=1, max_size=5))
def test_no_decided_trial_is_ever_left_out(make_run, attempts):
    runs = [make_run({"a": "".join(words)}) for words in attempts]
    kept = [result.outcome for run in independent(runs) for result in run.results]
    for outcome in (P, F):
        assert kept.count(outcome) == sum(words.count("P" if outcome is P else "F") for words in attempts)
