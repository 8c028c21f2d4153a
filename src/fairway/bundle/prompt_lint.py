"""What is wrong with prompts: each version by itself, versions together, and their lock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from fairway.bundle.config import BudgetsSection
from fairway.bundle.contradictions import contradictions, rules_of
from fairway.bundle.finding import LintFinding, Severity, from_file_error, lint_error, lint_warning, placed
from fairway.bundle.overlay import OverlaySource
from fairway.bundle.prompts import LOCK_FILE, Prompt, VariableType, changed_error
from fairway.bundle.rendering import inspect_template
from fairway.bundle.secret_shapes import find_secret
from fairway.bundle.splices import find_splices, sounds_untrusted
from fairway.bundle.tokens import count_tokens
from fairway.errors import NotFoundError, ProjectFileError, RefusedError
from fairway.validate import all_of, suggest
from fairway.yaml_file import KeyPath, YamlDocument


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


def used_versions(project: LintSource) -> frozenset[tuple[str, str]]:
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


def lint_versions(project: LintSource, name: str, used: frozenset[tuple[str, str]]) -> Iterator[LintFinding]:
    """Each version of a prompt by itself; what is wrong in one that nobody serves is a warning."""
    seen: dict[str, str] = {}
    for version in project.prompts.versions(name):
        is_used = (name, version) in used
        try:
            prompt = project.prompts.get(name, version)
        except ProjectFileError as error:
            yield from (_as_used(from_file_error(one), used=is_used) for one in all_of(error))
            continue
        yield from (_as_used(finding, used=is_used) for finding in _lint_prompt(project, prompt))
        text = " ".join(prompt.content.template.split())
        if text in seen:
            message = f"has the same template as version {seen[text]}"
            yield lint_warning("prompt/duplicate", message, file=prompt.path)
        seen.setdefault(text, version)


def lint_versions_together(project: LintSource, name: str, used: frozenset[tuple[str, str]]) -> Iterator[LintFinding]:
    """What two versions that are in use at the same time say against each other."""
    prompts: list[Prompt] = []
    for version in project.prompts.versions(name):
        if (name, version) in used:
            with suppress(ProjectFileError):  # told with the version itself
                prompts.append(project.prompts.get(name, version))
    for older, newer in itertools.combinations(prompts, 2):
        yield from _opposites(newer, older)
        for variable, declared in newer.content.variables.items():
            before = older.content.variables.get(variable)
            if before is not None and before.type is not declared.type:
                message = (
                    f"{variable!r} is a {declared.type} here and a {before.type} in version {older.version}, "
                    "which is served at the same time: whoever fills it in cannot serve both"
                )
                finding = lint_error(
                    "prompt/contradictory-versions", message, hint="give the new one a name of its own"
                )
                yield placed(newer.document, ("variables", variable), finding, of_key=True)


def _opposites(prompt: Prompt, other: Prompt) -> Iterator[LintFinding]:
    for rule, opposite in contradictions(rules_of(prompt.content.template), rules_of(other.content.template)):
        line = prompt.document.text_line(("template",), rule.line)
        if prompt is other:
            told = f"line {prompt.document.text_line(('template',), opposite.line)} says {_clip(opposite.text)}"
            message, rule_name = f"{_clip(rule.text)}, and {told}", "prompt/contradiction"
        else:
            told = f"version {other.version}, which is in use too, says {_clip(opposite.text)}"
            message, rule_name = f"{_clip(rule.text)}, and {told}", "prompt/contradictory-versions"
        yield lint_warning(rule_name, message, file=prompt.path, line=line)


def _clip(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _as_used(finding: LintFinding, *, used: bool) -> LintFinding:
    """An old version is immutable, so nobody could mend an error in it."""
    return finding if used or finding.rule == "prompt/secret" else replace(finding, severity=Severity.WARNING)


def _lint_prompt(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    yield from _lint_variables(prompt)
    yield from _lint_references(project, prompt)
    yield from _lint_length(project, prompt)
    yield from _lint_splices(prompt)
    yield from _opposites(prompt, prompt)
    yield from _lint_secrets(project, prompt)
    if prompt.content.output_schema is not None:
        path: KeyPath = ("output_schema",)
        yield from lint_schema("prompt/schema", prompt.document, path, prompt.content.output_schema)


def _lint_variables(prompt: Prompt) -> Iterator[LintFinding]:
    use = inspect_template(prompt.content.template)
    declared = prompt.content.variables
    for problem in use.problems:
        line = prompt.document.text_line(("template",), problem.line)
        yield lint_error("prompt/unclosed", problem.message, file=prompt.path, line=line, hint=problem.hint)
    for name, inside in use.variables.items():
        if name not in declared:
            line = prompt.document.text_line(("template",), inside)
            hint = suggest(name, declared, what="variables")
            message = f"the template uses {name!r}, which is not in variables"
            yield lint_error("prompt/undefined-variable", message, file=prompt.path, line=line, hint=hint)
    if use.problems:
        return  # what a broken template uses is not known
    for name in declared:
        if name not in use.variables:
            message = f"the variable {name!r} is not used by the template"
            yield placed(
                prompt.document, ("variables", name), lint_warning("prompt/unused-variable", message), of_key=True
            )


def _lint_references(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    model = prompt.content.model
    if model is not None and project.models.alias_of(model) is None:
        hint = suggest(model, project.models.names(), what="aliases")
        finding = lint_error("prompt/unknown-model", f"there is no model alias or role {model!r}", hint=hint)
        yield placed(prompt.document, ("model",), finding)
    for index, tool in enumerate(prompt.content.tools):
        if tool not in project.tools.tools:
            hint = suggest(tool, project.tools.tools, what="tools")
            finding = lint_error("prompt/unknown-tool", f"there is no tool {tool!r}", hint=hint)
            yield placed(prompt.document, ("tools", index), finding)


def _lint_secrets(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    hint = "remove it and rotate it: it is known"
    if secret := find_secret(prompt.content.template.encode()):
        line = prompt.document.text_line(("template",), secret[1])
        yield lint_error("prompt/secret", f"the template holds {secret[0]}", file=prompt.path, line=line, hint=hint)
    elif secret := find_secret((project.root / prompt.path).read_bytes()):
        # a description, a default, a comment: it travels with the release as well
        yield lint_error("prompt/secret", f"the file holds {secret[0]}", file=prompt.path, line=secret[1], hint=hint)


def _lint_splices(prompt: Prompt) -> Iterator[LintFinding]:
    """Untrusted text without delimiters: an error where it is declared so, a warning where only its name says so."""
    variables = prompt.content.variables
    declared = {name for name, variable in variables.items() if variable.untrusted}
    supposed = {
        name
        for name, variable in variables.items()
        if "untrusted" not in variable.model_fields_set
        and variable.type in (VariableType.STRING, VariableType.LIST)
        and sounds_untrusted(name)
    }
    told: set[str] = set()
    for splice in find_splices(prompt.content.template, declared | supposed):
        if splice.delimited or splice.variable in told:
            continue
        told.add(splice.variable)
        line = prompt.document.text_line(("template",), splice.line)
        if splice.variable in declared:
            message = f"{splice.variable!r} is untrusted, and nothing keeps it apart from the instructions"
            hint = "put it between tags (<question>{{ question }}</question>) or between two lines of ---"
            yield lint_error("prompt/undelimited", message, file=prompt.path, line=line, hint=hint)
        else:
            message = f"{splice.variable!r} sounds like text from outside, and nothing keeps it apart"
            hint = "delimit it and declare it untrusted: true, or say untrusted: false"
            yield lint_warning("prompt/undelimited", message, file=prompt.path, line=line, hint=hint)


def _lint_length(project: LintSource, prompt: Prompt) -> Iterator[LintFinding]:
    """The prompt with its defaults against the budget; with tools and answer against the model's window."""
    tokens = count_tokens(prompt.content.template) + _default_tokens(prompt)
    budget = project.budgets.tokens_of(prompt.name)
    alias = project.models.alias_of(prompt.content.model) if prompt.content.model else None
    window = project.models.models[alias].context_window if alias in project.models.models and alias else None
    besides = _tool_tokens(project, prompt) + _answer_tokens(prompt)
    where = ("template",)
    if window is not None and tokens + besides >= window:
        more = f" with {besides} for tools and answer" if besides else ""
        message = f"about {tokens} tokens{more} do not fit the window of {alias} ({window})"
        yield placed(prompt.document, where, lint_error("prompt/too-long", message))
    elif tokens > budget.fail:
        message = f"about {tokens} tokens are over the budget of {budget.fail}"
        yield placed(
            prompt.document, where, lint_error("prompt/too-long", message, hint="shorten it, or raise budgets")
        )
    elif tokens > budget.warn:
        message = f"about {tokens} tokens come near the budget of {budget.fail}"
        yield placed(prompt.document, where, lint_warning("prompt/long", message))


