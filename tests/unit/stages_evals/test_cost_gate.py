from __future__ import annotations

import json
from decimal import Decimal

import pytest

from fairway.bundle.config import BudgetsSection
from fairway.bundle.files import scan
from fairway.bundle.lint import count_tokens
from fairway.costs.prices import Price
from fairway.evals.suites.load import DEFAULT_SUITES
from fairway.pipeline.port import StageStatus
from fairway.stages.cost_gate import CostGate, CostGateSection, cost_report, judge_costs, suites_in_instrument
from fairway.stages.prompt_cost import LargestInput, PromptLoad
from fairway.units import Verdict

NOBODY = LargestInput(text="", tokens=0, case=None)


def load(**changes) -> PromptLoad:
    fields = {
        "name": "support",
        "version": "1.0.0",
        "path": "prompts/support/1.0.0.yaml",
        "environments": ("production",),
        "alias": "small",
        "prompt_tokens": 900,
        "input_tokens": 100,
        "tool_tokens": 200,
        "output_tokens": 500,
        "window": 128_000,
        "price": Price(input=Decimal(2), output=Decimal(10)),
    }
    return PromptLoad(**(fields | changes))


def budgets(**changes) -> BudgetsSection:
    return BudgetsSection.model_validate(changes)


def judged(one: PromptLoad, limits: BudgetsSection | None = None, **settings) -> list[tuple[str, str]]:
    found = judge_costs([one], limits or budgets(), CostGateSection.model_validate(settings))
    return [(finding.severity, finding.rule) for finding in found]


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        (3000, []),
        (3001, [("warning", "cost/near-budget")]),
        (4000, [("warning", "cost/near-budget")]),
        (4001, [("error", "cost/over-budget")]),
    ],
)
def test_more_than_3000_tokens_warn_and_more_than_4000_fail(tokens, found):
    assert judged(load(prompt_tokens=tokens - 100)) == found


def test_a_prompt_may_have_a_budget_of_its_own():
    own = budgets(prompts={"support": {"warn": 500, "fail": 600}})
    assert judged(load(), own) == [("error", "cost/over-budget")]
    assert judged(load(name="other"), own) == []


def test_everything_sent_and_answered_must_fit_the_window():
    assert judged(load(window=1700)) == []
    assert judged(load(window=1699)) == [("error", "cost/over-window")]


def test_an_unknown_window_and_price_are_named_outcomes_and_no_numbers():
    unknown = load(window=None, price=None)
    assert judged(unknown) == [("note", "cost/window-unknown"), ("note", "cost/unknown")]
    report = cost_report([unknown], budgets(), CostGateSection(), NOBODY, Verdict.PASS)
    assert report["prompts"][0]["usd_per_request_at_most"] == "unknown"
    assert report["prompts"][0]["window"] == "unknown"


def test_a_declared_cost_budget_that_cannot_be_compared_is_no_pass():
    assert judged(load(price=None), budgets(cost_per_request=1.0)) == [("error", "cost/unknown")]
    assert judged(load(), budgets(cost_per_day=1.0)) == [("error", "cost/unknown")]


def test_costs_are_exact_and_compared_with_their_budgets():
    one = load()
    # (900 + 100 + 200) x 2 + 500 x 10 = 7400 millionths of a dollar
    assert one.cost_at_most(1) == Decimal("0.007400")
    assert one.cost_at_most(3) == Decimal("0.022200")
    assert load(price=Price(input=Decimal("0.0000001"), output=Decimal(0))).cost_at_most(1) > 0
    assert judged(one, budgets(cost_per_request=0.0074)) == []
    assert judged(one, budgets(cost_per_request=0.0073)) == [("error", "cost/over-budget")]
    assert judged(one, budgets(cost_per_request=0.02), calls_per_request=3) == [("error", "cost/over-budget")]
    assert judged(one, budgets(cost_per_day=7.4), requests_per_day=1000) == []
    assert judged(one, budgets(cost_per_day=7.3), requests_per_day=1000) == [("error", "cost/over-budget")]


@pytest.mark.parametrize(
    ("one", "settings", "outcome"),
    [
        (load(), {}, "unknown"),
        (load(price=None), {"requests_per_day": 10}, "unknown"),
        (load(), {"requests_per_day": 10}, "known"),
    ],
)
def test_a_projection_is_shown_only_with_declared_prices_and_volume(one, settings, outcome):
    report = cost_report([one], budgets(), CostGateSection.model_validate(settings), NOBODY, Verdict.PASS)
    assert report["projection"]["outcome"] == outcome
    assert ("usd_per_day_at_most" in report["projection"]) == (outcome == "known")


