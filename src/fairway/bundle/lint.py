"""What is wrong with a project's prompts, tools, models and files before anything runs; a value for each finding."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from fairway.bundle.files import SUBMODULE, SYMLINK, Bundle, BundleFile
from fairway.bundle.finding import LintFinding as LintFinding
from fairway.bundle.finding import Severity as Severity
from fairway.bundle.finding import from_file_error, lint_error, lint_warning, placed
from fairway.bundle.finding import ordered as ordered
from fairway.bundle.overlay import resolve
from fairway.bundle.prompt_lint import LintSource as LintSource
from fairway.bundle.prompt_lint import lint_lock, lint_schema, lint_versions, lint_versions_together, used_versions
from fairway.bundle.secret_shapes import find_secret, is_secret_file
from fairway.bundle.tokens import count_tokens as count_tokens
from fairway.errors import NotFoundError, ProjectFileError, RefusedError
from fairway.validate import all_of
from fairway.yaml_file import KeyPath, YamlDocument

_SCANNED_BYTES = 1 << 20
"""A larger file is data; only its name is looked at."""


def lint(project: LintSource, *, for_release: bool = False) -> tuple[LintFinding, ...]:
    """Everything that is wrong with prompts, tools and what environments make of them.

    Args:
        project: A loaded project.
        for_release: A prompt version that is not locked is an error instead of a warning.

    Returns:
        Findings ordered by file and line; empty when all is well.
    """
    found = [*_lint_environments(project), *_lint_tools(project), *lint_lock(project, for_release=for_release)]
    used = used_versions(project)
    for path, why in project.prompts.misplaced:
        found.append(lint_error("prompt/misplaced", why, file=path))
    for name in project.prompts.names():
        found.extend(lint_versions(project, name, used))
        found.extend(lint_versions_together(project, name, used))
    return ordered(found)


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
            finding = lint_error(rule, message, hint=error.hint)
            yield placed(project.document, path, finding, of_key=True)
        except ProjectFileError as error:
            yield from (from_file_error(one) for one in all_of(error))


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
            yield placed(
                document,
                path,
                lint_warning("tool/unknown-risk", message, hint="write risk: low … critical"),
                of_key=True,
            )
        if not tool.description:
            yield placed(document, path, lint_warning("tool/no-description", f"{name} has no description"), of_key=True)
        yield from lint_schema("tool/schema", document, (*path, "arguments"), tool.arguments)
        if tool.result is not None:
            yield from lint_schema("tool/schema", document, (*path, "result"), tool.result)
        if tool.arguments.get("type", "object") != "object":
            finding = lint_error("tool/schema", "arguments are given by name; the type must be object")
            yield placed(document, (*path, "arguments", "type"), finding)


# -- files ------------------------------------------------------------------------------------------------------------


def lint_files(bundle: Bundle) -> tuple[LintFinding, ...]:
    """What must not be in a release: secrets, links out of it, submodules. Reads every file up to 1 MiB."""
    found: list[LintFinding] = []
    readable: list[BundleFile] = []
    for file in bundle.files:
        if is_secret_file(file.path):
            hint = "remove it from git (git rm --cached), ignore it, and rotate what it held"
            found.append(lint_error("bundle/secret-file", f"{file.path} holds secrets", file=file.path, hint=hint))
        elif file.mode == SUBMODULE:
            hint = "copy its files in, or install it as a dependency"
            found.append(lint_error("bundle/submodule", "a submodule cannot be released", file=file.path, hint=hint))
        elif file.component is not None:
            readable.append(file)
    for file, content in bundle.contents(readable):
        if file.mode == SYMLINK and _leads_out(file.path, content.decode(errors="replace")):
            hint = "a release runs elsewhere: copy the file in"
            found.append(lint_error("bundle/symlink", "the link leads out of the project", file=file.path, hint=hint))
        elif len(content) <= _SCANNED_BYTES and (secret := find_secret(content)):
            hint = "remove it, rotate it, and give it by reference (env:NAME)"
            found.append(lint_error("bundle/secret", f"holds {secret[0]}", file=file.path, line=secret[1], hint=hint))
    return ordered(found)


def _leads_out(path: str, target: str) -> bool:
    return target.startswith("/") or posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).startswith(
        ".."
    )
