"""How many tokens a request of each prompt takes, and what it costs at most: pure sums over the examined content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from fairway.bundle.environment import EVERY
from fairway.bundle.lint import count_tokens
from fairway.bundle.prompts import Prompt, VariableType
from fairway.bundle.rendering import render
from fairway.costs.prices import Price, price_table
from fairway.errors import NotFoundError, RefusedError
from fairway.evals.values import Suite
from fairway.project.load import Project

_SAMPLES: Mapping[VariableType, Any] = {
    VariableType.INTEGER: 0,
    VariableType.NUMBER: 0.0,
    VariableType.BOOLEAN: True,
    VariableType.LIST: [],
    VariableType.OBJECT: {},
}
_Key = tuple[str, str, str | None, int]
"""Prompt, version, alias, most tokens of an answer."""
_MILLION = Decimal(1_000_000)
_CENT_OF_CENT = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestInput:
    """The largest thing a suite says: the user turns of one case together."""

    text: str
    tokens: int
    case: str | None


def largest_input(suites: Iterable[Suite]) -> LargestInput:
    """The largest input of all cases; empty without cases."""
    largest = LargestInput(text="", tokens=0, case=None)
    for suite in suites:
        for case in suite.cases:
            text = "\n".join(case.turns)
            tokens = count_tokens(text)
            if tokens > largest.tokens:
                largest = LargestInput(text=text, tokens=tokens, case=f"{suite.name}/{case.id}")
    return largest


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLoad:
    """What one request with a prompt takes.

    Attributes:
        environments: That serve this version with this model.
        alias: Model the prompt is served with; ``None``: the prompt names none.
        prompt_tokens: Of the rendered prompt.
        input_tokens: Of the suites' largest input, unless the prompt already holds it.
        tool_tokens: Of the descriptions and schemas of the tools that go along.
        output_tokens: Most the model may answer.
        window: Of the model; ``None``: not declared.
        price: USD per million tokens; ``None``: not declared.
    """

    name: str
    version: str
    path: str
    environments: tuple[str, ...]
    alias: str | None
    prompt_tokens: int
    input_tokens: int
    tool_tokens: int
    output_tokens: int
    window: int | None
    price: Price | None

    @property
    def request_tokens(self) -> int:
        """What the budget is compared with: prompt and largest input."""
        return self.prompt_tokens + self.input_tokens

    @property
    def window_tokens(self) -> int:
        """What must fit the model's window: everything sent and everything answered."""
        return self.request_tokens + self.tool_tokens + self.output_tokens

    def cost_at_most(self, calls: int) -> Decimal | None:
        """USD of a request of ``calls`` model calls that each use all they may, rounded up; ``None``: no price."""
        if self.price is None:
            return None
        sent = Decimal(self.request_tokens + self.tool_tokens) * self.price.input
        answered = Decimal(self.output_tokens) * self.price.output
        return (calls * (sent + answered) / _MILLION).quantize(_CENT_OF_CENT, ROUND_CEILING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """What the prompts take, and the environments that could not be resolved, with why: nothing is served there."""

    loads: tuple[PromptLoad, ...]
    unresolved: Mapping[str, str]


def prompt_loads(project: Project, suites: Sequence[Suite]) -> Loads:
    """One load for each prompt version and model that any environment serves, by name and version.

    Raises:
        UserError: A prompt cannot be read or rendered.
    """
    largest = largest_input(suites)
    environments: dict[_Key, list[str]] = {}
    unresolved: dict[str, str] = {}
    for environment in project.environments:
        try:
            overlay = project.overlay(environment)
        except (NotFoundError, RefusedError) as error:
            unresolved[environment] = error.message
            continue
        for name, pin in overlay.prompts.items():
            model = project.prompts.get(name, pin.version).content.model
            alias = None if model is None else overlay.roles.get(model) or project.models.alias_of(model)
            key = (name, pin.version, _replaced(project, environment, alias), overlay.max_tokens)
            environments.setdefault(key, []).append(environment)
    ordered = sorted(environments.items(), key=lambda item: repr(item[0]))
    loads = tuple(_load(project, largest, key, tuple(where)) for key, where in ordered)
    return Loads(loads=loads, unresolved=unresolved)


def _replaced(project: Project, environment: str, alias: str | None) -> str | None:
    """The alias whose definition an environment uses for an alias; ``None``: the prompt names no model."""
    if alias is None:
        return None
    models = project.environment(environment).models
    return models.get(alias) or models.get(EVERY) or alias


def _load(project: Project, largest: LargestInput, key: _Key, environments: tuple[str, ...]) -> PromptLoad:
    name, version, alias, output = key
    prompt = project.prompts.get(name, version)
    text, holds_input = fill(prompt, largest.text)
    definition = project.models.models.get(alias) if alias is not None else None
    return PromptLoad(
        name=name,
        version=version,
        path=prompt.path,
        environments=environments,
        alias=alias,
        prompt_tokens=count_tokens(text),
        input_tokens=0 if holds_input else largest.tokens,
        tool_tokens=_tool_tokens(project, prompt),
        output_tokens=output,
        window=definition.context_window if definition else None,
        price=_price(project, alias),
    )


def _price(project: Project, alias: str | None) -> Price | None:
    return None if alias is None else price_table(project.models, project.costs.prices).price(alias)


def fill(prompt: Prompt, text: str) -> tuple[str, bool]:
    """A prompt with its defaults, and the largest input wherever a text is required.

    Returns:
        The rendered prompt, and whether it holds the input (a variable that is untrusted, or a text without default).

    Raises:
        UserError: It cannot be rendered.
    """
    values: dict[str, Any] = {}
    holds_input = False
    for name, variable in prompt.content.variables.items():
        optional = not variable.required or "default" in variable.model_fields_set
        if variable.type is VariableType.STRING and (variable.untrusted or not optional):
            values[name] = text
            holds_input = True
        elif not optional:
            values[name] = _SAMPLES[variable.type]
    return render(prompt, values), holds_input


def _tool_tokens(project: Project, prompt: Prompt) -> int:
    """Tokens of the tools a prompt speaks of, of all tools when it names none."""
    tools = project.tools.tools
    chosen = [name for name in prompt.content.tools if name in tools] or list(tools)
    value = [
        {"name": name, **tools[name].model_dump(mode="json", include={"description", "arguments"})} for name in chosen
    ]
    return count_tokens(json.dumps(value)) if value else 0