def _default_tokens(prompt: Prompt) -> int:
    """Tokens of the defaults that every request carries unless it says otherwise."""
    used = inspect_template(prompt.content.template).variables
    defaults = [variable.default for name, variable in prompt.content.variables.items() if name in used]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in defaults if one is not None]
    return count_tokens("\n".join(texts)) if texts else 0


def _tool_tokens(project: LintSource, prompt: Prompt) -> int:
    tools = project.tools.tools
    value = [
        {"name": name, **tools[name].model_dump(mode="json", include={"description", "arguments"})}
        for name in prompt.content.tools
        if name in tools
    ]
    return count_tokens(json.dumps(value)) if value else 0


def _answer_tokens(prompt: Prompt) -> int:
    asked = prompt.content.parameters.get("max_tokens")
    return asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else 0


def lint_lock(project: LintSource, *, for_release: bool) -> Iterator[LintFinding]:
    """What ``prompts.lock`` says against the files."""
    try:
        lock = project.prompts.lock
    except ProjectFileError as error:
        yield from (from_file_error(one) for one in all_of(error))
        return
    for name in project.prompts.names():
        for version in project.prompts.versions(name):
            path, locked = project.prompts.path(name, version), lock.digest_of(name, version)
            if locked is None:
                make: Callable[..., LintFinding] = lint_error if for_release else lint_warning
                yield make("prompt/not-locked", "is not in prompts.lock", file=path, hint="run fairway prompt lock")
            elif locked != project.prompts.sha256(name, version):
                changed = changed_error(path)
                yield lint_error("prompt/changed", changed.problem, file=path, hint=changed.hint)
    for name, versions in lock.prompts.items():
        present = project.prompts.versions(name) if name in project.prompts.names() else ()
        for version in versions:
            if version not in present:
                message = f"{name}@{version} is locked, but its file is gone"
                hint = f"restore prompts/{name}/{version}.yaml: a rollback may need it"
                yield lint_error("prompt/removed", message, file=LOCK_FILE, hint=hint)


def lint_schema(rule: str, document: YamlDocument, path: KeyPath, schema: Mapping[str, Any]) -> Iterator[LintFinding]:
    """Whether a value is a JSON Schema."""
    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        message = f"{'.'.join(map(str, path))} is not a JSON Schema: {error.message[:200]}"
        yield placed(document, (*path, *error.absolute_path), lint_error(rule, message))
    except RecursionError:
        yield placed(document, path, lint_error(rule, "is nested too deep"))
