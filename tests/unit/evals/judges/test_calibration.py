from __future__ import annotations

import json

import pytest

from fairway.canonical import value_digest
from fairway.errors import ProjectFileError, TransientError
from fairway.evals.judges.calibration import (
    Calibration,
    CalibrationRecord,
    TriedItem,
    calibrate,
    judge_health,
    read_record,
)
from fairway.evals.judges.calibration_set import CalibrationItem
from fairway.evals.judges.corrected import corrected_pass_rate
from fairway.evals.judges.judge import JudgeMember, JudgePanel
from fairway.evals.judges.nonces import Nonces
from fairway.evals.judges.settings import HealthRules, JudgeSettings
from fairway.evals.running.spend import SpendError
from fairway.evals.trials import JudgeHealth, Observed
from fairway.evals.values import Assertion, AssertionResult, Case, CaseOutcome, CaseResult, Found, Reply
from fairway.llm.values import CompletionRequest
from fairway.testing.scripted_model import ScriptedModel, grade_answer

DIGEST = value_digest("judge")
RULES = HealthRules(items=10, each=5)
HELD, BROKEN, OPEN = Found.HELD, Found.VIOLATED, Found.INVALID


def tried(good: bool, *found: Found, name: str = "") -> TriedItem:
    results = tuple(AssertionResult(type="llm-rubric", found=one, message="so") for one in found)
    return TriedItem(id=name, good=good, results=results)


def trial(good: list[tuple[Found, ...]], bad: list[tuple[Found, ...]]) -> list[TriedItem]:
    rows = [(True, found) for found in good] + [(False, found) for found in bad]
    return [tried(label, *found, name=f"i{number}") for number, (label, found) in enumerate(rows)]


ALWAYS_RIGHT = trial([(HELD, HELD)] * 10, [(BROKEN, BROKEN)] * 10)


def health(
    items: list[TriedItem], rules: HealthRules = RULES, recorded: CalibrationRecord | None = None
) -> JudgeHealth:
    return judge_health(items, rules, digest=DIGEST, recorded=recorded)


def test_a_judge_that_agrees_with_people_has_no_problem():
    found = health(ALWAYS_RIGHT)
    assert (found.sensitivity, found.specificity, found.kappa, found.flip_rate) == (1, 1, 1, 0)
    assert found.problem is None
    assert (found.items, found.good, found.bad) == (20, 10, 10)
    # exact: (0.025)^(1/10)
    assert found.sensitivity_interval == pytest.approx((0.6915, 1.0), abs=1e-4)


def test_sensitivity_specificity_and_kappa_are_those_of_the_first_grades():
    items = trial([(HELD, BROKEN)] * 8 + [(BROKEN, HELD)] * 2, [(BROKEN, HELD)] * 9 + [(HELD, BROKEN)])
    found = health(items)
    assert (found.sensitivity, found.specificity) == (0.8, 0.9)
    assert found.kappa == pytest.approx(0.7)
    assert found.flip_rate == 1


@pytest.mark.parametrize(
    ("items", "names"),
    [
        (trial([(HELD, HELD)] * 7 + [(BROKEN, BROKEN)] * 3, [(BROKEN, BROKEN)] * 10), ["sensitivity is 0.70"]),
        (trial([(HELD, HELD)] * 10, [(BROKEN, BROKEN)] * 7 + [(HELD, HELD)] * 3), ["specificity is 0.70"]),
        (trial([(HELD, HELD)] * 10, [(HELD, HELD)] * 10), ["specificity is 0.00", "kappa is 0.00"]),
        (trial([(HELD, HELD)] * 10 + [(HELD, BROKEN)] * 3, [(BROKEN, BROKEN)] * 7), ["changes its mind on 15%"]),
        (trial([(HELD, HELD)] * 4, [(BROKEN, BROKEN)] * 30), ["4 good and 30 bad items"]),
        (trial([(HELD, HELD)] * 20, []), ["20 good and 0 bad", "specificity is not defined", "kappa is not defined"]),
        ([], ["0 good and 0 bad", "sensitivity is not defined"]),
    ],
)
def test_what_a_judge_does_not_show_is_named_and_holds_the_gate(items, names):
    problem = health(items).problem
    assert problem is not None
    for name in names:
        assert name in problem


