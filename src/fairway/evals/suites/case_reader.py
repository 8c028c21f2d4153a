"""One case of a suite's file, with the suite's defaults and the rows of its table, as the values the runner plays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.errors import ProjectFileError
from fairway.evals.assertions.section import parse_assertions
from fairway.evals.suites.expand import Row, rows_of
from fairway.evals.suites.files import SCHEME, SuiteFiles
from fairway.evals.suites.keys import CASE_KEYS, SEED_KEYS, BadKeyError, needed
from fairway.evals.suites.template import TemplateFailedError, fill, fill_text, is_template
from fairway.evals.values import Assertion, Case, ExtraTools, TokenCount
from fairway.mistakes import raise_all, shown, suggest
from fairway.yaml_file import KeyPath, YamlDocument

_SEED_ONLY = frozenset({"user_input", "expected_response_keywords", "max_tokens_limit", "expected_behavior"})
_OWN_ONLY = frozenset({"input", "input_file", "conversation", "assert"})
_OWN_KEYS = (*CASE_KEYS, "assert", "for")
_NO_DEFAULT = frozenset({"id", "name", "input_file", "for", "family"})
_ADDED = ("tags", "forbidden_keywords", "forbidden_tools")
"""Keys of which a case has its own and the suite's; any other key of a case takes the place of the suite's."""
_NEVER_FILLED = frozenset({"id", "tags", "family", "variables", "for"})
_TURN_KEYS = ("input", "input_file", "conversation")
_STRUCTURED = frozenset({"assert", "expected_tools"})
"""Where a text that is one variable becomes what the variable holds; elsewhere it becomes text."""
_HINT = "add assert, expected_keywords, forbidden_keywords, expected_tools, max_tokens or a rubric"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a suite says for all of its cases.

    Attributes:
        raw: As the file has it.
        read: The keys that hold nothing to fill in, read once.
        assertions: The same of ``assert``; ``None``: they have to be filled in for each case.
    """

    document: YamlDocument
    path: KeyPath
    raw: Mapping[str, Any] = field(default_factory=dict)
    read: Mapping[str, Any] = field(default_factory=dict)
    assertions: tuple[Assertion, ...] | None = ()
    variables: Mapping[str, Any] = field(default_factory=dict)


def read_defaults(document: YamlDocument, path: KeyPath, raw: Any) -> Defaults:
    """The ``defaults:`` of a suite.

    Raises:
        ProjectFileError: With line and key of each mistake.
    """
    if raw is None:
        return Defaults(document=document, path=path)
    if not isinstance(raw, dict):
        raise document.error(path, f"expected a mapping (key: value); got {shown(raw)}")
    mistakes: list[ProjectFileError] = []
    found: dict[str, Any] = {}
    known = [key for key in _OWN_KEYS if key not in _NO_DEFAULT]
    for key, value in raw.items():
        if key not in known:
            hint = suggest(key, known, what="keys")
            mistakes.append(document.error((*path, key), "unknown key", of_key=True, hint=hint))
        elif key != "assert" and not is_template(value):
            with _keeping(mistakes, document, (*path, key)):
                found[key] = CASE_KEYS[key](value)
    raise_all(mistakes)
    asserted = raw.get("assert", [])
    return Defaults(
        document=document,
        path=path,
        raw=raw,
        read=found,
        assertions=None if is_template(asserted) else _assertions(document, (*path, "assert"), asserted),
        variables=found.get("variables", {}),
    )


class _keeping:  # noqa: N801 - reads as a word of the language
    """Keeps a mistake of a key, told with its place, instead of raising it."""

    __slots__ = ("_document", "_mistakes", "_path")

    def __init__(self, mistakes: list[ProjectFileError], document: YamlDocument, path: KeyPath) -> None:
        self._mistakes, self._document, self._path = mistakes, document, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, BadKeyError):
            self._mistakes.append(told(self._document, self._path, error))
        elif isinstance(error, TemplateFailedError):
            self._mistakes.append(self._document.error(self._path, str(error)))
        elif isinstance(error, ProjectFileError):
            self._mistakes.append(error)
        else:
            return False
        return True


