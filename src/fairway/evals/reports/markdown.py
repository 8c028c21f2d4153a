"""The report as Markdown, for a pull request or the summary of a CI step: pure.

Nothing an agent or a judge wrote is markup here: its signs are written as entities, which Markdown never reads as
structure; longer texts stand in fences that they cannot close; and nobody is mentioned by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from fairway.evals.plain_text import plain
from fairway.evals.reports.call_diff import CallChange, CallPair, diff_calls, json_text
from fairway.evals.reports.content import CasePair, Change, Played, ReportContent, pair_cases
from fairway.evals.reports.explain import Explanation
from fairway.evals.reports.figures import count
from fairway.evals.reports.headline import MARKS, first_violated, headline, short
from fairway.evals.reports.summary import Fact, Summary, summarise
from fairway.evals.trials import Trial
from fairway.evals.values import UNDECIDED, CaseOutcome, ToolCall

GITHUB_LIMIT = 65_536
"""Characters GitHub takes in a comment; counted here as bytes, which is never less."""

MARKER = "<!-- fairway eval report -->"
"""First line, by which a CI job finds its earlier comment to replace it."""

_SIGNS = {"good": "✅", "bad": "❌", "open": "⚠️"}
_MOST_TOLD = 20
_MOST_NAMED = 200
_MOST_CHANGES = 60
_LONGEST_ANSWER = 1500
_SPECIAL = re.compile(r"^[-+]|^\d+[.)](?=\s|$)|[\\`*_\[\]<>&|~$@#]|!(?=[\[\d])|:(?=[/\w])|(?<=www)\.", re.IGNORECASE)


def render_markdown(content: ReportContent, *, limit: int = GITHUB_LIMIT) -> str:
    """The report: the verdict and why, figures, what changed, then what did not pass, as far as there is room.

    Args:
        content: The report.
        limit: Bytes it may take; what does not fit is counted in its last line.
    """
    pairs = pair_cases(content)
    summary = summarise(content, pairs)
    page = _Page(limit)
    page.add(MARKER, "", f"## {_SIGNS[summary.tone]} {prose(summary.word)} · {prose(content.title)}", "")
    page.add(*(f"- {prose(line)}" for line in summary.reasons))
    page.add(*(f"- *{prose(line)}*" for line in summary.notes))
    page.add("", *_figures(summary.tiles))
    left = _changes(page, content, pairs, summary)
    left += _wrong(page, content, pairs)
    if not page.add("", "<details><summary>All figures</summary>", "", *_figures(summary.facts), "", "</details>"):
        left += len(summary.facts)
    if left:
        page.end(f"*{left} entries did not fit here; the other reports of the run have them all.*")
    if content.see_more:
        page.end(f"More: {code(content.see_more)}")
    return page.text


_RESERVED = 1200


class _Page:
    """Lines, as many as fit; a block is there whole or not at all."""

    def __init__(self, limit: int) -> None:
        self._lines: list[str] = []
        self._room = limit - _RESERVED

    @property
    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def add(self, *lines: str) -> bool:
        size = sum(len(line.encode()) + 1 for line in lines)
        if size > self._room:
            return False
        self._room -= size
        self._lines += lines
        return True

    def end(self, line: str) -> None:
        """A closing line, for which room was kept."""
        self._lines += ["", line if len(line.encode()) < _RESERVED // 2 - 2 else "*…*"]


def _figures(facts: Sequence[Fact]) -> Iterator[str]:
    yield "| | | |"
    yield "|-|-|-|"
    for fact in facts:
        yield f"| {prose(fact.name)} | **{prose(fact.value) or '-'}** | {prose(fact.note)} |"


def _changes(page: _Page, content: ReportContent, pairs: Sequence[CasePair], summary: Summary) -> int:
    """What is not as it was, in a table; how many rows did not fit."""
    if content.baseline is None:
        return 0
    told = [pair for pair in pairs if pair.change is not Change.SAME or pair.key in summary.flags]
    if not told:
        page.add("", "No case ended otherwise than on the baseline.")
        return 0
    order = list(Change)
    told.sort(key=lambda pair: (pair.key not in summary.flags, order.index(pair.change), not pair.case.critical))
    page.add("", "### Against the baseline", "", "| case | | baseline | candidate | tokens | by itself | why |")
    page.add("|-|-|-|-|-|-|-|")
    left = max(len(told) - _MOST_CHANGES, 0)
    return left + _rows(page, told[:_MOST_CHANGES], lambda pair: _change_row(pair, summary))


def _rows(page: _Page, pairs: Sequence[CasePair], row: Callable[[CasePair], str]) -> int:
    for number, pair in enumerate(pairs):
        if not page.add(row(pair)):
            return len(pairs) - number
    return 0


def _change_row(pair: CasePair, summary: Summary) -> str:
    critical = " (critical)" if pair.case.critical else ""
    cells = (
        code(f"{pair.suite}/{pair.case.id}") + critical,
        pair.change.value,
        _side(pair.baseline),
        _side(pair.candidate),
        _tokens(pair),
        prose(summary.flags.get(pair.key, "")),
        prose(headline(pair.result)),
    )
    return "| " + " | ".join(cells) + " |"


def _side(played: Played | None) -> str:
    if played is None:
        return "-"
    runs = f" {played.passed} of {len(played.rows)}" if len(played.rows) > 1 else ""
    return f"{MARKS[played.result.outcome]} {played.result.outcome.value}{runs}"


def _tokens(pair: CasePair) -> str:
    now, before = (played.tokens if played else None for played in (pair.candidate, pair.baseline))
    if now is None or before is None:
        return "-"
    return count(now) if now == before else f"{count(before)} → {count(now)}"


def _wrong(page: _Page, content: ReportContent, pairs: Sequence[CasePair]) -> int:
    """Every case that did not pass, with what was violated, asked and answered; how many did not fit."""
    wrong = [pair for pair in pairs if pair.candidate and pair.result.outcome is not CaseOutcome.PASSED]
    if not wrong:
        return 0
    wrong.sort(key=lambda pair: (not pair.case.critical, pair.result.outcome in UNDECIDED))
    page.add("", "### What did not pass")
    explained = {(one.result.suite, one.result.case_id): one for one in content.explanations}
    told = 0
    while told < min(len(wrong), _MOST_TOLD) and page.add(*_told(wrong[told], explained.get(wrong[told].key))):
        told += 1
    rest = wrong[told:]
    page.add("")
    return _rows(page, rest[:_MOST_NAMED], _brief) + max(len(rest) - _MOST_NAMED, 0)


def _brief(pair: CasePair) -> str:
    return f"- {MARKS[pair.result.outcome]} {code(f'{pair.suite}/{pair.case.id}')}: {prose(headline(pair.result))}"


def _told(pair: CasePair, explanation: Explanation | None) -> Iterator[str]:
    result = pair.result
    kind = "critical, " if pair.case.critical else ""
    title = f"{MARKS[result.outcome]} {code(f'{pair.suite}/{pair.case.id}')} ({kind}{result.outcome.value})"
    yield from ("", f"<details><summary>{title}: {prose(headline(result))}</summary>", "")
    yield from (f"- {prose(violation.message)}" for violation in result.violations)
    violated = first_violated(result)
    reason = violated.reason if violated else result.judge_reason
    if reason:
        yield f"- the judge: {prose(short(reason, 600))}"
    if pair.case.rule:
        yield f"- the rule it protects: {prose(pair.case.rule)}"
    yield from _prompt_changes(explanation)
    yield from ("", "The user said:", "", *fence(pair.case.turns[-1][:_LONGEST_ANSWER]))
    yield from _answers(pair)
    yield from ("", "</details>")


def _prompt_changes(explanation: Explanation | None) -> Iterator[str]:
    if explanation is None or not (explanation.rule_lost or explanation.changes):
        return
    if explanation.rule_lost:
        yield f"- **{prose(explanation.cause() or '')}**"
    if explanation.changes:
        lines = "\n".join(f"{change.sign} {change.line}   # {change.prompt}" for change in explanation.changes)
        yield from ("", "What changed in the prompts:", "", *fence(lines, "diff"))


def _answers(pair: CasePair) -> Iterator[str]:
    now, before = _shown(pair.candidate), _shown(pair.baseline)
    if now is None or not now.replies:
        return
    answer, calls = now.replies[-1].text, _calls(now)
    if before is None or not before.replies:
        yield from ("", "The agent answered:", "", *fence(answer[:_LONGEST_ANSWER] or "(nothing)"))
        if calls:
            yield from ("", "It called:", "", *fence("\n".join(_call(call) for call in calls)))
        return
    old = before.replies[-1].text
    if old == answer:
        yield from ("", "Both answered:", "", *fence(answer[:_LONGEST_ANSWER] or "(nothing)"))
    else:
        yield from ("", "Baseline (-) and candidate (+) answered:", "", *fence(_against(old, answer), "diff"))
    differing = [pair for pair in diff_calls(_calls(before), calls) if pair.change is not CallChange.SAME]
    if differing:
        lines = "\n".join(line for one in differing for line in _call_lines(one))
        yield from ("", "Tool calls that differ:", "", *fence(lines, "diff"))


def _shown(played: Played | None) -> Trial | None:
    return played.shown if played else None


def _against(old: str, new: str) -> str:
    lines = [f"- {line}" for line in old[:_LONGEST_ANSWER].splitlines()]
    return "\n".join([*lines, *(f"+ {line}" for line in new[:_LONGEST_ANSWER].splitlines())])


def _calls(trial: Trial) -> tuple[ToolCall, ...]:
    return tuple(call for reply in trial.replies for call in reply.tools or ())


def _call(call: ToolCall) -> str:
    return short(f"{call.name}({call.malformed or json_text(call.arguments)})", 400)


def _call_lines(pair: CallPair) -> Iterator[str]:
    if pair.change is CallChange.CHANGED:
        yield f"  {pair.name}"
        yield from (short(f"!   {one}", 400) for one in pair.arguments)
    elif pair.before is not None:
        yield f"- {_call(pair.before)}"
    elif pair.after is not None:
        yield f"+ {_call(pair.after)}"


def prose(text: str) -> str:
    """Text of anybody on one line, as text: no markup, no link, nobody mentioned and nothing referred to."""
    return _SPECIAL.sub(_as_text, plain(" ".join(text.split())))


def _as_text(found: re.Match[str]) -> str:
    """The signs as entities; an invisible joiner keeps ``@name`` and ``#7`` from becoming links afterwards."""
    following = found.string[found.end() : found.end() + 1]
    joiner = "&#8288;" if found[0] in "@#!~&" and following.isalnum() else ""
    return "".join(f"&#{ord(char)};" for char in found[0]) + joiner


def code(text: str) -> str:
    """Text of anybody on one line, in the type of code."""
    return f"<code>{prose(text)}</code>"


def fence(text: str, language: str = "") -> Iterable[str]:
    """Text of anybody as a block of code, between fences that it cannot close."""
    shown = plain(text.replace("\r\n", "\n").replace("\t", "    "))
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    marks = "`" * max(3, longest + 1)
    return (f"{marks}{language}", *shown.splitlines(), marks)
