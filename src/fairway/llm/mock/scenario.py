"""A scenario, compiled: what the model does, as patterns and texts that are ready to be matched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import NotFoundError
from fairway.llm.mock.references import Text, parse_text, parse_value
from fairway.llm.mock.sections import (
    PATTERN_FLAGS,
    Fault,
    FaultKind,
    FaultsBody,
    Latency,
    Rule,
    ScenarioFile,
    ToolCall,
    ToolResultWhen,
    When,
)
from fairway.validate import suggest, validate
from fairway.yaml_file import KeyPath, YamlDocument, parse_yaml, read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultCondition:
    """What one tool result must be."""

    tool: str | None
    contains: str | None
    matches: re.Pattern[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A compiled ``when``; all parts that are set must hold."""

    user: re.Pattern[str] | None
    user_contains: tuple[str, ...]
    conversation: re.Pattern[str] | None
    system: re.Pattern[str] | None
    model: re.Pattern[str] | None
    has_tool_result: bool | None
    newest_result: ResultCondition | None
    any_result: ResultCondition | None
    called: frozenset[str]
    not_called: frozenset[str]
    offers: frozenset[str]
    requires: frozenset[str]
    missing: frozenset[str]

    @property
    def captures(self) -> frozenset[str]:
        """Names of the groups its patterns capture."""
        results = tuple(one.matches for one in (self.newest_result, self.any_result) if one is not None)
        patterns = (self.user, self.conversation, self.system, *results)
        return frozenset(name for pattern in patterns if pattern is not None for name in pattern.groupindex)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCall:
    """A tool call whose argument texts are `Text`."""

    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledRule:
    """One behaviour; exactly one of ``reply``, ``calls`` (not empty), ``answer`` and ``fault`` is set."""

    name: str
    when: Condition
    reply: Text | None = None
    calls: tuple[CompiledCall, ...] = ()
    answer: Any = None
    fault: FaultKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFault:
    """A fault and the condition it asks; times in seconds since it was switched on."""

    name: str
    kind: FaultKind
    probability: float
    since: float
    until: float | None
    when: Condition
    retry_after: float
    delay: Latency
    after_chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole scenario, ready to answer."""

    name: str
    seed: int
    models: tuple[str, ...]
    latency: Latency
    directives: Mapping[str, re.Pattern[str]]
    rules: tuple[CompiledRule, ...]
    faults: tuple[CompiledFault, ...]

    def followed(self, system: str) -> frozenset[str]:
        """Names of the directives present in a system prompt: those the model follows."""
        return frozenset(name for name, pattern in self.directives.items() if pattern.search(system))


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        NotFoundError: No such file.
        ProjectFileError: Wrong in form or reference; names file, line, column, key and the nearest right one.
    """
    if not path.is_file():
        hint = "give one with --scenario; `fairway init` writes evals/mock-llm.yaml"
        raise NotFoundError(f"no scenario file at {path}", hint=hint)
    return _compile(read_yaml(path))


def parse_scenario(text: str | bytes, *, file: str) -> Scenario:
    """Compile the text of a scenario file; raises as `load_scenario`."""
    return _compile(parse_yaml(text.encode() if isinstance(text, str) else text, file=file))


def parse_faults(body: bytes, scenario: Scenario) -> tuple[CompiledFault, ...]:
    """Compile the body of ``POST /admin/faults``.

    Raises:
        ProjectFileError: Not JSON (or YAML) or wrong in form.
    """
    document = parse_yaml(body, file="body")
    section = validate(FaultsBody, document)
    compiler = _Compiler(scenario.directives, document)
    return tuple(compiler.fault(fault, ("faults", index)) for index, fault in enumerate(section.faults))


def _compile(document: YamlDocument) -> Scenario:
    section = validate(ScenarioFile, document)
    return _Compiler(section.directives, document).scenario(section)


