"""Checks plain values of a file against a section's model and says every mistake in words.

A pydantic error becomes a :class:`ProjectFileError` with file, line, column, dotted key, what was expected, and the
nearest right key. All mistakes of a section are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fairway.errors import ProjectFileError
from fairway.mistakes import CombinedProjectFileError as CombinedProjectFileError
from fairway.mistakes import all_of as all_of
from fairway.mistakes import collect as collect
from fairway.mistakes import nearest as nearest
from fairway.mistakes import raise_all as raise_all
from fairway.mistakes import shown
from fairway.mistakes import suggest as suggest
from fairway.section import MisplacedError
from fairway.yaml_file import KeyPath, YamlDocument, value_at

M = TypeVar("M", bound=BaseModel)

_SENSITIVE = re.compile(r"api_?key|secret|password|credential|(^|_)token$", re.IGNORECASE)
"""Keys whose value is never repeated in a message."""
_NOUNS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "finite_number": "a finite number",
    "none_required": "nothing",
}


def validate(model: type[M], document: YamlDocument, path: KeyPath = ()) -> M:
    """The value at ``path`` of a document as a section.

    Args:
        model: The section's model.
        document: The file; it must have a value at ``path``.
        path: Where the section stands: ``("pipeline", "stages", "unit_test")``.

    Raises:
        ProjectFileError: With file, line, column and key of each mistake.
    """
    value = value_at(document, path)
    if value is None:
        value = {}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False, include_context=True))
        raise_all(_translate(model, document, path, detail) for detail in details)
        raise AssertionError("a validation error without details") from error
    except RecursionError as error:  # pragma: no cover - the reader limits depth
        raise document.error(path, "is nested too deep") from error


# -- one pydantic error, in words -------------------------------------------------------------------------------------


def _translate(model: type[BaseModel], document: YamlDocument, base: KeyPath, detail: ErrorDetails) -> ProjectFileError:
    kind = detail["type"]
    location = _in_document(document, base, detail["loc"], keep_last=kind in ("missing", "extra_forbidden"))
    path = (*base, *location)
    mistake = detail.get("ctx", {}).get("error")
    if isinstance(mistake, MisplacedError):
        path = _nearest_place(document, path, mistake.at)
    if kind == "extra_forbidden":
        known = _keys_of(model, location[:-1])
        word = str(location[-1]) if location else ""
        return document.error(path, "unknown key", of_key=True, hint=suggest(word, known, what="keys"))
    if kind == "missing":
        return document.error(path, "is required and missing")
    if kind in ("enum", "literal_error"):
        return _not_one_of(document, path, detail)
    return document.error(path, _in_words(kind, detail, sensitive=any(_SENSITIVE.search(str(part)) for part in path)))


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" of a list whose entries are wrong: pydantic counts those that are right."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"] for place in places)
    ]


def _nearest_place(document: YamlDocument, base: KeyPath, at: KeyPath) -> KeyPath:
    """The longest part of ``at`` that stands in the file."""
    for length in range(len(at), 0, -1):
        if document.has((*base, *at[:length])):
            return (*base, *at[:length])
    return base


def _in_document(
    document: YamlDocument, base: KeyPath, location: tuple[int | str, ...], *, keep_last: bool
) -> tuple[int | str, ...]:
    """The part of pydantic's location that exists in the file; the rest names union members and validators."""
    kept: list[int | str] = []
    for index, part in enumerate(location):
        if document.has((*base, *kept, part)) or (keep_last and index == len(location) - 1):
            kept.append(part)
    return tuple(kept)


def _not_one_of(document: YamlDocument, path: KeyPath, detail: ErrorDetails) -> ProjectFileError:
    expected = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
    choices = [choice.strip() for choice in expected.split(",") if choice.strip()]
    found = detail["input"]
    near = nearest(found, choices) if isinstance(found, str) else None
    hint = f"did you mean {near!r}?" if near else None
    return document.error(path, f"expected one of {', '.join(choices)}; got {shown(found)}", hint=hint)


def _in_words(kind: str, detail: ErrorDetails, *, sensitive: bool) -> str:
    found = "a value that is not shown" if sensitive else shown(detail["input"])
    context = detail.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind in _NOUNS:
        return f"expected {_NOUNS[kind]}; got {found}"
    limits = {
        "greater_than": ("gt", "above"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "below"),
        "less_than_equal": ("le", "at most"),
    }
    if kind in limits:
        name, words = limits[kind]
        return f"must be {words} {context.get(name)}; got {found}"
    if kind == "too_short":
        return f"must have at least {context.get('min_length')} entries; it has {context.get('actual_length')}"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return _pattern_in_words(str(context.get("pattern", "")), found)
    if kind == "invalid_key":
        return "every key must be text"
    message = detail["msg"]
    return message[:1].lower() + message[1:]


def _pattern_in_words(pattern: str, found: str) -> str:
    if pattern.startswith("^[a-z][a-z0-9-]"):
        return f"must be lower-case letters, digits and dashes, start with a letter, at most 63 long; got {found}"
    return f"must match {pattern}; got {found}"


def _keys_of(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Keys a mapping at ``location`` inside ``model`` may have."""
    annotation: Any = model
    for part in location:
        annotation = _inner(annotation, part)
        if annotation is None:
            return []
    found = _model_in(annotation)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _inner(annotation: Any, part: int | str) -> Any:
    found = _model_in(annotation)
    if found is not None:
        for name, field in found.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
        return None
    for option in _options(annotation):
        origin, arguments = get_origin(option), get_args(option)
        if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
            return arguments[1]
        if isinstance(origin, type) and issubclass(origin, Sequence) and arguments:
            return arguments[0]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _options(annotation: Any) -> list[Any]:
    """Members of a union, with ``Annotated`` taken off."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    return [annotation]
