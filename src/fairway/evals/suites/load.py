"""Suites from YAML and JSON: Fairway's own format and the seed format people already have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from fairway.canonical import canonical_json
from fairway.errors import ProjectFileError
from fairway.evals.assertions.case_check import normalise
from fairway.evals.suites.document import read_document
from fairway.evals.values import ArgumentMatch, Case, ExpectedTool, ExtraTools, Suite, TokenCount
from fairway.section import Section
from fairway.validate import suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument

DEFAULT_SUITES = ("evals/suites/*.yaml", "evals/suites/*.json", "tests/prompt_test_cases.json")
"""Where suites are looked for when ``evals.suites`` does not say; none of them has to be there."""

_SUFFIXES = (".yaml", ".yml", ".json")
_SEED_KEYS = frozenset({"user_input", "expected_response_keywords", "max_tokens_limit", "expected_behavior"})
_SUITE_KEYS = ("suite", "description", "count_tokens", "cases", "test_cases")


def _word(text: str) -> str:
    if not normalise(text):
        raise ValueError("an empty keyword is in every reply")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _label(value: Any) -> Any:
    """Ids and versions may be written as bare numbers; a boolean is a mistake."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _json_value(value: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not something JSON can hold exactly: {error}") from error
    return value


Text = Annotated[StrictStr, AfterValidator(_filled)]
Keyword = Annotated[StrictStr, AfterValidator(_word)]
Label = Annotated[Text, BeforeValidator(_label)]
Arguments = Annotated[dict[StrictStr, Any], AfterValidator(_json_value)]


class ToolSection(Section):
    """One expected call; a bare name in the file is ``{name: …}``."""

    name: Text
    arguments: Arguments | None = None
    match: ArgumentMatch = ArgumentMatch.SUBSET
    tolerance: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0
    count: Annotated[StrictInt, Field(ge=1, le=100)] = 1


class TurnSection(Section):
    """One user turn; a bare text in the file is ``{role: user, content: …}``."""

    role: StrictStr = "user"
    content: Text


