"""The ``assert:`` list of a suite: read into assertions, each mistake with file, line and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.assertions.kind import BadValueError, How, Kind, Threshold
from fairway.evals.assertions.readers import number, whole
from fairway.evals.assertions.registry import KINDS, UNSUPPORTED
from fairway.evals.assertions.shorthand import read_shorthand
from fairway.evals.judges.kinds import judge_problem
from fairway.evals.values import Assertion
from fairway.mistakes import nearest, raise_all, shown, suggest
from fairway.yaml_file import KeyPath, YamlDocument

MOST_ASSERTIONS = 200
MOST_DEPTH = 5
_LEAST_SHARE = 1e-6
"""A threshold below is meant as 0, and would be lost in what rounding allows."""
_COMMON = ("type", "value", "threshold", "weight", "metric", "turn")
_OF_A_SET = ("type", "assert", "threshold", "weight", "metric")
_REFUSED = {
    "transform": "is not supported: the reply is looked at as it is",
    "contextTransform": "is not supported: declare the context, or report it with the reply",
    "provider": "is not supported on an assertion",
    "rubricPrompt": "is not supported: the question is the same in every suite, so that judges can be calibrated",
}
"""Keys promptfoo knows, and why they are refused instead of dropped."""


class _UnknownTypeError(BadValueError):
    """A type nobody checks."""


def parse_assertions(document: YamlDocument, path: KeyPath, items: Sequence[Any]) -> tuple[Assertion, ...]:
    """Read a list of assertions.

    An entry is ``{type, value, threshold, weight, metric, …}``, the short ``{contains: refund, weight: 2}``, or one
    line of text: ``is-json``, ``contains: refund``, ``similar(0.8): …``.

    Args:
        document: The file.
        path: Where the list stands in it.
        items: The list, templates filled in.

    Raises:
        ProjectFileError: Each mistake with file, line, column, key and what to write instead.
    """
    return _assertions(document, path, items, 0)


def read_assertion(item: Any) -> Assertion:
    """One assertion from what a suite writes, without a file: for CSV cells, imports and tests.

    Raises:
        BadValueError: With the keys that lead to the mistake.
    """
    wanted = written_out(item)
    kind, negated = kind_of(wanted)
    if kind.how is How.SET:
        members = wanted.get("assert")
        if not isinstance(members, list) or not members:
            raise BadValueError("needs 'assert': a list of assertions")
        return _set(wanted, negated, tuple(read_assertion(member) for member in members))
    return _single(wanted, kind, negated)


def _assertions(document: YamlDocument, path: KeyPath, items: Sequence[Any], depth: int) -> tuple[Assertion, ...]:
    if len(items) > MOST_ASSERTIONS:
        raise document.error(path, f"has more than {MOST_ASSERTIONS} assertions", code="eval_assertion")
    if depth > MOST_DEPTH:
        raise document.error(path, f"is nested deeper than {MOST_DEPTH} sets", code="eval_assertion")
    found: list[Assertion] = []
    mistakes: list[ProjectFileError] = []
    for index, item in enumerate(items):
        try:
            found.append(_assertion(document, (*path, index), item, depth))
        except ProjectFileError as error:
            mistakes.append(error)
    raise_all(mistakes)
    return tuple(found)


def _assertion(document: YamlDocument, path: KeyPath, item: Any, depth: int) -> Assertion:
    place = document.position(path)
    line = place.line if place else None
    try:
        wanted = written_out(item)
        kind, negated = kind_of(wanted)
        if kind.how is not How.SET:
            return _single(wanted, kind, negated, line)
        members = wanted.get("assert")
        if not isinstance(members, list) or not members:
            raise BadValueError("needs 'assert': a list of assertions", *(("assert",) if "assert" in wanted else ()))
        key = "assert" if "assert" in item else str(wanted["type"])
        return _set(wanted, negated, _assertions(document, (*path, key), members, depth + 1), line)
    except BadValueError as error:
        at = _in_file(item, error)
        of_key = at != () and (str(error) == "unknown key" or at[-1] in _REFUSED)
        raise document.error((*path, *at), str(error), code="eval_assertion", hint=error.hint, of_key=of_key) from error


def _in_file(item: Any, error: BadValueError) -> KeyPath:
    """The keys that lead to a mistake, as they stand in the file: the short form writes the type as the key."""
    if not isinstance(item, Mapping) or "type" in item:
        return error.at if isinstance(item, Mapping) else ()
    short = next((key for key in item if key not in _COMMON), None)
    if error.at[:1] in (("value",), ("type",), ("assert",)) and short is not None:
        return (short, *error.at[1:])
    return error.at


def written_out(item: Any) -> Mapping[str, Any]:
    """An entry of the list in its long form.

    Raises:
        BadValueError: It is no assertion.
    """
    if isinstance(item, str):
        found = read_shorthand(item)
        if found is None:
            word = item.partition(":")[0].partition("(")[0].strip()
            hint = suggest(word, KINDS, what="types")
            raise BadValueError(f"{word[:60]!r} is no type of assertion", hint=hint)
        return found
    if not isinstance(item, Mapping):
        raise BadValueError(f"expected an assertion: {{type, value}}; got {shown(item)}")
    if "type" in item:
        return item
    short = [key for key in item if key not in _COMMON and _is_type(key)]
    if len(short) != 1 or "value" in item:
        raise BadValueError("needs a 'type'", hint="write {type: contains, value: …} or {contains: …}")
    rest = {key: value for key, value in item.items() if key != short[0]}
    key = "assert" if short[0].removeprefix("not-") == "assert-set" else "value"
    return {"type": short[0], **rest} if item[short[0]] is None else {"type": short[0], key: item[short[0]], **rest}


def _is_type(key: Any) -> bool:
    bare = str(key).removeprefix("not-")
    return bare in KINDS or bare in UNSUPPORTED


def kind_of(wanted: Mapping[str, Any]) -> tuple[Kind, bool]:
    """The kind an entry names and whether it is written ``not-``.

    Raises:
        BadValueError: There is no such type, with the nearest one; or Fairway does not check it, with why.
    """
    name = wanted["type"]
    if not isinstance(name, str):
        raise BadValueError(f"expected the type of an assertion; got {shown(name)}", "type")
    negated = name.startswith("not-")
    bare = name.removeprefix("not-")
    kind = KINDS.get(bare)
    if kind is not None:
        return kind, negated
    if bare in UNSUPPORTED or bare.startswith("promptfoo:redteam:"):
        why = UNSUPPORTED.get(bare, "belongs to a red team, which is another kind of test")
        raise _UnknownTypeError(f"{bare} is not supported", "type", hint=f"it {why}" if " " in why else why)
    raise _UnknownTypeError(f"{name[:60]!r} is no type of assertion", "type", hint=suggest(bare, KINDS, what="types"))


def _single(wanted: Mapping[str, Any], kind: Kind, negated: bool, line: int | None = None) -> Assertion:
    known = (*_COMMON, *kind.options)
    options: dict[str, Any] = {}
    for key, value in wanted.items():
        if key in kind.options:
            options[key] = _below(key, kind.options[key], value)
        elif key not in _COMMON:
            raise _unknown_key(key, known)
    if "turn" in wanted:
        options["turn"] = _turn(wanted["turn"], kind)
    assertion = Assertion(
        type=str(wanted["type"]).removeprefix("not-"),
        negated=negated,
        value=_value(wanted, kind),
        threshold=_threshold(wanted, kind),
        weight=_weight(wanted),
        metric=_metric(wanted),
        options=options,
        line=line,
    )
    if kind.how is How.JUDGED:
        _check_judged(assertion, wanted)
    return assertion


def _set(
    wanted: Mapping[str, Any], negated: bool, members: tuple[Assertion, ...], line: int | None = None
) -> Assertion:
    for key in wanted:
        if key not in _OF_A_SET:
            raise _unknown_key(key, _OF_A_SET)
    if all(member.weight == 0 for member in members):
        raise BadValueError("has only members of weight 0, so it would decide nothing", "assert")
    return Assertion(
        type="assert-set",
        negated=negated,
        threshold=_threshold(wanted, KINDS["assert-set"]),
        weight=_weight(wanted),
        metric=_metric(wanted),
        members=members,
        line=line,
    )


def _unknown_key(key: Any, known: Sequence[str]) -> BadValueError:
    word = str(key)
    if word in _REFUSED:
        return BadValueError(_REFUSED[word], word)
    near = nearest(word, known)
    hint = f"did you mean {near!r}?" if near else f"keys here: {', '.join(known)}"
    return BadValueError("unknown key", word, hint=hint)


def _below(key: str, read: Any, value: Any) -> Any:
    try:
        return read(value)
    except BadValueError as error:
        raise BadValueError(str(error), key, *error.at, hint=error.hint) from error


def _value(wanted: Mapping[str, Any], kind: Kind) -> Any:
    if kind.how is How.JUDGED:
        return wanted.get("value")
    if "value" not in wanted or (wanted["value"] is None and kind.name != "equals"):
        if kind.value is not None and kind.value_needed:
            raise BadValueError(f"{kind.name} needs a 'value'", hint=kind.summary)
        return None
    if kind.value is None:
        raise BadValueError(f"{kind.name} takes no value", "value", hint=kind.summary)
    return _below("value", kind.value, wanted["value"])


def _threshold(wanted: Mapping[str, Any], kind: Kind) -> float | None:
    value = wanted.get("threshold")
    if value is None:
        if kind.threshold is Threshold.REQUIRED:
            raise BadValueError(f"{kind.name} needs a 'threshold'", hint=kind.summary)
        return None
    if kind.threshold is Threshold.NONE:
        raise BadValueError(f"{kind.name} takes no threshold", "threshold", hint=kind.summary)
    if kind.threshold is not Threshold.SHARE:
        return float(_below("threshold", number, value))
    share = float(_below("threshold", lambda found: number(found, low=0.0, high=1.0), value))
    if share < _LEAST_SHARE:
        hint = "leave it out for the usual rule, or write weight: 0 to only record the score"
        raise BadValueError("a threshold of 0 is reached by everything", "threshold", hint=hint)
    return share


def _weight(wanted: Mapping[str, Any]) -> float:
    return float(_below("weight", lambda value: number(value, high=1e6), wanted.get("weight", 1.0)))


def _metric(wanted: Mapping[str, Any]) -> str | None:
    value = wanted.get("metric")
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise BadValueError(f"expected the name of a metric; got {shown(value)}", "metric")
    return value


def _turn(value: Any, kind: Kind) -> Any:
    if kind.how is not How.CHECKED:
        raise BadValueError(f"{kind.name} looks at the whole conversation", "turn")
    return value if value in ("last", "every") else _below("turn", whole(1, 100), value)


def _check_judged(assertion: Assertion, wanted: Mapping[str, Any]) -> None:
    problem = judge_problem(assertion)
    if problem is not None:
        key, message = problem
        raise BadValueError(message, key) if key in wanted else BadValueError(f"'{key}' {message}")
