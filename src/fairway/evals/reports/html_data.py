"""What the HTML report carries: an index of every case, and what was said, in chunks read when they are needed."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairway.evals.assertions.tool_match import describe_expected
from fairway.evals.reports.call_diff import json_text
from fairway.evals.reports.content import CasePair, Change, Played, ReportContent
from fairway.evals.reports.headline import headline
from fairway.evals.trials import Trial
from fairway.evals.values import Assertion, AssertionResult, Case, CaseOutcome, CaseResult, Reply, ToolCall

CHUNK = 100
"""Cases a chunk: small enough to be read while somebody waits for one case, large enough to share its texts."""

COLUMNS = (
    "suite", "id", "name", "now", "before", "change", "differs", "critical", "tags", "metrics", "score", "passed",
    "runs", "passedBefore", "runsBefore", "tokens", "tokensBefore", "cost", "seconds", "why", "flag",
)  # fmt: skip
_OUTCOMES = tuple(CaseOutcome)
_CHANGES = tuple(Change)
_DEEPEST = 40
# In a script element of HTML these could end it, open a comment, or break a line of it; halves of surrogate pairs
# cannot be written at all. As JSON escapes they are only data.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def as_script(value: Any) -> str:
    """The value as JSON that is inert inside a script element, whatever texts it holds.

    What JSON cannot hold (not-a-number, nesting without end) is replaced by a text that says so.
    """
    try:
        text = _dumps(value)
    except (RecursionError, ValueError):
        text = _dumps(_bounded(value, _DEEPEST))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def packed(value: Any) -> str:
    """The value as `as_script` writes it, deflated (RFC 1950), in base64: a fifth of the size, and inert."""
    return base64.b64encode(zlib.compress(as_script(value).encode(), 6)).decode()


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)


def _bounded(value: Any, depth: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return f"({value})"
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth == 0:
        return "(nested too deeply to show)"
    if isinstance(value, Mapping):
        return {str(key): _bounded(inner, depth - 1) for key, inner in value.items()}
    return [_bounded(inner, depth - 1) for inner in value]


def index_of(content: ReportContent, pairs: Sequence[CasePair], flags: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """What the list, the filters and the order need of every case.

    Args:
        content: For the names of the sides.
        pairs: Every case, in the order of the chunks.
        flags: What the gate remarked about single cases, in a few words.
    """
    suites, tags, metrics = _Names(), _Names(), _Names()
    rows = [_row(pair, suites, tags, metrics, flags.get(pair.key)) for pair in pairs]
    return {
        "columns": COLUMNS,
        "outcomes": _OUTCOMES,
        "changes": _CHANGES,
        "chunk": CHUNK,
        "candidate": content.candidate.subject.name,
        "baseline": content.baseline.subject.name if content.baseline else None,
        "suites": suites.names,
        "tags": tags.names,
        "metrics": metrics.names,
        "rows": rows,
    }


class _Names:
    """Names by number, in the order they were first met."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self._at.setdefault(name, len(self._at))

    @property
    def names(self) -> list[str]:
        return list(self._at)


def _row(pair: CasePair, suites: _Names, tags: _Names, metrics: _Names, flag: str | None) -> list[Any]:
    now, before = pair.candidate, pair.baseline
    named = {one.metric for one in pair.result.assertions if one.metric}
    return [
        suites(pair.suite),
        pair.case.id,
        pair.case.name,
        _OUTCOMES.index(now.result.outcome) if now else None,
        _OUTCOMES.index(before.result.outcome) if before else None,
        _CHANGES.index(pair.change),
        _differs(now, before),
        int(pair.case.critical),
        [tags(tag) for tag in pair.case.tags],
        [metrics(name) for name in sorted(named)],
        _rounded(pair.result.score),
        now.passed if now else None,
        len(now.rows) if now else None,
        before.passed if before else None,
        len(before.rows) if before else None,
        _rounded(now.tokens if now else None, 1),
        _rounded(before.tokens if before else None, 1),
        _rounded(now.cost_micros if now else None, 1),
        _rounded(now.result.duration_seconds if now else None),
        headline(pair.result),
        flag,
    ]


def _differs(now: Played | None, before: Played | None) -> int:
    """0: the trials that are shown answer alike (or there is one side only); 1: in other words; 2: with other calls."""
    mine, theirs = (played.shown if played else None for played in (now, before))
    if mine is None or theirs is None:
        return 0
    if _calls(mine) != _calls(theirs):
        return 2
    return int([reply.text for reply in mine.replies] != [reply.text for reply in theirs.replies])


