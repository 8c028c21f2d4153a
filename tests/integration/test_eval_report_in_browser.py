"""The HTML report of an evaluation in a real browser: what a person can do with it, and what nobody can make it do."""

from __future__ import annotations

import random
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from fairway.evals.gating.decide import decide
from fairway.evals.gating.policy import EvalPolicy
from fairway.evals.reports.call_diff import diff_calls
from fairway.evals.reports.content import Change, ReportContent, pair_cases
from fairway.evals.reports.html import render_html
from fairway.evals.reports.word_diff import diff_words
from fairway.evals.trials import side_of
from fairway.evals.values import CaseOutcome, Found, ToolCall
from fairway.testing.modelled_evaluation import Modelled, evaluation_saying, modelled_evaluation

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),  # one browser for all of them
]

SLOWEST_MILLISECONDS = 10_000
"""No figure, only what no machine should need; the figures are those of the benchmark."""


@dataclass
class Opened:
    """A report in the browser, and what the browser did."""

    page: Page
    content: ReportContent
    requests: list[str]
    dialogs: list[str]
    problems: list[str]

    def shown(self) -> str:
        """How many cases are shown, once the search is over."""
        until(self.page, "!document.getElementById('status').textContent.includes('Searching')")
        return self.page.locator("#status").inner_text()

    def selected(self, *, other_than: str = "") -> str:
        """The case that is open; it may have to be unpacked first."""
        until(self.page, f"document.querySelector('#case h2').textContent !== {other_than!r}")
        return self.page.locator("#case h2").inner_text()


def until(page: Page, holds: str) -> None:
    """Wait until the expression is true; Playwright's own waiting needs `eval`, which the page's policy forbids."""
    for _ in range(2000):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"it never became true: {holds}")


