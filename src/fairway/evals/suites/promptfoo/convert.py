"""A promptfoo configuration as suites of Fairway."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.assertions.kind import How
from fairway.evals.assertions.registry import KINDS
from fairway.evals.suites.files import SuiteFiles
from fairway.evals.suites.load import parse_suite
from fairway.evals.suites.promptfoo.assertions import NotTakenError, convert_assertion, todo
from fairway.evals.suites.promptfoo.plain_yaml import line_of, read_plain, unplaced
from fairway.evals.suites.promptfoo.prompts import ImportedPrompt, import_prompts
from fairway.evals.suites.promptfoo.providers import import_providers
from fairway.evals.suites.promptfoo.sources import SCHEME, NotReadableError, Sources, resolve_references
from fairway.evals.suites.promptfoo.tests import Test, import_tests
from fairway.evals.suites.promptfoo.values import Imported, ImportedSuite, Loss, Report
from fairway.evals.suites.template import TemplateFailedError, fill_text, is_template, variables_in

_SETTINGS = {
    "redteam": "is another kind of test",
    "extensions": "run code of their own",
    "derivedMetrics": "are not computed; named metrics are reported",
    "nunjucksFilters": "are JavaScript",
    "scoring": "is done by code",
    "tracing": "is not read: tool calls come from the agent's answer",
    "outputs": "are answers that were recorded",
    "providerPromptMap": "is not read: each suite is played against the target that is named",
}
_SILENT = frozenset(
    {
        "description", "prompts", "providers", "targets", "tests", "defaultTest", "scenarios", "assertionTemplates",
        "evaluateOptions", "commandLineOptions", "outputPath", "sharing", "metadata", "tags", "env", "$schema",
        "writeLatestResults",
    }
)  # fmt: skip
_TEST_KEYS = frozenset(
    {
        "vars", "assert", "description", "threshold", "options", "metadata", "provider", "providers", "id", "name",
        "tags", "variables", "__prefix", "__suffix", "input",
    }
)  # fmt: skip
_TEXT_VARIABLES = (".txt", ".md", ".json", ".yaml", ".yml", ".html", ".csv", ".xml", ".j2")
_UNREADABLE_OPTIONS = {
    "transform": "changes the reply before it is checked",
    "postprocess": "changes the reply before it is checked",
    "rubricPrompt": "gives the judge a prompt of its own",
}
_READ_OPTIONS = frozenset(
    {"prefix", "suffix", "provider", "transformVars", "disableVarExpansion", "disableDefaultAsserts"}
) | frozenset(_UNREADABLE_OPTIONS)
_NOTHING = "the test checks nothing: say what the reply must be"
_MOST_REPEATS = 100
_NAME = re.compile(r"[^a-z0-9]+")


class _LeftOutError(ValueError):
    """A test that cannot be a case, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


