"""What promptfoo 0.123.1 really said of 1,896 assertions, and where Fairway says otherwise on purpose."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from fairway.evals.assertions.check import check
from fairway.evals.assertions.grading import read_verdict
from fairway.evals.assertions.section import read_assertion
from fairway.evals.assertions.tool_match import parse_tool_call
from fairway.evals.trials import Observed
from fairway.evals.values import Case, Reply

ROOT = Path(__file__).parents[4]
TABLE = json.loads((ROOT / "tests/vectors/promptfoo/assertions.json").read_text())
ROWS = TABLE["rows"]
CASE = Case(id="c", name="c", turns=("hello",))


def finding(row) -> tuple[str, float | None]:
    written = row["assertion"]
    if written["type"] == "python":
        # what the script returns is read the same way without starting 52 processes
        said = read_verdict(ast.literal_eval(written["value"]), written.get("threshold"))
        return said.found.value, said.score
    result = check(read_assertion(written), observed(row))
    return result.found.value, result.score


def observed(row) -> Observed:
    output, response, tools = row["output"], row.get("response", {}), None
    if not isinstance(output, str):
        raw = output["tool_calls"] if isinstance(output, dict) else output
        output, tools = "", tuple(parse_tool_call(one) for one in raw)
    reply = Reply(
        text=output,
        tools=tools,
        cost_micros=round(response["cost"] * 1e6) if "cost" in response else None,
        finish_reason=response.get("finishReason"),
    )
    seconds = response["latencyMs"] / 1000 if "latencyMs" in response else None
    return Observed(case=CASE, replies=(reply,), duration_seconds=seconds)


def promptfoos(row) -> str:
    said = row["promptfoo"]
    return "error" if "error" in said else "held" if said["pass"] else "violated"


@pytest.mark.parametrize("kind", sorted({row["assertion"]["type"].removeprefix("not-") for row in ROWS}))
def test_every_verdict_is_promptfoos_unless_the_difference_is_declared(kind):
    for row in ROWS:
        if row["assertion"]["type"].removeprefix("not-") == kind:
            found, _ = finding(row)
            assert found == row.get("fairway", promptfoos(row)), row


def test_a_declared_difference_is_one_and_its_reason_is_documented():
    page = (ROOT / "docs/evals/assertions.md").read_text()
    differing = [row for row in ROWS if "differs" in row]
    assert Counter("differs" in row for row in ROWS) == {False: 1806, True: 90}
    for row in differing:
        assert row["fairway"] != promptfoos(row)
        assert f"`{row['differs']}`" in page


def test_where_promptfoo_passes_and_fairway_cannot_tell_it_is_no_pass():
    undecided = [row for row in ROWS if row.get("fairway") in ("unknown", "error")]
    assert len(undecided) == 28
    assert sum(promptfoos(row) == "held" for row in undecided) == 8


@pytest.mark.parametrize("kind", ["rouge-n", "bleu"])
def test_likeness_scores_are_promptfoos_to_nine_digits(kind):
    rows = [row for row in ROWS if row["assertion"]["type"].removeprefix("not-") == kind]
    assert len(rows) > 60
    for row in rows:
        assert finding(row)[1] == pytest.approx(row["promptfoo"]["score"], abs=2e-9), row