def _tool(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _turn(value: Any) -> Any:
    return {"content": value} if isinstance(value, str) else value


Tool = Annotated[ToolSection, BeforeValidator(_tool)]
Turn = Annotated[TurnSection, BeforeValidator(_turn)]


class CaseSection(Section):
    """A case in Fairway's own format."""

    id: Label
    name: Text | None = None
    input: Text | None = None
    conversation: Annotated[list[Turn], Field(min_length=1, max_length=100)] | None = None
    system_prompt_version: Label | None = None
    expected_tools: list[Tool] | None = None
    extra_tools: ExtraTools = ExtraTools.FORBID
    forbidden_tools: list[Text] = []
    expected_keywords: list[Keyword] = []
    forbidden_keywords: list[Keyword] = []
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    tags: list[Text] = []
    critical: StrictBool = False
    repeat: Annotated[StrictInt, Field(ge=1, le=100)] = 1
    at_least: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    rubric: Text | None = None
    rule: Text | None = None


class SeedSection(Section):
    """A case in the seed format, as it is."""

    id: Label
    name: Text | None = None
    system_prompt_version: Label | None = None
    user_input: Text
    expected_behavior: StrictStr | None = None
    expected_tools: list[Tool] | None = None
    expected_response_keywords: list[Keyword] | None = None
    forbidden_keywords: list[Keyword] | None = None
    max_tokens_limit: Annotated[StrictInt, Field(ge=1)] | None = None
    tags: list[Text] = []
    critical: StrictBool = False


def load_suites(
    paths: Iterable[str],
    read: Callable[[str], bytes],
    patterns: Sequence[str] = DEFAULT_SUITES,
    *,
    document: YamlDocument | None = None,
) -> tuple[Suite, ...]:
    """Every suite the patterns select, ordered by path.

    Args:
        paths: Files of the examined content, relative to the project.
        read: Content of one of them.
        patterns: Paths or globs (``*``, ``?``, ``**/``). A pattern without wildcards that selects nothing is an error;
            the defaults may select nothing.
        document: ``fairway.yaml``, to name the line that lists a suite which is not there.

    Raises:
        ProjectFileError: A suite is wrong, is missing, or two have the same name.
    """
    suites: dict[str, Suite] = {}
    for path in select_suites(paths, patterns, document=document):
        suite = parse_suite(read(path), file=path)
        if suite.name in suites:
            first = suites[suite.name].file
            raise ProjectFileError(
                f"suite '{suite.name}' is also in {first}", file=path, code="eval_suite", hint="give it a 'suite:' name"
            )
        suites[suite.name] = suite
    return tuple(suites.values())


def select_suites(
    paths: Iterable[str], patterns: Sequence[str], *, document: YamlDocument | None = None
) -> tuple[str, ...]:
    """Paths the patterns select, sorted, each once.

    Raises:
        ProjectFileError: A pattern without wildcards selects nothing.
    """
    known = [path for path in paths if path.lower().endswith(_SUFFIXES)]
    found: set[str] = set()
    for index, pattern in enumerate(patterns):
        rule = re.compile(_glob_rule(pattern))
        matches = {path for path in known if rule.fullmatch(path)}
        if not matches and not any(mark in pattern for mark in "*?") and pattern not in DEFAULT_SUITES:
            raise _no_suite(pattern, index, document)
        found |= matches
    return tuple(sorted(found))


def _no_suite(pattern: str, index: int, document: YamlDocument | None) -> ProjectFileError:
    message, hint = f"there is no suite {pattern}", "a suite is a .yaml or .json file with a list of cases"
    if document is not None:
        return document.error(("evals", "suites", index), message, code="eval_suite", hint=hint)
    return ProjectFileError(message, file="fairway.yaml", key="evals.suites", code="eval_suite", hint=hint)


def _glob_rule(pattern: str) -> str:
    """A glob as a regular expression: ``*`` and ``?`` stay within a folder, ``**/`` crosses any number of them."""
    rules = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    return "".join(rules.get(part, re.escape(part)) for part in parts)


def parse_suite(content: bytes, *, file: str) -> Suite:
    """Read one suite.

    Args:
        content: Bytes of the file: a mapping with ``cases``, or the bare list of cases.
        file: Path relative to the project; its ending says JSON or YAML, its stem is the suite's default name.

    Raises:
        ProjectFileError: With line, column and key of the first thing wrong.
    """
    document = read_document(content, file=file)
    header, path, items = _split(document)
    count = _count(header, document)
    cases: list[Case] = []
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        where = (*path, index)
        place = document.position(where)
        case = replace(_case(document, where, item, count), line=place.line if place else None)
        if case.id in seen:
            first = seen[case.id] + 1
            raise document.error((*where, "id"), f"case '{case.id}' is there twice (first as case {first})")
        seen[case.id] = index
        cases.append(case)
    name = header.get("suite", PurePosixPath(file).stem)
    if not isinstance(name, str) or not name.strip():
        raise document.error(("suite",), "expected the suite's name")
    return Suite(name=name, file=file, cases=tuple(cases))


def _split(document: YamlDocument) -> tuple[Mapping[str, Any], KeyPath, list[Any]]:
    """The suite's own keys, the path of its list of cases, and the list."""
    value = document.value
    if value is None:
        return {}, (), []
    if isinstance(value, list):
        return {}, (), value
    if not isinstance(value, dict):
        raise document.error((), "expected a list of cases, or 'cases:' with one")
    for key in value:
        if key not in _SUITE_KEYS:
            hint = suggest(key, _SUITE_KEYS, what="keys")
            raise document.error((key,), "unknown key", of_key=True, hint=hint)
    key = "test_cases" if "test_cases" in value and "cases" not in value else "cases"
    if key not in value:
        raise document.error((), "'cases' is missing")
    if not isinstance(value[key], list):
        raise document.error((key,), "expected a list of cases")
    return value, (key,), value[key]


def _count(header: Mapping[str, Any], document: YamlDocument) -> TokenCount:
    try:
        return TokenCount(header.get("count_tokens", TokenCount.TOTAL))
    except ValueError:
        raise document.error(("count_tokens",), f"expected one of {', '.join(TokenCount)}") from None


def _case(document: YamlDocument, path: KeyPath, item: Any, count: TokenCount) -> Case:
    if not isinstance(item, dict):
        raise document.error(path, "expected a case: a mapping with id, input and what is expected")
    _refuse_unwritable(document, path, item)
    if "user_input" in item or (item.keys() & _SEED_KEYS and not item.keys() & {"input", "conversation"}):
        return _seed_case(validate(SeedSection, document, path), count)
    return _own_case(validate(CaseSection, document, path), document, path, count)


def _refuse_unwritable(document: YamlDocument, path: KeyPath, item: Any) -> None:
    """Half of a surrogate pair (an escape like ud800 in JSON) is text that no file, terminal or request can carry."""
    try:
        json.dumps(item, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise document.error(path, "holds half of a surrogate pair, which is no text") from error


def _seed_case(section: SeedSection, count: TokenCount) -> Case:
    behaviour = (section.expected_behavior or "").strip()
    return Case(
        id=section.id,
        name=section.name or section.id,
        turns=(section.user_input,),
        expected_tools=_tools(section.expected_tools),
        extra_tools=ExtraTools.ALLOW,
        expected_keywords=tuple(section.expected_response_keywords or ()),
        forbidden_keywords=tuple(section.forbidden_keywords or ()),
        max_tokens=section.max_tokens_limit,
        count_tokens=count,
        tags=tuple(section.tags),
        critical=section.critical,
        rubric=behaviour or None,
        rubric_required=False,
        prompt_version=section.system_prompt_version,
    )


def _own_case(section: CaseSection, document: YamlDocument, path: KeyPath, count: TokenCount) -> Case:
    if (section.input is None) == (section.conversation is None):
        raise document.error(path, "needs one of 'input' and 'conversation'")
    for index, turn in enumerate(section.conversation or ()):
        if turn.role != "user":
            where = (*path, "conversation", index, "role")
            raise document.error(where, "only user turns can be sent", hint="the agent itself gives the others")
    if section.at_least is not None and section.at_least > section.repeat:
        raise document.error((*path, "at_least"), f"is more than repeat ({section.repeat})")
    case = Case(
        id=section.id,
        name=section.name or section.id,
        turns=(section.input,) if section.input is not None else tuple(t.content for t in section.conversation or ()),
        expected_tools=_tools(section.expected_tools),
        extra_tools=section.extra_tools,
        forbidden_tools=tuple(section.forbidden_tools),
        expected_keywords=tuple(section.expected_keywords),
        forbidden_keywords=tuple(section.forbidden_keywords),
        max_tokens=section.max_tokens,
        count_tokens=count,
        tags=tuple(section.tags),
        critical=section.critical,
        repeat=section.repeat,
        at_least=section.at_least or section.repeat,
        rubric=section.rubric,
        rule=section.rule,
        prompt_version=section.system_prompt_version,
    )
    if not case.has_checks and case.rubric is None:
        hint = "add expected_keywords, forbidden_keywords, expected_tools, max_tokens or a rubric"
        raise document.error(path, f"case '{case.id}' checks nothing, so it would always pass", hint=hint)
    return case


def _tools(sections: list[ToolSection] | None) -> tuple[ExpectedTool, ...] | None:
    if sections is None:
        return None
    return tuple(
        ExpectedTool(
            name=tool.name,
            arguments=tool.arguments,
            match=tool.match,
            tolerance=tool.tolerance,
            count=tool.count,
        )
        for tool in sections
    )
