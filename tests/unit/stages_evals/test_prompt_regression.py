from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest

from fairway.errors import ProjectFileError, UserError
from fairway.ledger import open_ledger
from fairway.pipeline.port import StageStatus
from fairway.stages import eval_baseline
from fairway.stages.prompt_regression import PromptRegression
from fairway.units import Verdict

SUITE = """\
cases:
  - id: greeting
    input: Hi
    expected_keywords: [hello]
  - id: refund
    input: Refund A-1
    expected_tools: [{name: lookup, arguments: {order: A-1}}]
    expected_keywords: [confirm]
    critical: true
    rule: Always ask for confirmation before a refund.
"""


def said(text: str, *tools: dict, tokens=(100, 20)):
    return 200, {"response": text, "tools": list(tools), "_tokens": tokens}


def good(message: str):
    if message.startswith("Refund"):
        return said("Do you confirm?", {"name": "lookup", "arguments": {"order": "A-1"}})
    return said("Hello!")


def bad(message: str):
    return said("Done, refunded.") if message.startswith("Refund") else said("Hello!")


def read(outcome, name: str):
    return json.loads(outcome.artifacts[name].read_text())


async def test_a_good_agent_passes_with_evidence_bound_to_instrument_and_effective_configuration(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit()
    agent.answer = good
    outcome = await bench.run(PromptRegression())
    (evidence,) = outcome.evidence
    assert (outcome.status, outcome.summary) == (StageStatus.PASSED, "2 of 2 cases passed")
    assert (evidence.kind, evidence.verdict, evidence.environment) == ("prompt_regression", Verdict.PASS, "dev")
    assert evidence.effective == "sha256:" + "e" * 64
    assert evidence.instrument == outcome.details["instrument"]
    assert agent.environments == ["dev"]
    results = read(outcome, "results.json")
    assert (results["total"], results["passed"], results["pass_rate"]) == (2, 2, 1.0)
    assert results["details"][1]["tools_called"] == ["lookup"]
    assert results["details"][0]["token_count"] == 120
    assert "PASS" in outcome.artifacts["report.md"].read_text().splitlines()[2]
    assert read(outcome, "report.json")["verdict"] == "PASS"
    assert outcome.artifacts["junit.xml"].read_text().count("<testcase") == 3
    assert outcome.artifacts["report.html"].read_text().startswith("<!doctype html>")
    assert bench.progress[-1] == "2 of 2 cases"


async def test_a_lost_rule_fails_and_the_report_names_case_violation_and_the_lines_that_changed(bench, agent):
    prompt = "template: |\n  You help.\n  Always ask for confirmation before a refund.\nvariables: {}\n"
    bench.write_at("prompts/support/1.0.0.yaml", prompt)
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit(tag="v1.0.0")
    bench.write_at("prompts/support/1.1.0.yaml", "template: |\n  You help.\n  Refund at once.\nvariables: {}\n")
    bench.commit(tag="v1.1.0")
    agent.answer = bad
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.FAIL
    assert outcome.summary.startswith("critical case refund failed: expected keyword 'confirm' is not in the reply")
    (finding,) = outcome.findings
    assert (finding.severity, finding.file, finding.line) == ("error", "evals/suites/shop.yaml", 5)
    assert finding.rule == "eval/keyword/missing"
    assert "expected tool call lookup" in finding.message
    assert finding.hint == "the prompts lost the rule it protects: Always ask for confirmation before a refund."
    report = outcome.artifacts["report.md"].read_text()
    assert "- Always ask for confirmation before a refund.   # support" in report
    assert "+ Refund at once.   # support" in report


async def test_a_second_attempt_on_the_same_content_decides_over_both(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.write_at(".gitignore", ".fairway/\n")
    bench.commit()
    agent.answer = bad
    assert (await bench.run(PromptRegression())).status is StageStatus.FAILED
    agent.answer = good
    again = await bench.run(PromptRegression())
    assert again.status is StageStatus.FAILED, "one good attempt does not undo a bad one on the same content"
    assert again.details["attempt"] == 2
    assert again.summary.endswith(", attempt 2")
    assert again.evidence[0].figures["attempt"] == 2
    bench.write_at("app.py", "print('mended')\n")
    bench.commit()
    mended = await bench.run(PromptRegression())
    assert (mended.status, mended.details["attempt"]) == (StageStatus.PASSED, 1)


async def test_an_outage_does_not_count_against_the_attempt_after_it(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.write_at(".gitignore", ".fairway/\n")
    bench.commit()
    agent.answer = lambda _: (500, {})
    assert (await bench.run(PromptRegression())).status is StageStatus.ERROR
    agent.answer = good
    again = await bench.run(PromptRegression())
    assert (again.status, again.details["attempt"]) == (StageStatus.PASSED, 2)


STABLE = "evals: {compare: {baseline: stable, margin: 5pt}}\n"
MANY = "".join(f"- {{id: c{n}, input: 'Hi {n}', expected_keywords: [hello]}}\n" for n in range(80))


@pytest.fixture
def stable(bench, agent, monkeypatch, tmp_path):
    """A release that is stable, started beside the candidate; it answers at another path of the same server."""
    served = []

    @asynccontextmanager
    async def started(content, environment, place):
        served.append((content.version, environment, place.scenario.name))
        chat = SimpleNamespace(chat="/stable")
        yield SimpleNamespace(
            url=agent.url, environment=environment, service=chat, release="sha256:" + "1" * 64,
            effective="sha256:" + "2" * 64, mock_llm_url=None,
        )  # fmt: skip

    def content(project, ledger, store, *, but, folder):
        assert but.startswith("sha256:")
        return SimpleNamespace(version="0.9.0", project=project)

    monkeypatch.setattr(eval_baseline, "started", started)
    monkeypatch.setattr(eval_baseline, "stable_content", content)
    bench.write_at("evals/suites/shop.yaml", MANY)
    bench.write_at(".gitignore", ".fairway/\n")
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + STABLE)
    bench.commit()

    async def run():
        context = bench.context("prompt_regression")
        context.delivery.open_ledger = context.delivery.open_store = lambda: None
        return await PromptRegression().run(context)

    agent.stable = lambda _: said("Hello!")
    return SimpleNamespace(run=run, served=served)


async def test_a_release_is_asked_in_turn_with_the_one_that_is_stable(stable, agent):
    agent.answer = lambda _: said("Hello!")
    outcome = await stable.run()
    assert (outcome.status, outcome.details["label"]) == (StageStatus.PASSED, "PASS")
    assert outcome.evidence[0].figures["compared_with"] == "0.9.0"
    assert stable.served == [("0.9.0", "dev", "mock-llm.yaml")]


async def test_a_release_worse_than_stable_is_a_regression_also_below_the_simple_limit(stable, agent):
    agent.answer = lambda message: said("Hello!" if int(message.split()[1]) % 12 else "no")  # 7 of 80 fail: 8.75 %
    outcome = await stable.run()
    assert (outcome.status, outcome.details["label"]) == (StageStatus.FAILED, "REGRESSION")
    assert outcome.evidence[0].verdict is Verdict.FAIL
    assert outcome.evidence[0].figures["difference"] == pytest.approx(-7 / 80)


async def test_what_fails_on_stable_alike_is_no_regression_of_the_release(stable, agent):
    agent.stable = agent.answer = lambda message: said("no" if message == "Hi 3" else "Hello!")
    outcome = await stable.run()
    assert outcome.evidence[0].verdict is Verdict.PASS


async def test_a_spend_cap_that_cannot_be_kept_is_an_error_and_never_a_pass(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + "evals: {spend: 1.0}\n")
    bench.commit()
    agent.answer = good
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.ERROR
    assert "price" in outcome.summary


async def test_a_comparison_with_a_blessed_run_that_nobody_blessed_is_refused(bench, agent, tmp_path):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.write_at(
        "fairway.yaml", (bench.root / "fairway.yaml").read_text() + "evals: {compare: {baseline: blessed}}\n"
    )
    bench.commit()
    agent.answer = good
    context = bench.context("prompt_regression")
    context.delivery.open_ledger = lambda: open_ledger(tmp_path / "ledger.db")
    with pytest.raises(UserError, match="nobody blessed") as refused:
        await PromptRegression().run(context)
    assert refused.value.code == "eval_no_baseline"


async def test_without_a_release_before_it_a_failure_is_told_without_prompt_lines(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit()
    agent.answer = bad
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.FAILED
    assert outcome.findings[0].hint is None


async def test_the_seed_file_is_found_and_run(bench, agent):
    seed = [{"id": "TC1", "user_input": "Hi", "expected_response_keywords": ["hello"], "max_tokens_limit": 200}]
    bench.write_at("tests/prompt_test_cases.json", json.dumps(seed))
    bench.commit()
    outcome = await bench.run(PromptRegression())
    assert outcome.summary == "1 of 1 cases passed"


async def test_no_case_is_no_data_and_fails_with_how_to_add_one(bench, agent):
    bench.commit()
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.NO_DATA
    assert "evals/suites/" in (outcome.findings[0].hint or "")
    assert agent.environments == []


async def test_a_project_that_requires_no_case_is_skipped_without_a_pass(bench, agent):
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + "evals: {required: false}\n")
    bench.commit()
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.SKIPPED
    assert outcome.evidence[0].verdict is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        pytest.param(lambda _: (500, {}), Verdict.ERROR, id="agent-broken"),
        pytest.param(lambda _: (200, {"reply": "x"}), Verdict.ERROR, id="another-shape"),
        pytest.param(lambda _: (200, {"response": "Hello, confirm"}), Verdict.ERROR, id="tools-not-reported"),
        pytest.param(lambda _: said(""), Verdict.FAIL, id="empty-replies"),
    ],
)
async def test_what_could_not_be_measured_is_an_error_and_never_a_pass(bench, agent, answer, verdict):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit()
    agent.answer = answer
    outcome = await bench.run(PromptRegression())
    assert outcome.evidence[0].verdict is verdict
    assert outcome.status is (StageStatus.FAILED if verdict is Verdict.FAIL else StageStatus.ERROR)
    assert outcome.findings


