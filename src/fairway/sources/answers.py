"""From the bytes a source answered with to one figure, or to the name of what it is instead. Pure and total."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from fairway.sources.values import Answered, SourceAnswer, SourceKind

_NUMBER = re.compile(r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$", re.ASCII)
_INDEX = re.compile(r"^(?:0|[1-9]\d{0,8})$", re.ASCII)
_INFINITE = frozenset({"+Inf", "-Inf", "Inf"})
_UNREADABLE = (ValueError, RecursionError)
"""Bad JSON, bad UTF-8, digits beyond counting, brackets beyond the stack."""
_TOLD = 200
_OK = 200


def read_answer(
    kind: SourceKind, *, status: int, body: bytes, pointer: str = "", yes_or_no: bool = False
) -> SourceAnswer:
    """What a source answered.

    Args:
        kind: Who was asked.
        status: Of HTTP.
        body: Whole.
        pointer: Where in an HTTP endpoint's JSON the figure stands (RFC 6901).
        yes_or_no: Of an HTTP endpoint: ``true`` or ``false`` is asked for, not a number.
    """
    if kind is SourceKind.PROMETHEUS:
        return read_prometheus(status, body)
    return read_http(status, body, pointer=pointer, yes_or_no=yes_or_no)


def read_prometheus(status: int, body: bytes) -> SourceAnswer:
    """The answer of ``/api/v1/query``: a figure when it is exactly one number, of a scalar or of one series.

    Source: the Prometheus HTTP API, "Instant queries" and "Expression query result formats". A warning means that not
    all of the data was read, so its figure is none.
    """
    envelope = _json(body)
    told = _told_error(envelope)
    if status != _OK:
        return _refused(status, told)
    if not isinstance(envelope, dict) or envelope.get("status") not in ("success", "error"):
        return unknown(Answered.MALFORMED, "the answer is not one of the Prometheus API")
    if envelope["status"] == "error":
        return unknown(Answered.REFUSED, told or "the server answered with an error")
    if envelope.get("warnings"):
        return unknown(Answered.PARTIAL, f"the server warns that it is not whole: {_shown(envelope['warnings'])}")
    data = envelope.get("data")
    if not isinstance(data, dict):
        return unknown(Answered.MALFORMED, "the answer has no data")
    return _of_result(data.get("resultType"), data.get("result"))


def _of_result(kind: object, result: object) -> SourceAnswer:
    if kind == "scalar":
        return _of_sample(result)
    if kind != "vector":
        return unknown(Answered.WRONG_TYPE, f"the query gives a {_shown(kind)}; ask for one number")
    if not isinstance(result, list):
        return unknown(Answered.MALFORMED, "the answer's vector is not a list")
    if not result:
        return unknown(Answered.EMPTY, "no sample: the query selects nothing now")
    if len(result) > 1:
        return unknown(Answered.SEVERAL, f"{len(result):,} series; make one of them, for example with sum(...)")
    (series,) = result
    if isinstance(series, dict) and "histogram" in series:
        return unknown(Answered.WRONG_TYPE, "the query gives a histogram; ask for one number")
    return _of_sample(series.get("value") if isinstance(series, dict) else None)


def _of_sample(sample: object) -> SourceAnswer:
    """``[time, "0.25"]``."""
    if not isinstance(sample, list) or len(sample) != 2 or not isinstance(sample[1], str):
        return unknown(Answered.MALFORMED, "the answer's sample is not a time and a number")
    text = sample[1]
    if text == "NaN":
        return unknown(Answered.NOT_A_NUMBER, "NaN: nothing was divided by nothing")
    if text in _INFINITE:
        return unknown(Answered.INFINITE, f"{text}: something was divided by nothing")
    if not _NUMBER.match(text):
        return unknown(Answered.WRONG_TYPE, f"{_shown(text)} is not a number")
    return _figure(float(text))


def read_http(status: int, body: bytes, *, pointer: str = "", yes_or_no: bool = False) -> SourceAnswer:
    """The answer of an HTTP endpoint: a figure when it is JSON with a number (or a boolean) where it was asked for."""
    if status != _OK:
        return _refused(status, "")
    parsed = _json(body)
    if parsed is _NO_JSON:
        return unknown(Answered.MALFORMED, "the answer is not JSON")
    found = _at(parsed, pointer)
    where = pointer or "the top"
    if found is _NO_JSON:
        return unknown(Answered.WRONG_TYPE, f"there is nothing at {where}")
    if found is None:
        return unknown(Answered.EMPTY, f"null at {where}: the source does not know")
    if yes_or_no:
        if not isinstance(found, bool):
            return unknown(Answered.WRONG_TYPE, f"{_shown(found)} at {where} is neither true nor false")
        return SourceAnswer(outcome=Answered.VALUE, value=float(found))
    if isinstance(found, bool) or not isinstance(found, int | float):
        return unknown(Answered.WRONG_TYPE, f"{_shown(found)} at {where} is not a number")
    return _figure(found)


def _figure(number: float) -> SourceAnswer:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if math.isnan(value):
        return unknown(Answered.NOT_A_NUMBER, "NaN")
    if math.isinf(value):
        return unknown(Answered.INFINITE, "a number beyond counting")
    return SourceAnswer(outcome=Answered.VALUE, value=value)


def unknown(outcome: Answered, detail: str) -> SourceAnswer:
    """An answer without a figure."""
    return SourceAnswer(outcome=outcome, detail=detail)


def _refused(status: int, told: str) -> SourceAnswer:
    hints = {
        401: "check its credential",
        403: "the credential may not ask this",
        404: "check its address",
    }
    more = told or hints.get(status, "")
    return unknown(Answered.REFUSED, f"it answered {status}{f': {more}' if more else ''}")


# -- JSON --------------------------------------------------------------------------------------------------------------

_NO_JSON = object()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except _UNREADABLE:
        return _NO_JSON


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _at(value: Any, pointer: str) -> Any:
    """What stands at a JSON pointer; :data:`_NO_JSON` when nothing does."""
    for raw in pointer.split("/")[1:]:
        token = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and _INDEX.match(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return _NO_JSON
    return value


def _told_error(envelope: Any) -> str:
    """What Prometheus says of a question it refuses; nothing else of a refused answer is repeated."""
    if not isinstance(envelope, dict) or envelope.get("status") != "error":
        return ""
    said = envelope.get("error")
    return plain(said) if isinstance(said, str) else ""


def _shown(value: object) -> str:
    """What stands there, short and on one line."""
    if isinstance(value, dict | list):
        first = value[0] if isinstance(value, list) and value else ""
        return (
            plain(first)
            if isinstance(first, str) and first
            else f"a {'mapping' if isinstance(value, dict) else 'list'}"
        )
    return plain(repr(value) if isinstance(value, str) else str(value)[:_TOLD]) if value is not None else "nothing"


def plain(text: str) -> str:
    """A stranger's text as one short line without control characters."""
    short = "".join(char if char.isprintable() else " " for char in text[: _TOLD + 1])
    return short if len(short) <= _TOLD else f"{short[:_TOLD]}…"
