"""Texts with ``${references}`` to captures and tool results: parsed once, rendered for each request."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_REFERENCE = re.compile(
    r"\$\{(?P<path>[A-Za-z_]\w*(?:\.[\w-]+)*)(?::(?P<form>number|json))?(?:\|(?P<default>[^}]*))?\}"
)
_ROOTS = ("user", "result", "results")


class MissingValue(Exception):  # noqa: N818 - becomes an answer to the client, not an error of ours
    """A reference names something this request does not have and has no default."""


@dataclass(frozen=True, slots=True)
class Reference:
    """``${path:form|default}``."""

    path: tuple[str, ...]
    form: str | None
    default: str | None

    def value(self, scope: Mapping[str, Any]) -> Any:
        """The value in ``scope``, as JSON type.

        Raises:
            MissingValue: Not there and no default, or not a number where one is asked for.
        """
        current: Any = scope
        for part in self.path:
            current = _step(current, part)
            if current is None:
                break
        if current is None:
            if self.default is None:
                raise MissingValue(f"${{{'.'.join(self.path)}}} has no value here")
            current = self.default
        if self.form == "number":
            try:
                number = float(current)
            except (TypeError, ValueError) as error:
                raise MissingValue(f"${{{'.'.join(self.path)}}} is not a number: {current!r}") from error
            return int(number) if number.is_integer() else number
        if self.form == "json":
            return json.dumps(current, ensure_ascii=False)
        return current


def _step(current: Any, part: str) -> Any:
    if isinstance(current, Mapping):
        return current.get(part)
    if isinstance(current, list) and part.isdigit():
        return current[int(part)] if int(part) < len(current) else None
    return None


@dataclass(frozen=True, slots=True)
class Text:
    """Literal parts and references in turn."""

    parts: tuple[str | Reference, ...]

    def render(self, scope: Mapping[str, Any]) -> str:
        """Fill in the references."""
        if len(self.parts) == 1 and isinstance(self.parts[0], str):
            return self.parts[0]
        return "".join(part if isinstance(part, str) else _as_text(part.value(scope)) for part in self.parts)

    def value(self, scope: Mapping[str, Any]) -> Any:
        """As `render`, but a text that is one reference keeps the JSON type of its value."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Reference):
            return self.parts[0].value(scope)
        return self.render(scope)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def parse_text(text: str, *, captures: Collection[str]) -> Text:
    """Split a text into literals and references.

    Args:
        text: As written in the scenario.
        captures: Names of the groups the rule's own patterns capture.

    Raises:
        ValueError: A reference to nothing that can exist, or a ``${`` that is not a reference.
    """
    parts: list[str | Reference] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        parts.append(_literal(text[end : match.start()]))
        path = tuple(match["path"].split("."))
        if path[0] not in _ROOTS and path[0] not in captures:
            known = ", ".join([*_ROOTS, *sorted(captures)])
            raise ValueError(f"${{{match['path']}}} refers to nothing; known here: {known}")
        parts.append(Reference(path, match["form"], match["default"]))
        end = match.end()
    parts.append(_literal(text[end:]))
    return Text(tuple(part for part in parts if part != "") or ("",))


def _literal(text: str) -> str:
    if "${" in text:
        raise ValueError("'${' starts a reference such as ${order} or ${result.status|unknown}")
    return text


def parse_value(value: Any, *, captures: Collection[str]) -> Any:
    """Replace each text inside a JSON value by its `Text`; raises as `parse_text`."""
    if isinstance(value, str):
        return parse_text(value, captures=captures)
    if isinstance(value, dict):
        return {str(key): parse_value(item, captures=captures) for key, item in value.items()}
    if isinstance(value, list):
        return [parse_value(item, captures=captures) for item in value]
    return value


def render_value(value: Any, scope: Mapping[str, Any]) -> Any:
    """The JSON value with its references filled in; raises `MissingValue`."""
    if isinstance(value, Text):
        return value.value(scope)
    if isinstance(value, dict):
        return {key: render_value(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [render_value(item, scope) for item in value]
    return value
