"""Tools against the code: schemas, mocks and example calls agree with what is declared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import referencing
import referencing.exceptions

from fairway.bundle.tools import TOOLS_FILE, ToolSection
from fairway.pipeline.port import Finding, StageOutcome, StageStatus
from fairway.stages.config import ToolExample, ToolIntegrationSection
from fairway.stages.context import DeliveryContext
from fairway.stages.process import run_command
from fairway.units import Verdict
from fairway.yaml_file import KeyPath, YamlDocument

_SHOWN = 200


class ToolIntegration:
    """Every declared tool has sound schemas; mocks and example calls fit them; with a command, the code does too."""

    id = "tool_integration"
    title = "Tool integration"
    after = ("static_analysis",)

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Check every tool, whatever the others do."""
        settings = context.settings(ToolIntegrationSection)
        tools = context.project.tools.tools
        if not tools:
            return context.nothing_to_look_at("no tools declared")
        document = context.project.tools_document
        unsound = list(check_schemas(tools, document))
        # An example or a mock can only be held against a schema that is one.
        sound = {name: tool for name, tool in tools.items() if name not in {name for name, _ in unsound}}
        findings = [finding for _, finding in unsound]
        findings += check_mocks(sound, document)
        findings += check_examples(
            tools, [one for one in settings.examples if one.tool in sound or one.tool not in tools]
        )
        called = 0
        if settings.command is not None and not findings:
            for example in settings.examples:
                context.progress(f"calling {example.tool}")
                findings += await _call(context, settings, tools[example.tool], example, called)
                called += 1
        figures = {"tools": len(tools), "examples": len(settings.examples), "called": called}
        broken = any(finding.severity == "error" for finding in findings)
        done = f"{called} calls of " if called else "declarations of "
        return StageOutcome(
            status=StageStatus.FAILED if broken else StageStatus.PASSED,
            summary=_disagreement(len(findings), len(tools)) if broken else f"{done}{len(tools)} tools agree",
            details=figures,
            findings=tuple(findings),
            evidence=(context.found(Verdict.FAIL if broken else Verdict.PASS, figures=figures, instrument=True),),
        )


def check_schemas(
    tools: Mapping[str, ToolSection], document: YamlDocument | None = None
) -> Iterator[tuple[str, Finding]]:
    """Schemas that are no schemas: the tool's name and what is wrong, at its line of ``document``."""
    for name, tool in tools.items():
        for part, schema in (("arguments", tool.arguments), ("result", tool.result)):
            path: KeyPath = ("tools", name, part)
            try:
                jsonschema.Draft202012Validator.check_schema(dict(schema or {}))
            except jsonschema.SchemaError as error:
                message = f"{name}: the schema of its {part} is wrong: {error.message[:_SHOWN]}"
                yield name, _at(document, (*path, *error.absolute_path), "tool/schema", message)
            except RecursionError:
                message = f"{name}: the schema of its {part} is nested too deep"
                yield name, _at(document, path, "tool/schema", message)


def check_mocks(tools: Mapping[str, ToolSection], document: YamlDocument | None = None) -> Iterator[Finding]:
    """Mocks that do not fit the result they stand for."""
    for name, tool in tools.items():
        if tool.result is not None and tool.mock is not None and not isinstance(tool.mock, bool):
            problem = _misfit(tool.mock, tool.result)
            if problem:
                message = f"{name}: its mock does not fit its result: {problem}"
                yield _at(document, ("tools", name, "mock"), "tool/mock", message)


def check_examples(tools: Mapping[str, ToolSection], examples: Sequence[ToolExample]) -> Iterator[Finding]:
    """Examples of tools that are not declared, or with arguments the schema refuses."""
    for example in examples:
        tool = tools.get(example.tool)
        if tool is None:
            yield _finding("tool/unknown", f"there is no tool {example.tool!r} in {TOOLS_FILE}", file="fairway.yaml")
            continue
        problem = _misfit(dict(example.arguments), tool.arguments)
        if problem:
            message = f"{example.tool}: the example's arguments do not fit its schema: {problem}"
            yield _finding("tool/arguments", message, file="fairway.yaml")


async def _call(
    context: DeliveryContext, settings: ToolIntegrationSection, tool: ToolSection, example: ToolExample, number: int
) -> list[Finding]:
    """Call the code with one example; its last line is the result."""
    assert settings.command is not None
    ended = await run_command(
        [*settings.command, json.dumps(dict(example.arguments))],
        cwd=await context.tree(),
        environment=context.environment(FAIRWAY_TOOL=example.tool),
        output=context.workdir / f"call-{number}.log",
        limit=settings.timeout,
        clock=context.clock,
    )
    if ended.code != 0:
        how = "did not end in time" if ended.code is None else f"ended with {ended.code}"
        return [_finding("tool/call", f"{example.tool}: the call {how}: {ended.last_words(3)}")]
    lines = ended.text().strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        return [_finding("tool/call", f"{example.tool}: the call printed no JSON: {ended.last_words(3)}")]
    problem = _misfit(result, tool.result) if tool.result is not None else None
    return (
        [_finding("tool/result", f"{example.tool}: the result does not fit its schema: {problem}")] if problem else []
    )


def _misfit(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why a value does not fit a schema, or ``None``."""
    # An empty registry: a reference to somewhere else is an error, never a download.
    validator = jsonschema.Draft202012Validator(dict(schema), registry=referencing.Registry())
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except referencing.exceptions.Unresolvable as missing:
        return f"the schema refers to {missing.ref!r}, which is not in it"
    except jsonschema.exceptions.UnknownType as unknown:
        return f"the schema has an unknown type {unknown.type!r}"
    except (re.error, RecursionError) as broken:
        return f"the schema cannot be applied: {broken}"
    if error is None:
        return None
    where = "/".join(str(part) for part in error.absolute_path)
    return f"{where + ': ' if where else ''}{error.message}"[:_SHOWN]


def _disagreement(findings: int, tools: int) -> str:
    return f"{findings} disagreement{'' if findings == 1 else 's'} in {tools} tool{'' if tools == 1 else 's'}"


def _at(document: YamlDocument | None, path: KeyPath, rule: str, message: str) -> Finding:
    """A finding at the place of a key."""
    place = document.position(path) if document is not None else None
    found = _finding(rule, message)
    return found if place is None else replace(found, line=place.line, column=place.column)


def _finding(rule: str, message: str, *, file: str = TOOLS_FILE) -> Finding:
    return Finding(severity="error", rule=rule, message=message, file=file)
