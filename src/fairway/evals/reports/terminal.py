"""The report for a terminal: the verdict and why in the first lines, then what failed, then how to see more. Pure."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from fairway.evals.plain_text import plain
from fairway.evals.reports.call_diff import CallChange, CallPair, diff_calls, json_text
from fairway.evals.reports.content import CasePair, Change, Played, ReportContent, pair_cases
from fairway.evals.reports.headline import MARKS, first_violated, headline, short
from fairway.evals.reports.summary import Summary, summarise
from fairway.evals.reports.word_diff import Kept, Piece, diff_words
from fairway.evals.trials import Trial
from fairway.evals.values import UNDECIDED, CaseOutcome, ToolCall

_MOST_CASES = 10
_STYLES = {"good": "32", "bad": "31", "open": "33", "bold": "1", "dim": "2"}
_TONES = {CaseOutcome.PASSED: "good", CaseOutcome.FAILED: "bad"}
_NARROWEST = 40
_LONGEST_ANSWER = 400
_AROUND = 40
_MOST_CALLS = 4


def render_terminal(content: ReportContent, *, width: int = 100, color: bool = False, cases: int = _MOST_CASES) -> str:
    """The report as text.

    Args:
        content: The report.
        width: Columns; less than 40 is taken as 40.
        color: Whether escape sequences may be used. Without them marks and words carry every meaning.
        cases: So many cases that did not pass are told; the rest are counted.
    """
    pairs = pair_cases(content)
    page = _Page(width=max(width, _NARROWEST), color=color)
    summary = summarise(content, pairs)
    _verdict(page, content, summary)
    _cases(page, content, pairs, summary, cases)
    _figures(page, summary)
    if content.see_more:
        page.line("")
        page.line(f"More: {content.see_more}", style="dim")
    return page.text


class _Page:
    """Lines within a width, coloured or not."""

    def __init__(self, *, width: int, color: bool) -> None:
        self._width, self._color = width, color
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    @property
    def color(self) -> bool:
        return self._color

    def styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._color and style else text

    def line(self, text: str, *, style: str = "", indent: str = "", lead: str = "") -> None:
        """One paragraph, wrapped; ``lead`` stands before its first line, ``indent`` before the others."""
        first = lead or indent
        room = self._width - max(_cells(first), _cells(indent))
        wrapped = textwrap.wrap(plain(text), max(room, 20), break_long_words=True, break_on_hyphens=False) or [""]
        for number, one in enumerate(wrapped):
            self._lines.append((first if number == 0 else indent) + self.styled(one, style))

    def raw(self, text: str) -> None:
        """A line that is made here and fits."""
        self._lines.append(text)


def _verdict(page: _Page, content: ReportContent, summary: Summary) -> None:
    word = page.styled(page.styled(f" {summary.word} ", "bold"), summary.tone) if page.color else f"{summary.word}:"
    page.raw(f"{word} {short(plain(content.title), 200)}")
    for reason in summary.reasons:
        page.line(reason, lead="  - ", indent="    ")
    for line in summary.notes:
        page.line(line, lead="    ", indent="    ", style="dim")


def _cases(page: _Page, content: ReportContent, pairs: Sequence[CasePair], summary: Summary, most: int) -> None:
    wrong = sorted((pair for pair in pairs if pair.result.outcome is not CaseOutcome.PASSED), key=_urgency)
    explained = {(one.result.suite, one.result.case_id): one for one in content.explanations}
    for pair in wrong[:most]:
        page.line("")
        _case(page, pair, summary)
        explanation = explained.get(pair.key)
        cause = explanation.cause() if explanation else None
        if cause:
            page.line(cause, lead="    why: ", indent="         ")
    if len(wrong) > most:
        page.line("")
        page.line(f"… and {len(wrong) - most} more that did not pass")


def _urgency(pair: CasePair) -> tuple[bool, bool, bool]:
    return (not pair.case.critical, pair.result.outcome in UNDECIDED, pair.change is not Change.NEWLY_FAILING)


def _case(page: _Page, pair: CasePair, summary: Summary) -> None:
    result = pair.result
    tone = _TONES.get(result.outcome, "open")
    remarks = ["critical"] if pair.case.critical else []
    if pair.change not in (Change.SAME, Change.ALONE):
        remarks.append(pair.change.value)
    if pair.key in summary.flags:
        remarks.append(summary.flags[pair.key])
    repeats = _repeats(pair)
    if repeats:
        remarks.append(repeats)
    mark = page.styled(MARKS[result.outcome], tone)
    said = f" ({', '.join(remarks)})" if remarks else ""
    page.line(f"{pair.suite}/{pair.case.id}{said}", lead=f"  {mark} ", indent="    ", style="bold")
    more = len(result.violations) - 1 if result.outcome is CaseOutcome.FAILED else 0
    page.line((headline(result) or result.outcome.value) + (f" (and {more} more)" if more > 0 else ""), indent="    ")
    violated = first_violated(result)
    reason = violated.reason if violated else result.judge_reason
    if reason and reason not in headline(result):
        page.line(f"“{short(reason, 240)}”", lead="    judge: ", indent="           ")
    _answers(page, pair)
    _calls(page, pair)


def _repeats(pair: CasePair) -> str:
    """How many of the repeats passed on each side; empty: it ran once."""
    sides = [played for played in (pair.baseline, pair.candidate) if played]
    if all(len(played.rows) < 2 for played in sides):
        return ""
    return "passed " + " → ".join(f"{played.passed} of {len(played.rows)}" for played in sides)


def _answers(page: _Page, pair: CasePair) -> None:
    """What it answered; where the baseline answered with much the same words, what became of them."""
    now, before = (_last_answer(played) for played in (pair.candidate, pair.baseline))
    if now is None:
        return
    if before is not None and before != now:
        old, new = " ".join(before.split()), " ".join(now.split())
        pieces = diff_words(old, new)
        kept = sum(len(piece.text) for piece in pieces if piece.kept is Kept.SAME)
        if 2 * kept >= max(len(old), len(new)):
            text = short("".join(_marked(pieces)), _LONGEST_ANSWER)
            page.line(text, lead="    answer: ", indent="            ", style="dim")
            return
        page.line(
            short(old, _LONGEST_ANSWER // 2) or "(empty)", lead="    before: ", indent="            ", style="dim"
        )
    text = short(now, _LONGEST_ANSWER // 2) or "(empty)"
    page.line(text, lead="    answer: ", indent="            ", style="dim")


def _calls(page: _Page, pair: CasePair) -> None:
    """Which tool calls are not those of the baseline."""
    before, now = (played.shown if played else None for played in (pair.baseline, pair.candidate))
    if before is None or now is None:
        return
    told = [one for one in diff_calls(_made(before), _made(now)) if one.change is not CallChange.SAME]
    for one in told[:_MOST_CALLS]:
        page.line(_call_text(one), lead="    calls:  ", indent="            ")
    if len(told) > _MOST_CALLS:
        page.line(f"… and {len(told) - _MOST_CALLS} more calls differ", indent="            ")


def _made(trial: Trial) -> list[ToolCall]:
    return [call for reply in trial.replies for call in reply.tools or ()]


def _call_text(pair: CallPair) -> str:
    if pair.change is CallChange.CHANGED:
        return f"{pair.name}: {short('; '.join(map(str, pair.arguments)))}"
    sign = "baseline only" if pair.change is CallChange.MISSING else "candidate only"
    call = pair.before or pair.after
    return f"{pair.name}({short(json_text(call.arguments)) if call else ''}): {sign}"


def _marked(pieces: Sequence[Piece]) -> Iterator[str]:
    """Both texts as one, what was lost as ``[-…-]`` and what was won as ``{+…+}``, as `wdiff` marks them."""
    for piece in pieces:
        if piece.kept is Kept.REMOVED:
            yield f"[-{piece.text}-]"
        elif piece.kept is Kept.ADDED:
            yield f"{{+{piece.text}+}}"
        else:
            text = piece.text
            yield text if len(text) <= 2 * _AROUND else f"{text[:_AROUND]} … {text[-_AROUND:]}"


def _last_answer(played: Played | None) -> str | None:
    shown = played.shown if played else None
    return shown.replies[-1].text if shown is not None and shown.replies else None


def _figures(page: _Page, summary: Summary) -> None:
    page.line("")
    for fact in summary.tiles:
        note = page.styled(f"  {fact.note}", "dim") if fact.note else ""
        page.raw(f"  {fact.name:<14} {fact.value}{note}")


def _cells(text: str) -> int:
    """Columns the text takes, its escape sequences aside."""
    plainly = text.split("\x1b")
    visible = plainly[0] + "".join(part.partition("m")[2] for part in plainly[1:])
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in visible)
