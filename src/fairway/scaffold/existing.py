"""`fairway init --template existing`: Fairway's files beside a service that is already there, in any language."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from fairway.errors import UserError
from fairway.scaffold.detect import guess_service, with_port
from fairway.scaffold.git import enclosing_repository, find_git
from fairway.scaffold.result import InitResult
from fairway.section import HttpPath, Section
from fairway.units import parse_name

STATE_FOLDER = ".fairway/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the person said about the service; ``None``: find out."""

    command: str | None = None
    health: str | None = None
    ready: str | None = None
    chat: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How the service is started and asked, and what is not certain about it."""

    command: tuple[str, ...]
    health: str
    ready: str
    chat: str
    tests: tuple[str, ...] | None
    notes: tuple[str, ...]


class _Paths(Section):
    """Checks the paths a person gives."""

    health: HttpPath | None = None
    ready: HttpPath | None = None
    chat: HttpPath | None = None


def add_to_service(directory: Path, *, name: str | None = None, wishes: Wishes | None = None) -> InitResult:
    """Write ``fairway.yaml`` and a first eval case beside a service; nothing that is there is overwritten.

    Args:
        directory: Folder of the service.
        name: Of the agent; by default that of the folder when it can be one, else ``agent``.
        wishes: Start command and paths; what is left out is looked for in the files.

    Raises:
        UserError: No such folder, Fairway is there already, or nothing says how the service is started.
        OSError: It cannot be written.
    """
    root = directory.absolute()
    if not root.is_dir():
        raise UserError(f"there is no folder {directory}", code="no_folder", hint="name the folder of your service")
    if (root / "fairway.yaml").exists():
        raise UserError(f"{root / 'fairway.yaml'} is there already", code="not_empty", hint="edit it; nothing changed")
    service = _service(root, wishes or Wishes())
    agent = _agent_name(name, root)
    texts = {"fairway.yaml": _config(agent, service)}
    notes = list(service.notes)
    if (root / "evals" / "starter.yaml").exists():
        notes.append("evals/starter.yaml is there already and was left as it is")
    else:
        texts["evals/starter.yaml"] = _STARTER
    ignore = _ignore(root)
    if ignore is not None:
        texts[".gitignore"] = ignore
    _write_all(root, texts)
    first: tuple[str, ...] = ()
    if enclosing_repository(root) is None:
        first = ("git init",) if find_git() else ("install git first", "git init")
        notes.append("this is no git repository yet, and Fairway needs one: git init, git add -A, git commit")
    return InitResult(
        directory=root,
        template="existing",
        name=agent,
        files=tuple(sorted(texts)),
        notes=tuple(notes),
        next_steps=(
            *first,
            "git add -A && git commit -m 'Add Fairway'",
            "fairway run                     # check it; nothing goes live",
            "fairway up --detach             # serve",
            "fairway run --version 1.0.0     # release it",
        ),
    )


def _service(root: Path, wishes: Wishes) -> Service:
    _check_paths(wishes)
    guess = guess_service(root)
    notes = []
    if wishes.command is not None:
        command = _given_command(wishes.command)
    elif guess.command is not None:
        command = guess.command
        notes.append(f"the start command was taken from {guess.source}: check service.command")
    else:
        raise UserError(
            f"nothing in {root} says how the service is started",
            code="no_command",
            hint="say it: --command 'python server.py --port {port}' ({port} is where it must listen)",
        )
    if not any("{port}" in word for word in command):
        notes.append("the command has no {port}: the service must listen on the port in FAIRWAY_PORT")
    health = wishes.health or guess.health
    if health is None:
        notes.append("no health path was found in the sources: check service.health, /healthz was written")
        health = "/healthz"
    ready = wishes.ready or guess.ready or health
    chat = wishes.chat or guess.chat
    if chat is None:
        notes.append("no chat path was found in the sources: check service.chat, /chat was written")
        chat = "/chat"
    if guess.tests is None:
        notes.append("no tests were found: the stage unit_test is off, set its command when you have some")
    return Service(command=command, health=health, ready=ready, chat=chat, tests=guess.tests, notes=tuple(notes))


def _given_command(text: str) -> tuple[str, ...]:
    try:
        words = with_port(text) if re.search(r"[$`|;&<>]", text) else tuple(shlex.split(text))
    except ValueError as error:
        raise UserError(f"the command cannot be split into words: {error}", code="command") from error
    if not words:
        raise UserError("the command is empty", code="command", hint="for example --command 'npm start'")
    return words


def _check_paths(wishes: Wishes) -> None:
    for option in ("health", "ready", "chat"):
        try:
            _Paths.model_validate({option: getattr(wishes, option)})
        except ValueError as error:
            hint = f"for example --{option} /{option}"
            text = f"--{option} {getattr(wishes, option)!r} is not a path of the service"
            raise UserError(text, code="path", hint=hint) from error


def _agent_name(name: str | None, root: Path) -> str:
    if name is not None:
        try:
            return parse_name(name, what="the agent's name")
        except ValueError as error:
            raise UserError(str(error), code="agent_name", hint="for example --name support") from error
    slug = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")[:63]
    return slug if re.match(r"^[a-z]", slug) else "agent"


def _config(name: str, service: Service) -> str:
    return _CONFIG.format(
        name=name,
        command=_flow(service.command),
        health=service.health,
        ready=service.ready,
        chat=service.chat,
        unit_test=_unit_test(service.tests),
    )


def _unit_test(tests: tuple[str, ...] | None) -> str:
    if tests is None:
        return "{enabled: false, reason: no tests yet} # when there are: command: [what, runs, them]"
    if not tests:
        return "{coverage: {total: 0%, module: 0%}} # pytest; Fairway asks for 80% and 70% unless you say otherwise"
    return f"{{command: {_flow(tests)}}}"


def _flow(words: tuple[str, ...]) -> str:
    return yaml.safe_dump(list(words), default_flow_style=True, width=1000).strip()


def _ignore(root: Path) -> str | None:
    """The text of ``.gitignore`` with Fairway's state in it; ``None`` when it is there already."""
    path = root / ".gitignore"
    # Bytes that are no UTF-8, and the line ends, stay as they are.
    text = path.read_bytes().decode("utf-8", "surrogateescape") if path.is_file() else ""
    if {".fairway", STATE_FOLDER, "/.fairway", "/.fairway/"} & {line.strip() for line in text.splitlines()}:
        return None
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{end}{STATE_FOLDER}\n"


