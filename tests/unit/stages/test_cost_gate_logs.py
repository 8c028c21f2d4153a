"""The cost gate with call logs: projected spend, calls a task, and a report whatever comes out."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from fairway.pipeline.port import StageStatus
from fairway.units import Verdict

BASE = """\
version: 1
agent: {name: shop}
service: {command: "python server.py {port}", health: /health, ready: /health}
"""
MODELS = "version: 1\nmodels:\n  small: {provider: openai, model: m-2026-01-01, price: {input: 1, output: 2}}\n"
COSTS = "costs: {logs: [logs/*.jsonl]}\n"


def project(bench, more: str = COSTS, **files: str) -> None:
    bench.commit({"fairway.yaml": BASE + more, "models.yaml": MODELS, ".gitignore": "logs/\n", **files})


def log(bench, *, now, name="calls", release="1.0.0", tasks=140, calls=2, cost=0.01, **more) -> None:
    rows = []
    for task in range(tasks):
        at = now - timedelta(days=task % 7, seconds=1 + task)
        row = {"at": at.isoformat(), "release": release, "task": f"{release}-{task}", "request": "r", "calls": calls}
        rows.append({**row, "model": "small", "cost": cost, **more})
    bench.write({f"logs/{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})


def report_of(outcome):
    return json.loads(outcome.artifacts["cost.json"].read_text())


def errors(outcome) -> list[str]:
    return [finding.rule for finding in outcome.findings if finding.severity == "error"]


async def test_spending_within_budget_passes_and_the_projection_is_evidence(bench):
    project(bench)
    log(bench, now=bench.clock.now())
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.PASSED
    projection = report_of(outcome)["call_logs"]["projection"]
    assert (projection["usd_per_request"], projection["usd_per_day"]) == ("0.010000", "0.20")
    assert outcome.details["usd_per_day_projected"] == "0.20"


async def test_a_projected_month_over_10_000_dollars_fails_and_still_leaves_its_report(bench):
    project(bench, COSTS + "pipeline: {stages: {cost_gate: {requests_per_day: 40000}}}\n")
    log(bench, now=bench.clock.now())
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.FAILED
    assert errors(outcome) == ["cost/over-budget"]
    assert "12000.00 USD a month" in outcome.summary
    assert report_of(outcome)["call_logs"]["projection"]["verdict"] == "FAIL"


@pytest.mark.parametrize("more", [{"tasks": 20}, {"model": "unpriced", "cost": None}], ids=["thin", "no price"])
async def test_thin_logs_and_unknown_prices_are_no_data_and_hold_the_gate(bench, more):
    project(bench)
    log(bench, now=bench.clock.now(), **more)
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.FAILED
    assert outcome.evidence[0].verdict is Verdict.NO_DATA
    assert report_of(outcome)["call_logs"]["projection"]["usd_per_day"] == "unknown"


async def test_a_project_may_say_that_no_data_is_only_a_warning(bench):
    project(bench, COSTS.replace("]}", "], required: false}"))
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.PASSED
    assert [(one.severity, one.rule) for one in outcome.findings] == [("warning", "cost/unknown")]


async def test_a_new_tool_loop_of_the_examined_release_fails_it(bench):
    project(bench)
    log(bench, now=bench.clock.now(), calls=2)
    delivery = bench.delivery()
    log(bench, now=bench.clock.now(), name="staging", release=delivery.shown_version, calls=5, tasks=60)
    outcome = await bench.run("cost_gate", delivery=delivery)
    assert errors(outcome) == ["cost/calls"]
    assert report_of(outcome)["call_logs"]["comparison"]["calls_per_task"]["ratio"] == pytest.approx(2.5)


async def test_a_loop_that_is_live_already_is_a_warning_so_that_the_release_that_mends_it_can_go_out(bench):
    project(bench)
    log(bench, now=bench.clock.now() - timedelta(hours=1), calls=2)
    log(bench, now=bench.clock.now(), name="new", release="1.1.0", calls=5)
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.PASSED
    assert ("warning", "cost/calls") in [(one.severity, one.rule) for one in outcome.findings]


@pytest.mark.parametrize(("tasks", "verdict"), [(140, Verdict.PASS), (20, Verdict.NO_DATA)])
async def test_a_daily_budget_is_compared_with_the_volume_of_the_logs_where_none_is_declared(bench, tasks, verdict):
    prompt = "template: You help.\nvariables: {}\nmodel: small\n"
    more = 'budgets: {cost_per_day: 500}\nenvironments: {production: {prompts: {support: "1.0.0"}}}\n'
    project(bench, COSTS + more, **{"prompts/support/1.0.0.yaml": prompt})
    log(bench, now=bench.clock.now(), tasks=tasks)
    outcome = await bench.run("cost_gate")
    assert outcome.evidence[0].verdict is verdict, outcome.findings


async def test_what_cannot_be_counted_is_an_error_with_a_report(bench):
    project(bench, COSTS.replace("*.jsonl", "calls.jsonl"))
    outcome = await bench.run("cost_gate")
    assert outcome.status is StageStatus.ERROR
    report = report_of(outcome)
    assert (report["verdict"], report["error"]["code"]) == ("ERROR", "call_log_not_found")


async def test_the_prompts_of_the_last_release_are_counted_beside_the_candidates(bench):
    prompt = "template: You help.\nvariables: {}\nmodel: small\n"
    more = 'environments: {production: {prompts: {support: "1.0.0"}}}\n'
    project(bench, more, **{"prompts/support/1.0.0.yaml": prompt})
    bench.git("tag", "v1.0.0")
    longer = prompt.replace("You help", "You help " + "very " * 100)
    project(bench, more, **{"prompts/support/1.0.0.yaml": longer})
    before = report_of(await bench.run("cost_gate"))["baseline"]
    assert (before["outcome"], before["release"]) == ("known", "1.0.0")
    (one,) = [row for row in before["prompts"] if row["environment"] == "production"]
    assert one["request_tokens"][0] < 10 < 100 < one["request_tokens"][1]
    old, new = (float(cost) for cost in one["usd_per_request_at_most"])
    assert old < new


def test_a_stage_that_reads_logs_is_never_taken_from_the_cache(bench):
    project(bench, "")
    assert bench.key("cost_gate") is not None
    project(bench)
    assert bench.key("cost_gate") is None
