"""Checks of JSON in a reply, with a schema where one is given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, time
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

from fairway.canonical import canonical_json
from fairway.evals.assertions.finding import Finding, broken, held, violated
from fairway.evals.assertions.json_text import json_parts, parse_json
from fairway.evals.assertions.kind import BadValueError
from fairway.evals.assertions.pointers import at_pointer
from fairway.evals.assertions.predicates import ABSENT, render
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion
from fairway.mistakes import shown

_CLOCK = r"[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d{1,6})?\d*(?:[Zz]|[+-][0-2]\d:[0-5]\d)"
_TIME = re.compile(_CLOCK, re.ASCII)
_DATE_TIME = re.compile(rf"\d{{4}}-[01]\d-[0-3]\d[Tt]{_CLOCK}", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII)


class UncheckableError(Exception):
    """A schema that cannot be applied to a value."""


def check_is_json(assertion: Assertion, observed: Observed) -> Finding:
    """The whole reply is JSON, and meets the schema when there is one."""
    parsed = parse_json(observed.text)
    if parsed.problem is not None:
        return violated(f"the reply is not JSON: {parsed.problem}")
    if assertion.value is None:
        return held()
    try:
        problem = schema_problem(assertion.value, parsed.value)
    except UncheckableError as error:
        return broken(str(error))
    return held() if problem is None else violated(f"the reply's JSON does not meet the schema: {problem}")


def check_contains_json(assertion: Assertion, observed: Observed) -> Finding:
    """An object or array stands in the reply; with a schema, one that meets it."""
    first = None
    for part in json_parts(observed.text):
        try:
            problem = schema_problem(assertion.value, part) if assertion.value is not None else None
        except UncheckableError as error:
            return broken(str(error))
        if problem is None:
            return held()
        first = first or problem
    if first is None:
        return violated("there is no JSON object or array in the reply")
    return violated(f"no JSON in the reply meets the schema: {first}")


def schema_problem(schema: Any, value: Any) -> str | None:
    """The first way in which a value does not meet a JSON schema; ``None``: it does.

    Raises:
        UncheckableError: The schema refers to nothing or to itself without end, or the value is nested too deeply.
    """
    from referencing.exceptions import Unresolvable

    try:
        found = next(iter(_validator(canonical_json(schema)).iter_errors(value)), None)
    except RecursionError as error:
        raise UncheckableError("schema or value are nested too deeply to be checked") from error
    except ArithmeticError as error:  # a number no float can hold, or one divided by next to nothing
        raise UncheckableError(f"the schema cannot be applied to such numbers: {error}") from error
    except Unresolvable as error:
        raise UncheckableError(f"the schema refers to what is not there: {str(error)[:200]}") from error
    if found is None:
        return None
    where = "/".join(str(part) for part in found.absolute_path)
    return f"{where + ': ' if where else ''}{str(found.message)[:200]}"


@lru_cache(maxsize=128)
def _validator(schema: bytes) -> Any:
    """The validator of a schema. References reach the schema itself only: nothing is fetched."""
    # slow to import, and most suites have no schema
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    value = json.loads(schema)
    kind = validator_for(value, default=Draft202012Validator)
    return kind(value, registry=Registry(), format_checker=_formats(kind.FORMAT_CHECKER.checkers))


def _formats(known: Mapping[str, Any]) -> Any:
    """A checker of the library's formats, and of four more that it leaves to other packages."""
    from jsonschema import FormatChecker

    checker = FormatChecker(())
    own = {"date-time": _is_date_time, "time": _is_time, "uri": _is_uri, "hostname": _is_hostname}
    checker.checkers = {**known, **{name: (holds, ()) for name, holds in own.items()}}
    return checker


def _is_date_time(value: Any) -> bool:
    """RFC 3339: date, time and offset."""
    return not isinstance(value, str) or (_DATE_TIME.fullmatch(value) is not None and _reads(datetime, value))


def _is_time(value: Any) -> bool:
    """RFC 3339: time and offset."""
    return not isinstance(value, str) or (_TIME.fullmatch(value) is not None and _reads(time, value))


def _reads(kind: type[datetime] | type[time], value: str) -> bool:
    try:
        # a leap second is a time, and Python knows none
        kind.fromisoformat(re.sub(r":60(?=[.Zz+-])", ":59", value.upper()))
    except ValueError:
        return False
    return True


def _is_uri(value: Any) -> bool:
    """RFC 3986, with its scheme."""
    return not isinstance(value, str) or _URI.fullmatch(value) is not None


def _is_hostname(value: Any) -> bool:
    """RFC 1123: labels of letters, digits and dashes."""
    return not isinstance(value, str) or (len(value) <= 253 and _HOSTNAME.fullmatch(value) is not None)


def schema(value: Any) -> Any:
    """Reader of a JSON schema: a mapping, ``true``/``false``, or the text of one in JSON.

    Raises:
        BadValueError: It is no schema, or asks for a format that would not be checked.
    """
    if isinstance(value, str):
        parsed = parse_json(value)
        if parsed.problem is not None:
            raise BadValueError(f"expected a JSON schema; the text is not JSON: {parsed.problem}")
        value = parsed.value
    if not isinstance(value, Mapping | bool):
        raise BadValueError(f"expected a JSON schema (a mapping); got {shown(value)}")
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    dialect = value.get("$schema") if isinstance(value, Mapping) else None
    if dialect is not None and cast(Any, validator_for)({"$schema": dialect}, default=None) is None:
        raise BadValueError(f"the dialect {render(dialect)} is not known", "$schema")
    try:
        validator = _validator(canonical_json(value))
        type(validator).check_schema(value)
    except SchemaError as error:
        at = [part if isinstance(part, int) else str(part) for part in error.absolute_path]
        raise BadValueError(f"is not a JSON schema: {str(error.message)[:200]}", *at) from error
    except (ValueError, RecursionError) as error:
        raise BadValueError(f"is not a JSON schema: {str(error)[:200]}") from error
    _check_references(value, validator, ())
    return value


def _check_references(value: Any, validator: Any, at: tuple[str | int, ...]) -> None:
    """Refuse what would otherwise pass unchecked or fail in the middle of a run."""
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _check_references(inner, validator, (*at, index))
    if not isinstance(value, Mapping):
        return
    wanted = value.get("format")
    # below "properties" and the like, "format" is the name of a property
    if isinstance(wanted, str) and wanted not in validator.format_checker.checkers:
        known = ", ".join(sorted(validator.format_checker.checkers))
        raise BadValueError(f"the format {render(wanted)} cannot be checked", *at, "format", hint=f"formats: {known}")
    target = value.get("$ref")
    if isinstance(target, str) and not target.startswith("#"):
        raise BadValueError("a schema may only refer to itself (#/…): nothing is fetched", *at, "$ref")
    if isinstance(target, str) and target.startswith("#/") and "$id" not in validator.schema:
        where = unquote(target[1:])
        if at_pointer(validator.schema, where) is ABSENT:
            raise BadValueError(f"there is nothing at {target} in the schema", *at, "$ref")
    for key, inner in value.items():
        if key not in ("enum", "const", "default", "examples"):
            _check_references(inner, validator, (*at, key))
