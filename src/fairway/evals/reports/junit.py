"""The report as JUnit XML, for the test view of a CI system: pure.

A case that failed is a ``<failure>``; one that could not be decided is an ``<error>``; the gate is a test case of its
own. Elements and attributes are those of the schema that the Jenkins plug-in publishes, which GitLab and the actions
for GitHub read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from fairway.evals.plain_text import plain
from fairway.evals.reports.content import CasePair, ReportContent, pair_cases
from fairway.evals.reports.explain import Explanation
from fairway.evals.reports.headline import headline, short
from fairway.evals.reports.summary import Summary, summarise
from fairway.evals.values import UNDECIDED, CaseOutcome, CaseResult
from fairway.units import Verdict

_LONGEST = 2000
# What XML 1.0 cannot hold even escaped; `plain` has already replaced control characters.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(content: ReportContent) -> str:
    """The report: one suite for the gate, then one for each suite of cases."""
    pairs = [pair for pair in pair_cases(content) if pair.candidate]
    summary = summarise(content, pairs)
    explained = {(one.result.suite, one.result.case_id): one for one in content.explanations}
    suites: dict[str, list[CasePair]] = {}
    for pair in pairs:
        suites.setdefault(pair.suite, []).append(pair)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    lines += _gate(content, summary)
    for name, members in suites.items():
        lines += _suite(name, members, explained, content)
    return "\n".join([*lines, "</testsuites>"]) + "\n"


def _gate(content: ReportContent, summary: Summary) -> Iterator[str]:
    """The verdict: PASS passes, a FAIL is a failure, and everything else could not be decided."""
    decision = content.decision
    verdict = decision.verdict if decision else Verdict.NO_DATA
    failed, undecided = verdict is Verdict.FAIL, verdict not in (Verdict.PASS, Verdict.FAIL)
    yield _open("fairway gate", 1, failures=failed, errors=undecided, seconds=0.0, content=content)
    yield f"<testcase {_attributes(name='verdict', classname='fairway.gate', time='0.000')}>"
    if failed or undecided:
        lines = (*summary.reasons, *summary.notes)
        yield _problem("failure" if failed else "error", f"{summary.word}: {summary.reasons[0]}", summary.word, lines)
    figures = (
        content.title,
        *(f"{fact.name}: {fact.value} {fact.note}".rstrip() for fact in (*summary.tiles, *summary.facts)),
    )
    yield f"<system-out>{_text(chr(10).join(figures))}</system-out>"
    yield "</testcase>"
    yield "</testsuite>"


def _suite(
    name: str, pairs: Sequence[CasePair], explained: dict[tuple[str, str], Explanation], content: ReportContent
) -> Iterator[str]:
    outcomes = [pair.result.outcome for pair in pairs]
    yield _open(
        name,
        len(pairs),
        failures=outcomes.count(CaseOutcome.FAILED),
        errors=sum(outcome in UNDECIDED for outcome in outcomes),
        seconds=sum(_seconds(pair) for pair in pairs),
        content=content,
    )
    for pair in pairs:
        yield from _case(pair, explained.get(pair.key))
    yield "</testsuite>"


def _open(name: str, tests: int, *, failures: int, errors: int, seconds: float, content: ReportContent) -> str:
    attributes = _attributes(
        name=name,
        tests=str(tests),
        failures=str(int(failures)),
        errors=str(int(errors)),
        skipped="0",
        time=f"{seconds:.3f}",
        timestamp=f"{content.candidate.created_at:%Y-%m-%dT%H:%M:%S}",
        hostname="localhost",
    )
    return f"<testsuite {attributes}>"


def _seconds(pair: CasePair) -> float:
    return sum(trial.duration_seconds for trial, _ in pair.candidate.rows) if pair.candidate else 0.0


def _case(pair: CasePair, explanation: Explanation | None) -> Iterator[str]:
    result = pair.result
    attributes = _attributes(name=pair.case.id, classname=pair.suite, time=f"{_seconds(pair):.3f}")
    lines = list(_lines(pair, explanation))
    if result.outcome is CaseOutcome.PASSED and not lines:
        yield f"<testcase {attributes}/>"
        return
    yield f"<testcase {attributes}>"
    if result.outcome is not CaseOutcome.PASSED:
        element = "failure" if result.outcome is CaseOutcome.FAILED else "error"
        kind = "critical case: " if pair.case.critical else ""
        yield _problem(element, f"{kind}{headline(result) or result.outcome.value}", _type(result), lines)
    else:
        yield f"<system-out>{_text(chr(10).join(lines))}</system-out>"
    yield "</testcase>"


def _type(result: CaseResult) -> str:
    return result.violations[0].check if result.violations else result.outcome.value


def _lines(pair: CasePair, explanation: Explanation | None) -> Iterator[str]:
    """Every repeat with what it violates, and what was answered; nothing for a case that simply passed."""
    rows = pair.candidate.rows if pair.candidate else ()
    if len(rows) > 1:
        for trial, result in rows:
            said = headline(result)
            yield f"repeat {trial.index + 1}: {result.outcome.value}" + (f": {said}" if said else "")
    if pair.result.outcome is CaseOutcome.PASSED:
        return
    yield from (violation.message for violation in pair.result.violations)
    if pair.result.judge_reason:
        yield f"judge: {pair.result.judge_reason}"
    if explanation is not None:
        yield from explanation.changed()
    if pair.result.response_preview:
        yield f"answer: {pair.result.response_preview}"


def _problem(element: str, message: str, kind: str, lines: Iterable[str]) -> str:
    body = "\n".join(short(line, _LONGEST) for line in lines)
    return f"<{element} {_attributes(message=short(message, _LONGEST), type=kind)}>{_text(body)}</{element}>"


def _attributes(**values: str) -> str:
    return " ".join(f"{name}={quoteattr(_clean(value))}" for name, value in values.items())


def _text(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", plain(text))
