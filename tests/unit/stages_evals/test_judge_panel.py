from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest

from fairway.clock import SystemClock
from fairway.costs.prices import price_table
from fairway.errors import ProjectFileError, UserError
from fairway.evals.judges.judge import JudgePanel
from fairway.evals.judges.kept import AnswerCache
from fairway.evals.running.cache import CallCache
from fairway.evals.running.spend import SpendCap, SpendError
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion, Case, Found, Reply
from fairway.project.load import Project, load_project
from fairway.stages.judge_panel import JudgePlan, plan_judges, seat_judges, try_judges
from fairway.stages.prompt_regression import PromptRegression
from fairway.state_dir import StateDir
from fairway.units import Verdict

MODELS = """\
models:
  small: {provider: mock, model: m-1}
  big:
    provider: openai
    model: b-2026-01-01
    base_url: "env:JUDGE_URL"
    api_key: "env:JUDGE_KEY"
    parameters: {temperature: 0.9, seed: 7}
    price: {input: 1.0, output: 2.0}
  other: {provider: anthropic, model: a-2026-01-01, base_url: "env:JUDGE_URL", price: {input: 1.0, output: 2.0}}
  again: {provider: openai, model: b-2026-01-01, base_url: "env:JUDGE_URL"}
"""
RUBRIC = Assertion(type="llm-rubric", value="Polite.")
OBSERVED = Observed(case=Case(id="c", name="c", turns=("hi",)), replies=(Reply(text="Hello"),))


class Judged:
    """A project with a judge, and a server that grades in both formats."""

    def __init__(self, bench, agent) -> None:
        self._bench, self._agent = bench, agent
        self.asked: list[dict] = []
        self.verdict = "meets"
        self.good = "reply good"
        agent.answer = self._answer
        self.environment = {"JUDGE_URL": agent.url, "JUDGE_KEY": "k"}

    def _answer(self, body: str) -> tuple[int, dict]:
        request = json.loads(body)
        self.asked.append(request)
        question = request["messages"][-1]["content"]
        verdict = "does_not_meet" if "reply bad" in question else self.verdict
        grade = json.dumps({"id": question.rpartition("its id is ")[2], "reason": "So.", "verdict": verdict})
        if "system" in request:
            usage = {"input_tokens": 100, "output_tokens": 10}
            return 200, {"content": [{"type": "text", "text": grade}], "stop_reason": "end_turn", "usage": usage}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return 200, {"choices": [{"message": {"content": grade}, "finish_reason": "stop"}], "usage": usage}

    def write(self, name: str, text: str) -> None:
        self._bench.write_at(name, text)

    def project(self, **judge: object) -> Project:
        start = "version: 1\nagent: {name: shop}\nservice: {command: 'python app.py {port}'}\n"
        self.write("models.yaml", MODELS)
        self.write("evals/mock-llm.yaml", "version: 1\nname: x\nrules: []\n")
        self.write("fairway.yaml", start + f"evals: {json.dumps({'judge': judge})}\n")
        return load_project(self._bench.root)

    def read(self, path: str) -> bytes | None:
        file = self._bench.root / path
        return file.read_bytes() if file.is_file() else None

    def plan(self, **judge: object) -> JudgePlan:
        project = self.project(**judge)
        plan = plan_judges(project, project.overlay("production"), self.read)
        assert plan is not None
        self.prices = price_table(project.models)
        return plan

    async def seat(
        self, plan: JudgePlan, stack: AsyncExitStack, spend: SpendCap | None = None, cache: AnswerCache | None = None
    ) -> JudgePanel:
        return await seat_judges(
            plan,
            stack,
            clock=SystemClock(),
            state=StateDir(self._bench.root / ".fairway"),
            prices=self.prices,
            mock_url=self._agent.url,
            concurrency=4,
            spend=spend,
            cache=cache,
            environment=self.environment,
        )


@pytest.fixture
def judged(bench, agent) -> Judged:
    return Judged(bench, agent)