def import_promptfoo(path: str, paths: Iterable[str], read: Callable[[str], bytes]) -> Imported:
    """Convert a configuration.

    Nothing that is checked there is dropped: an assertion that cannot be taken becomes a ``todo``, which is unknown
    until somebody writes it; a test that cannot be asked is left out; both are listed with file, line and reason.

    Args:
        path: Of ``promptfooconfig.yaml``, inside the project.
        paths: Every file it may refer to.
        read: Content of one of them.

    Raises:
        ProjectFileError: It is no such configuration.
    """
    if not path.lower().endswith((".yaml", ".yml", ".json")):
        hint = "write it out with: promptfoo export, or keep it as YAML"
        raise ProjectFileError("is made by code, which is not run", file=path, code="eval_import", hint=hint)
    plain = resolve_references(read_plain(read(path), file=path))
    config = plain.value
    if not isinstance(config, Mapping) or not config.keys() & {"prompts", "tests", "providers", "targets"}:
        hint = "it needs prompts, providers and tests"
        raise ProjectFileError("is no configuration of promptfoo", file=path, code="eval_import", hint=hint)
    report = Report()
    sources = Sources(folder=posixpath.dirname(path), known=frozenset(paths), read=read)
    _list_settings(config, report, path)
    prompts = import_prompts(config.get("prompts"), sources, report, path)
    if config.get("prompts") in (None, []):
        prompts = (ImportedPrompt(label="prompt", turns=("{{prompt}}",)),)
    defaults = _default_test(config.get("defaultTest"), sources, report, path)
    tests = list(import_tests(config.get("tests"), sources, report, path))
    if not tests and not config.get("scenarios") and not report.has(Loss.CASE, "tests"):
        tests = [Test(value={}, file=path, line=None)]  # each prompt is played once, as there
    converter = _Converter(sources=sources, report=report, defaults=defaults, repeat=_repeat(config, report, path))
    name = _slug(config.get("description")) or _slug(posixpath.basename(posixpath.dirname(path))) or "promptfoo"
    suites = [
        converter.suite(
            prompt, tests, name if len(prompts) == 1 else f"{name[:40]}-{_slug(prompt.label)}"[:60].strip("-")
        )
        for prompt in prompts
    ]
    return Imported(
        file=path,
        suites=_distinctly_named([one for one in suites if one.cases]),
        targets=import_providers(config.get("providers", config.get("targets"))),
        not_taken=report.listed(),
    )


def _distinctly_named(suites: Sequence[ImportedSuite]) -> tuple[ImportedSuite, ...]:
    taken: set[str] = set()
    found = []
    for number, suite in enumerate(suites, 1):
        name = suite.name if suite.name not in taken else f"{suite.name[:50]}-{number}"
        while name in taken:
            name += "x"
        taken.add(name)
        value = {"suite": name, **{key: one for key, one in suite.value.items() if key != "suite"}}
        found.append(ImportedSuite(name=name, value=value, system=suite.system, cases=suite.cases))
    return tuple(found)


def _list_settings(config: Mapping[str, Any], report: Report, file: str) -> None:
    for key, value in config.items():
        line = line_of(value) or line_of(config)
        if key in _SETTINGS:
            report.add(Loss.SETTING, key, _SETTINGS[key], file=file, line=line)
        elif key not in _SILENT:
            report.add(Loss.SETTING, key, "is not read", file=file, line=line)
    if config.get("scenarios"):
        why = "are not unfolded; write them as a case with 'for:'"
        report.add(Loss.CASE, "scenarios", why, file=file, line=line_of(config["scenarios"]))
    if config.get("env"):
        why = "is not set: give variables of the environment to the target itself"
        report.add(Loss.SETTING, "env", why, file=file, line=line_of(config["env"]))


def _repeat(config: Mapping[str, Any], report: Report, file: str) -> int:
    for key in ("evaluateOptions", "commandLineOptions"):
        options = config.get(key)
        repeat = options.get("repeat") if isinstance(options, Mapping) else None
        if isinstance(repeat, int) and not isinstance(repeat, bool) and 1 <= repeat <= _MOST_REPEATS:
            return repeat
        if repeat is not None:
            why = f"is no number from 1 to {_MOST_REPEATS}: each case is played once"
            report.add(Loss.SETTING, f"repeat: {repeat}", why, file=file, line=line_of(options))
    return 1


def _default_test(raw: Any, sources: Sources, report: Report, file: str) -> Test:
    why = "is no test"
    if isinstance(raw, str):
        try:
            path = sources.find(raw)[0]
            raw, file = resolve_references(sources.plain(path)).value, path
        except (NotReadableError, ProjectFileError) as error:
            why = str(error)
    if raw is None or isinstance(raw, Mapping):
        return Test(value=raw or {}, file=file, line=line_of(raw))
    # listed with each case that has it, as a row's todo is
    return Test(value={"assert": [todo("defaultTest", why)]}, file=file, line=line_of(raw), is_row=True)


