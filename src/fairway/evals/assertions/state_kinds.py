"""Outcome checks: the state an agent left behind, whatever path led there."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from fairway.canonical import canonical_json, value_digest
from fairway.evals.assertions.finding import Finding, broken, held, unknown, violated
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.pointers import at_pointer, index_of, parts_of, pointer
from fairway.evals.assertions.predicate_values import check_predicates
from fairway.evals.assertions.predicates import ABSENT, Leniency, mismatch, render
from fairway.evals.assertions.readers import mapping
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion

_UNREPORTED = "the state after the run is not reported"
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


def state_value(value: Any) -> dict[str, Any]:
    """Reader of ``{pointer: value or predicate}``."""
    found = dict(mapping(value))
    if not found:
        raise BadValueError("must say what to look at", hint="/orders/A-1/status: refunded")
    for key, want in found.items():
        try:
            pointer(key)
            check_predicates(want)
            canonical_json(want)
        except BadValueError as error:
            raise BadValueError(str(error), key, *error.at, hint=error.hint) from error
        except (ValueError, RecursionError) as error:
            raise BadValueError(f"not something JSON can hold exactly: {error}", key) from error
    return found


def check_state(assertion: Assertion, observed: Observed) -> Finding:
    """At each pointer of the final state stands what is expected; objects may have more keys."""
    state = observed.replies[-1].state
    if state is None:
        return unknown(_UNREPORTED)
    how = Leniency(subset=True)
    problems = []
    for where, want in assertion.value.items():
        differing = mismatch(want, at_pointer(state, where), how)
        if differing is not None:
            place = where + differing.pointer
            told = differing.rule or f"is {render(differing.have)} instead of {render(differing.want)}"
            problems.append((place, f"{place or 'the state'} {told}"))
    if not problems:
        return held()
    share = 1 - len(problems) / len(assertion.value)
    message = "; ".join(problem for _, problem in problems)
    return violated(message, score=share, subject=problems[0][0], detail={"differs": [place for place, _ in problems]})


def literal(value: Any) -> Any:
    """Reader of any JSON value."""
    try:
        canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise BadValueError(f"not something JSON can hold exactly: {error}") from error
    return value


def json_value(value: Any) -> Any:
    """Reader of a JSON value with predicates in it."""
    return check_predicates(literal(value))


def check_state_equals(assertion: Assertion, observed: Observed) -> Finding:
    """The final state, or the part at ``at``, is the value, with nothing more; ``ignore`` names what may differ."""
    state = observed.replies[-1].state
    if state is None:
        return unknown(_UNREPORTED)
    ignored = assertion.options.get("ignore", [])
    want, have = _without(assertion.value, ignored), _without(at_pointer(state, _at(assertion)), ignored)
    differing = mismatch(want, have)
    if differing is None:
        return held()
    return violated(f"the state differs: {differing}", subject=_at(assertion) + differing.pointer)


def _at(assertion: Assertion) -> str:
    return str(assertion.options.get("at", ""))


def digest(value: Any) -> str:
    """Reader of a SHA-256 in hexadecimal, with or without ``sha256:``."""
    found = _DIGEST.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise BadValueError("expected a SHA-256: sha256: and 64 hexadecimal digits")
    return f"sha256:{found.group(1)}"


def check_state_hash(assertion: Assertion, observed: Observed) -> Finding:
    """SHA-256 of the canonical JSON (RFC 8785) of the final state, or the part at ``at``, is the value."""
    state = observed.replies[-1].state
    if state is None:
        return unknown(_UNREPORTED)
    part = at_pointer(state, _at(assertion))
    if part is ABSENT:
        return violated(f"there is nothing at {_at(assertion)}", subject=_at(assertion))
    try:
        found = value_digest(_without(part, assertion.options.get("ignore", [])))
    except (ValueError, RecursionError) as error:
        return broken(f"the state has no canonical form: {error}")
    if found == assertion.value:
        return held()
    return violated(f"the state's digest is {found}", subject=_at(assertion), detail={"digest": found})


def _without(value: Any, ignored: Sequence[str]) -> Any:
    """A value without what stands at some pointers; in arrays it becomes null, so that the others keep their place."""
    if not ignored or value is ABSENT:
        return value
    value = copy.deepcopy(value)
    for where in ignored:
        *path, last = parts_of(where) or [""]
        holder = at_pointer(value, "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path))
        if isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list) and (index := index_of(last)) is not None and index < len(holder):
            holder[index] = None
    return value