async def test_unreported_tokens_hold_the_gate_of_a_case_with_a_limit(bench, agent):
    bench.write_at("evals/suites/shop.yaml", "- {id: a, input: Hi, max_tokens: 500}\n")
    bench.commit()
    agent.answer = lambda _: said("Hello", tokens=None)
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.ERROR
    assert "does not report its tokens" in outcome.summary
    assert outcome.details["tokens"] is None


async def test_a_wrong_suite_is_the_persons_to_mend_and_names_its_place(bench, agent):
    bench.write_at("evals/suites/shop.yaml", "cases:\n  - id: a\n    input: x\n    expected_keyword: [b]\n")
    bench.commit()
    with pytest.raises(ProjectFileError) as caught:
        await bench.run(PromptRegression())
    assert (caught.value.file, caught.value.line) == ("evals/suites/shop.yaml", 4)


MODELS = """\
version: 1
models:
  small: {provider: mock, model: m-1}
  paid: {provider: openai, model: m-2026-01-01, api_key: "env:JUDGE_KEY_THAT_IS_NOT_SET"}
"""
JUDGED = "- {id: a, input: Hi, expected_keywords: [hello], rubric: The reply is friendly.}\n"


PRODUCTION = 'evals: {"environment": "production", '


def with_judge(bench, model: str, **more) -> None:
    text = (bench.root / "fairway.yaml").read_text()
    bench.write_at("fairway.yaml", text + f"evals: {json.dumps({'judge': {'model': model, **more}})}\n")
    bench.write_at("models.yaml", MODELS)
    bench.write_at("evals/mock-llm.yaml", "version: 1\nname: x\nrules: []\n")
    bench.write_at("evals/suites/shop.yaml", JUDGED)
    bench.commit()


