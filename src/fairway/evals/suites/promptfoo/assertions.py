"""One assertion of promptfoo as Fairway writes it, or why it cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions.kind import BadValueError, Threshold
from fairway.evals.assertions.registry import KINDS, UNSUPPORTED
from fairway.evals.assertions.section import read_assertion
from fairway.evals.suites.promptfoo.sources import SCHEME, NotReadableError, Sources
from fairway.evals.suites.template import is_template
from fairway.mistakes import nearest

_TAKEN = ("type", "value", "threshold", "weight", "metric", "config", "assert")
_SETTINGS = ("provider",)
_SCORED = frozenset(
    {
        "similar", "similar:cosine", "g-eval", "answer-relevance", "context-faithfulness", "context-recall", "rouge-n",
        "bleu", "tool-call-f1", "assert-set",
    }
)  # fmt: skip
"""What passes there by nothing but its score: every score is at least 0."""
_INCLUDES = re.compile(
    r"""^\s*(?:return\s+)?(!?)output(\.toLowerCase\(\))?\.includes\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)\s*;?\s*$"""
)
_STARTS = re.compile(r"""^\s*(?:return\s+)?(!?)output\.startsWith\(\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\)\s*;?\s*$""")


class NotTakenError(ValueError):
    """An assertion that Fairway cannot check as it is written.

    Attributes:
        what: Its type, and what it says, short.
    """

    def __init__(self, what: str, why: str) -> None:
        """Keep both parts."""
        super().__init__(why)
        self.what = what


def convert_assertion(raw: Any, sources: Sources, *, is_summed: bool = False) -> dict[str, Any]:
    """The assertion as an entry of ``assert``.

    Args:
        raw: As it stands there.
        sources: Files it may name.
        is_summed: Whether the case, or the set around it, decides by a threshold over the scores.

    Raises:
        NotTakenError: It runs JavaScript, changes the reply before it looks, or is of a kind Fairway does not have.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("type"), str):
        raise NotTakenError("assert", "is no assertion with a type")
    negated = raw["type"].startswith("not-")
    bare = raw["type"].removeprefix("not-")
    what = _what(raw)
    if bare == "javascript":
        return _translated(raw, negated, what)
    if bare not in KINDS:
        raise NotTakenError(what, _why_not(bare))
    for key in raw:
        if key not in (*_TAKEN, *_SETTINGS):
            raise NotTakenError(what, _refused(key))
    item = {key: raw[key] for key in _TAKEN if key in raw and raw[key] is not None}
    if "config" in item and "config" not in KINDS[bare].options:
        raise NotTakenError(what, f"{bare} takes no config here")
    if "assert" in item:
        summed = bool(item.get("threshold"))
        item["assert"] = [convert_assertion(one, sources, is_summed=summed) for one in _members(item["assert"], what)]
    if "value" in item:
        item["value"] = _value(bare, item["value"], sources, what)
    return _checked(_with_their_meaning(bare, item, negated, is_summed), what)


def todo(what: str, why: str, raw: Any = None) -> dict[str, Any]:
    """What stands in the place of an assertion that was not taken: unknown until somebody writes it."""
    text = f"{what}: {why}"
    for mark in ("{{", "{%", "{#"):
        text = text.replace(mark, f"{mark[0]} {mark[1]}")  # it is shown, never filled in
    item: dict[str, Any] = {"type": "todo", "value": text}
    if isinstance(raw, Mapping):
        if isinstance(raw.get("metric"), str) and raw["metric"].strip():
            item["metric"] = raw["metric"]
        if _is_zero(raw.get("weight")):
            item["weight"] = 0  # it decided nothing there either
    return item


def _is_zero(value: Any) -> bool:
    return not isinstance(value, bool) and value == 0


