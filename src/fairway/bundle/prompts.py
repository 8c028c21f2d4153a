"""Prompts: one immutable file a version, the lock that keeps them so, and the channels that pick one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema

from fairway.bundle.environment import EnvironmentKind
from fairway.canonical import sha256_digest
from fairway.errors import NotFoundError, ProjectFileError, RefusedError
from fairway.section import Flag, Section, Text
from fairway.units import Digest
from fairway.validate import suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument, read_yaml

PROMPTS_FOLDER = "prompts"
LOCK_FILE = "prompts.lock"

_NAME = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
_VERSION = re.compile(r"^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-([0-9A-Za-z.-]{1,40}))?$")
_CHANNEL = re.compile(r"^(?:(dev|test|staging|prod|production)-)?(.+)$")
_KIND_OF_PREFIX = {
    "dev": EnvironmentKind.DEV,
    "test": EnvironmentKind.TEST,
    "staging": EnvironmentKind.STAGING,
    "prod": EnvironmentKind.PRODUCTION,
    "production": EnvironmentKind.PRODUCTION,
}


class VariableType(StrEnum):
    """What a variable of a template holds."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    OBJECT = "object"


class VariableSection(Section):
    """One variable; ``order_id: string`` is short for ``order_id: {type: string}``.

    Attributes:
        default: Makes it optional.
        untrusted: Comes from a user or a document: the template must put it between delimiters.
    """

    type: VariableType = VariableType.STRING
    description: Text = ""
    required: Flag = True
    default: JsonValue = None
    untrusted: Flag = False


def _variable(value: object) -> object:
    return {"type": value} if isinstance(value, str) else {} if value is None else value