@dataclass(slots=True, kw_only=True)
class _Converter:
    """Makes cases of tests.

    Attributes:
        defaults: ``defaultTest``.
        repeat: How often each case is played.
    """

    sources: Sources
    report: Report
    defaults: Test
    repeat: int = 1

    def suite(self, prompt: ImportedPrompt, tests: Sequence[Test], name: str) -> ImportedSuite:
        """The suite of one prompt; a test that is left out is listed."""
        cases: list[dict[str, Any]] = []
        taken: set[str] = set()
        for test in tests:
            try:
                case = self._loadable(self._case(prompt, test, taken), test)
            except _LeftOutError as error:
                self.report.add(Loss.CASE, error.what, str(error), file=test.file, line=test.line)
                continue
            cases.append(case)
            taken.add(case["id"])
        return ImportedSuite(name=name, value=unplaced(_shared(name, cases)), system=prompt.system, cases=len(cases))

    def _case(self, prompt: ImportedPrompt, test: Test, taken: set[str]) -> dict[str, Any]:
        raw, options = test.value, self._options(test)
        variables, table = self._variables(prompt, test, options)
        case: dict[str, Any] = {"id": _case_id(raw, variables, table, taken)}
        name = raw.get("description", raw.get("name"))
        if isinstance(name, str) and name.strip():
            case["name"] = name
        case |= self._turns(prompt, options, raw)
        if variables:
            case["variables"] = variables
        if table:
            case["for"] = table
        threshold = raw.get("threshold", self.defaults.value.get("threshold"))
        is_share = isinstance(threshold, int | float) and not isinstance(threshold, bool) and 0 < threshold <= 1
        case["assert"] = self._assertions(test, options, is_summed=is_share)
        if is_share:
            case["threshold"] = threshold
        elif threshold is not None:
            why = "is no share above 0: every assertion has to hold"
            self.report.add(Loss.SETTING, f"threshold: {threshold}", why, file=test.file, line=test.line)
        if tags := _tags(raw) or list(raw.get("tags", ())):
            case["tags"] = tags
        if self.repeat > 1:
            case["repeat"] = self.repeat
        return case

    def _loadable(self, case: dict[str, Any], test: Test) -> dict[str, Any]:
        """The case, once Fairway's own reader has read it; an assertion it cannot read becomes a ``todo``."""
        if _problem(case) is None:
            return case
        for index, assertion in enumerate(case["assert"]):
            problem = _problem({**case, "assert": [assertion]}) if is_template(assertion) else None
            if problem is not None and ".assert" in (problem.key or ""):
                what = f"{assertion['type']} {json.dumps(assertion.get('value'))}"[:100]
                case["assert"][index] = self._lost(what, problem.problem, test, assertion)
        if problem := _problem(case):
            why = f"cannot be read as a case: {(problem.key or '').removeprefix('cases[0].')}: {problem.problem}"
            raise _LeftOutError(f"test {case.get('name', case['id'])}"[:80], why)
        return case

    def _options(self, test: Test) -> Mapping[str, Any]:
        merged: dict[str, Any] = {}
        for one in (self.defaults.value, test.value):
            options = one.get("options")
            merged |= options if isinstance(options, Mapping) else {}
        for key in test.value:
            if key not in _TEST_KEYS and key not in ("assertScoringFunction", "providerOutput"):
                self.report.add(Loss.SETTING, key, "is not read", file=test.file, line=test.line)
        if "providerOutput" in test.value:
            raise _LeftOutError("providerOutput", "is an answer that was recorded, nothing to ask")
        if "provider" in test.value or "providers" in test.value:
            why = "chooses who is asked; each suite is played against the target that is named"
            self.report.add(Loss.SETTING, "provider", why, file=test.file, line=test.line)
        if "provider" in merged:
            why = "chooses the judge; Fairway's is evals.judge"
            self.report.add(Loss.SETTING, "options.provider", why, file=test.file, line=test.line)
        for key in merged.keys() - _READ_OPTIONS:
            self.report.add(Loss.SETTING, f"options.{key}", "is not read", file=test.file, line=test.line)
        if "transformVars" in merged:
            raise _LeftOutError("options.transformVars", "changes the variables by code, which is not run")
        return merged

    def _turns(self, prompt: ImportedPrompt, options: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
        before = str(options.get("prefix", raw.get("__prefix", "")) or "")
        after = str(options.get("suffix", raw.get("__suffix", "")) or "")
        *first, last = prompt.turns
        if first:
            return {"conversation": [before + first[0], *first[1:], last + after]}
        return {"input": before + last + after}

    def _variables(
        self, prompt: ImportedPrompt, test: Test, options: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The test's variables, and those of which every combination is a case."""
        given: dict[str, Any] = {}
        for one in (self.defaults.value, test.value):
            raw = one.get("vars", one.get("variables"))
            if raw is not None and not isinstance(raw, Mapping):
                raise _LeftOutError("vars", "stand in other files; write them out")
            given |= raw or {}
        plain = {str(name): self._variable(str(name), value) for name, value in given.items()}
        unfolds = not options.get("disableVarExpansion")
        table = {name: one for name, one in plain.items() if unfolds and isinstance(one, list) and one}
        variables = {name: _filled(one, plain) for name, one in plain.items() if name not in table}
        for name in sorted(variables_in([*prompt.turns, prompt.system or ""]) - plain.keys()):
            if name in ("env", "_conversation"):
                raise _LeftOutError(f"{{{{{name}}}}}", "is not there when a case is read")
            # promptfoo sends nothing in its place
            variables[name] = ""
            why = "has no value in some tests, and is sent as empty text as promptfoo does"
            self.report.add(Loss.SETTING, f"variable {name}", why, file=test.file)
        return variables, table

    def _variable(self, name: str, value: Any) -> Any:
        """The value; several where it names several files, as there."""
        if isinstance(value, list):
            return [self._variable(name, one) if isinstance(one, str) else one for one in value]
        if not isinstance(value, str) or not value.startswith(SCHEME):
            return value
        if not value.lower().endswith(_TEXT_VARIABLES):
            raise _LeftOutError(f"vars.{name}", f"is {value}: no text, or made by code")
        try:
            read = [self._content(path) for path in self.sources.find(value)]
        except NotReadableError as error:
            raise _LeftOutError(f"vars.{name}", str(error)) from None
        return read[0] if len(read) == 1 else read

    def _content(self, path: str) -> Any:
        if path.lower().endswith((".json", ".yaml", ".yml")):
            return self.sources.plain(path).value
        return self.sources.text(path).strip()

    def _assertions(self, test: Test, options: Mapping[str, Any], *, is_summed: bool) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        own = test.value.get("options")
        alone = isinstance(own, Mapping) and own.get("disableDefaultAsserts") is True
        for one in (test,) if alone else (self.defaults, test):
            raw = one.value.get("assert")
            if raw is not None and not isinstance(raw, list):
                found.append(self._lost("assert", "is no list of assertions", one, None))
                continue
            for entry in raw or ():
                found.append(self._assertion(entry, one, is_summed=is_summed))
        is_judged = any(_is_judged(one) for one in found)
        for key, why in _UNREADABLE_OPTIONS.items():
            if key in options and (is_judged or key != "rubricPrompt"):
                found.append(self._lost(f"options.{key}", why, test, None))
        if "assertScoringFunction" in {**self.defaults.value, **test.value}:
            found.append(self._lost("assertScoringFunction", "is code, which is not run", test, None))
        if not found:
            found.append(todo("assert", _NOTHING))
            line = None if test.is_row else test.line
            self.report.add(Loss.CHECK, "assert", _NOTHING, file=test.file, line=line)
        return found

    def _assertion(self, entry: Any, test: Test, *, is_summed: bool) -> dict[str, Any]:
        if test.is_row and isinstance(entry, Mapping) and entry.get("type") == "todo":
            what = "defaultTest" if test is self.defaults else "__expected"
            self.report.add(Loss.CHECK, what, str(entry["value"]), file=test.file, line=test.line)
            return dict(entry)
        line = line_of(entry) or test.line
        try:
            converted = convert_assertion(entry, self.sources, is_summed=is_summed)
        except NotTakenError as error:
            return self._lost(error.what, str(error), test, entry, line)
        if isinstance(entry, Mapping) and "provider" in entry:
            why = "chooses the judge; Fairway's is evals.judge"
            self.report.add(Loss.SETTING, f"{entry['type']} provider", why, file=test.file, line=line)
        return converted

    def _lost(self, what: str, why: str, test: Test, entry: Any, line: int | None = None) -> dict[str, Any]:
        self.report.add(Loss.CHECK, what, why, file=test.file, line=line or test.line)
        return todo(what, why, entry)


def _filled(value: Any, variables: Mapping[str, Any]) -> Any:
    """A variable may read the others there; what it cannot is left as it stands."""
    if not isinstance(value, str) or not is_template(value):
        return value
    try:
        return fill_text(value, variables)
    except TemplateFailedError:
        return value


def _problem(case: Mapping[str, Any]) -> ProjectFileError | None:
    """What Fairway's own reader says against a case; ``None``: nothing."""
    try:
        parse_suite(
            json.dumps({"cases": [case]}, default=str).encode(),
            file="import.json",
            files=SuiteFiles(read=_nothing, known=()),
        )
    except ProjectFileError as error:
        return error
    return None


def _nothing(path: str) -> bytes:
    raise KeyError(path)


def _is_judged(item: Mapping[str, Any]) -> bool:
    kind = KINDS.get(str(item.get("type", "")).removeprefix("not-"))
    return (kind is not None and kind.how is How.JUDGED) or any(_is_judged(one) for one in item.get("assert", ()))


def _shared(name: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The suite with what all its cases have in common said once."""
    if len(cases) < 2:
        return {"suite": name, "cases": cases}
    defaults: dict[str, Any] = {}
    for key in ("input", "conversation", "repeat"):
        if key in cases[0] and all(case.get(key) == cases[0][key] for case in cases):
            defaults[key] = cases[0][key]
    together = 0
    for together, column in enumerate(zip(*(case["assert"] for case in cases), strict=False), 1):
        if any(one != column[0] for one in column):
            together -= 1
            break
    if together:
        defaults["assert"] = cases[0]["assert"][:together]
    short = []
    for case in cases:
        left = {key: value for key, value in case.items() if key not in defaults}
        if case["assert"][together:] and together:
            left["assert"] = case["assert"][together:]
        short.append(left)
    return {"suite": name, **({"defaults": defaults} if defaults else {}), "cases": short}


def _case_id(raw: Mapping[str, Any], variables: Mapping[str, Any], table: Mapping[str, Any], taken: set[str]) -> str:
    named = raw.get("id", (raw.get("metadata") or {}).get("id") if isinstance(raw.get("metadata"), Mapping) else None)
    found = str(named).strip() if isinstance(named, str | int) and not isinstance(named, bool) else ""
    found = found or _slug(raw.get("description"))
    if not found:
        text = json.dumps([variables, table], sort_keys=True, default=str)
        found = f"case-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    if found not in taken:
        return found
    return next(f"{found}-{number}" for number in range(2, len(taken) + 3) if f"{found}-{number}" not in taken)


def _tags(raw: Mapping[str, Any]) -> list[str]:
    metadata = raw.get("metadata")
    found: list[str] = []
    for key, value in metadata.items() if isinstance(metadata, Mapping) else ():
        for one in value if isinstance(value, list) else [value]:
            if key != "id" and isinstance(one, str | int | float) and str(one).strip() and len(str(one)) <= 80:
                found.append(str(one) if key == "tags" else f"{key}={one}")
    return found


def _slug(text: Any) -> str:
    """Lower-case words joined by dashes, at most 60 characters."""
    return _NAME.sub("-", text.lower()).strip("-")[:60].strip("-") if isinstance(text, str) else ""