class _Compiler:
    """Turns sections into compiled values; every complaint has a place."""

    def __init__(self, directives: Mapping[str, Any], document: YamlDocument) -> None:
        self.directives = directives
        self.document = document

    def scenario(self, section: ScenarioFile) -> Scenario:
        return Scenario(
            name=section.name,
            seed=section.seed,
            models=tuple(section.models),
            latency=section.latency,
            directives={name: re.compile(text, PATTERN_FLAGS) for name, text in section.directives.items()},
            rules=tuple(self.rule(rule, index) for index, rule in enumerate(section.rules)),
            faults=tuple(self.fault(fault, ("faults", index)) for index, fault in enumerate(section.faults)),
        )

    def rule(self, rule: Rule, index: int) -> CompiledRule:
        path: KeyPath = ("rules", index)
        when = self.condition(rule.when, (*path, "when"))
        name = rule.name or f"rules[{index}]"
        if rule.reply is not None:
            return CompiledRule(name=name, when=when, reply=self.text(rule.reply, when, (*path, "reply")))
        if rule.answer is not None:
            answer = self.value(rule.answer, when, (*path, "json"))
            return CompiledRule(name=name, when=when, answer=answer)
        if rule.fault is not None:
            return CompiledRule(name=name, when=when, fault=rule.fault)
        if rule.tool_call is not None:
            return CompiledRule(name=name, when=when, calls=(self.call(rule.tool_call, when, (*path, "tool_call")),))
        calls = rule.tool_calls or []
        compiled = tuple(self.call(call, when, (*path, "tool_calls", place)) for place, call in enumerate(calls))
        return CompiledRule(name=name, when=when, calls=compiled)

    def call(self, call: ToolCall, when: Condition, path: KeyPath) -> CompiledCall:
        return CompiledCall(name=call.name, arguments=self.value(call.arguments, when, (*path, "arguments")))

    def fault(self, fault: Fault, path: KeyPath) -> CompiledFault:
        return CompiledFault(
            name=fault.name or fault.kind.value,
            kind=fault.kind,
            probability=fault.probability,
            since=fault.since,
            until=fault.until,
            when=self.condition(fault.when, (*path, "when")),
            retry_after=fault.retry_after,
            delay=fault.delay,
            after_chunks=fault.after_chunks,
        )

    def condition(self, when: When, path: KeyPath) -> Condition:
        self._known_directives(when.requires_directive, (*path, "requires_directive"))
        self._known_directives(when.missing_directive, (*path, "missing_directive"))
        return Condition(
            user=_compiled(when.user),
            user_contains=tuple(text.casefold() for text in when.user_contains),
            conversation=_compiled(when.conversation),
            system=_compiled(when.system),
            model=_compiled(when.model),
            has_tool_result=when.has_tool_result,
            newest_result=_result_condition(when.tool_result),
            any_result=_result_condition(when.any_tool_result),
            called=frozenset(when.called),
            not_called=frozenset(when.not_called),
            offers=frozenset(when.offers),
            requires=frozenset(when.requires_directive),
            missing=frozenset(when.missing_directive),
        )

    def _known_directives(self, names: list[str], path: KeyPath) -> None:
        for name in names:
            if name not in self.directives:
                hint = suggest(name, self.directives, what="directives")
                raise self.document.error(path, f"no directive {name!r}", hint=hint, code="scenario")

    def text(self, text: str, when: Condition, path: KeyPath) -> Text:
        try:
            return parse_text(text, captures=when.captures)
        except ValueError as error:
            raise self.document.error(path, str(error), code="scenario") from error

    def value(self, value: Any, when: Condition, path: KeyPath) -> Any:
        try:
            return parse_value(value, captures=when.captures)
        except ValueError as error:
            raise self.document.error(path, str(error), code="scenario") from error


def _result_condition(when: ToolResultWhen | None) -> ResultCondition | None:
    if when is None:
        return None
    contains = when.contains.casefold() if when.contains is not None else None
    return ResultCondition(tool=when.tool, contains=contains, matches=_compiled(when.matches))


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    return re.compile(pattern, PATTERN_FLAGS) if pattern is not None else None