async def test_a_panel_of_three_providers_grades_over_their_own_formats_at_temperature_0(judged):
    plan = judged.plan(model="small", panel=["big", "other"])
    assert plan.settings.models == ("mock/m-1", "openai/b-2026-01-01", "anthropic/a-2026-01-01")
    async with AsyncExitStack() as stack:
        result = await (await judged.seat(plan, stack)).measure(RUBRIC, OBSERVED, repeat=0)
    assert (result.found, result.score, result.calls) == (Found.HELD, 1.0, 3)
    assert {request["model"]: request["temperature"] for request in judged.asked} == {
        "m-1": 0.0,
        "b-2026-01-01": 0.0,
        "a-2026-01-01": 0.0,
    }
    assert [request.get("seed") for request in judged.asked if request["model"] == "b-2026-01-01"] == [7]
    # the mock is free; 100 tokens sent at 1 USD a million and 10 answered at 2 are 120 millionths, twice
    assert result.cost_micros == 240


async def test_what_an_alias_adds_to_a_request_is_part_of_the_instrument(judged):
    settings = judged.plan(model="big").settings
    assert settings.parameters == {"openai/b-2026-01-01": {"seed": 7}}


async def test_judges_count_against_the_cap_and_stop_at_it(judged):
    plan = judged.plan(model="big")
    spend = SpendCap(10_000)
    async with AsyncExitStack() as stack:
        await (await judged.seat(plan, stack, spend)).measure(RUBRIC, OBSERVED, repeat=0)
        assert spend.spent_micros == 120
        with pytest.raises(SpendError):
            await (await judged.seat(plan, stack, SpendCap(10))).measure(RUBRIC, OBSERVED, repeat=0)
    assert len(judged.asked) == 1


async def test_grades_are_kept_from_run_to_run_with_the_secret_of_the_state_folder(judged, tmp_path):
    plan = judged.plan(model="big")
    for _ in range(2):
        with CallCache(tmp_path / "cache.db") as cache:
            async with AsyncExitStack() as stack:
                panel = await judged.seat(plan, stack, cache=cache)
                assert (await panel.measure(RUBRIC, OBSERVED, repeat=0)).found is Found.HELD
    assert len(judged.asked) == 1


async def test_a_key_that_is_not_there_is_named(judged):
    plan = judged.plan(model="small", panel=["big"])
    del judged.environment["JUDGE_KEY"]
    async with AsyncExitStack() as stack:
        with pytest.raises(UserError, match="JUDGE_KEY"):
            await judged.seat(plan, stack)


def test_a_model_that_is_in_the_panel_twice_under_two_names_is_refused(judged):
    with pytest.raises(UserError, match="openai/b-2026-01-01 is in the panel twice"):
        judged.plan(model="big", panel=["again"])


def test_a_member_that_no_model_is_called_is_named_with_the_nearest(judged):
    with pytest.raises(ProjectFileError, match=r"evals\.judge\.panel\[0\].*'bog'") as caught:
        judged.project(model="small", panel=["bog"])
    assert "big" in str(caught.value)


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"calibration": {"items": "evals/judge.yaml"}}, "there is no file evals/judge.yaml"),
        ({"rubric": "evals/rubric.md"}, "there is no file evals/rubric.md"),
        ({"choices": {"good": 1.0, "bad": 1.0}}, "evals.judge.choices: every grade of the scale has the same score"),
        ({"choices": {"good": 1.0, "bad": 2.0}}, "must be at most 1"),
        ({"threshold": 0.0}, "evals.judge.threshold: every grade of the scale reaches it"),
        ({"choices": {"good": 1.0, "bad": 0.7}}, "every grade of the scale reaches it"),
        ({"rule": "most"}, "expected one of majority, unanimous"),
    ],
)
def test_a_mistake_in_the_section_names_its_key(judged, judge, told):
    with pytest.raises(ProjectFileError) as caught:
        judged.plan(model="small", **judge)
    assert told in str(caught.value)


# -- calibration -------------------------------------------------------------------------------------------------------