def _members(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise NotTakenError(what, "its assert is no list")
    return value


def _what(raw: Mapping[str, Any]) -> str:
    value = raw.get("value")
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return f"{raw['type']} {text if len(text) <= 100 else text[:99] + '…'}".strip()


def _why_not(bare: str) -> str:
    if bare.startswith("promptfoo:redteam:"):
        return "belongs to a red team, which is another kind of test"
    if bare in UNSUPPORTED:
        return UNSUPPORTED[bare]
    near = nearest(bare, KINDS)
    return f"is no type of assertion{f'; did you mean {near!r}?' if near else ''}"


def _refused(key: str) -> str:
    if key in ("transform", "contextTransform"):
        return "changes the reply by JavaScript or Python before it looks; write it as a python assertion"
    if key == "rubricPrompt":
        return "has a judge's prompt of its own; Fairway's judge has one that is graded strictly"
    return f"has {key!r}, which Fairway does not read"


def _value(bare: str, value: Any, sources: Sources, what: str) -> Any:
    if not isinstance(value, str) or not value.startswith(SCHEME):
        return value
    if bare == "python":
        path, _, function = value.removeprefix(SCHEME).partition(":")
        try:
            found, *more = sources.find(path)
        except NotReadableError as error:
            raise NotTakenError(what, str(error)) from None
        if more:
            raise NotTakenError(what, "names several files")
        return f"{SCHEME}{found}{':' + function if function else ''}"
    if value.endswith((".js", ".ts", ".mjs", ".cjs")):
        raise NotTakenError(what, "JavaScript is not run")
    if is_template(value):
        raise NotTakenError(what, "names its file by a variable")
    try:
        path, *more = sources.find(value)
        if more:
            raise NotTakenError(what, "names several files")
        if value.endswith((".json", ".yaml", ".yml")):
            return sources.plain(path).value
        return sources.text(path).removesuffix("\n")
    except NotReadableError as error:
        raise NotTakenError(what, str(error)) from None


def _with_their_meaning(bare: str, item: dict[str, Any], negated: bool, is_summed: bool) -> dict[str, Any]:
    """What promptfoo means by a threshold of 0.

    For a number of edits, dollars or milliseconds it is a limit as any. What passes there by its score alone always
    passes: the score is recorded and decides nothing, unless a sum of scores decides. A judge's or a function's own no
    is a no whatever the threshold, and other kinds do not look at it.
    """
    if not _is_zero(item.get("threshold")) or KINDS[bare].threshold in (Threshold.AMOUNT, Threshold.REQUIRED):
        return item
    if bare in _SCORED and negated:
        return item  # nothing passes; it is told as no share above 0
    item.pop("threshold")
    if bare in _SCORED and not is_summed:
        item["weight"] = 0
    return item


def _checked(item: dict[str, Any], what: str) -> dict[str, Any]:
    if is_template(item):
        return item  # read once its variables are filled in, with the case
    try:
        read_assertion(item)
    except BadValueError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise NotTakenError(what, f"{error}{hint}") from None
    return item


def _translated(raw: Mapping[str, Any], negated: bool, what: str) -> dict[str, Any]:
    """The few expressions of JavaScript that say exactly what an assertion says."""
    code = raw.get("value")
    if not isinstance(code, str) or any(key not in ("type", "value", "weight", "metric") for key in raw):
        raise NotTakenError(what, UNSUPPORTED["javascript"])
    rest = {key: raw[key] for key in ("weight", "metric") if raw.get(key) is not None}
    if match := _INCLUDES.match(code):
        text = match[3] if match[3] is not None else match[4]
        kind = "icontains" if match[2] else "contains"
        if text and (kind == "contains" or text == text.lower()):
            return {"type": _signed(kind, bool(match[1]) is not negated), "value": text, **rest}
    if match := _STARTS.match(code):
        text = match[2] if match[2] is not None else match[3]
        if text:
            return {"type": _signed("starts-with", bool(match[1]) is not negated), "value": text, **rest}
    raise NotTakenError(what, UNSUPPORTED["javascript"])


def _signed(kind: str, negated: bool) -> str:
    return f"not-{kind}" if negated else kind
