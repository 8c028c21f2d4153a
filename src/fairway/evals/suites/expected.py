"""The mini-language of a table's ``__expected`` cell: ``type(threshold): value``, as promptfoo's CSV files have it."""

from __future__ import annotations

import re
from typing import Any

from fairway.evals.assertions.registry import KINDS
from fairway.evals.suites.keys import BadKeyError
from fairway.mistakes import nearest

_CALL = re.compile(r"^\s*(not-)?([a-z][a-z0-9:-]*?)(?:\((\d+(?:\.\d+)?)\))?\s*(?::([\s\S]*))?$")
_ALIASES = {"grade": "llm-rubric"}
_THRESHOLDS = {
    "similar": 0.8, "answer-relevance": 0.75, "context-faithfulness": 0.75, "context-recall": 0.75,
    "context-relevance": 0.75, "rouge-n": 0.75,
}  # fmt: skip
"""Where the cell gives none. promptfoo also takes 0.75 for ``cost``, ``latency``, ``levenshtein`` and others, where it
means dollars, milliseconds and edits: there the threshold has to be written."""
_SCRIPTS = ("javascript", "fn", "eval")


def expected_assertion(cell: str) -> dict[str, Any]:
    """The assertion a cell means, as a suite's ``assert`` list would have it; text of no known form means ``equals``.

    Raises:
        BadKeyError: JavaScript, which Fairway does not run; or a type that looks misspelt, which would silently compare
            the whole reply with the cell.
    """
    if cell.startswith("file://"):
        return _script_file(cell)
    match = _CALL.match(cell)
    if match is None:
        return {"type": "equals", "value": cell}
    negated, name, threshold, value = match[1] or "", match[2], match[3], match[4]
    name = _ALIASES.get(name, name)
    if name in _SCRIPTS and value is not None:
        raise BadKeyError("JavaScript is not run", hint="say it with another assertion, or in Python: python: …")
    if name not in KINDS:
        return _text(cell, name, said=threshold is not None or value is not None)
    found: dict[str, Any] = {"type": f"{negated}{name}"}
    if value is not None and value.strip():
        found["value"] = value.strip()
    if threshold is not None:
        found["threshold"] = float(threshold)
    elif name in _THRESHOLDS:
        found["threshold"] = _THRESHOLDS[name]
    return found


def _script_file(cell: str) -> dict[str, Any]:
    if ".py" not in cell:
        raise BadKeyError(f"{cell} is not Python", hint="only Python files can check a reply")
    return {"type": "python", "value": cell}


def _text(cell: str, name: str, *, said: bool) -> dict[str, Any]:
    near = nearest(name, KINDS) if said and ("-" in name or len(name) > 4) else None
    if near is not None:
        raise BadKeyError(
            f"there is no assertion {name!r}", hint=f"did you mean {near!r}? For the text itself: equals: …"
        )
    return {"type": "equals", "value": cell}
