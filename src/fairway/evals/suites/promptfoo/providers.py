"""promptfoo's providers as targets of ``fairway eval run``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairway.evals.suites.promptfoo.values import ImportedTarget

_OPENAI_KINDS = ("chat", "completion", "responses", "assistant", "embedding", "image", "realtime", "moderation")
_COMPATIBLE = {
    "openrouter": "https://openrouter.ai/api/v1",
    "groq": "https://api.groq.com/openai/v1",
    "deepseek": "https://api.deepseek.com",
    "mistral": "https://api.mistral.ai/v1",
    "togetherai": "https://api.together.xyz/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "perplexity": "https://api.perplexity.ai",
    "xai": "https://api.x.ai/v1",
    "ollama": "http://127.0.0.1:11434/v1",
}
"""Services with OpenAI's chat completions at an address that is known."""
_PATH = re.compile(r"^json((?:\.[A-Za-z_$][\w$]*|\[\d+\]|\[['\"][^'\"]+['\"]\])*)$")
_STEP = re.compile(r"\.([A-Za-z_$][\w$]*)|\[(\d+)\]|\[['\"]([^'\"]+)['\"]\]")
_UNREAD = frozenset({"apiKey", "apiKeyEnvar", "apiBaseUrl", "apiHost"})


def import_providers(raw: Any) -> tuple[ImportedTarget, ...]:
    """A target for each provider; what Fairway cannot ask has none, and says why."""
    entries = raw if isinstance(raw, list) else [raw] if raw is not None else []
    return tuple(_target(entry) for entry in entries)


def _target(entry: Any) -> ImportedTarget:
    if isinstance(entry, Mapping) and "id" not in entry and len(entry) == 1:
        name, options = next(iter(entry.items()))
        entry = {"id": name, **options} if isinstance(options, Mapping) else entry
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        return ImportedTarget(label=str(entry)[:60], target=None, note="is no provider with an id")
    provider = entry["id"]
    label = entry["label"] if isinstance(entry.get("label"), str) else provider
    config = entry.get("config")
    settings = config if isinstance(config, Mapping) else {}
    target, note = _by_kind(provider, settings)
    left = sorted(set(settings) - _UNREAD) if target and not provider.startswith("http") else []
    if left:
        note = "; ".join(part for part in (note, f"its config is not taken: {', '.join(map(str, left))}") if part)
    if "transform" in entry:
        note = "; ".join(
            part for part in (note, "its transform is not taken: replies are examined as they come") if part
        )
    return ImportedTarget(label=label, target=target, note=note)


def _by_kind(provider: str, config: Mapping[str, Any]) -> tuple[str | None, str]:
    kind, _, rest = provider.partition(":")
    if provider.startswith(("http://", "https://")) or provider in ("http", "https"):
        return _http(provider, config)
    if kind == "openai" and rest:
        return _openai(rest, config)
    if kind == "anthropic" and rest:
        model = rest.removeprefix("messages:")
        return f"anthropic:{model}{_at(config)}", ""
    if kind in _COMPATIBLE and rest:
        model = rest.removeprefix("chat:")
        return f"openai:{model}@{_base(config) or _COMPATIBLE[kind]}", "asked by OpenAI's chat completions"
    if kind in ("exec", "python", "file") or provider.endswith((".py", ".js")):
        how = "cmd:<command> gets the question as JSON on stdin; python:<module>:<function> gets it as an object"
        return None, f"is called differently: {how}"
    if provider == "echo":
        return None, "repeats the prompt; for a try without a model write python:<module>:<function>"
    return None, "speaks a protocol Fairway does not; put a service with OpenAI's or Anthropic's before it"


def _openai(rest: str, config: Mapping[str, Any]) -> tuple[str | None, str]:
    kind, _, model = rest.partition(":")
    if kind not in _OPENAI_KINDS:
        kind, model = "chat", rest
    if kind not in ("chat", "responses") or not model:
        return None, f"openai:{kind} is no chat"
    note = "asked by chat completions instead of responses" if kind == "responses" else ""
    return f"openai:{model}{_at(config)}", note


def _at(config: Mapping[str, Any]) -> str:
    base = _base(config)
    return f"@{base}" if base else ""


def _base(config: Mapping[str, Any]) -> str | None:
    base, host = config.get("apiBaseUrl"), config.get("apiHost")
    if isinstance(base, str):
        return base.rstrip("/")
    return f"https://{host}/v1" if isinstance(host, str) else None


def _http(provider: str, config: Mapping[str, Any]) -> tuple[str | None, str]:
    url = config.get("url", provider if "://" in provider else None)
    if not isinstance(url, str) or "{{" in url:
        return None, "has no fixed address"
    body = config.get("body")
    pointer = _where(body, "{{prompt}}") or _where(body, "{{ prompt }}")
    if config.get("method", "POST" if body else "GET") != "POST" or pointer is None:
        return None, "is not asked by a POST whose JSON holds {{prompt}}"
    wanted = [f"request.message: {pointer}"]
    reader = config.get("transformResponse", config.get("responseParser"))
    if reader is not None:
        reply = _pointer(reader)
        if reply is None:
            return url, f"say where the reply stands: evals.response.text (there: {str(reader)[:80]})"
        wanted.append(f"response.text: {reply}")
    fields = body if isinstance(body, Mapping) else {}
    extra = [str(key) for key in fields if not f"{pointer}/".startswith(f"/{key}/")]
    if extra:
        wanted.append(f"request.extra: {', '.join(extra)}")
    if config.get("headers"):
        wanted.append("its headers")
    return url, f"set in the section evals of fairway.yaml: {'; '.join(wanted)}"


def _where(body: Any, mark: str, path: str = "") -> str | None:
    """JSON pointer of the text that is nothing but ``mark``."""
    if isinstance(body, str):
        return path if body.strip() == mark else None
    steps = body.items() if isinstance(body, Mapping) else enumerate(body) if isinstance(body, list) else ()
    for key, value in steps:
        found = _where(value, mark, f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}")
        if found is not None:
            return found
    return None


def _pointer(reader: Any) -> str | None:
    """``json.choices[0].message.content`` as a JSON pointer."""
    match = _PATH.match(reader.strip()) if isinstance(reader, str) else None
    if match is None:
        return None
    steps = (step[1] or step[2] or step[3] for step in _STEP.finditer(match[1]))
    return "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
