"""Prompts of a project as systems under test: rendered, and put to the model an environment serves them with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from fairway.bundle.models import MOCK_PROVIDER
from fairway.bundle.overlay import Overlay, ResolvedModel
from fairway.bundle.prompts import Prompt, VariableType
from fairway.bundle.rendering import render
from fairway.canonical import sha256_digest
from fairway.errors import NotFoundError, UserError
from fairway.evals.subjects.open import NamedPrompt, PromptSource
from fairway.llm.formats import FORMATS, OPENAI
from fairway.llm.values import Endpoint
from fairway.project.load import Project
from fairway.validate import suggest


def prompt_source(
    project: Project,
    overlay: Overlay,
    *,
    mock_url: str | None,
    scenario: bytes | None = None,
    environment: Mapping[str, str] = os.environ,
) -> PromptSource:
    """Where ``prompt:name@version`` is looked up.

    Args:
        project: Its prompts, models and tools.
        overlay: What an environment makes of them: the version that is served where none is named, the model, the
            settings.
        mock_url: ``…/v1`` of the mock model server, when one runs.
        scenario: What that server answers by; its address says nothing, and is another one in each run.
        environment: Where ``env:NAME`` references are looked up.
    """

    def found(name: str, version: str | None) -> NamedPrompt:
        prompt = project.prompts.get(name, version or _served(overlay, name))
        model = _model(project, overlay, prompt)
        return NamedPrompt(
            name=name,
            version=prompt.version,
            sha256=prompt.sha256,
            render=partial(render, prompt),
            variables=frozenset(prompt.content.variables),
            message_variable=message_variable(prompt),
            wire=FORMATS.get(model.provider, OPENAI).name,
            endpoint=_endpoint(overlay, prompt, model, mock_url=mock_url, environment=environment),
            address=f"mock:{sha256_digest(scenario or b'')}" if model.provider == MOCK_PROVIDER else None,
            temperature=overlay.temperature,
            max_tokens=overlay.max_tokens,
            tools=_tools(project, overlay, prompt),
        )

    return found


def _served(overlay: Overlay, name: str) -> str:
    """The version an environment serves.

    Raises:
        NotFoundError: It serves no such prompt.
    """
    if name not in overlay.prompts:
        raise NotFoundError(
            f"{overlay.environment} serves no prompt {name!r}",
            code="prompt_not_found",
            hint=suggest(name, overlay.prompts, what="prompts"),
        )
    return overlay.prompts[name].version


def message_variable(prompt: Prompt) -> str | None:
    """The variable that is what the user says: the only text from outside that must be given.

    ``None``: the prompt is said by the system, before what the user says.
    """
    found = [
        name
        for name, variable in prompt.content.variables.items()
        if variable.untrusted
        and variable.type is VariableType.STRING
        and variable.required
        and "default" not in variable.model_fields_set
    ]
    return found[0] if len(found) == 1 else None


def _model(project: Project, overlay: Overlay, prompt: Prompt) -> ResolvedModel:
    named = prompt.content.model
    alias = None if named is None else overlay.roles.get(named) or project.models.alias_of(named)
    if alias is None or alias not in overlay.models:
        raise UserError(
            f"{prompt.path}: the prompt names no model of models.yaml",
            code="eval_target",
            hint="give it a model, or name one: openai:<model>@<base url>",
        )
    return overlay.models[alias]


def _endpoint(
    overlay: Overlay, prompt: Prompt, model: ResolvedModel, *, mock_url: str | None, environment: Mapping[str, str]
) -> Endpoint:
    known = FORMATS.get(model.provider)
    base_url = _looked_up(model.base_url, environment) or (None if known is None else known.base_url)
    if model.provider == MOCK_PROVIDER:
        base_url = mock_url
    if base_url is None:
        raise UserError(
            f"{prompt.path}: nobody knows where {model.provider}/{model.model} is",
            code="eval_target",
            hint="give its alias a base_url in models.yaml that speaks OpenAI's chat completions",
        )
    return Endpoint(
        base_url=base_url,
        model=model.model,
        api_key=None if model.provider == MOCK_PROVIDER else _looked_up(model.api_key, environment),
        timeout_seconds=overlay.timeout_seconds,
        parameters={**model.parameters, **prompt.content.parameters},
    )


def _looked_up(reference: str | None, environment: Mapping[str, str]) -> str | None:
    """What a reference stands for; only the environment is looked into here."""
    if reference is None or not reference.startswith("env:"):
        if reference is not None and not reference.startswith(("http://", "https://")):
            raise UserError(f"{reference} cannot be read here", code="eval_target", hint="use env:NAME")
        return reference
    name = reference.removeprefix("env:")
    value = environment.get(name)
    if not value:
        raise UserError(f"the model needs the environment variable {name}", code="eval_target", hint=f"export {name}=…")
    return value


def _tools(project: Project, overlay: Overlay, prompt: Prompt) -> tuple[Mapping[str, Any], ...]:
    """The tools the prompt speaks of, as a model is told of them; nothing is executed."""
    found: list[Mapping[str, Any]] = []
    for name in prompt.content.tools:
        tool = project.tools.tools.get(name)
        if tool is not None and name in overlay.tools and overlay.tools[name].enabled:
            found.append({"name": name, "description": tool.description, "parameters": dict(tool.arguments)})
    return tuple(found)