PROMPT = """\
template: |
  You help customers of {{ shop }}.
  <question>{{ question }}</question>
variables:
  shop: {type: string, default: the shop}
  question: {type: string, untrusted: true}
model: small
"""
PINNED = """\
environments:
  staging: {prompts: {support: "1.0.0"}}
  production: {prompts: {support: "1.0.0"}}
"""
MODELS = """\
version: 1
models:
  small: {provider: openai, model: m-2026-01-01, context_window: 8000, price: {input: 1, output: 2}}
"""


def project(bench, prompt: str = PROMPT, more: str = "") -> None:
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + PINNED + more)
    bench.write_at("models.yaml", MODELS)
    bench.write_at("prompts/support/1.0.0.yaml", prompt)
    bench.commit()


async def test_a_prompt_is_counted_with_its_defaults_and_the_largest_input_of_the_suites(bench):
    words = "word " * 200
    suite = f"- {{id: small, input: hi, max_tokens: 9}}\n- {{id: large, input: '{words}', max_tokens: 9}}\n"
    bench.write_at("evals/suites/s.yaml", suite)
    project(bench)
    outcome = await bench.run(CostGate())
    report = json.loads(outcome.artifacts["cost.json"].read_text())
    tokens = report["prompts"][0]["tokens"]
    rendered = f"You help customers of the shop.\n<question>{words}</question>"
    assert outcome.status is StageStatus.PASSED
    assert report["largest_input"]["case"] == "s/large"
    assert tokens["request"] == count_tokens(rendered)
    assert tokens["input"] == 0  # the prompt holds it
    # the environment `test` serves locked versions, and nothing is locked yet
    assert [finding.rule for finding in outcome.findings] == ["cost/unresolved"]


async def test_a_prompt_without_a_place_for_the_input_is_counted_with_the_input_beside_it(bench):
    bench.write_at("evals/suites/s.yaml", "- {id: a, input: one two three four, max_tokens: 9}\n")
    project(bench, "template: You help.\nvariables: {}\nmodel: small\n")
    outcome = await bench.run(CostGate())
    tokens = json.loads(outcome.artifacts["cost.json"].read_text())["prompts"][0]["tokens"]
    assert tokens["request"] == count_tokens("You help.") + count_tokens("one two three four")


async def test_a_prompt_over_budget_fails_the_stage_and_still_leaves_its_report(bench):
    project(bench, PROMPT.replace("You help", "word " * 4000 + "You help"))
    outcome = await bench.run(CostGate())
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.FAIL
    assert "over the budget of 4000" in outcome.summary
    assert json.loads(outcome.artifacts["cost.json"].read_text())["verdict"] == "FAIL"


async def test_a_budget_that_cannot_be_compared_is_no_data_and_fails_the_stage(bench):
    project(bench, more="budgets: {cost_per_day: 5}\n")
    outcome = await bench.run(CostGate())
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.NO_DATA
    (error,) = [finding for finding in outcome.findings if finding.severity == "error"]
    assert "requests_per_day" in (error.hint or "")


async def test_a_service_without_prompts_has_nothing_to_count(bench):
    bench.commit()
    outcome = await bench.run(CostGate())
    assert (outcome.status, outcome.summary) == (StageStatus.PASSED, "the bundle has no prompts")


async def test_when_no_environment_can_be_resolved_nothing_is_known_and_nothing_passes(bench):
    unknown = "9.9.9"
    environments = {name: {"prompts": {"support": unknown}} for name in ("dev", "test", "staging", "production")}
    bench.write_at(
        "fairway.yaml", (bench.root / "fairway.yaml").read_text() + f"environments: {json.dumps(environments)}\n"
    )
    bench.write_at("models.yaml", MODELS)
    bench.write_at("prompts/support/1.0.0.yaml", PROMPT)
    bench.commit()
    outcome = await bench.run(CostGate())
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("patterns", "inside"),
    [
        (DEFAULT_SUITES, True),
        (("evals/**/*.yaml", "tests/cases.json"), True),
        (("evals/suites/*.yaml", "cases/*.yaml"), False),
        (("*.yaml",), False),
        (("**/suite.yaml",), False),
    ],
)
def test_suites_outside_the_instrument_are_part_of_the_code(patterns, inside):
    assert suites_in_instrument(patterns) is inside


@pytest.mark.parametrize(("suites", "said"), [("evals/suites/*.yaml", True), ("cases/*.yaml", False)])
async def test_the_finding_says_with_which_instrument_it_was_made_when_that_holds_every_suite(bench, suites, said):
    bench.write_at(suites.replace("*", "s"), "- {id: a, input: one two three four, max_tokens: 9}\n")
    project(bench, more=f"evals: {{suites: ['{suites}']}}\n")
    (finding,) = (await bench.run(CostGate())).evidence
    assert finding.instrument == (scan(bench.root).instrument if said else None)
