"""Prompt templates: Jinja2 in a sandbox, every variable declared and typed, nothing undefined."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fairway.bundle.prompts import Prompt, VariableType
from fairway.errors import UserError
from fairway.validate import suggest

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
# Prompts are text for a model, not HTML; what a user wrote is delimited by the template, not escaped.
_HALF_VARIABLE = re.compile(r"(?<!\{)\{\s*[A-Za-z_][A-Za-z0-9_]*\s*\}\}(?!\})")
_BRACES = re.compile(r"\{|\}\}?")
_CHECKS: Mapping[VariableType, tuple[type, ...]] = {
    VariableType.STRING: (str,),
    VariableType.INTEGER: (int,),
    VariableType.NUMBER: (int, float),
    VariableType.BOOLEAN: (bool,),
    VariableType.LIST: (list, tuple),
    VariableType.OBJECT: (dict,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateProblem:
    """What is wrong with a template; ``line`` is 1-based inside the template."""

    message: str
    line: int
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUse:
    """What a template reads.

    Attributes:
        variables: Undeclared names it reads, with the line (1-based, inside the template) of the first use.
        problems: Why it cannot be read, or what looks unclosed.
    """

    variables: Mapping[str, int]
    problems: tuple[TemplateProblem, ...] = ()


def inspect_template(template: str) -> TemplateUse:
    """The variables a template reads and what is wrong with it; never raises."""
    try:
        tree = _ENVIRONMENT.parse(template)
        names = meta.find_undeclared_variables(tree) - set(_ENVIRONMENT.globals)
    except TemplateSyntaxError as error:
        return TemplateUse(variables={}, problems=(_syntax_problem(error),))
    except RecursionError:
        return TemplateUse(variables={}, problems=(TemplateProblem(message="is nested too deep", line=1),))
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in names:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    loads = [
        TemplateProblem(message="cannot load other templates", line=node.lineno)
        for kind in (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
        for node in tree.find_all(kind)
    ]
    return TemplateUse(variables=lines, problems=(*loads, *_stray_braces(tree)))


def render(prompt: Prompt, values: Mapping[str, Any]) -> str:
    """The prompt with its variables filled in.

    Args:
        prompt: A version of a prompt.
        values: By variable; one with a default may be missing.

    Raises:
        UserError: On a missing, unknown or wrongly typed variable, or a template that fails.
    """
    declared = prompt.content.variables
    filled: dict[str, Any] = {}
    for name in values:
        if name not in declared:
            raise _failed(prompt, f"has no variable {name!r}", suggest(name, declared, what="variables"))
    for name, variable in declared.items():
        optional = not variable.required or "default" in variable.model_fields_set
        if name not in values:
            if not optional:
                raise _failed(prompt, f"needs the variable {name!r}", f"it is a {variable.type}")
            filled[name] = variable.default
            continue
        if not _has_type(values[name], variable.type):
            raise _failed(prompt, f"variable {name!r} must be a {variable.type}", None)
        filled[name] = values[name]
    try:
        return _ENVIRONMENT.from_string(prompt.content.template).render(filled)
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise _failed(prompt, f"cannot be rendered: {error}", None) from error
    except RecursionError as error:
        raise _failed(prompt, "cannot be rendered: it calls itself without end", None) from error


def parse_value(text: str, kind: VariableType) -> Any:
    """A variable's value from a command line; lists and objects are JSON.

    Raises:
        ValueError: When the text is not of that type.
    """
    if kind is VariableType.STRING:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a {kind}") from error
    if not _has_type(value, kind):
        raise ValueError(f"{text!r} is not a {kind}")
    return value


def _has_type(value: Any, kind: VariableType) -> bool:
    if isinstance(value, bool):
        return kind is VariableType.BOOLEAN
    return isinstance(value, _CHECKS[kind])


def _failed(prompt: Prompt, message: str, hint: str | None) -> UserError:
    return UserError(f"{prompt.name}@{prompt.version} {message}", code="prompt_render", hint=hint)


def _syntax_problem(error: TemplateSyntaxError) -> TemplateProblem:
    message = error.message or "is not a template"
    unclosed = re.search(r"end of (print statement|template)|unexpected '}'|unexpected char|Missing end", message)
    hint = "a variable is written {{ name }}; close each {{ with }} and each {% with %}" if unclosed else None
    return TemplateProblem(message=f"the template is not closed or not valid: {message}", line=error.lineno, hint=hint)


def _stray_braces(tree: nodes.Template) -> list[TemplateProblem]:
    """Text that looks like half a variable: ``{name}}`` is no error for Jinja2 but never what was meant.

    Braces that balance are left alone: prompts show JSON.
    """
    problems = []
    depth = 0
    for node in tree.find_all(nodes.TemplateData):
        strays = [match.start() for match in _HALF_VARIABLE.finditer(node.data)]
        for match in _BRACES.finditer(node.data):
            if match.group() == "}}" and depth == 0:
                strays.append(match.start())
            depth = max(0, depth + {"{": 1, "}": -1}[match.group()[0]] * len(match.group()))
        for at in sorted(strays):
            line = node.lineno + node.data.count("\n", 0, at)
            hint = "write {{ name }}, or {% raw %} around braces that are meant"
            problems.append(TemplateProblem(message="}} closes what {{ did not open", line=line, hint=hint))
    return problems