def judging(verdict: str | None):
    """The same server plays agent and model: a request with messages is one to the judge."""

    def answer(message: str):
        if not message.startswith('{"model"'):
            return said("Hello!")
        request = json.loads(message)
        answer_id = request["messages"][-1]["content"].rpartition("its id is ")[2]
        text = json.dumps({"id": answer_id, "reason": "So it is.", "verdict": verdict}) if verdict else "It is fine."
        return 200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}

    return answer


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("meets", Verdict.PASS), ("mostly_meets", Verdict.PASS), ("partly_meets", Verdict.FAIL), (None, Verdict.ERROR)],
)
async def test_the_judge_decides_by_its_grade_and_one_that_gives_none_holds_the_gate(bench, agent, verdict, expected):
    with_judge(bench, "small")
    agent.answer = judging(verdict)
    outcome = await bench.run(PromptRegression())
    assert outcome.evidence[0].verdict is expected
    if verdict is None:
        assert outcome.details["invalid"] == 1


async def test_a_rubric_without_a_judge_is_unknown_and_holds_the_gate(bench, agent):
    bench.write_at("evals/suites/shop.yaml", JUDGED)
    bench.commit()
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.ERROR
    assert "no judge is configured" in outcome.summary


async def test_a_judge_without_its_key_says_which_variable_it_needs(bench, agent):
    with_judge(bench, "paid")
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text().replace("evals: {", PRODUCTION))
    bench.commit()
    with pytest.raises(UserError, match="JUDGE_KEY_THAT_IS_NOT_SET"):
        await bench.run(PromptRegression())