def told(document: YamlDocument, path: KeyPath, error: BadKeyError) -> ProjectFileError:
    """The mistake with file, line, column and key."""
    return document.error((*path, *error.at), str(error), hint=error.hint, of_key=error.of_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReader:
    """Reads the cases of one suite.

    Attributes:
        count: Which tokens limits count.
        files: What cases may read; ``None``: nothing.
        has_escapes: The file has escapes that can make half of a surrogate pair, so each case has to be looked at.
    """

    defaults: Defaults
    count: TokenCount = TokenCount.TOTAL
    files: SuiteFiles | None = None
    has_escapes: bool = True

    def read(self, document: YamlDocument, path: KeyPath, item: Any) -> Iterator[Case]:
        """The case at ``path``, or one for each row of its ``for``.

        Raises:
            ProjectFileError: With line and key of each mistake.
        """
        if not isinstance(item, dict):
            raise document.error(path, "expected a case: a mapping with id, input and what is expected")
        if self.has_escapes:
            _refuse_unwritable(document, path, item)
        place = document.position(path)
        line = place.line if place else None
        if "user_input" in item or (item.keys() & _SEED_ONLY and not item.keys() & _OWN_ONLY):
            yield self._seed(document, path, item, line)
            return
        if "for" not in item:
            yield self._own(document, path, item, line, None)
            return
        try:
            rows = rows_of(item["for"])
        except BadKeyError as error:
            raise told(document, (*path, "for"), error) from None
        for row in rows:
            yield self._own(document, path, item, line, row)

    # -- the seed format -------------------------------------------------------------------------------------------

    def _seed(self, document: YamlDocument, path: KeyPath, item: dict[str, Any], line: int | None) -> Case:
        found, mistakes = _read_keys(document, path, item, SEED_KEYS, SEED_KEYS)
        for key in ("id", "user_input"):
            if key not in item:
                mistakes.append(document.error((*path, key), "is required and missing"))
        raise_all(mistakes)
        behaviour = found.get("expected_behavior", "").strip()
        return Case(
            id=found["id"],
            name=found.get("name") or found["id"],
            turns=(found["user_input"],),
            expected_tools=found.get("expected_tools"),
            extra_tools=ExtraTools.ALLOW,
            expected_keywords=found.get("expected_response_keywords", ()),
            forbidden_keywords=found.get("forbidden_keywords", ()),
            max_tokens=found.get("max_tokens_limit"),
            count_tokens=found.get("count_tokens", self.count),
            tags=found.get("tags", ()),
            critical=found.get("critical", False),
            rubric=behaviour or None,
            rubric_required=False,
            prompt_version=found.get("system_prompt_version"),
            line=line,
        )

    # -- Fairway's own format --------------------------------------------------------------------------------------

    def _own(
        self, document: YamlDocument, path: KeyPath, item: dict[str, Any], line: int | None, row: Row | None
    ) -> Case:
        mistakes: list[ProjectFileError] = []
        variables = self._variables(document, path, item, row, mistakes)
        filler = _filler(variables)
        found, wrong = _read_keys(document, path, item, CASE_KEYS, _OWN_KEYS, filler)
        mistakes += wrong
        if "id" not in item:
            mistakes.append(document.error((*path, "id"), "is required and missing"))
        found = self._with_defaults(found, filler, mistakes)
        if not mistakes:  # a misspelt "input" is told once, not also as missing
            with _keeping(mistakes, document, path):
                found["turns"] = self._turns(document, path, item, found, filler)
        with _keeping(mistakes, document, (*path, "assert")):
            found["assertions"] = self._asserted(document, path, item, filler)
        if not mistakes:
            self._check_rules(document, path, item, found, mistakes)
        raise_all(mistakes)
        case = self._case(found, variables, line, row)
        _refuse_nothing(document, path, case)
        return case

    def _variables(
        self,
        document: YamlDocument,
        path: KeyPath,
        item: Mapping[str, Any],
        row: Row | None,
        mistakes: list[ProjectFileError],
    ) -> Mapping[str, Any]:
        if "variables" not in item and row is None:
            return self.defaults.variables
        own: Mapping[str, Any] = {}
        with _keeping(mistakes, document, (*path, "variables")):
            own = CASE_KEYS["variables"](item.get("variables", {}))
        return {**self.defaults.variables, **own, **(row.variables if row else {})}

    def _with_defaults(
        self, found: dict[str, Any], filler: _Fill | None, mistakes: list[ProjectFileError]
    ) -> dict[str, Any]:
        if not self.defaults.raw:
            return found
        base = dict(self.defaults.read)
        for key, raw in self.defaults.raw.items():
            if key not in base and key != "assert" and (key not in found or key in _ADDED):
                with _keeping(mistakes, self.defaults.document, (*self.defaults.path, key)):
                    base[key] = CASE_KEYS[key](filler(key, raw) if filler else raw)
        for key in _TURN_KEYS:
            base.pop(key, None)  # they are read where the turns are
        merged = {**base, **found}
        for key in _ADDED:
            if key in base and key in found:
                merged[key] = tuple(dict.fromkeys((*base[key], *found[key])))
        return merged

    def _turns(
        self,
        document: YamlDocument,
        path: KeyPath,
        item: Mapping[str, Any],
        found: Mapping[str, Any],
        filler: _Fill | None,
    ) -> tuple[str, ...]:
        given = [key for key in _TURN_KEYS if item.get(key) is not None]
        if not given:
            given = [key for key in _TURN_KEYS if self.defaults.raw.get(key) is not None]
            found = {key: CASE_KEYS[key](_filled(filler, key, self.defaults.raw[key])) for key in given}
        if len(given) != 1:
            hint = None
            if not given and document.file.endswith((".csv", ".tsv")):
                hint = "a column input; or a YAML suite with cases: <this table> and defaults: {input: '{{ column }}'}"
            raise BadKeyError("needs one of 'input' and 'conversation'", hint=hint)
        key = given[0]
        if key not in found:
            return ("",)  # it is a mistake of its own, and told as such
        if key == "conversation":
            return tuple(found[key])
        written: str = found[key]
        if key == "input" and not written.startswith(SCHEME):
            return (written,)
        if self.files is None:
            raise BadKeyError("this suite cannot read files", key)
        try:
            return (_filled(filler, "input", self.files.text(written, suite=document.file)),)
        except BadKeyError as error:
            raise BadKeyError(str(error), key, hint=error.hint) from error

    def _asserted(
        self, document: YamlDocument, path: KeyPath, item: Mapping[str, Any], filler: _Fill | None
    ) -> tuple[Assertion, ...]:
        base = self.defaults.assertions
        if base is None:
            raw = _filled(filler, "assert", self.defaults.raw["assert"])
            base = _assertions(self.defaults.document, (*self.defaults.path, "assert"), raw)
        if item.get("assert") is None:
            return base
        return (*base, *_assertions(document, (*path, "assert"), _filled(filler, "assert", item["assert"])))

    @staticmethod
    def _check_rules(
        document: YamlDocument,
        path: KeyPath,
        item: Mapping[str, Any],
        found: Mapping[str, Any],
        mistakes: list[ProjectFileError],
    ) -> None:
        repeat, rule = found.get("repeat", 1), found.get("at_least")
        if isinstance(rule, int) and rule > repeat:
            mistakes.append(document.error((*path, "at_least"), f"is more than repeat ({repeat})"))
        most = found.get("max_repeat")
        if most is not None and most < repeat:
            mistakes.append(document.error((*path, "max_repeat"), f"is less than repeat ({repeat})"))
        if found.get("threshold") is not None and not found["assertions"]:
            hint = "threshold is the mean score of the case's assertions that is enough"
            mistakes.append(document.error((*path, "threshold"), "needs an assert list", hint=hint))

    def _case(self, found: Mapping[str, Any], variables: Mapping[str, Any], line: int | None, row: Row | None) -> Case:
        case_id, repeat = found["id"], found.get("repeat", 1)
        name = found.get("name") or case_id
        family = found.get("family")
        if row is not None:
            family = family or case_id
            name = name if name != case_id else f"{case_id}@{row.suffix}"
            case_id = f"{case_id}@{row.suffix}"
        rule = found.get("at_least")
        return Case(
            id=case_id,
            name=name,
            turns=found["turns"],
            expected_tools=found.get("expected_tools"),
            extra_tools=found.get("extra_tools", ExtraTools.FORBID),
            forbidden_tools=found.get("forbidden_tools", ()),
            expected_keywords=found.get("expected_keywords", ()),
            forbidden_keywords=found.get("forbidden_keywords", ()),
            max_tokens=found.get("max_tokens"),
            count_tokens=found.get("count_tokens", self.count),
            tags=found.get("tags", ()),
            critical=found.get("critical", False),
            repeat=repeat,
            at_least=repeat if rule is None else needed(rule, repeat),
            rubric=found.get("rubric"),
            rule=found.get("rule"),
            prompt_version=found.get("system_prompt_version"),
            line=line,
            assertions=found["assertions"],
            threshold=found.get("threshold"),
            variables=variables,
            family=family,
            max_repeat=found.get("max_repeat"),
        )


_Fill = Callable[[str, Any], Any]


def _filler(variables: Mapping[str, Any]) -> _Fill | None:
    """Fills in the texts of a key; ``None``: the case has no variables, so its texts are literal."""
    if not variables:
        return None

    def filled(key: str, raw: Any) -> Any:
        if key in _NEVER_FILLED or not is_template(raw):
            return raw
        if key in _STRUCTURED:
            return fill(raw, variables)
        return _texts(raw, variables)

    return filled


def _texts(raw: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(raw, str):
        return fill_text(raw, variables)
    if isinstance(raw, list):
        return [_texts(one, variables) for one in raw]
    return {key: _texts(one, variables) for key, one in raw.items()} if isinstance(raw, dict) else raw


def _filled(filler: _Fill | None, key: str, raw: Any) -> Any:
    return filler(key, raw) if filler else raw


def _read_keys(
    document: YamlDocument,
    path: KeyPath,
    item: Mapping[str, Any],
    readers: Mapping[str, Callable[[Any], Any]],
    known: Any,
    filler: _Fill | None = None,
) -> tuple[dict[str, Any], list[ProjectFileError]]:
    """The keys of a case by name, and what is wrong with them; every mistake is told, not only the first."""
    found: dict[str, Any] = {}
    mistakes: list[ProjectFileError] = []
    for key, raw in item.items():
        read = readers.get(key)
        if read is None:
            if key not in known:
                hint = suggest(str(key), known, what="keys")
                mistakes.append(document.error((*path, key), "unknown key", of_key=True, hint=hint))
            continue
        try:
            found[key] = read(raw if filler is None else filler(key, raw))
        except BadKeyError as error:
            mistakes.append(told(document, (*path, key), error))
        except TemplateFailedError as error:
            mistakes.append(document.error((*path, key), str(error), hint="add it to 'variables' or to 'for'"))
    return found, mistakes


def _assertions(document: YamlDocument, path: KeyPath, items: Any) -> tuple[Assertion, ...]:
    if not isinstance(items, list):
        raise document.error(path, f"expected a list of assertions; got {shown(items)}")
    return parse_assertions(document, path, items) if items else ()


def _refuse_nothing(document: YamlDocument, path: KeyPath, case: Case) -> None:
    if case.rubric is not None:
        return
    weightless = case.assertions and all(one.weight == 0 for one in case.assertions)
    if not case.has_checks or (weightless and not _without_assertions(case)):
        raise document.error(path, f"case '{case.id}' checks nothing, so it would always pass", hint=_HINT)


def _without_assertions(case: Case) -> bool:
    return bool(
        case.expected_keywords
        or case.forbidden_keywords
        or case.forbidden_tools
        or case.expected_tools
        or (case.expected_tools is not None and case.extra_tools is ExtraTools.FORBID)
        or case.max_tokens is not None
    )


def _refuse_unwritable(document: YamlDocument, path: KeyPath, item: Any) -> None:
    """Half of a surrogate pair (an escape like ud800 in JSON) is text that no file, terminal or request can carry."""
    try:
        json.dumps(item, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise document.error(path, "holds half of a surrogate pair, which is no text") from error
