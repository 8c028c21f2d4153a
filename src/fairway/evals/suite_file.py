"""YAML and JSON with the place of every key, so that an error in a suite names file, line and column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fairway.errors import ProjectFileError

KeyPath = tuple[str | int, ...]
Places = dict[KeyPath, tuple[int, int]]
Model = TypeVar("Model", bound=BaseModel)

_MAX_DEPTH = 60
_MAX_NODES = 500_000
"""Aliases count each time they are used, so that a few lines cannot unfold into gigabytes."""


class _PlainLoader(yaml.SafeLoader):
    """Dates stay text: a case compares JSON values, and JSON has no date."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value and where each path stands, 1-based ``(line, column)``."""

    file: str
    value: Any
    places: Places = field(default_factory=dict)

    def place(self, path: KeyPath) -> tuple[int | None, int | None]:
        """Place of a path or of the closest part of it that is in the file; ``(None, None)`` for the whole file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return (None, None)

    def error(self, message: str, path: KeyPath, *, hint: str | None = None) -> ProjectFileError:
        """An error at a path of this file."""
        line, column = self.place(path)
        return ProjectFileError(
            message, file=self.file, line=line, column=column, key=dotted(path) or None, code="eval_suite", hint=hint
        )


def read_document(content: bytes, *, file: str) -> Document:
    """Parse a ``.json`` file as JSON and anything else as one YAML document.

    Raises:
        ProjectFileError: Not UTF-8, not YAML or JSON, a key written twice, nested deeper than 60 levels.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProjectFileError(f"not UTF-8 text (byte {error.start})", file=file, code="eval_suite") from error
    if file.lower().endswith(".json"):
        return _read_json(text, file)
    return _read_yaml(text, file)


def _read_json(text: str, file: str) -> Document:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ProjectFileError(
            f"not valid JSON: {error.msg}", file=file, line=error.lineno, column=error.colno, code="eval_suite"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ProjectFileError(f"not valid JSON: {_first_line(error)}", file=file, code="eval_suite") from error
    # JSON is read by the JSON parser (YAML differs in escapes); YAML's marks only tell where things stand
    loader = _PlainLoader(text.replace("\t", " "))
    places: Places = {}
    try:
        node = loader.get_single_node()
    except (yaml.YAMLError, ValueError, RecursionError):
        return Document(file, value)
    finally:
        loader.dispose()
    _walk(node, (), places, file)
    return Document(file, value, places)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _read_yaml(text: str, file: str) -> Document:
    places: Places = {}
    try:
        loader = _PlainLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(file, None)
            _walk(node, (), places, file)
            return Document(file, loader.construct_document(node), places)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ProjectFileError(
            f"not valid YAML: {error.problem or error.context}",
            file=file,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
            code="eval_suite",
            hint="quote a text that contains ': ' or starts with one of { [ * & ! % @ `",
        ) from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise ProjectFileError(f"not valid YAML: {_first_line(error)}", file=file, code="eval_suite") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _walk(node: yaml.Node | None, path: KeyPath, places: Places, file: str) -> None:
    if node is None:
        return
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    places.setdefault(path, (line, column))
    if len(path) > _MAX_DEPTH or len(places) > _MAX_NODES:
        problem = "nested too deeply" if len(path) > _MAX_DEPTH else "too large"
        raise ProjectFileError(problem, file=file, line=line, column=column, code="eval_suite")
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key.value, str) else dotted(path)
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if name in seen:
                where = dotted((*path, name))
                raise ProjectFileError(
                    "written twice", file=file, line=place[0], column=place[1], key=where, code="eval_suite"
                )
            seen.add(name)
            places[(*path, name)] = place
            _walk(value, (*path, name), places, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), places, file)


def dotted(path: Sequence[str | int]) -> str:
    """``("cases", 2, "name")`` as ``cases[2].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def validate(model: type[Model], document: Document, path: KeyPath, value: Any) -> Model:
    """Read the part of a document at ``path`` as ``model``.

    Raises:
        ProjectFileError: The first thing wrong in the file, with its place and the nearest right key.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _file_error(model, document, path, error) from error


def _file_error(model: type[BaseModel], document: Document, path: KeyPath, error: ValidationError) -> ProjectFileError:
    details = [(path + tuple(item["loc"]), item) for item in error.errors()]
    # a misspelt key is also a missing one: the spelling is what helps
    where, first = min(details, key=lambda pair: (document.place(pair[0])[0] or 0, pair[1]["type"] == "missing"))
    kind = first["type"]
    message, hint = str(first["msg"]).removeprefix("Value error, "), None
    if kind == "extra_forbidden":
        known = keys_at(model, tuple(first["loc"])[:-1])
        near = get_close_matches(str(where[-1]), known, n=1)
        message = f"unknown key '{where[-1]}'"
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
    elif kind == "missing":
        message = f"'{where[-1]}' is missing"
    elif kind.startswith("string_t") and isinstance(first["input"], bool):
        message = f"expected text, found {str(first['input']).lower()}"
        hint = "YAML reads yes, no, on and off as true and false: put quotes around the word"
    elif kind.startswith("string_t") and isinstance(first["input"], int | float):
        message, hint = "expected text, found a number", "put quotes around it"
    return document.error(message, where, hint=hint)


def keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Keys that the section of ``model`` at ``path`` accepts; empty when it takes any."""
    for part in path:
        if isinstance(part, int):
            continue
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        section = _section_of(fields[part].annotation) if part in fields else None
        if section is None:
            return []
        model = section
    return [info.alias or name for name, info in model.model_fields.items()]


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_of(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in found if section is not None), None)
