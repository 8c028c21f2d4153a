from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.gating.decide import decide
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.reports.content import ReportContent
from fairway.evals.reports.terminal import render_terminal
from fairway.evals.trials import side_of
from fairway.testing.modelled_evaluation import evaluation_saying, modelled_evaluation


def report(cases: int = 60, worse: float = 0.3, **changes) -> ReportContent:
    made = modelled_evaluation(cases, worse=worse)
    decision = decide(side_of([made.candidate]), side_of([made.baseline]), EvalPolicy())
    fields = {"title": "support 1.3.0", "candidate": made.candidate, "baseline": made.baseline, "decision": decision}
    return ReportContent(**(fields | changes))


def test_the_verdict_and_why_come_first_then_what_failed_then_how_to_see_more():
    content = report(see_more="fairway eval show latest")
    lines = render_terminal(content).splitlines()
    assert lines[0] == "REGRESSION: support 1.3.0"
    assert lines[1].startswith(f"  - {content.decision.reasons[0][:40]}")
    case = next(at for at, line in enumerate(lines) if line.startswith("  ✗ "))
    assert "critical" in lines[case]
    assert "the judge says partly_meets" in lines[case + 1]
    assert lines[-1] == "More: fairway eval show latest"


def test_without_a_decision_nothing_sounds_like_one():
    text = render_terminal(report(decision=None))
    assert text.startswith("NO VERDICT: ")
    assert "PASS" not in text


def test_what_is_not_told_is_counted():
    content = report()
    wrong = render_terminal(content, cases=1000).count("\n  ✗ ") + render_terminal(content, cases=1000).count("\n  ? ")
    assert f"… and {wrong - 3} more that did not pass" in render_terminal(content, cases=3)


def test_no_escape_sequence_without_color_and_only_ours_with_it():
    content = report()
    assert "\x1b" not in render_terminal(content, color=False)
    colored = render_terminal(content, color=True)
    assert "\x1b[31m" in colored
    assert (
        render_terminal(content, color=False).split()[2:20]
        == re.sub(r"\x1b\[\d+m", "", colored).replace("REGRESSION ", "REGRESSION: ").split()[2:20]
    )


@pytest.mark.parametrize("width", [10, 40, 80, 200])
def test_prose_stays_within_the_width(width):
    lines = render_terminal(report(), width=width).splitlines()
    figures = lines.index(next(line for line in lines if line.startswith("  Cases passed")))
    assert max(map(len, lines[1:figures])) <= max(width, 40)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=30), st.booleans())
def test_what_others_write_never_steers_the_terminal(text, color):
    made = evaluation_saying(text + "\x1b[2J\x07\u202e\r")
    shown = render_terminal(ReportContent(title=text, candidate=made.candidate, baseline=made.baseline), color=color)
    bare = re.sub(r"\x1b\[(1|2|31|32|33|0)m", "", shown) if color else shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", bare)