@pytest.mark.parametrize("missing", [Found.INVALID, Found.ERROR, Found.UNKNOWN])
def test_an_item_the_judge_could_not_grade_counts_as_wrong_whatever_its_label(missing):
    items = trial([(HELD, HELD)] * 7 + [(missing, missing)] * 3, [(BROKEN, BROKEN)] * 7 + [(missing, missing)] * 3)
    found = health(items)
    assert (found.sensitivity, found.specificity) == (0.7, 0.7)
    assert found.problem is not None
    nothing = health(trial([(missing,)] * 10, [(missing,)] * 10), HealthRules(items=10, repeats=1))
    assert nothing.problem is not None
    assert "could not grade 20 of 20 items (so)" in nothing.problem


def test_graded_once_the_flip_rate_is_unknown_and_not_asked_for():
    found = health(trial([(HELD,)] * 10, [(BROKEN,)] * 10), HealthRules(items=10, repeats=1))
    assert (found.flip_rate, found.problem) == (None, None)


# -- drift -------------------------------------------------------------------------------------------------------------


def record(items: list[TriedItem]) -> CalibrationRecord:
    return CalibrationRecord(judge=DIGEST, said={item.id: item.said[0] for item in items})


LAX = HealthRules(items=10, each=1, sensitivity=0, specificity=0, kappa=0, flip_rate=0.5)


def test_a_judge_that_grades_as_recorded_has_not_drifted():
    assert health(ALWAYS_RIGHT, recorded=record(ALWAYS_RIGHT)).problem is None


def test_a_judge_that_lost_what_it_could_has_drifted_even_while_it_still_shows_what_it_must():
    worse = trial([(HELD, HELD)] * 5 + [(BROKEN, BROKEN)] * 5, [(BROKEN, BROKEN)] * 10)
    assert health(worse, LAX).problem is None
    problem = health(worse, LAX, recorded=record(ALWAYS_RIGHT)).problem
    assert problem is not None
    assert "it drifted: 5 items it graded rightly when it was recorded are wrong now, 0 the other way" in problem


def test_four_changes_of_twenty_can_be_chance_and_one_more_cannot():
    for count, drifted in ((4, False), (5, True)):
        worse = trial([(HELD, HELD)] * (10 - count) + [(BROKEN, BROKEN)] * count, [(BROKEN, BROKEN)] * 10)
        assert (health(worse, LAX, recorded=record(ALWAYS_RIGHT)).problem is not None) == drifted


def test_a_judge_that_grades_otherwise_than_recorded_has_drifted_also_where_it_is_no_worse():
    one = trial([(HELD, HELD)] * 5 + [(BROKEN, BROKEN)] * 5, [(BROKEN, BROKEN)] * 10)
    other = trial([(BROKEN, BROKEN)] * 5 + [(HELD, HELD)] * 5, [(BROKEN, BROKEN)] * 10)
    rules = HealthRules(items=10, each=1, sensitivity=0, specificity=0, kappa=0, flip_rate=0.1)
    problem = health(other, rules, recorded=record(one)).problem
    assert problem is not None
    assert "it grades 10 of 20 items otherwise than recorded" in problem


@pytest.mark.parametrize(
    "recorded",
    [
        CalibrationRecord(judge=value_digest("other"), said=record(ALWAYS_RIGHT).said),
        CalibrationRecord(judge=DIGEST, said={}),
    ],
)
def test_a_record_of_another_judge_or_set_is_no_comparison_and_holds_the_gate(recorded):
    problem = health(ALWAYS_RIGHT, recorded=recorded).problem
    assert problem is not None
    assert "of another judge or set" in problem


def test_a_record_is_read_as_it_was_written():
    kept = CalibrationRecord(judge=DIGEST, said={"b": True, "a": None, "c": False})
    assert read_record(json.dumps(kept.to_json()).encode(), file="record.json") == kept


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"version": 2, "judge": "x", "said": {}}', '{"version": 1, "judge": "x", "said": {"a": 1}}', "{"],
)
def test_what_is_no_record_is_refused(content):
    with pytest.raises(ProjectFileError):
        read_record(content.encode(), file="record.json")


# -- calibrating -------------------------------------------------------------------------------------------------------


def items(good: int, bad: int) -> list[CalibrationItem]:
    rows = [(f"g{number}", True) for number in range(good)] + [(f"b{number}", False) for number in range(bad)]
    return [
        CalibrationItem(
            id=name,
            observed=Observed(case=Case(id=name, name=name, turns=("hi",)), replies=(Reply(text=f"reply {name}"),)),
            assertion=Assertion(type="llm-rubric", value="Polite."),
            good=label,
        )
        for name, label in rows
    ]


