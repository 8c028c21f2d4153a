"""What the agent is made of besides its code: the prompt, the model, the tools and their settings.

Fairway hands them over as a folder named by ``FAIRWAY_BUNDLE``. Without it (plain ``uvicorn``, tests)
the project's own files are read, with the newest prompt.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

PROJECT = Path(__file__).resolve().parent.parent
ROLE = "orchestrator"
PROMPT = "support"


class BundleError(RuntimeError):
    """The agent cannot start with what it was given; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Which model to call, where, and how."""

    provider: str
    model: str
    base_url: str | None
    api_key: str
    parameters: dict[str, Any]
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """One tool the model may call; ``parameters`` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]
    timeout_seconds: float
    mock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything above, resolved for one environment; ``release`` and ``effective`` are digests."""

    environment: str
    release: str
    effective: str
    prompt_version: str
    system_prompt: str
    model: ModelSettings
    tools: tuple[ToolSpec, ...]
    log_level: str


def load_bundle(environ: dict[str, str] | None = None) -> Bundle:
    """Read the bundle.

    Raises:
        BundleError: A file, model, prompt or secret is missing.
    """
    environ = dict(os.environ) if environ is None else environ
    root, effective = _effective(environ)
    settings = effective["settings"]
    prompt = effective["prompts"][PROMPT]
    alias = effective["roles"][ROLE]
    prompt_file = _read(root / prompt["path"])
    return Bundle(
        environment=effective["environment"],
        release=effective["release"],
        effective=effective["effective"],
        prompt_version=prompt["version"],
        system_prompt=render(prompt_file),
        model=_model(effective["models"][alias], prompt_file, settings, environ),
        tools=_tools(_read(root / "tools.yaml"), effective["tools"]),
        log_level=settings["log_level"],
    )


def load_tools(environ: dict[str, str] | None = None) -> tuple[ToolSpec, ...]:
    """Only the tools of the bundle; needs no model."""
    root, effective = _effective(dict(os.environ) if environ is None else environ)
    return _tools(_read(root / "tools.yaml"), effective["tools"])


def render(prompt_file: dict[str, Any]) -> str:
    """The text of a prompt with its variables filled in; an undefined variable is an error."""
    variables = prompt_file.get("variables") or {}
    values = {name: spec["default"] for name, spec in variables.items() if "default" in spec}
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # nosec
    return environment.from_string(prompt_file["template"]).render(values)


def _effective(environ: dict[str, str]) -> tuple[Path, dict[str, Any]]:
    """The folder of the bundle and what is in force in it."""
    folder = environ.get("FAIRWAY_BUNDLE")
    root = Path(folder) if folder else PROJECT
    return root, _read(root / "effective.json") if folder else _from_project(root)


def _model(
    model: dict[str, Any], prompt_file: dict[str, Any], settings: dict[str, Any], environ: dict[str, str]
) -> ModelSettings:
    base_url, api_key = model.get("base_url"), model.get("api_key")
    if model["provider"] == "mock":
        base_url, api_key = environ.get("FAIRWAY_MOCK_LLM_URL"), "mock"
        if not base_url:
            raise BundleError(
                "the model provider is 'mock' but FAIRWAY_MOCK_LLM_URL is not set; `fairway up` sets it, or start "
                "`fairway mock-llm --port 8090` and set FAIRWAY_MOCK_LLM_URL=http://127.0.0.1:8090/v1"
            )
    else:
        name = (api_key or "env:OPENAI_API_KEY").removeprefix("env:")
        api_key = environ.get(name)
        if not api_key:
            raise BundleError(f"the model needs its key in the environment variable {name}")
    parameters = {"temperature": settings["temperature"], "max_tokens": settings["max_tokens"]}
    return ModelSettings(
        provider=model["provider"],
        model=model["model"],
        base_url=base_url,
        api_key=api_key,
        parameters={**(model.get("parameters") or {}), **parameters, **(prompt_file.get("parameters") or {})},
        timeout_seconds=float(settings["timeout_seconds"]),
    )


def _tools(manifest: dict[str, Any], enabled: dict[str, Any]) -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(
            name=name,
            description=tool["description"],
            parameters=tool["arguments"],
            timeout_seconds=float(enabled[name]["timeout_seconds"]),
            mock=bool(enabled[name]["mock"]),
        )
        for name, tool in manifest["tools"].items()
        if enabled.get(name, {}).get("enabled")
    )


def _from_project(root: Path) -> dict[str, Any]:
    """What Fairway would resolve for dev, near enough for a start by hand."""
    models, tools = _read(root / "models.yaml"), _read(root / "tools.yaml")
    versions = sorted((root / "prompts" / PROMPT).glob("*.yaml"), key=_version)
    if not versions:
        raise BundleError(f"no prompt in {root / 'prompts' / PROMPT}")
    newest = versions[-1]
    return {
        "environment": "dev",
        "release": "dev",
        "effective": "dev",
        "prompts": {PROMPT: {"version": newest.stem, "path": str(newest.relative_to(root))}},
        "models": models["models"],
        "roles": models["roles"],
        "tools": {
            name: {"enabled": True, "mock": True, "timeout_seconds": str(tool["timeout"]).removesuffix("s")}
            for name, tool in tools["tools"].items()
        },
        "settings": {"temperature": 0.3, "max_tokens": 1024, "timeout_seconds": 30, "log_level": "INFO"},
    }


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.stem.split("-")[0].split("."))


def _read(path: Path) -> Any:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing") from error
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
