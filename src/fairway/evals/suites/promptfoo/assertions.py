"""One assertion of promptfoo as Fairway writes it, or why it cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.registry import KINDS, UNSUPPORTED
from fairway.evals.assertions.section import read_assertion
from fairway.evals.suites.promptfoo.sources import SCHEME, NotReadableError, Sources
from fairway.evals.suites.template import is_template
from fairway.mistakes import nearest

_TAKEN = ("type", "value", "threshold", "weight", "metric", "config", "assert")
_SETTINGS = ("provider",)
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


def convert_assertion(raw: Any, sources: Sources) -> dict[str, Any]:
    """The assertion as an entry of ``assert``.

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
        item["assert"] = [convert_assertion(one, sources) for one in _members(item["assert"], what)]
    if "value" in item:
        item["value"] = _value(bare, item["value"], sources, what)
    return _checked(_with_their_meaning(bare, item), what)


def todo(what: str, why: str, raw: Any = None) -> dict[str, Any]:
    """What stands in the place of an assertion that was not taken: unknown until somebody writes it."""
    text = f"{what}: {why}"
    for mark in ("{{", "{%", "{#"):
        text = text.replace(mark, f"{mark[0]} {mark[1]}")  # it is shown, never filled in
    item: dict[str, Any] = {"type": "todo", "value": text}
    if isinstance(raw, Mapping):
        if isinstance(raw.get("metric"), str) and raw["metric"].strip():
            item["metric"] = raw["metric"]
        if raw.get("weight") == 0:
            item["weight"] = 0  # it decided nothing there either
    return item


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
            found = sources.find(path)[0]
        except NotReadableError as error:
            raise NotTakenError(what, str(error)) from None
        return f"{SCHEME}{found}{':' + function if function else ''}"
    if value.endswith((".js", ".ts", ".mjs", ".cjs")):
        raise NotTakenError(what, "JavaScript is not run")
    if is_template(value):
        raise NotTakenError(what, "names its file by a variable")
    try:
        if value.endswith((".json", ".yaml", ".yml")):
            return sources.plain(sources.find(value)[0]).value
        return sources.text(sources.find(value)[0]).removesuffix("\n")
    except NotReadableError as error:
        raise NotTakenError(what, str(error)) from None


def _with_their_meaning(bare: str, item: dict[str, Any]) -> dict[str, Any]:
    """What promptfoo means where it says nothing, or says it differently."""
    if bare in ("contains-any", "contains-all", "icontains-any", "icontains-all") and item.get("threshold") == 0:
        item.pop("threshold")
    if item.get("threshold") == 0 and bare not in ("cost", "latency"):
        # with 0 everything passes there: the score is recorded and decides nothing
        item.pop("threshold")
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