Variable = Annotated[
    VariableSection,
    BeforeValidator(_variable),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [kind.value for kind in VariableType]},
                {"type": "null"},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "type": {"enum": [kind.value for kind in VariableType]},
                        "description": {"type": "string"},
                        "required": {"type": "boolean"},
                        "default": {},
                        "untrusted": {"type": "boolean"},
                    },
                },
            ]
        }
    ),
]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class PromptFile(Section):
    """``prompts/<name>/<version>.yaml``.

    Attributes:
        name, version: Repeated for readers; must be those of the path.
        template: Jinja2, sandboxed, every variable declared.
        model: Alias or role of ``models.yaml`` it was written for.
        tools: Tools it speaks of.
        output_schema: JSON Schema of the answer.
        changes: What is new against the version before.
    """

    name: Text | None = None
    version: Text | None = None
    template: Annotated[str, Field(strict=True, min_length=1, max_length=1_000_000)]
    variables: Mapping[VariableName, Variable]
    model: Text | None = None
    parameters: Mapping[str, JsonValue] = {}
    tools: tuple[Text, ...] = ()
    output_schema: Mapping[str, JsonValue] | None = None
    description: Text = ""
    changes: Text | tuple[Text, ...] = ""
    author: Text | None = None
    tags: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of one prompt.

    Attributes:
        path: Inside the project.
        sha256: Over the bytes with LF line ends: what the lock holds.
    """

    name: str
    version: str
    path: str
    sha256: Digest
    content: PromptFile
    document: YamlDocument = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLock:
    """``prompts.lock``: the digest of every version ever released, ``{name: {version: digest}}``."""

    prompts: Mapping[str, Mapping[str, Digest]]

    def digest_of(self, name: str, version: str) -> Digest | None:
        """The locked digest, or ``None`` when that version is not locked."""
        return self.prompts.get(name, {}).get(version)


def version_key(version: str) -> tuple[Any, ...]:
    """Sorts versions by semantic precedence: 1.9.0 before 1.10.0, 2.0.0-rc1 before 2.0.0.

    Raises:
        ValueError: When it is not ``MAJOR.MINOR.PATCH`` with an optional ``-suffix``.
    """
    match = _VERSION.match(version)
    if not match:
        raise ValueError(f"{version!r} is not a version such as 1.2.0")
    major, minor, patch, suffix = match.groups()
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"[.-]", suffix)) if suffix else ()
    return (int(major), int(minor), int(patch), suffix is None, parts)


def prompt_digest(content: bytes) -> Digest:
    """Digest of a prompt file; CRLF and LF checkouts agree."""
    return sha256_digest(content.replace(b"\r\n", b"\n"))


class PromptRegistry:
    """The prompts of a project (or of a materialised release), found by path, parsed when asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._parsed: dict[tuple[str, str], Prompt] = {}
        self._lock: PromptLock | None = None
        self._versions, self.misplaced = _find(root)

    misplaced: tuple[tuple[str, str], ...]
    """``(path, why)`` of YAML files below ``prompts/`` that are no version of a prompt."""

    def names(self) -> tuple[str, ...]:
        """Every prompt, sorted."""
        return tuple(self._versions)

    def versions(self, name: str) -> tuple[str, ...]:
        """Versions of a prompt, oldest first.

        Raises:
            NotFoundError: Naming the nearest prompt.
        """
        if name not in self._versions:
            raise NotFoundError(
                f"there is no prompt {name!r}",
                code="prompt_not_found",
                hint=suggest(name, self._versions, what="prompts"),
            )
        return self._versions[name]

    def path(self, name: str, version: str) -> str:
        """Path of a version inside the project.

        Raises:
            NotFoundError: Naming the versions that exist.
        """
        versions = self.versions(name)
        if version not in versions:
            raise NotFoundError(
                f"prompt {name!r} has no version {version!r}",
                code="prompt_not_found",
                hint=f"versions: {', '.join(versions[-8:])}",
            )
        return f"{PROMPTS_FOLDER}/{name}/{version}.yaml"

    def sha256(self, name: str, version: str) -> Digest:
        """Digest of a version as the lock holds it, without parsing it."""
        try:
            return prompt_digest((self._root / self.path(name, version)).read_bytes())
        except OSError as error:
            raise ProjectFileError(f"cannot be read: {error.strerror}", file=self.path(name, version)) from error

    def get(self, name: str, version: str) -> Prompt:
        """One version, parsed.

        Raises:
            NotFoundError: When there is no such prompt or version.
            ProjectFileError: When its file is wrong.
        """
        key = (name, version)
        if key not in self._parsed:
            path = self.path(name, version)
            document = read_yaml(self._root / path, root=self._root)
            content = validate(PromptFile, document)
            for label, expected in (("name", name), ("version", version)):
                said = getattr(content, label)
                if said is not None and said != expected:
                    raise document.error((label,), f"is {said!r}, but the path says {expected!r}")
            self._parsed[key] = Prompt(
                name=name, version=version, path=path, sha256=self.sha256(*key), content=content, document=document
            )
        return self._parsed[key]

    @property
    def lock(self) -> PromptLock:
        """The lock; empty when there is no file.

        Raises:
            ProjectFileError: When the file is wrong.
        """
        if self._lock is None:
            self._lock = _read_lock(self._root)
        return self._lock

    def resolve(self, name: str, channel: str, kind: EnvironmentKind) -> str:
        """The version a channel means.

        Args:
            name: Prompt.
            channel: ``1.2.3``, ``staging-1.2.3``, ``prod-2.0.0``, ``locked`` (the highest version in the lock), or
                ``latest``/``dev-latest`` (the highest on disk), in dev only.
            kind: Of the environment that asks.

        Raises:
            RefusedError: For ``latest`` outside dev, or a channel of another kind of environment.
            NotFoundError: When no version answers.
        """
        match = _CHANNEL.match(channel)
        assert match is not None
        prefix, wanted = match.groups()
        if prefix is not None and _KIND_OF_PREFIX[prefix] is not kind:
            raise RefusedError(
                f"the channel {channel!r} is for {_KIND_OF_PREFIX[prefix]}, not for {kind}", code="channel_refused"
            )
        if wanted == "latest":
            if kind is not EnvironmentKind.DEV:
                raise RefusedError(
                    f"prompt {name!r}: latest moves by itself and is for dev only",
                    code="channel_refused",
                    hint="name a version, or use locked",
                )
            return self.versions(name)[-1]
        if wanted == "locked":
            return self._highest_locked(name)
        self.path(name, wanted)
        return wanted

    def _highest_locked(self, name: str) -> str:
        present = self.versions(name)
        locked = [version for version in self.lock.prompts.get(name, {}) if version in present]
        stable = [version for version in locked if "-" not in version] or locked
        if not stable:
            raise NotFoundError(
                f"no version of prompt {name!r} is locked", code="prompt_not_locked", hint="run fairway prompt lock"
            )
        return max(stable, key=version_key)


