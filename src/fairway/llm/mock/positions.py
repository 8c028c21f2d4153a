"""YAML with the place of every key, so that an error in a scenario can name file, line and column."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fairway.errors import ProjectFileError

KeyPath: TypeAlias = tuple[str | int, ...]
Section = TypeVar("Section", bound=BaseModel)


@dataclass(slots=True)
class Positions:
    """Where each path of a YAML document stands, 1-based ``(line, column)``; keys and values apart."""

    keys: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    values: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def nearest(self, path: KeyPath) -> tuple[int, int]:
        """The place of a path, or of the closest part of it that is in the file."""
        for length in range(len(path), 0, -1):
            part = path[:length]
            if part in self.keys:
                return self.keys[part]
            if part in self.values:
                return self.values[part]
        return (1, 1)


def read_yaml(text: str, *, file: str) -> tuple[Any, Positions]:
    """Parse one YAML document and remember where everything stands.

    Args:
        text: The document.
        file: Its path as the person wrote it, for messages.

    Returns:
        The plain value (``None`` for an empty document) and the positions.

    Raises:
        ProjectFileError: Not YAML, more than one document, or a key written twice.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            positions = Positions()
            if node is None:
                return None, positions
            _walk(node, (), positions, file)
            return loader.construct_document(node), positions
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ProjectFileError(
            f"not valid YAML: {error.problem or error.context}",
            file=file,
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
            hint="quote a text that contains ': ' or starts with one of { [ * & ! % @ `",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ProjectFileError(f"not valid YAML: {str(error).splitlines()[0][:200]}", file=file) from error


def _walk(node: yaml.Node, path: KeyPath, positions: Positions, file: str) -> None:
    positions.values.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if len(path) > 60:
        raise ProjectFileError("nested too deeply", file=file, line=node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            name = str(key.value)
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if name in seen:
                raise ProjectFileError(
                    "written twice", file=file, line=place[0], column=place[1], key=dotted((*path, name))
                )
            seen.add(name)
            positions.keys[(*path, name)] = place
            _walk(value, (*path, name), positions, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), positions, file)


def dotted(path: Sequence[str | int]) -> str:
    """``("rules", 2, "when")`` as ``rules[2].when``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def validate(model: type[Section], data: Any, positions: Positions, *, file: str) -> Section:
    """Read a document as ``model``.

    Raises:
        ProjectFileError: The first thing wrong, with its place, and the nearest right key for an unknown one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _as_file_error(model, error, positions, file) from error


def _as_file_error(model: type[BaseModel], error: ValidationError, positions: Positions, file: str) -> ProjectFileError:
    details = sorted(error.errors(), key=lambda item: positions.nearest(tuple(item["loc"])))
    first = details[0]
    path = tuple(part for part in first["loc"])
    line, column = positions.nearest(path)
    message = first["msg"].removeprefix("Value error, ")
    hint = None
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        near = get_close_matches(str(path[-1]), known, n=1)
        message = f"unknown key '{path[-1]}'"
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}" if known else None
    elif first["type"] == "missing":
        message = f"'{path[-1]}' is missing"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ProjectFileError(
        message + more, file=file, line=line, column=column, key=dotted(path), code="scenario", hint=hint
    )


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Names a section accepts, found by walking the model's annotations along ``path``."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        fields = {(info.alias or name): info for name, info in current.model_fields.items()}
        if part not in fields:
            return []
        current = _section_in(fields[part].annotation)
    if not (isinstance(current, type) and issubclass(current, BaseModel)):
        return []
    return [info.alias or name for name, info in current.model_fields.items()]


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _section_in(argument)
        if found is not None:
            return found
    return None
