"""``{{ variable }}`` in the texts of a case, filled with the case's own variables and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_SIMPLE = re.compile(r"\{\{-?\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*-?\}\}")
_MARKS = ("{{", "{%", "{#")


class TemplateFailedError(ValueError):
    """A text that cannot be filled: a variable that is not there, or no template at all.

    Attributes:
        name: The variable that is missing; ``None``: something else is wrong.
    """

    def __init__(self, message: str, *, name: str | None = None) -> None:
        """Keep the name."""
        super().__init__(message)
        self.name = name


def is_template(value: Any) -> bool:
    """Whether a text, or a text inside lists and mappings, has something to fill in."""
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS)
    if isinstance(value, Mapping):
        return any(is_template(one) for one in value.values()) or any(is_template(key) for key in value)
    return isinstance(value, list) and any(is_template(one) for one in value)


def fill_text(text: str, variables: Mapping[str, Any]) -> str:
    """The text with its variables filled in; what a variable holds is never read as a template again.

    Plain ``{{ name }}`` and ``{{ name.key }}`` are filled here. Anything more (filters, conditions, loops) is Jinja2 in
    the sandbox that prompts use, with every variable declared.

    Raises:
        TemplateFailedError: A variable is missing, or the template is wrong.
    """
    if not is_template(text):
        return text
    if "{%" in text or "{#" in text or len(_SIMPLE.findall(text)) != text.count("{{"):
        return _fill_by_jinja(text, variables)
    return _SIMPLE.sub(lambda match: _as_text(_value(match[1], variables)), text)


def fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """A value of JSON with all its texts filled in.

    A text that is nothing but one variable becomes what the variable holds, also a number or a list.

    Raises:
        TemplateFailedError: As :func:`fill_text`.
    """
    if isinstance(value, str):
        whole = _SIMPLE.fullmatch(value.strip())
        return _value(whole[1], variables) if whole else fill_text(value, variables)
    if isinstance(value, Mapping):
        return {fill_text(key, variables): fill(one, variables) for key, one in value.items()}
    return [fill(one, variables) for one in value] if isinstance(value, list) else value


def variables_in(value: Any) -> frozenset[str]:
    """Names of the variables that texts read, as far as they can be read."""
    if isinstance(value, str):
        return _names_in(value)
    if isinstance(value, Mapping):
        return frozenset().union(*map(variables_in, value.values()), *map(variables_in, value))
    return frozenset().union(*map(variables_in, value)) if isinstance(value, list | tuple) else frozenset()


def _names_in(text: str) -> frozenset[str]:
    if not is_template(text):
        return frozenset()
    if "{%" not in text and len(_SIMPLE.findall(text)) == text.count("{{"):
        return frozenset(match.split(".")[0] for match in _SIMPLE.findall(text))
    from jinja2 import TemplateError, meta

    environment = _environment()
    try:
        return frozenset(meta.find_undeclared_variables(environment.parse(text)) - set(environment.globals))
    except (TemplateError, RecursionError):
        return frozenset()


@lru_cache(maxsize=1)
def _environment() -> Any:
    # only for a template that needs it: importing Jinja2 takes longer than loading a thousand cases
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_as_text
    )
    environment.filters["dump"] = _as_json  # Nunjucks' name for it, which promptfoo's templates use
    return environment


@lru_cache(maxsize=256)
def _compiled(text: str) -> Any:
    """The template; the ``defaults`` of a suite are filled in once for each of its cases."""
    return _environment().from_string(text)


def _value(name: str, variables: Mapping[str, Any]) -> Any:
    first, *rest = name.split(".")
    if first not in variables:
        raise TemplateFailedError(f"there is no variable {first!r}", name=first)
    found = variables[first]
    for key in rest:
        if not isinstance(found, Mapping) or key not in found:
            raise TemplateFailedError(f"the variable {first!r} has no {key!r}", name=first)
        found = found[key]
    return found


def _as_text(value: Any) -> str:
    """As Jinja2 writes it, but JSON's words for true, false and null, and JSON for lists and mappings."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | list | Mapping):
        return _as_json(value)
    return str(value)


def _as_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _fill_by_jinja(text: str, variables: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError, UndefinedError

    try:
        filled: str = _compiled(text).render(dict(variables))
    except UndefinedError as error:
        missing = sorted(_names_in(text) - variables.keys())
        raise TemplateFailedError(str(error), name=missing[0] if missing else None) from error
    except RecursionError as error:
        raise TemplateFailedError("the template is nested too deep") from error
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TemplateFailedError(f"the template cannot be filled: {error}") from error
    return filled
