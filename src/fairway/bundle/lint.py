"""What is wrong with a project's prompts, tools, models and files before anything runs; a value for each finding."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from fairway.bundle.config import BudgetsSection
from fairway.bundle.files import SUBMODULE, SYMLINK, Bundle, BundleFile
from fairway.bundle.overlay import OverlaySource, resolve
from fairway.bundle.prompts import LOCK_FILE, Prompt, changed_error
from fairway.bundle.rendering import inspect_template
from fairway.bundle.secret_shapes import find_secret, is_secret_file
from fairway.errors import NotFoundError, ProjectFileError, RefusedError
from fairway.validate import all_of, suggest
from fairway.yaml_file import KeyPath, YamlDocument

_SCANNED_BYTES = 1 << 20
"""A larger file is data; only its name is looked at."""


class Severity(StrEnum):
    """``error`` must be mended before a release; ``warning`` should be."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """One complaint; ``rule`` is stable (``prompt/undefined-variable``)."""

    severity: Severity
    rule: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class LintSource(OverlaySource, Protocol):
    """What lint needs of a project."""

    @property
    def root(self) -> Path:
        """Folder of ``fairway.yaml``."""
        ...

    @property
    def document(self) -> YamlDocument:
        """``fairway.yaml``."""
        ...

    @property
    def tools_document(self) -> YamlDocument | None:
        """``tools.yaml``, if there is one."""
        ...

    @property
    def budgets(self) -> BudgetsSection:
        """Token budgets."""
        ...


def lint(project: LintSource, *, for_release: bool = False) -> tuple[LintFinding, ...]:
    """Everything that is wrong with prompts, tools and what environments make of them.

    Args:
        project: A loaded project.
        for_release: A prompt version that is not locked is an error instead of a warning.

    Returns:
        Findings ordered by file and line; empty when all is well.
    """
    found = [*_lint_environments(project), *_lint_tools(project), *_lint_lock(project, for_release=for_release)]
    used = _used_versions(project)
    for path, why in project.prompts.misplaced:
        found.append(_error("prompt/misplaced", why, file=path))
    for name in project.prompts.names():
        found.extend(_lint_prompt_versions(project, name, used))
    return ordered(found)


def ordered(findings: Iterable[LintFinding]) -> tuple[LintFinding, ...]:
    """Findings by file and line."""
    return tuple(sorted(findings, key=lambda one: (one.file or "", one.line or 0, one.rule, one.message)))


def count_tokens(text: str) -> int:
    """About how many tokens a text has: ``max(1.3 x words, characters / 4)``, rounded up.

    The usual rule of thumb (100 tokens are about 75 English words or 400 characters), on the high side: it needs no
    vocabulary and is the same everywhere. A character from U+2E80 on (Chinese, Japanese, Korean …) counts as a token.
    For budgets, not for bills.
    """
    wide = sum(1 for char in text if ord(char) >= 0x2E80)  # CJK and beyond: about a token a character
    narrow = len(text) - wide
    return math.ceil(max(1.3 * len(text.split()), wide + narrow / 4))


# -- prompts ----------------------------------------------------------------------------------------------------------


def _used_versions(project: LintSource) -> frozenset[tuple[str, str]]:
    """Versions an environment serves or would serve next: a mistake there is an error, elsewhere a warning."""
    used: set[tuple[str, str]] = set()
    for name in project.prompts.names():
        used.add((name, project.prompts.versions(name)[-1]))
        for environment in project.environments.values():
            try:
                used.add((name, project.prompts.resolve(name, environment.channel_of(name), environment.kind)))
            except (NotFoundError, RefusedError, ProjectFileError):
                continue  # reported by _lint_environments
    return frozenset(used)


def _lint_prompt_versions(project: LintSource, name: str, used: frozenset[tuple[str, str]]) -> Iterator[LintFinding]:
    seen: dict[str, str] = {}
    for version in project.prompts.versions(name):
        is_used = (name, version) in used
        try:
            prompt = project.prompts.get(name, version)
        except ProjectFileError as error:
            yield from (_as_used(_from_file_error(one), used=is_used) for one in all_of(error))
            continue
        yield from (_as_used(finding, used=is_used) for finding in _lint_prompt(project, prompt))
        if prompt.content.template in seen:
            message = f"has the same template as version {seen[prompt.content.template]}"
            yield _warning("prompt/duplicate", message, file=prompt.path)
        seen.setdefault(prompt.content.template, version)


def _as_used(finding: LintFinding, *, used: bool) -> LintFinding:
    """An old version is immutable, so nobody could mend an error in it."""
    return finding if used or finding.rule == "prompt/secret" else replace(finding, severity=Severity.WARNING)


def _from_file_error(error: ProjectFileError) -> LintFinding:
    rule = "prompt/invalid"
    if error.key in ("template", "variables") and "missing" in error.problem:
        rule = f"prompt/missing-{error.key}"
    message = f"{error.key}: {error.problem}" if error.key else error.problem
    return _error(rule, message, file=error.file, line=error.line, column=error.column, hint=error.hint)


def _lint_prompt(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    yield from _lint_variables(prompt)
    yield from _lint_references(project, prompt)
    yield from _lint_length(project, prompt)
    content = prompt.content.template.encode()
    if secret := find_secret(content):
        line = prompt.document.text_line(("template",), secret[1])
        message = f"the template holds {secret[0]}"
        yield _error("prompt/secret", message, file=prompt.path, line=line, hint="remove it and rotate it: it is known")
    if prompt.content.output_schema is not None:
        path: KeyPath = ("output_schema",)
        yield from _lint_schema("prompt/schema", prompt.document, path, prompt.content.output_schema)


def _lint_variables(prompt: Prompt) -> Iterator[LintFinding]:
    use = inspect_template(prompt.content.template)
    declared = prompt.content.variables
    for problem in use.problems:
        line = prompt.document.text_line(("template",), problem.line)
        yield _error("prompt/unclosed", problem.message, file=prompt.path, line=line, hint=problem.hint)
    for name, inside in use.variables.items():
        if name not in declared:
            line = prompt.document.text_line(("template",), inside)
            hint = suggest(name, declared, what="variables")
            message = f"the template uses {name!r}, which is not in variables"
            yield _error("prompt/undefined-variable", message, file=prompt.path, line=line, hint=hint)
    if use.problems:
        return  # what a broken template uses is not known
    for name in declared:
        if name not in use.variables:
            message = f"the variable {name!r} is not used by the template"
            yield _at(prompt.document, ("variables", name), _warning("prompt/unused-variable", message), of_key=True)


def _lint_references(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    model = prompt.content.model
    if model is not None and project.models.alias_of(model) is None:
        hint = suggest(model, project.models.names(), what="aliases")
        finding = _error("prompt/unknown-model", f"there is no model alias or role {model!r}", hint=hint)
        yield _at(prompt.document, ("model",), finding)
    for index, tool in enumerate(prompt.content.tools):
        if tool not in project.tools.tools:
            hint = suggest(tool, project.tools.tools, what="tools")
            finding = _error("prompt/unknown-tool", f"there is no tool {tool!r}", hint=hint)
            yield _at(prompt.document, ("tools", index), finding)


def _lint_length(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    tokens = count_tokens(prompt.content.template)
    budget = project.budgets.tokens_of(prompt.name)
    alias = project.models.alias_of(prompt.content.model) if prompt.content.model else None
    window = project.models.models[alias].context_window if alias in project.models.models and alias else None
    where = ("template",)
    if window is not None and tokens >= window:
        message = f"about {tokens} tokens do not fit the window of {alias} ({window})"
        yield _at(prompt.document, where, _error("prompt/too-long", message))
    elif tokens > budget.fail:
        message = f"about {tokens} tokens are over the budget of {budget.fail}"
        yield _at(prompt.document, where, _error("prompt/too-long", message, hint="shorten it, or raise budgets"))
    elif tokens > budget.warn:
        message = f"about {tokens} tokens come near the budget of {budget.fail}"
        yield _at(prompt.document, where, _warning("prompt/long", message))


def _lint_lock(project: LintSource, *, for_release: bool) -> Iterator[LintFinding]:
    try:
        lock = project.prompts.lock
    except ProjectFileError as error:
        yield from (_from_file_error(one) for one in all_of(error))
        return
    for name in project.prompts.names():
        for version in project.prompts.versions(name):
            path, locked = project.prompts.path(name, version), lock.digest_of(name, version)
            if locked is None:
                make: Callable[..., LintFinding] = _error if for_release else _warning
                yield make("prompt/not-locked", "is not in prompts.lock", file=path, hint="run fairway prompt lock")
            elif locked != project.prompts.sha256(name, version):
                changed = changed_error(path)
                yield _error("prompt/changed", changed.problem, file=path, hint=changed.hint)
    for name, versions in lock.prompts.items():
        present = project.prompts.versions(name) if name in project.prompts.names() else ()
        for version in versions:
            if version not in present:
                message = f"{name}@{version} is locked, but its file is gone"
                hint = f"restore prompts/{name}/{version}.yaml: a rollback may need it"
                yield _error("prompt/removed", message, file=LOCK_FILE, hint=hint)


# -- environments and tools -------------------------------------------------------------------------------------------


def _lint_environments(project: LintSource) -> Iterator[LintFinding]:
    for environment in project.environments.values():
        try:
            resolve(project, environment.name)
        except (NotFoundError, RefusedError) as error:
            if error.code == "prompt_not_locked" and environment.name not in _written(project.document):
                continue  # an environment nobody spoke of; the missing lock is its own finding
            path: KeyPath = ("environments", environment.name)
            rule = {"floating_model": "model/floating"}.get(error.code, "environment/unresolved")
            message = (
                error.message if str(environment.name) in error.message else f"{environment.name}: {error.message}"
            )
            finding = _error(rule, message, hint=error.hint)
            yield _at(project.document, path, finding, of_key=True)
        except ProjectFileError as error:
            yield from (_from_file_error(one) for one in all_of(error))


def _written(document: YamlDocument) -> frozenset[str]:
    return frozenset(str(path[1]) for path in document.keys if len(path) == 2 and path[0] == "environments")


def _lint_tools(project: LintSource) -> Iterator[LintFinding]:
    document = project.tools_document
    if document is None:
        return
    for name, tool in project.tools.tools.items():
        path: KeyPath = ("tools", name)
        if tool.risk is None and tool.action is None:
            message = f"{name} has neither risk nor action, so it counts as high"
            yield _at(
                document, path, _warning("tool/unknown-risk", message, hint="write risk: low … critical"), of_key=True
            )
        if not tool.description:
            yield _at(document, path, _warning("tool/no-description", f"{name} has no description"), of_key=True)
        yield from _lint_schema("tool/schema", document, (*path, "arguments"), tool.arguments)
        if tool.result is not None:
            yield from _lint_schema("tool/schema", document, (*path, "result"), tool.result)
        if tool.arguments.get("type", "object") != "object":
            finding = _error("tool/schema", "arguments are given by name; the type must be object")
            yield _at(document, (*path, "arguments", "type"), finding)


def _lint_schema(rule: str, document: YamlDocument, path: KeyPath, schema: Mapping[str, Any]) -> Iterator[LintFinding]:
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        message = f"{'.'.join(map(str, path))} is not a JSON Schema: {error.message[:200]}"
        yield _at(document, (*path, *error.absolute_path), _error(rule, message))
    except RecursionError:
        yield _at(document, path, _error(rule, "is nested too deep"))


# -- files ------------------------------------------------------------------------------------------------------------


def lint_files(bundle: Bundle) -> tuple[LintFinding, ...]:
    """What must not be in a release: secrets, links out of it, submodules. Reads every file up to 1 MiB."""
    found: list[LintFinding] = []
    readable: list[BundleFile] = []
    for file in bundle.files:
        if is_secret_file(file.path):
            hint = "remove it from git (git rm --cached), ignore it, and rotate what it held"
            found.append(_error("bundle/secret-file", f"{file.path} holds secrets", file=file.path, hint=hint))
        elif file.mode == SUBMODULE:
            hint = "copy its files in, or install it as a dependency"
            found.append(_error("bundle/submodule", "a submodule cannot be released", file=file.path, hint=hint))
        elif file.component is not None:
            readable.append(file)
    for file, content in bundle.contents(readable):
        if file.mode == SYMLINK and _leads_out(file.path, content.decode(errors="replace")):
            hint = "a release runs elsewhere: copy the file in"
            found.append(_error("bundle/symlink", "the link leads out of the project", file=file.path, hint=hint))
        elif len(content) <= _SCANNED_BYTES and (secret := find_secret(content)):
            hint = "remove it, rotate it, and give it by reference (env:NAME)"
            found.append(_error("bundle/secret", f"holds {secret[0]}", file=file.path, line=secret[1], hint=hint))
    return ordered(found)


def _leads_out(path: str, target: str) -> bool:
    return target.startswith("/") or posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).startswith(
        ".."
    )


# -- making findings --------------------------------------------------------------------------------------------------


def _error(rule: str, message: str, **where: Any) -> LintFinding:
    return LintFinding(severity=Severity.ERROR, rule=rule, message=message, **where)


def _warning(rule: str, message: str, **where: Any) -> LintFinding:
    return LintFinding(severity=Severity.WARNING, rule=rule, message=message, **where)


def _at(document: YamlDocument, path: KeyPath, finding: LintFinding, *, of_key: bool = False) -> LintFinding:
    position = document.position(path, of_key=of_key)
    return replace(
        finding,
        file=document.file,
        line=position.line if position else None,
        column=position.column if position else None,
    )