async def test_a_judge_that_no_model_is_called_names_the_nearest(bench, agent):
    with pytest.raises(UserError, match="smal") as caught:  # noqa: PT012 - loading may refuse it already
        with_judge(bench, "smal")
        await bench.run(PromptRegression())
    assert "small" in str(caught.value)


async def test_the_instrument_changes_with_the_suite_and_not_with_the_code(bench, agent):
    agent.answer = good
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit()
    first = (await bench.run(PromptRegression())).details["instrument"]
    bench.write_at("app.py", "print('other')\n")
    bench.commit()
    assert (await bench.run(PromptRegression())).details["instrument"] == first
    bench.write_at("evals/suites/shop.yaml", SUITE.replace("[hello]", "[Hello, '!']"))
    bench.commit()
    assert (await bench.run(PromptRegression())).details["instrument"] != first


async def test_a_cancelled_run_leaves_what_was_done_on_disk(bench, agent):
    import time

    cases = "".join(f"- {{id: c{index}, input: m{index}, expected_keywords: [hello]}}\n" for index in range(6))
    bench.write_at("evals/suites/shop.yaml", cases)
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + "evals: {concurrency: 1}\n")
    bench.commit()

    def slow(message: str):
        if message == "m2":
            time.sleep(1.0)
        return said("Hello")

    agent.answer = slow
    task = asyncio.create_task(bench.run(PromptRegression()))
    while "2 of 6 cases" not in bench.progress:
        await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()
    results = json.loads((bench.runs / "1" / "results.json").read_text())
    found = [detail["case_id"] for detail in results["details"]]
    assert found in (["c0", "c1"], ["c0", "c1", "c2"]), "what was on its way is paid for, so it is waited for"


async def test_the_agent_may_have_any_shape_that_pointers_reach(bench, agent):
    mapping = {"request": {"message": "/input/text"}, "response": {"text": "/output/0", "tools": None}}
    bench.write_at("fairway.yaml", (bench.root / "fairway.yaml").read_text() + f"evals: {json.dumps(mapping)}\n")
    bench.write_at("evals/suites/shop.yaml", "- {id: a, input: Hi, expected_keywords: [hello]}\n")
    bench.commit()
    agent.answer = lambda body: (200, {"output": ["Hello"] if json.loads(body)["input"]["text"] == "Hi" else []})
    assert (await bench.run(PromptRegression())).status is StageStatus.PASSED


async def test_cases_written_for_another_prompt_version_are_noted_and_still_run(bench, agent):
    bench.write_at("prompts/support/1.1.0.yaml", "template: You help.\nvariables: {}\n")
    seed = [
        {"id": name, "system_prompt_version": version, "user_input": "Hi", "expected_response_keywords": ["hello"]}
        for name, version in (("old", "v1.0.0"), ("same", "v1.1.0"))
    ]
    bench.write_at("tests/prompt_test_cases.json", json.dumps(seed))
    bench.commit()
    outcome = await bench.run(PromptRegression())
    assert outcome.status is StageStatus.PASSED
    assert [(finding.severity, finding.rule) for finding in outcome.findings] == [("note", "eval/prompt-version")]
    assert outcome.findings[0].message == "cases written for prompt version v1.0.0, while 1.1.0 is served: 1"


async def test_an_agent_that_answers_elsewhere_is_told_where_to_say_so(bench, agent):
    bench.write_at("evals/suites/shop.yaml", SUITE)
    bench.commit()
    agent.answer = lambda _: (200, {"reply": "Hello!"})
    outcome = await bench.run(PromptRegression())
    told = "no text at /response (its keys are: reply); set evals.response.text to the JSON pointer of the reply's text"
    assert told in outcome.summary
    assert all(told in finding.message for finding in outcome.findings if finding.rule == "eval/error")
    assert any(finding.rule == "eval/error" for finding in outcome.findings)
