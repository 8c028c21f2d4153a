"""promptfoo's prompts: texts, files of them, chats."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.suites.promptfoo.plain_yaml import line_of, read_plain
from fairway.evals.suites.promptfoo.sources import SCHEME, NotReadableError, Sources
from fairway.evals.suites.promptfoo.values import Loss, Report

_TEXT_FILES = (".txt", ".md", ".j2", ".jinja", ".jinja2")
_CHAT_FILES = (".json", ".yaml", ".yml", ".jsonl")
_CODE = (".py", ".js", ".ts", ".mjs", ".cjs", ".mts", ".cts", ".sh", ".exe", ".rb", ".pl")
_IS_CODE = re.compile(rf"(?:{'|'.join(map(re.escape, _CODE))})(?::[\w.]+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPrompt:
    """One prompt as a template.

    Attributes:
        turns: What the user says, in order; templates.
        system: What is said before; ``None``: nothing.
    """

    label: str
    turns: tuple[str, ...]
    system: str | None = None


def import_prompts(raw: Any, sources: Sources, report: Report, file: str) -> tuple[ImportedPrompt, ...]:
    """Every prompt of the configuration that can be sent as user turns; the others are listed."""
    entries = raw if isinstance(raw, list) else [raw] if raw is not None else []
    found: list[ImportedPrompt] = []
    for entry in entries:
        line = line_of(entry) or line_of(raw)
        try:
            found.extend(_prompts(entry, sources))
        except (NotReadableError, ProjectFileError) as error:
            report.add(Loss.CASE, f"prompt {_short(entry)}", str(error), file=file, line=line)
    return tuple(found)


def _short(entry: Any) -> str:
    text = entry if isinstance(entry, str) else json.dumps(entry, default=str)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"


def _prompts(entry: Any, sources: Sources) -> Iterator[ImportedPrompt]:
    label: str | None = None
    if isinstance(entry, Mapping):
        label = entry["label"] if isinstance(entry.get("label"), str) else None
        if "config" in entry or "function" in entry:
            raise NotReadableError("has a configuration or function of its own")
        entry = entry.get("raw", entry.get("content", entry.get("id")))
    if not isinstance(entry, str) or not entry.strip():
        raise NotReadableError("is no text")
    if not _is_file(entry, sources):
        yield _text_prompt(entry, label or _short(entry))
        return
    if _IS_CODE.search(entry):
        raise NotReadableError("is made by code, which is not run")
    for path in sources.find(entry):
        for number, prompt in enumerate(_of_file(path, sources), 1):
            stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
            name = label or (prompt.label if prompt.label else stem if number == 1 else f"{stem}-{number}")
            yield ImportedPrompt(label=name, turns=prompt.turns, system=prompt.system)


def _is_file(entry: str, sources: Sources) -> bool:
    """Whether promptfoo takes an entry for a file: it ends like one, or there is one."""
    if entry.startswith(SCHEME):
        return True
    if "\n" in entry or " " in entry.strip():
        return False
    try:
        return entry.lower().endswith((*_TEXT_FILES, *_CHAT_FILES, *_CODE, ".csv")) or bool(sources.find(entry))
    except NotReadableError:
        return False


def _of_file(path: str, sources: Sources) -> Sequence[ImportedPrompt]:
    lower = path.lower()
    if _IS_CODE.search(lower):
        raise NotReadableError("is made by code, which is not run")
    text = sources.text(path)
    if lower.endswith((".json", ".yaml", ".yml")):
        return [_text_prompt(text, "")]
    if lower.endswith(".jsonl"):
        return [_text_prompt(line, "") for line in text.splitlines() if line.strip()]
    if lower.endswith(".csv"):
        return _of_table(text)
    if not lower.endswith(_TEXT_FILES):
        raise NotReadableError("is no kind of file that prompts stand in")
    parts = [part.strip() for part in text.split("\n---\n")] if lower.endswith(".txt") else [text.strip()]
    found = [_text_prompt(part, "") for part in parts if part]
    if not found:
        raise NotReadableError("is empty")
    return found


def _of_table(text: str) -> list[ImportedPrompt]:
    rows = [row for row in csv.reader(StringIO(text)) if row and row[0].strip()]
    if rows and rows[0][0].strip() == "prompt":
        rows = rows[1:]
    return [_text_prompt(row[0], row[1].strip() if len(row) > 1 else "") for row in rows]


def _text_prompt(text: str, label: str) -> ImportedPrompt:
    messages = _messages(text)
    if messages is None:
        return ImportedPrompt(label=label, turns=(text.removesuffix("\n"),))
    system: list[str] = []
    turns: list[str] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str):
            raise NotReadableError("has a message that is no text (an image or a file)")
        if role in ("system", "developer") and not turns:
            system.append(content)
        elif role == "user" and not turns:
            turns.append(content)
        else:
            raise NotReadableError("plays a conversation with answers written in; Fairway asks the agent for its own")
    if not turns:
        raise NotReadableError("has no message of the user")
    return ImportedPrompt(label=label, turns=tuple(turns), system="\n\n".join(system) or None)


def _messages(text: str) -> list[Mapping[str, Any]] | None:
    """The messages of a chat; ``None``: the text is one."""
    if not text.lstrip().startswith(("[", "- ", "{")):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        if text.lstrip().startswith(("[", "{")) and "role" not in text:
            return None
        try:
            value = read_plain(text.encode(), file="prompt").value
        except ProjectFileError as error:
            if "role" not in text or "content" not in text:
                return None
            raise NotReadableError("is a chat that is put together by its template") from error
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "role" in one for one in value):
        return value
    return None