def is_channel(text: str) -> bool:
    """Whether a text can be a channel: ``latest``, ``locked`` or a version, with or without an environment's name."""
    match = _CHANNEL.match(text)
    wanted = match.group(2) if match else ""
    return wanted in ("latest", "locked") or bool(_VERSION.match(wanted))


def write_lock(root: Path, registry: PromptRegistry) -> tuple[str, ...]:
    """Add every unlocked version to ``prompts.lock``, whole or not at all.

    Returns:
        What was added, as ``name@version``; empty when the lock was complete.

    Raises:
        ProjectFileError: When a locked version changed or a file is wrong: a version is immutable.
    """
    prompts = {name: dict(versions) for name, versions in registry.lock.prompts.items()}
    added = []
    for name in registry.names():
        for version in registry.versions(name):
            digest = registry.get(name, version).sha256
            locked = prompts.setdefault(name, {}).setdefault(version, digest)
            if locked != digest:
                raise changed_error(registry.path(name, version))
            if registry.lock.digest_of(name, version) is None:
                added.append(f"{name}@{version}")
    if added or not (root / LOCK_FILE).exists():
        _replace(root / LOCK_FILE, _lock_text(prompts))
        registry._lock = PromptLock(prompts=prompts)
    return tuple(added)


def changed_error(path: str) -> ProjectFileError:
    """A locked version is not what it was."""
    return ProjectFileError(
        "is locked and was changed; a released version never changes",
        file=path,
        code="prompt_changed",
        hint="put the change into a new version file and restore this one (git checkout); where neither it nor its line"
        " in prompts.lock was ever committed, take the line out and lock it again",
    )


def _find(root: Path) -> tuple[dict[str, tuple[str, ...]], tuple[tuple[str, str], ...]]:
    folder = root / PROMPTS_FOLDER
    versions: dict[str, list[str]] = {}
    misplaced: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix not in (".yaml", ".yml") or not path.is_file():
            continue
        inside = path.relative_to(root).as_posix()
        parts = path.relative_to(folder).parts
        if len(parts) != 2 or not _NAME.match(parts[0]):
            misplaced.append((inside, "a prompt's version stands at prompts/<name>/<version>.yaml"))
        elif path.suffix == ".yml" or not _VERSION.match(path.stem):
            misplaced.append((inside, "the file must be named by its version, such as 1.2.0.yaml"))
        else:
            versions.setdefault(parts[0], []).append(path.stem)
    return {name: tuple(sorted(found, key=version_key)) for name, found in versions.items()}, tuple(misplaced)


class LockFile(Section):
    """``prompts.lock``: ``{name: {version: digest}}``."""

    version: Annotated[int, Field(strict=True, ge=1, le=1)]
    prompts: Mapping[str, Mapping[str, Annotated[str, Field(strict=True, pattern=r"^sha256:[0-9a-f]{64}$")]]] = {}


def _read_lock(root: Path) -> PromptLock:
    try:
        document = read_yaml(root / LOCK_FILE, root=root)
    except NotFoundError:
        return PromptLock(prompts={})
    file = validate(LockFile, document)
    for name, versions in file.prompts.items():
        for version in versions:
            path: KeyPath = ("prompts", name, version)
            if not _NAME.match(name) or not _VERSION.match(version):
                raise document.error(path, "is not a prompt and a version such as 1.2.0", of_key=True)
    return PromptLock(
        prompts={name: {v: Digest(d) for v, d in versions.items()} for name, versions in file.prompts.items()}
    )


def _lock_text(prompts: Mapping[str, Mapping[str, Digest]]) -> str:
    ordered = {
        name: {version: str(prompts[name][version]) for version in sorted(prompts[name], key=version_key)}
        for name in sorted(prompts)
    }
    body = yaml.safe_dump({"version": 1, "prompts": ordered}, sort_keys=False, default_flow_style=False)
    return "# Written by `fairway prompt lock`; commit it. A version that stands here never changes.\n" + body


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".prompts.lock-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