class Kept(dict[bytes, object]):
    def put(self, key: bytes, value: object) -> None:
        self[key] = value


def panel(model: ScriptedModel, cache: Kept | None = None) -> JudgePanel:
    member = JudgeMember(model="m", client=model, cost_micros=lambda _: 7, identity={"url": "a"})
    return JudgePanel([member], JudgeSettings(model="m"), nonces=Nonces(b"c" * 32), cache=cache)


def knows(request: CompletionRequest) -> str:
    return grade_answer(request, "meets" if "reply g" in request.messages[1].content else "does_not_meet")


async def tried_on(model: ScriptedModel, cache: Kept | None = None) -> Calibration:
    return await calibrate(items(10, 10), panel(model, cache), RULES, digest=DIGEST)


async def test_every_item_is_graded_so_often_as_asked_and_the_cost_is_told():
    model = ScriptedModel(by=knows)
    found = await tried_on(model)
    assert found.health.problem is None
    assert (len(model.asked), found.calls, found.cost_micros) == (40, 40, 280)
    assert [item.id for item in found.items][:2] == ["g0", "g1"]
    assert found.record.said["g0"] is True
    assert found.record.said["b0"] is False


async def test_a_calibration_never_takes_a_grade_from_the_cache():
    cache = Kept()
    first = panel(ScriptedModel(by=knows), cache)
    for item in items(10, 10):
        await first.measure(item.assertion, item.observed, repeat=0)
    assert len(cache) == 20
    today = ScriptedModel(by=lambda request: grade_answer(request, "meets"))
    found = await tried_on(today, cache)
    assert len(today.asked) == 40
    assert found.health.specificity == 0


async def test_a_judge_that_cannot_be_reached_has_a_problem():
    found = await tried_on(ScriptedModel(by=lambda _: TransientError("down")))
    assert found.health.problem is not None
    assert "could not grade 20 of 20 items (judge: down)" in found.health.problem


async def test_the_spend_cap_ends_a_calibration():
    with pytest.raises(SpendError):
        await tried_on(ScriptedModel(by=lambda _: SpendError("spent", code="eval_spend")))


# -- the corrected rate ------------------------------------------------------------------------------------------------


def case(name: str, *found: Found, kind: str = "llm-rubric") -> CaseResult:
    return CaseResult(
        suite="s",
        case_id=name,
        name=name,
        outcome=CaseOutcome.PASSED,
        assertions=tuple(AssertionResult(type=kind, found=one) for one in found),
    )


def test_the_corrected_rate_takes_a_case_as_one_unit_and_leaves_out_what_is_undecided_or_not_judged():
    shown = health(trial([(HELD,)] * 9 + [(BROKEN,)], [(BROKEN,)] * 8 + [(HELD,)] * 2))
    results = [
        *(case(f"c{number}", HELD) for number in range(6)),
        *(case(f"c{number}", BROKEN) for number in range(6)),  # their repeats: a mean of one half each
        case("turned", BROKEN, kind="not-llm-rubric"),
        case("open", OPEN),
        case("checked", HELD, kind="contains"),
    ]
    found = corrected_pass_rate(shown, results)
    assert found is not None
    assert found.judged == pytest.approx(1 / 2)
    assert found.rate == pytest.approx((1 / 2 + 0.8 - 1) / 0.7)


def test_what_must_not_be_so_holds_where_the_judge_says_no_and_errs_the_other_way_round():
    shown = health(trial([(HELD,)] * 9 + [(BROKEN,)], [(BROKEN,)] * 8 + [(HELD,)] * 2))
    held = [case(f"c{number}", HELD if number < 8 else BROKEN, kind="not-llm-rubric") for number in range(10)]
    found = corrected_pass_rate(shown, held)
    assert found is not None
    assert found.judged == pytest.approx(0.8)
    # of those that truly hold it says so in 80 %, of the others it does in 10 %
    assert found.rate == pytest.approx((0.8 + 0.9 - 1) / (0.8 + 0.9 - 1))


def test_without_a_judged_result_or_a_calibration_nothing_is_corrected():
    assert corrected_pass_rate(health(ALWAYS_RIGHT), []) is None
    assert corrected_pass_rate(health([]), [case("c", HELD)]) is None
