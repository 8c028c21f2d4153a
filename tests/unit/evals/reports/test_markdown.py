from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fairway.evals.gating.decide import decide
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.reports.content import ReportContent
from fairway.evals.reports.explain import explain_case, prompt_changes
from fairway.evals.reports.markdown import GITHUB_LIMIT, fence, prose, render_markdown
from fairway.evals.trials import side_of
from fairway.testing.modelled_evaluation import evaluation_saying, modelled_evaluation

GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def report(cases: int, *, repeats: int = 1, worse: float = 0.2, **changes) -> ReportContent:
    made = modelled_evaluation(cases, repeats=repeats, worse=worse)
    decision = decide(side_of([made.candidate]), side_of([made.baseline]), EvalPolicy(max_invalid=0.1))
    fields = {"title": "support 1.3.0", "candidate": made.candidate, "baseline": made.baseline, "decision": decision}
    return ReportContent(**(fields | changes))


class Tags(HTMLParser):
    """The elements of a page, in order, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data):
        self.text += data


def page(markdown: str) -> Tags:
    found = Tags()
    found.feed(GFM.render(markdown))
    return found


def test_it_begins_with_the_verdict_and_why_and_tells_cost_and_tokens_with_their_intervals():
    content = report(60)
    text = page(render_markdown(content)).text
    assert "REGRESSION · support 1.3.0" in text[:60]
    assert " ".join(content.decision.reasons[0].split()) in text
    assert re.search(r"Cost\s+.\d\.\d\d\s+.\d\.\d\d to .\d\.\d\d", text)
    assert re.search(r"Tokens\s+.\d\.\d\d\s+.\d\.\d\d to .\d\.\d\d", text)


def test_what_would_decide_is_said_when_nothing_is_decided():
    content = report(70, worse=0.01)
    assert content.decision.would_decide is not None
    text = page(render_markdown(content)).text
    assert f"if nothing changed, {content.decision.would_decide.cases} cases" in text


def test_a_case_that_is_worse_by_itself_has_its_p():
    content = report(8, repeats=8, worse=0.85)
    flagged = [case for case in content.decision.cases if case.flag == "worse"]
    assert flagged
    assert "worse (p = " in page(render_markdown(content)).text


def test_without_a_baseline_nothing_is_compared():
    made = report(20).candidate
    text = render_markdown(ReportContent(title="t", candidate=made))
    assert "Against the baseline" not in text
    assert "NO VERDICT" in text


def test_the_line_of_the_prompt_that_went_is_shown():
    content = report(30)
    failed = next(one for one in content.candidate.results if one.outcome.value == "failed")
    previous, current = {"support": f"Hello.\n{failed.rule}\n"}, {"support": "Hello.\n"}
    explanation = explain_case(failed, prompt_changes(previous, current), previous=previous, current=current)
    text = page(render_markdown(report(30, explanations=(explanation,)))).text
    assert f"the prompts lost the rule it protects: {failed.rule}" in text
    assert f"- {failed.rule}   # support" in text


@pytest.mark.parametrize(("cases", "limit"), [(1000, GITHUB_LIMIT), (400, 20_000), (400, 4_000), (5, 4_000)])
def test_it_fits_and_says_what_did_not(cases, limit):
    text = render_markdown(report(cases, see_more="fairway eval show latest"), limit=limit)
    assert len(text.encode()) <= limit
    assert re.search(r"\d+ entries did not fit here", text) or cases == 5
    assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize("limit", range(2_500, 9_000, 500))
def test_figures_that_did_not_fit_are_counted(limit):
    left_out = re.compile(r"(\d+) entries did not fit here")
    whole, cut = render_markdown(report(1)), render_markdown(report(1), limit=limit)
    assert not left_out.search(whole)
    assert ("<summary>All figures</summary>" in cut) != (left_out.search(cut) is not None)


HOSTILE = (
    "</details><script>alert(1)</script>",
    "| a | b |\n|-|-|\n",
    "```\n```` ~~~\n# heading",
    "in\n```\n# out\n````\n</details>",
    "@ada see #7 and https://evil.example ![x](https://evil.example/x.png)",
    "<!-- <code> [link](javascript:alert(1)) **bold** _it_ ~~s~~",
    "1. one\n- two\n+ three\n---\n===",
    "a\r\n    indented\tcode",
    "<https://evil.example> &lt;b&gt; &#60;i>",
    "\u202egnp.exe\u2028next",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_others_is_markup(text):
    check_inert(text)


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("`*_[]()<>!|\\&#@~-+=:/ \n\t.$0a"), st.characters()), max_size=40))
@example("-")
@example("1.")
def test_no_text_at_all_is_markup(text):
    check_inert(text)


def check_inert(text: str) -> None:
    """The page has the same elements, whatever is in place of a word."""

    # not empty, so that both have the same optional parts
    assert elements(f"w{text}w") == elements("word")


@cache
def elements(said: str) -> list:
    made = evaluation_saying(said)
    content = ReportContent(title="t", candidate=made.candidate, baseline=made.baseline, see_more=said)
    return page(render_markdown(content)).tags


@given(st.text())
def test_prose_is_one_line_without_mentions(text):
    made = prose(text)
    assert "\n" not in made
    assert not re.search(r"[@<>|`]", made)


@given(st.text(max_size=80))
@example("in\n```\n# out")
@example("in\n``````\n# out")
def test_a_fence_is_closed_by_its_own_end_alone(text):
    rendered = GFM.parse("\n".join(fence(text)))
    assert [token.type for token in rendered] == ["fence"]


def test_a_name_is_not_told_and_a_number_is_no_reference():
    shown = page(prose("thanks @ada, see #12 and !3")).text
    assert "@\u2060ada" in shown
    assert "#\u206012" in shown
    assert "!\u20603" in shown
