"""Subjects by the words a person names them with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.clock import Clock, SystemClock
from fairway.errors import UserError
from fairway.evals.running.spend import Pricing
from fairway.evals.subjects.arm import ArmSubject, UrlSubject
from fairway.evals.subjects.command import CommandSubject
from fairway.evals.subjects.function import CallableSubject, load_function
from fairway.evals.subjects.mapping import ChatMapping
from fairway.evals.subjects.model import Asking, ModelSubject
from fairway.evals.trials import Question
from fairway.http_client.address import parse_address
from fairway.llm.formats import FORMATS, WireFormat
from fairway.llm.values import Endpoint

FORMS = (
    "http://…, cmd:<command>, python:<module>:<function>, openai:<model>[@<base url>], anthropic:<model>[@<base url>], "
    "prompt:<name>[@<version>]"
)
"""What a target may look like."""

OpenSubject = ArmSubject | CommandSubject | CallableSubject | ModelSubject


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPrompt:
    """A prompt of a project with the model it is served with.

    Attributes:
        name, version: Of the prompt.
        sha256: Digest of its content.
        render: Its text by the values of its variables; raises UserError for what it cannot be rendered with.
        variables: Names of its variables.
        message_variable: The variable that holds what the user says; the rendered text is then the user's message.
            ``None``: the text is said by the system, before what the user says.
        wire: ``openai`` or ``anthropic``.
        endpoint: Of its model.
        temperature, max_tokens: Of its answers.
        tools: The model may call.
        address: What its identity says instead of the endpoint's address, where that is another one in each run.
    """

    name: str
    version: str
    sha256: str
    render: Callable[[Mapping[str, Any]], str]
    variables: frozenset[str]
    endpoint: Endpoint
    message_variable: str | None = None
    wire: str = "openai"
    temperature: float = 0.0
    max_tokens: int = 1024
    tools: tuple[Mapping[str, Any], ...] = ()
    address: str | None = None


PromptSource = Callable[[str, str | None], NamedPrompt]
"""A prompt by name and version (``None``: the one that is served); raises UserError when there is none."""


def open_subject(
    text: str,
    *,
    clock: Clock | None = None,
    root: Path | None = None,
    mapping: ChatMapping | None = None,
    timeout_seconds: float = 60.0,
    concurrency: int = 64,
    version: str | None = None,
    headers: Mapping[str, str] | None = None,
    prompts: PromptSource | None = None,
    prices: Pricing | None = None,
    max_tokens: int = 1024,
    environment: Mapping[str, str] = os.environ,
) -> OpenSubject:
    """The subject a target names; an async context manager.

    Args:
        text: One of :data:`FORMS`.
        clock: Time; ``None``: the machine's.
        root: Where a command runs and modules are looked for; ``None``: here.
        mapping: How an address is talked to; ``None``: ``{"message", "thread_id"}`` and ``{"response", "tools"}``.
        timeout_seconds: Of one turn.
        concurrency: Calls of a function that is not ``async`` at a time.
        version: What the person says is behind an address, command or function, so that answers may be kept.
        headers: Of every request to an address.
        prompts: Prompts of the project; ``None``: there is no project.
        prices: What tokens cost.
        max_tokens: Of an answer of a bare model; a prompt has its own.
        environment: Where API keys are looked up.

    Raises:
        UserError: It names nothing that can be asked.
    """
    kind, _, rest = text.strip().partition(":")
    rest = rest.strip()
    kind = kind.lower()
    if kind in ("http", "https"):
        parse_address(text.strip())
        return UrlSubject(
            text.strip(), mapping or ChatMapping(), version=version, timeout_seconds=timeout_seconds, headers=headers
        )
    if not rest:
        raise _unknown(text)
    if kind in ("cmd", "exec", "command"):
        return CommandSubject(_words(text, rest), folder=root, timeout_seconds=timeout_seconds, version=version)
    if kind == "python":
        function = load_function(rest, root=root or Path.cwd())
        return CallableSubject(
            function, name=rest, timeout_seconds=timeout_seconds, threads=concurrency, version=version
        )
    common = _Common(clock=clock or SystemClock(), prices=prices, timeout_seconds=timeout_seconds)
    if kind in FORMATS:
        wire, endpoint = model_endpoint(text, timeout_seconds=timeout_seconds, environment=environment)
        return ModelSubject(wire, endpoint, Asking(max_tokens=max_tokens), clock=common.clock, prices=prices)
    if kind == "prompt":
        return _prompt(text, rest, common, prompts)
    raise _unknown(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    clock: Clock
    prices: Pricing | None
    timeout_seconds: float


def _unknown(text: str) -> UserError:
    return UserError(f"{text!r:.100} is not a target", code="eval_target", hint=f"write one of: {FORMS}")


def _words(text: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"{text!r:.100} cannot be split into words: {error}", code="eval_target") from error
    if not words:
        raise _unknown(text)
    return words


def model_endpoint(text: str, *, timeout_seconds: float, environment: Mapping[str, str]) -> tuple[WireFormat, Endpoint]:
    """The model a target names: ``openai:model``, ``anthropic:model@https://…/v1``, and how it is spoken to.

    Args:
        text: The target.
        timeout_seconds: Of one call.
        environment: Where its key is looked up.

    Raises:
        UserError: It names no model, or a key is needed and not there.
    """
    kind, _, rest = text.strip().partition(":")
    wire = FORMATS.get(kind.lower())
    if wire is None:
        raise UserError(f"{text!r:.100} is no model", code="eval_target", hint="write openai:<model>[@<url>/v1]")
    model, at, base_url = rest.strip().partition("@http")
    base_url = f"http{base_url}" if at else wire.base_url
    address = parse_address(base_url)
    if not model:
        raise UserError(f"{text!r:.100} names no model", code="eval_target", hint=f"write {kind}:<model>@{base_url}")
    key = environment.get(wire.key_variable) or None
    if key is None and not at:
        raise UserError(
            f"{kind}:{model} needs the environment variable {wire.key_variable}",
            code="eval_target",
            hint=f"export {wire.key_variable}=…, or name another address: {kind}:{model}@http://…/v1",
        )
    if at and not address.origin.secure and not address.origin.is_loopback:
        key = None  # a key is not sent in the clear
    return wire, Endpoint(base_url=base_url, model=model, api_key=key, timeout_seconds=timeout_seconds)


def _prompt(text: str, rest: str, common: _Common, prompts: PromptSource | None) -> ModelSubject:
    if prompts is None:
        raise UserError(f"{text}: there is no project here, so no prompts", code="eval_target")
    name, _, version = rest.partition("@")
    found = prompts(name, version or None)
    asking = Asking(
        temperature=found.temperature,
        max_tokens=found.max_tokens,
        system=_system(found),
        identity={"name": found.name, "sha256": found.sha256, "message": found.message_variable},
        tools=found.tools,
        rendered_is_message=found.message_variable is not None,
    )
    return ModelSubject(
        FORMATS[found.wire],
        found.endpoint,
        asking,
        clock=common.clock,
        name=f"{found.name}@{found.version} with {found.endpoint.model}",
        kind="prompt",
        address=found.address,
        prices=common.prices,
    )


def _system(prompt: NamedPrompt) -> Callable[[Question], str]:
    def text(question: Question) -> str:
        values = {name: value for name, value in question.variables.items() if name in prompt.variables}
        if prompt.message_variable is not None:
            values[prompt.message_variable] = question.message
        return prompt.render(values)

    return text