ITEMS = json.dumps(
    [
        {"id": f"{label}{number}", "input": "hi", "reply": f"reply {label}", "rubric": "Polite.", "label": label}
        for label in ("good", "bad")
        for number in range(10)
    ]
)
CALIBRATION = {"items": "evals/judge.json", "record": "evals/judge-record.json"}


async def test_a_judge_is_tried_on_the_set_and_needs_a_record_where_one_is_asked_for(judged):
    judged.write("evals/judge.json", ITEMS)
    plan = judged.plan(model="small", calibration=CALIBRATION)
    async with AsyncExitStack() as stack:
        first = await try_judges(plan, await judged.seat(plan, stack))
        assert first is not None
        assert first.health.problem is not None
        assert "nothing is recorded in evals/judge-record.json" in first.health.problem
        judged.write("evals/judge-record.json", json.dumps(first.record.to_json()))
        plan = judged.plan(model="small", calibration=CALIBRATION)
        second = await try_judges(plan, await judged.seat(plan, stack))
        assert second is not None
        assert second.health.problem is None
        assert (second.health.items, second.health.sensitivity, second.calls) == (20, 1.0, 40)
        judged.verdict = "does_not_meet"
        third = await try_judges(plan, await judged.seat(plan, stack))
    assert third is not None
    assert "it drifted: 10 items" in (third.health.problem or "")


async def test_a_record_of_other_items_is_no_record_of_these(judged):
    judged.write("evals/judge.json", ITEMS)
    plan = judged.plan(model="small", calibration=CALIBRATION)
    async with AsyncExitStack() as stack:
        first = await try_judges(plan, await judged.seat(plan, stack))
        assert first is not None
        judged.write("evals/judge-record.json", json.dumps(first.record.to_json()))
        judged.write("evals/judge.json", ITEMS.replace("reply good", "another reply"))
        plan = judged.plan(model="small", calibration=CALIBRATION)
        second = await try_judges(plan, await judged.seat(plan, stack))
    assert second is not None
    assert "of another judge or set" in (second.health.problem or "")


@pytest.mark.parametrize(("verdict", "found"), [("meets", Verdict.PASS), ("partly_meets", Verdict.INCONCLUSIVE)])
async def test_a_judge_that_fails_its_calibration_holds_the_gate_and_its_trial_is_part_of_what_was_spent(
    judged, bench, agent, verdict, found
):
    judged.write("evals/judge.json", ITEMS)
    judged.write("evals/suites/shop.yaml", "- {id: a, input: Hi, rubric: The reply is friendly.}\n")
    judged.project(model="small", threshold=0.4, calibration={"items": "evals/judge.json"})
    judged.write("models.yaml", MODELS.replace("model: m-1}", "model: m-1, price: {input: 1.0, output: 2.0}}"))
    bench.commit()
    grade = agent.answer

    def answer(body: str) -> tuple[int, dict]:
        if not body.startswith('{"model"'):
            return 200, {"response": "reply good", "tools": []}
        # a judge that is content with everything it is shown, or tells good from bad
        judged.verdict = "meets"
        status, said = grade(body if verdict == "meets" else body.replace("reply bad", "reply"))
        return status, said

    agent.answer = answer
    outcome = await bench.run(PromptRegression())
    assert outcome.evidence[0].verdict is found
    assert outcome.details["passed"] == 1
    if found is Verdict.INCONCLUSIVE:
        assert "judge cannot be relied on: its specificity is 0.00" in outcome.summary
    # 40 grades of the set and one of the case, 120 millionths of a dollar each
    report = json.loads(outcome.artifacts["report.json"].read_text())
    assert report["candidate"]["judge"]["cost_micros"] == 40 * 120
    assert len(judged.asked) == 41


async def test_without_a_calibration_set_nobody_is_asked(judged):
    plan = judged.plan(model="small")
    async with AsyncExitStack() as stack:
        assert await try_judges(plan, await judged.seat(plan, stack)) is None
    assert judged.asked == []


def test_a_judge_that_is_switched_off_is_no_judge(judged):
    project = judged.project(model="small", enabled=False)
    assert plan_judges(project, project.overlay("production"), judged.read) is None
