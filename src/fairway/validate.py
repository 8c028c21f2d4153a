"""Checks plain values of a file against a section's model and says every mistake in words.

A pydantic error becomes a :class:`ProjectFileError` with file, line, column, dotted key, what was expected, and the
nearest right key. All mistakes of a section are reported together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fairway.errors import ProjectFileError
from fairway.section import MisplacedError
from fairway.yaml_file import KeyPath, YamlDocument, value_at

M = TypeVar("M", bound=BaseModel)

_TOLD = 20
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


class CombinedProjectFileError(ProjectFileError):
    """Several mistakes of one or more files, told together; the first one gives file, line, column and key.

    Attributes:
        errors: Every mistake, the first included.
    """

    def __init__(self, errors: Sequence[ProjectFileError]) -> None:
        first = errors[0]
        super().__init__(
            first.problem, file=first.file, line=first.line, column=first.column, key=first.key, code=first.code
        )
        self.errors = tuple(errors)
        told = [str(error) for error in errors[:_TOLD]]
        if len(errors) > _TOLD:
            told.append(f"and {len(errors) - _TOLD} more")
        self.message = "\n".join(told)
        self.args = (self.message,)


def all_of(error: ProjectFileError) -> tuple[ProjectFileError, ...]:
    """The single mistakes an error tells of, in order."""
    return error.errors if isinstance(error, CombinedProjectFileError) else (error,)


def raise_all(errors: Iterable[ProjectFileError]) -> None:
    """Raise the mistakes as one error, ordered by place; nothing happens when there is none."""
    flat = [single for error in errors for single in all_of(error)]
    flat.sort(key=lambda error: (error.file, error.line or 0, error.column or 0))
    if len(flat) == 1:
        raise flat[0]
    if flat:
        raise CombinedProjectFileError(flat)


def collect(errors: list[ProjectFileError], check: Callable[[], M | None]) -> M | None:
    """The result of ``check``; its mistakes are kept in ``errors`` instead."""
    try:
        return check()
    except ProjectFileError as error:
        errors.append(error)
        return None


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


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word a typo most likely meant, or ``None``."""
    words = list(known)
    lowered = {candidate.lower(): candidate for candidate in reversed(words)}
    found = get_close_matches(word[:80].lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def suggest(word: str, known: Iterable[str], *, what: str) -> str:
    """A hint: the nearest known word, else all of them (up to twelve)."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near!r}?"
    if not words:
        return f"there are no {what} yet"
    listed = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"known {what}: {listed}"


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
    return document.error(path, f"expected one of {', '.join(choices)}; got {_shown(found)}", hint=hint)


def _in_words(kind: str, detail: ErrorDetails, *, sensitive: bool) -> str:
    found = "a value that is not shown" if sensitive else _shown(detail["input"])
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


def _shown(value: object) -> str:
    """What stands there, short; long texts are not repeated."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"a text of {len(value)} characters"
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"


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