def _write_all(root: Path, texts: dict[str, str]) -> None:
    """Write every file or none: all of them beside their places first, then renamed."""
    waiting: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for inside, text in texts.items():
            target = root / inside
            if not target.parent.exists():
                target.parent.mkdir(parents=True)
                made.append(target.parent)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
            waiting.append((Path(temporary), target))
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
            Path(temporary).chmod(target.stat().st_mode & 0o777 if target.exists() else 0o644)
    except OSError:
        for temporary_path, _ in waiting:
            temporary_path.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()
        raise
    for temporary_path, target in waiting:
        temporary_path.replace(target)


_CONFIG = """\
# What Fairway needs to know to release this service. `fairway schema` prints every key.
version: 1
agent:
  name: {name}

service:
  command: {command} # {{port}} and {{host}} are filled in; the port is also in FAIRWAY_PORT
  health: {health} # answers 200 while the process lives
  ready: {ready} # answers 200 when it can serve
  chat: {chat} # where a message is posted: {{"message": …, "thread_id": …}} -> {{"response": …}}
  binding: none # prompts and models are part of the code; `env` hands them over in the folder FAIRWAY_BUNDLE

# A release meets the environments in this order. What is not said is the default of its kind.
environments:
  dev:
    replicas: 1
  staging:
    after: [dev]
    replicas: 1
  production:
    after: [staging]
    replicas: 1
    approval: automatic # `required` makes a person say yes before the first user meets a release

pipeline:
  stages:
    unit_test: {unit_test}

evals:
  suites: [evals/starter.yaml, evals/suites/*]
  response: {{text: /response}} # where the text of a reply stands in the answer's JSON

gateway:
  keys: # what keeps a conversation on one release: a header of yours, else a cookie Fairway issues
    - header: x-conversation-id
    - issue_cookie: fairway-unit

rollout:
  strategy: canary
  steps: [5%, 10%, 30%, 50%, 100%]
  dwell: 10m
"""

_STARTER = """\
# Cases every release must pass. This one only asks for an answer: replace it with what your users say most.
suite: starter
cases:
  - id: answers
    name: Answers a greeting
    input: Hello!
    forbidden_keywords: [Traceback, Internal Server Error]
    tags: [smoke]
"""
