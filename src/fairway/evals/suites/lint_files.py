"""What is wrong with the files of suites, whether they load or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fairway.bundle.lint import LintFinding, Severity, ordered
from fairway.bundle.secret_shapes import find_secret
from fairway.errors import ProjectFileError
from fairway.evals.suites.document import read_document
from fairway.evals.suites.files import SuiteFiles
from fairway.evals.suites.lint import Surroundings, lint_suites
from fairway.evals.suites.load import is_table, no_case, parse_with_table, select_suites
from fairway.evals.suites.template import variables_in
from fairway.evals.values import Suite
from fairway.mistakes import all_of
from fairway.yaml_file import KeyPath, YamlDocument


def lint_files(
    paths: Iterable[str], read: Callable[[str], bytes], patterns: Sequence[str], surroundings: Surroundings
) -> tuple[LintFinding, ...]:
    """Everything that is wrong with the suites a project has; a suite that cannot be read is a finding, too.

    Args:
        paths: Files of the project.
        read: Content of one of them.
        patterns: Which of them are suites, as in ``evals.suites``.
        surroundings: What the suites are compared with.

    Returns:
        Findings by file and line.

    Raises:
        ProjectFileError: A suite that is named is not there.
    """
    known = frozenset(paths)
    files = SuiteFiles(read=read, known=known)
    found: list[LintFinding] = []
    suites: dict[str, Suite] = {}
    tables: set[str] = set()
    for path in sorted(select_suites(known, patterns), key=is_table):
        content = read(path)
        found.extend(_secrets(path, content))
        if path in tables:
            continue  # its cases are those of the suite that names it
        try:
            suite, table = parse_with_table(content, file=path, files=files)
            tables |= {table} if table else set()
            found.extend(_unused_variables(path, content, surroundings))
        except ProjectFileError as error:
            found.extend(_from_error(one) for one in all_of(error))
            continue
        if not suite.cases:
            found.append(_from_error(no_case(path)))
            continue
        if suite.name in suites:
            message = f"suite {suite.name!r} is also in {suites[suite.name].file}"
            found.append(_error("invalid", message, file=path, hint="give it a 'suite:' name"))
        suites.setdefault(suite.name, suite)
    return ordered((*found, *lint_suites(tuple(suites.values()), surroundings)))


def _from_error(error: ProjectFileError) -> LintFinding:
    message = f"{error.key}: {error.problem}" if error.key else error.problem
    return _error("invalid", message, file=error.file, line=error.line, column=error.column, hint=error.hint)


def _error(
    rule: str,
    message: str,
    *,
    file: str,
    line: int | None = None,
    column: int | None = None,
    hint: str | None = None,
) -> LintFinding:
    return LintFinding(
        severity=Severity.ERROR,
        rule=f"suite/{rule}",
        message=message,
        file=file,
        line=line,
        column=column,
        hint=hint,
    )


def _secrets(path: str, content: bytes) -> Iterator[LintFinding]:
    if secret := find_secret(content):
        hint = "remove it and rotate it: a suite is sent to models and shown in reports"
        yield _error("secret", f"the suite holds {secret[0]}", file=path, line=secret[1], hint=hint)


def _unused_variables(path: str, content: bytes, around: Surroundings) -> Iterator[LintFinding]:
    """Variables that neither the case that has them nor a prompt reads; in a file that is known to be a suite."""
    if not path.lower().endswith((".yaml", ".yml", ".json")):
        return
    document = read_document(content, file=path)
    value = document.value
    header = value if isinstance(value, dict) else {}
    at: KeyPath = ("cases",) if "cases" in header else ("test_cases",) if "test_cases" in header else ()
    items = header.get(at[0], ()) if at else value if isinstance(value, list) else ()
    if not isinstance(items, list):
        return
    defaults = header.get("defaults") or {}
    shared = variables_in({key: one for key, one in defaults.items() if key != "variables"})
    used_anywhere = set(shared)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        used = shared | variables_in({key: one for key, one in item.items() if key not in ("variables", "for")})
        used_anywhere |= used
        for name, where in _declared(item, (*at, index)):
            if name not in used and name not in around.prompt_variables:
                yield _unused(document, where, name)
    for name in defaults.get("variables") or {}:
        if name not in used_anywhere and name not in around.prompt_variables:
            yield _unused(document, ("defaults", "variables", name), name)


def _declared(item: dict[str, object], path: KeyPath) -> Iterator[tuple[str, KeyPath]]:
    own = item.get("variables")
    if isinstance(own, dict):
        yield from ((name, (*path, "variables", name)) for name in own)
    table = item.get("for")
    if isinstance(table, dict):
        yield from ((name, (*path, "for", name)) for name in table)
    elif isinstance(table, list):
        names = dict.fromkeys(name for row in table if isinstance(row, dict) for name in row if name != "id")
        yield from ((name, (*path, "for")) for name in names)


def _unused(document: YamlDocument, path: KeyPath, name: str) -> LintFinding:
    place = document.position(path, of_key=True)
    return LintFinding(
        severity=Severity.WARNING,
        rule="suite/unused-variable",
        message=f"the variable {name!r} is read by no text of the case and by no prompt",
        file=document.file,
        line=place.line if place else None,
        column=place.column if place else None,
        hint=None,
    )