def _calls(trial: Trial) -> list[tuple[str, str]]:
    return sorted((call.name, json_text(call.arguments)) for reply in trial.replies for call in reply.tools or ())


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def chunks_of(
    pairs: Sequence[CasePair], explained: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """What was asked, said and found, `CHUNK` cases at a time; within a chunk every text stands once.

    Args:
        pairs: Every case.
        explained: Lines of explanation by case.
    """
    for start in range(0, len(pairs), CHUNK):
        texts = _Texts()
        cases = [texts.case(pair, explained.get(pair.key, ())) for pair in pairs[start : start + CHUNK]]
        yield {"texts": texts.names, "cases": cases}


class _Texts(_Names):
    """The texts of one chunk, and its cases in terms of them."""

    def case(self, pair: CasePair, explained: Sequence[str]) -> dict[str, Any]:
        """One case, and which texts a search of it looks at."""
        self._refs: dict[int, None] = {}
        result = pair.result
        told = {
            "turns": [self._ref(turn) for turn in pair.case.turns],
            "rule": self._maybe(pair.case.rule),
            "undecided": self._maybe(result.undecided),
            "explain": [self._ref(line) for line in explained],
            "asked": asked_of(pair.case),
            "now": self._side(pair.candidate),
            "before": self._side(pair.baseline),
            "shownNow": _shown_at(pair.candidate),
            "shownBefore": _shown_at(pair.baseline),
        }
        return {**told, "refs": list(self._refs)}

    def _ref(self, text: str) -> int:
        at = self(text)
        self._refs[at] = None
        return at

    def _maybe(self, text: str | None) -> int | None:
        return self._ref(text) if text else None

    def _side(self, played: Played | None) -> list[dict[str, Any]]:
        return [self._trial(trial, result) for trial, result in played.rows] if played else []

    def _trial(self, trial: Trial, result: CaseResult) -> dict[str, Any]:
        said = {text for one in result.assertions for text in (one.message, f"{one.type}: {one.message}")}
        return {
            "n": trial.index,
            "o": result.outcome,
            "e": self._maybe(trial.error or (result.undecided if not result.assertions else None)),
            "r": [self._reply(reply) for reply in trial.replies],
            "a": [self._assertion(one) for one in result.assertions],
            "v": [[one.check, self._ref(one.message)] for one in result.violations if one.message not in said],
            "tok": result.token_count,
            "cost": result.cost_micros,
            "sec": _rounded(trial.duration_seconds),
            "cached": int(trial.cached),
        }

    def _reply(self, reply: Reply) -> dict[str, Any]:
        return {
            "t": self._ref(reply.text),
            "c": None if reply.tools is None else [_call(call) for call in reply.tools],
            "in": reply.tokens_in,
            "out": reply.tokens_out,
            "cost": reply.cost_micros,
            "sec": _rounded(reply.latency_seconds),
            "model": reply.model,
            "finish": reply.finish_reason,
            "status": reply.status,
            "state": reply.state,
            "ctx": [self._ref(passage) for passage in reply.context or ()],
        }

    def _assertion(self, one: AssertionResult) -> dict[str, Any]:
        return {
            "t": one.type,
            "f": one.found,
            "s": _rounded(one.score),
            "w": one.weight,
            "k": one.metric,
            "m": self._maybe(one.message),
            "r": self._maybe(one.reason),
            "d": dict(one.detail) if one.detail else None,
        }


def _call(call: ToolCall) -> list[Any]:
    return [call.name, dict(call.arguments), call.malformed]


def _shown_at(played: Played | None) -> int:
    shown = played.shown if played else None
    return next((at for at, (trial, _) in enumerate(played.rows) if trial is shown), 0) if played else 0


def asked_of(case: Case) -> dict[str, Any] | None:
    """What the case demands, with the keys a suite has for it; ``None``: nothing."""
    tools = case.expected_tools
    asked: dict[str, Any] = {
        "expected_keywords": list(case.expected_keywords),
        "forbidden_keywords": list(case.forbidden_keywords),
        "expected_tools": None if tools is None else [describe_expected(tool) for tool in tools],
        "forbidden_tools": list(case.forbidden_tools),
        "max_tokens": case.max_tokens,
        "assertions": [_declared(one) for one in case.assertions],
        "rubric": case.rubric,
        "threshold": case.threshold,
        "repeat": case.repeat if case.repeat > 1 else None,
        "at_least": case.at_least if case.repeat > 1 else None,
        "variables": dict(case.variables),
    }
    return {key: value for key, value in asked.items() if value not in (None, [], {})} or None


def _declared(one: Assertion) -> dict[str, Any]:
    told = {
        "type": one.name,
        "value": one.value,
        "threshold": one.threshold,
        "weight": one.weight if one.weight != 1 else None,
        "metric": one.metric,
        **one.options,
        "assert": [_declared(member) for member in one.members] or None,
    }
    return {key: value for key, value in told.items() if value is not None}
