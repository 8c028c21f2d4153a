from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.evals.reports.content import ReportContent, pair_cases
from fairway.evals.reports.html import render_html
from fairway.evals.reports.html_data import as_script
from fairway.evals.values import CaseOutcome
from fairway.testing.modelled_evaluation import Modelled, evaluation_saying, modelled_evaluation


def html(modelled: Modelled, **changes) -> str:
    fields = {"title": "t", "candidate": modelled.candidate, "baseline": modelled.baseline}
    return "".join(render_html(ReportContent(**(fields | changes))))


class Parts(HTMLParser):
    """The elements of a page in order, and what its scripts and styles hold."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.held: dict[str, str] = {}
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self._in = found.get("id") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in:
            self.held[self._in] = self.held.get(self._in, "") + data


PLAIN = [tag for tag, _ in Parts(html(evaluation_saying("word"))).tags]


def unpacked(parts: Parts, number: int) -> dict:
    return json.loads(zlib.decompress(base64.b64decode(parts.held[f"cases-{number}"])))


def test_the_policy_allows_the_two_inlined_assets_by_their_digests_and_nothing_else():
    parts = Parts(html(modelled_evaluation(3)))
    policy = next(found["content"] for tag, found in parts.tags if found.get("http-equiv"))
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name, kind in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(parts.held[kind].encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["require-trusted-types-for"] == "'script'"


def test_nothing_in_the_page_points_outside_it():
    page = html(modelled_evaluation(3))
    for tag, attributes in Parts(page).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#list") in ("#list", "data:,"), (tag, name)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(
        r"https?://|//[a-z]|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(",
        page.split('id="cases-0"')[0].replace("// ", ""),
    )
    assert "innerHTML" not in page


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_whatever_others_write_the_page_has_the_same_elements(text):
    hostile = text + "</script><script>alert(1)</script><!--<script>\u2028\u202e\ud800\x00]]>\"'><img src=x onerror=a>"
    odd = Parts(html(evaluation_saying(hostile), title=hostile))
    assert [tag for tag, _ in odd.tags] == PLAIN
    json.loads(odd.held["index"])


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_a_script_holds_any_value_as_json_without_a_sign_that_html_reads(value):
    text = as_script(value)
    text.encode("utf-8")
    assert not re.search("[<>&\u2028\u2029]", text)
    json.loads(text)


def test_values_nested_without_end_are_cut_and_not_an_error():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "too deeply" in as_script({"x": deep})


def test_everything_that_was_said_and_found_is_in_the_file_once():
    made = modelled_evaluation(110, repeats=3, worse=0.2)
    parts = Parts(html(made))
    index = json.loads(parts.held["index"])
    assert len(index["rows"]) == 110
    chunks = [unpacked(parts, number) for number in range(2)]
    assert [len(chunk["cases"]) for chunk in chunks] == [100, 10]
    for chunk in chunks:
        assert len(chunk["texts"]) == len(set(chunk["texts"]))
    told = {text for chunk in chunks for text in chunk["texts"]}
    assert {reply.text for trial in made.candidate.trials for reply in trial.replies} <= told
    assert {result.judge_reason for result in made.candidate.results if result.judge_reason} <= told


def test_the_index_says_of_each_case_what_the_other_reports_say():
    made = modelled_evaluation(40, worse=0.3)
    parts = Parts(html(made))
    index = json.loads(parts.held["index"])
    at = {name: number for number, name in enumerate(index["columns"])}
    pairs = pair_cases(ReportContent(title="t", candidate=made.candidate, baseline=made.baseline))
    for row, pair in zip(index["rows"], pairs, strict=True):
        assert len(row) == len(index["columns"])
        assert index["outcomes"][row[at["now"]]] == pair.result.outcome
        assert index["changes"][row[at["change"]]] == pair.change
        assert bool(row[at["why"]]) == (pair.result.outcome is not CaseOutcome.PASSED)


def test_the_verdict_can_be_read_without_the_program():
    page = html(modelled_evaluation(5), title="support <1.3.0> & more")
    assert "support &lt;1.3.0&gt; &amp; more" in page
    assert page.index("NO VERDICT") < page.index("<script")