class Desk:
    """Opens reports, one after the other in one window."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page, self._folder = page, folder
        self._requests: list[str] = []
        self._dialogs: list[str] = []
        self._problems: list[str] = []
        page.on("request", lambda request: self._requests.append(request.url))
        page.on("dialog", lambda dialog: (self._dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self._problems.append(str(error)))
        page.on("console", lambda said: self._problems.append(said.text) if said.type == "error" else None)

    def open(self, made: Modelled, *, fragment: str = "", width: int = 1400, **changes: Any) -> Opened:
        fields: dict[str, Any] = {"title": "support 1.3.0", "candidate": made.candidate, "baseline": made.baseline}
        content = ReportContent(**(fields | changes))
        path = self._folder / "report.html"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(render_html(content))
        self._page.emulate_media(media="screen")
        self._page.set_viewport_size({"width": width, "height": 900})
        self._page.goto("about:blank")
        for seen in (self._requests, self._dialogs, self._problems):
            seen.clear()
        self._page.goto(f"file://{path}{fragment}")
        until(self._page, "performance.getEntriesByName('fairway:open').length > 0")
        return Opened(
            page=self._page,
            content=content,
            requests=self._requests,
            dialogs=self._dialogs,
            problems=self._problems,
        )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Desk(browser.new_page(), tmp_path_factory.mktemp("reports"))
        browser.close()


@pytest.fixture(scope="module")
def some() -> Modelled:
    return modelled_evaluation(120, repeats=2, worse=0.25)


def test_a_filter_shows_the_cases_it_names_and_counts_them(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    pairs = pair_cases(opened.content)
    expected = [pair.case.id for pair in pairs if pair.change is Change.NEWLY_FAILING]
    opened.page.get_by_role("button", name="Newly failing").click()
    assert opened.shown() == f"{len(expected)} of 120 cases"
    rows = opened.page.locator(".row .id").all_text_contents()
    assert rows
    assert {row.split(": ")[-1].strip() for row in rows} <= set(expected)
    opened.page.select_option("#suite", label="refunds")
    here = [one for one in expected if one.startswith("refunds")]
    assert opened.shown() == f"{len(here)} of 120 cases"
    opened.page.get_by_role("button", name="Undecided").click()
    opened.page.select_option("#suite", label="every suite")
    undecided = [one for one in pairs if one.result.outcome not in (CaseOutcome.PASSED, CaseOutcome.FAILED)]
    assert opened.shown().startswith(f"{len(undecided)} of 120 case")
    assert opened.problems == []


def test_a_search_finds_what_was_said_in_a_reply_and_every_word_must_be_there(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    pairs = pair_cases(opened.content)
    reply = pairs[77].candidate.rows[1][0].replies[0].text
    order = next(word for word in reply.replace(".", " ").split() if any(char.isdigit() for char in word))

    def said(pair) -> str:
        rows = [*pair.candidate.rows, *pair.baseline.rows]
        texts = [reply.text for trial, _ in rows for reply in trial.replies]
        texts += [result.judge_reason or "" for _, result in rows]
        texts += [message for _, one in rows for message in [violation.message for violation in one.violations]]
        head = [pair.suite, pair.case.id, pair.case.name, *pair.case.turns, *pair.case.tags, pair.case.rule or ""]
        return "\n".join(texts + head).lower()

    opened.page.fill("#q", f"{order} colleague")
    expected = sum(order.lower() in said(pair) and "colleague" in said(pair) for pair in pairs)
    assert opened.shown().startswith(f"{expected} of 120 case")
    opened.page.fill("#q", "no reply ever said this")
    assert opened.shown() == "0 of 120 cases"
    assert opened.page.locator(".row").count() == 0


def test_both_answers_stand_side_by_side_with_what_differs_marked(desk: Desk, some: Modelled) -> None:
    pairs = pair_cases(ReportContent(title="t", candidate=some.candidate, baseline=some.baseline))
    pair = next(
        one
        for one in pairs
        if one.change is Change.NEWLY_FAILING
        and one.candidate.shown.replies[0].text != one.baseline.shown.replies[0].text
    )
    opened = desk.open(some, fragment=f"#case={pair.suite}/{pair.case.id}")
    assert opened.selected() == pair.case.id
    before, now = opened.page.locator(".answer").nth(0), opened.page.locator(".answer").nth(1)
    pieces = diff_words(pair.baseline.shown.replies[0].text, pair.candidate.shown.replies[0].text)
    removed = [piece.text for piece in pieces if piece.kept == "removed"]
    added = [piece.text for piece in pieces if piece.kept == "added"]
    assert before.locator("del").evaluate_all("all => all.map(one => one.textContent)") == removed
    assert now.locator("ins").evaluate_all("all => all.map(one => one.textContent)") == added
    assert before.evaluate("one => one.textContent") == pair.baseline.shown.replies[0].text
    opened.page.keyboard.press("d")
    assert opened.page.locator("#case .answer del, #case .answer ins").count() == 0


def test_differences_in_the_page_are_those_of_the_other_reports(desk: Desk, some: Modelled) -> None:
    page, chance = desk.open(some).page, random.Random(5)
    vocabulary = ["ask", "refund", "Überweisung", "now", ".", ",", " ", " ", "\n", "返", "金", "a_b", "12"]

    def text() -> str:
        return "".join(chance.choice(vocabulary) for _ in range(chance.randrange(30)))

    texts = [(text(), text()) for _ in range(300)]
    expected = [[[piece.kept.value, piece.text] for piece in diff_words(*pair)] for pair in texts]
    assert page.evaluate("pairs => pairs.map(pair => Diff.words(...pair))", texts) == expected

    values = [1, 2.5, True, "1", None, {"b": 1, "a~/": [1, {"c": "x"}]}, {"b": 2}, [], {}]
    calls = [
        [[chance.choice("fgh"), {"x": chance.choice(values)}, chance.choice([None, None, "bad"])] for _ in range(4)]
        for _ in range(400)
    ]

    def python(before: list, after: list) -> list:
        def made(call: list) -> ToolCall:
            return ToolCall(name=call[0], arguments=call[1], malformed=call[2])

        found = diff_calls([made(call) for call in before], [made(call) for call in after])
        return [[pair.change.value, [[one.pointer, one.before, one.after] for one in pair.arguments]] for pair in found]

    pairs = list(zip(calls[::2], calls[1::2], strict=True))
    shown = page.evaluate("all => all.map(pair => Diff.calls(...pair).map(one => [one[0], one[3]]))", pairs)
    assert shown == [python(*pair) for pair in pairs]


def test_a_case_of_several_repeats_shows_each(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    pair = next(one for one in pair_cases(opened.content) if one.case.id == opened.selected())
    opened.page.get_by_role("button", name="Candidate repeat 2").click()
    texts = opened.page.locator(".answer").evaluate_all("all => all.map(one => one.textContent)")
    assert pair.candidate.rows[1][0].replies[0].text in texts
    opened.page.keyboard.press("[")
    texts = opened.page.locator(".answer").evaluate_all("all => all.map(one => one.textContent)")
    assert pair.candidate.rows[0][0].replies[0].text in texts


def test_everything_can_be_done_from_the_keyboard(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    page = opened.page
    first = opened.selected()
    page.keyboard.press("j")
    second = opened.selected(other_than=first)
    page.keyboard.press("ArrowUp")
    assert opened.selected(other_than=second) == first
    page.keyboard.press("End")
    assert page.locator(".row[aria-selected=true]").get_attribute("aria-posinset") == "120"
    page.keyboard.press("/")
    page.keyboard.type("refunds-")
    assert opened.shown() == "24 of 120 cases"
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#case h2').textContent.startsWith('refunds-')")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "case"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    page.keyboard.press("f")
    assert page.locator("#chips button[aria-pressed=true]").inner_text().startswith("Failed")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    assert opened.problems == []


def test_a_screen_reader_is_told_what_is_selected_and_every_control_has_a_name(desk: Desk, some: Modelled) -> None:
    page = desk.open(some).page
    page.keyboard.press("j")
    active = page.locator("#list").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=listbox]")].filter(one =>
             !(one.labels?.length || one.ariaLabel || one.textContent.trim())).map(one => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


def test_an_address_leads_to_what_somebody_looked_at(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some, fragment="#show=critical&sort=name&q=refund&case=orders%2Forders-00001")
    assert opened.page.locator("#chips button[aria-pressed=true]").inner_text().startswith("Critical")
    assert opened.page.input_value("#q") == "refund"
    assert opened.selected() == "orders-00001"
    opened.page.fill("#q", "")
    until(opened.page, "!location.hash.includes('q=')")
    assert "show=critical" in opened.page.evaluate("location.hash")


def test_a_check_tells_every_unmatched_call_and_every_vote_of_a_panel(desk: Desk) -> None:
    made = modelled_evaluation(1)
    detail = {
        "missing": [{"expected": "refund(amount=20)", "reason": "called with amount=25 instead of 20"}],
        "extra": [{"call": "mail()", "reason": "no expectation asks for this tool"}],
        "votes": [
            {"model": "small", "grade": "meets", "reason": "kind"},
            {"model": "large", "missing": "invalid", "problem": "no JSON"},
        ],
    }
    first = made.candidate.results[0]
    calls = replace(first.assertions[0], found=Found.VIOLATED, message="two calls", detail=detail)
    result = replace(first, assertions=(calls, *first.assertions[1:]))
    opened = desk.open(replace(made, candidate=replace(made.candidate, results=(result,))))
    told = opened.page.locator(".checks li").all_inner_texts()
    assert [" ".join(one.split()) for one in told] == [
        "refund(amount=20)missing called with amount=25 instead of 20",
        "mail()extra no expectation asks for this tool",
        "smallmeets kind",
        "largeinvalid no JSON",
    ]
    assert opened.problems == []


def test_a_case_that_was_not_played_and_one_cut_off_in_the_middle_are_shown_as_what_they_are(desk: Desk) -> None:
    made = modelled_evaluation(8)
    run = made.candidate
    cut = replace(run.trials[0], replies=run.trials[0].replies[:1], error="it took longer than 60 s")
    error = replace(run.results[0], outcome=CaseOutcome.ERROR, undecided=cut.error, assertions=(), violations=())
    candidate = replace(run, trials=(cut, *run.trials[1:4]), results=(error, *run.results[1:4]), complete=False)
    opened = desk.open(replace(made, candidate=candidate), fragment=f"#case={run.cases[0][0]}/{run.cases[0][1].id}")
    assert "it took longer than 60 s" in opened.page.locator("#case").inner_text()
    assert "No reply." in opened.page.locator("#case").inner_text()
    opened.page.fill("#q", run.cases[6][1].id)
    assert opened.shown() == "1 of 8 cases"
    opened.page.locator(".row").click()
    until(opened.page, "document.getElementById('case').innerText.includes('it was not played')")
    alone = desk.open(
        replace(made, candidate=candidate), baseline=None, fragment=f"#case={run.cases[6][0]}/{run.cases[6][1].id}"
    )
    assert "it was not played" in alone.page.locator("#case").inner_text()
    assert "the run is not complete" in alone.page.locator("#verdict").inner_text()
    assert [*opened.problems, *alone.problems] == []


HOSTILE = (
    "</script><script>window.owned = 1; alert(1)</script><!--<script>",
    "<img src=x onerror='window.owned = 1'><svg onload=alert(1)><iframe srcdoc='<script>parent.owned=1</script>'>",
    "\u202egnp.exe\u2066\u2028line\u200b\ufeff\x1b[2J",
    '"]}<style>*{display:none}</style><base href="https://evil.example/"><meta http-equiv=refresh content=0;url=x:y>',
    "__proto__",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_write_is_inert_and_nothing_leaves_the_page(desk: Desk, text: str) -> None:
    opened = desk.open(evaluation_saying(text), title=text, see_more=text)
    page = opened.page
    before = page.locator("script, iframe, img, svg, base, style, meta, object, embed, form").count()
    for _ in range(3):
        page.keyboard.press("j")
        page.keyboard.press("d")
    page.fill("#q", text)
    page.fill("#q", "")
    assert page.evaluate("window.owned") is None
    assert page.evaluate("({}).polluted") is None
    assert page.locator("script, iframe, img, svg, base, style, meta, object, embed, form").count() == before
    assert opened.dialogs == []
    assert opened.problems == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert not any(mark in page.locator("body").inner_text() for mark in "\u202e\u2066\u200b\ufeff\x1b")


def test_marks_that_turn_the_direction_of_writing_are_shown_and_not_obeyed(desk: Desk) -> None:
    page = desk.open(evaluation_saying("\u202egnp.exe")).page
    assert "U+202E" in page.locator("#case .answer .ctl").first.inner_text()


def test_the_policy_of_the_page_stops_what_the_page_itself_would_ask_for(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    tried = """async () => {
        const tries = {
            fetch: () => fetch("https://example.invalid/"),
            html: () => { document.body.innerHTML = "<b>x</b>"; },
            script: () => {
                const made = document.createElement("script");
                made.textContent = "window.owned = 1";
                document.body.append(made);
            },
        };
        const stopped = [];
        for (const [name, run] of Object.entries(tries)) { try { await run(); } catch { stopped.push(name); } }
        return [stopped, window.owned ?? null];
    }"""
    stopped, owned = opened.page.evaluate(tried)
    assert owned is None
    assert {"fetch", "html"} <= set(stopped)
    assert [url for url in opened.requests if url.startswith("http")] == []


def test_on_a_narrow_screen_a_case_opens_over_the_list(desk: Desk, some: Modelled) -> None:
    page = desk.open(some, width=420).page
    assert not page.locator("#case").is_visible()
    page.locator(".row").nth(1).click()
    assert page.locator("#case").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.get_by_role("button", name="All cases").click()
    assert not page.locator("#case").is_visible()


def test_on_paper_the_cases_that_are_shown_are_a_table(desk: Desk, some: Modelled) -> None:
    opened = desk.open(some)
    opened.page.get_by_role("button", name="Newly failing").click()
    opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    opened.page.emulate_media(media="print")
    count = sum(pair.change is Change.NEWLY_FAILING for pair in pair_cases(opened.content))
    assert opened.page.locator("#print tr").count() == count
    assert opened.page.locator("#print").is_visible()
    assert not opened.page.locator("#tools").is_visible()


def test_without_a_baseline_there_is_one_column_and_no_difference(desk: Desk, some: Modelled) -> None:
    page = desk.open(some, baseline=None).page
    assert page.locator(".two.single").count() == 1
    assert not page.locator("#diff").is_visible()
    assert page.get_by_role("button", name="Newly failing").count() == 0


def test_the_verdict_its_reasons_and_figures_are_at_the_top(desk: Desk, some: Modelled) -> None:
    decision = decide(side_of([some.candidate]), side_of([some.baseline]), EvalPolicy())
    page = desk.open(some, decision=decision).page
    assert page.locator(".pill").inner_text() == decision.label
    assert page.locator(".reasons li").all_inner_texts()[: len(decision.reasons)] == list(decision.reasons)
    page.get_by_text("All figures").click()
    assert page.get_by_role("row", name="Difference").is_visible()


def test_five_thousand_cases_are_opened_filtered_searched_and_compared_at_once(desk: Desk) -> None:
    opened = desk.open(modelled_evaluation(5000))
    page = opened.page
    assert page.locator(".row").count() < 100
    assert opened.shown() == "5,000 cases"
    page.keyboard.press("End")
    assert page.locator(".row[aria-selected=true]").get_attribute("aria-posinset") == "5000"
    for chip in ("failed", "critical", "all"):
        page.locator(f"#chips button[value={chip}]").click()
    for text in ("refund", "refund monday", "colleague address"):
        page.fill("#q", text)
        until(page, "!document.getElementById('status').textContent.includes('Searching')")
    found = page.evaluate("performance.getEntriesByType('measure').map(one => [one.name, one.duration])")
    opening = page.evaluate("performance.getEntriesByName('fairway:open')[0].startTime")
    times = {"open": [opening]}
    for name, duration in found:
        times.setdefault(name, []).append(duration)
    assert set(times) == {"open", "fairway:filter", "fairway:search", "fairway:case", "fairway:diff"}
    assert {name: value for name, value in times.items() if statistics.median(value) > SLOWEST_MILLISECONDS} == {}
