"""JSON Schemas (draft 2020-12) of the project files and of every value on the wire, from the code that reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fairway.bundle.models import ModelsFile
from fairway.bundle.prompts import LockFile, PromptFile
from fairway.bundle.tools import ToolsFile
from fairway.errors import NotFoundError
from fairway.evals.reports.as_json import EvalReport
from fairway.observe.blocks import Batch
from fairway.project.load import ProjectFile
from fairway.project.table_file import TableFile
from fairway.release.values import Evidence, Manifest
from fairway.rollout.deciding import Decision
from fairway.rollout.requests import Answer, Request
from fairway.rollout.values import Plan, RouteState
from fairway.traffic.fence import Fence
from fairway.traffic.table import RouteTable
from fairway.validate import suggest
from fairway.verdict.values import GateFinding, GateSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = "https://fairway.readthedocs.io/schemas/v1"

FILES: Mapping[str, tuple[type[BaseModel], str]] = {
    "fairway.yaml": (ProjectFile, "The project: agent, service, environments, pipeline, gates, rollout."),
    "gateway.yaml": (TableFile, "A table for a gateway without a controller: fairway gateway serve --table."),
    "models.yaml": (ModelsFile, "Models by alias, and the roles they play."),
    "tools.yaml": (ToolsFile, "What the agent may do."),
    "prompt": (PromptFile, "One version of a prompt: prompts/<name>/<version>.yaml."),
    "prompts.lock": (LockFile, "The digest of every prompt version."),
}
WIRE: Mapping[str, tuple[type, str]] = {
    "route-table": (RouteTable, "What a gateway serves a route by."),
    "batch": (Batch, "What a gateway worker reports."),
    "manifest": (Manifest, "A release."),
    "evidence": (Evidence, "What was found about a release."),
    "request": (Request, "A person's verb."),
    "answer": (Answer, "What became of a request."),
    "gate-spec": (GateSpec, "One gate of one step."),
    "gate-finding": (GateFinding, "What a gate says."),
    "plan": (Plan, "What a rollout will do."),
    "route-state": (RouteState, "Where a route is, its rollout included."),
    "eval-report": (EvalReport, "What an evaluation found, and what was decided."),
    "decision": (Decision, "What a controller decided, and why."),
}
_COMPLETE: Mapping[str, frozenset[str]] = {
    "route-table": frozenset({"ejection", "flags", "health", "reading", "rerun", "sample", "shadow_says", "trace"})
}
"""Values whose wire form always carries every key but these."""
_PAIRED_FENCE = frozenset({"route-table", "batch"})
"""Values of the data plane, where a fence is ``[term, seq]``; elsewhere it is a mapping."""


def schema_names() -> tuple[str, ...]:
    """Every schema there is."""
    return (*FILES, *WIRE)


def describe(name: str) -> str:
    """What a schema is of, one sentence."""
    return FILES[name][1] if name in FILES else WIRE[name][1]


def json_schema(name: str) -> dict[str, Any]:
    """One schema.

    Raises:
        NotFoundError: Naming the nearest one.
    """
    if name in FILES:
        model, what = FILES[name]
        schema = model.model_json_schema(schema_generator=_Generator, mode="validation", by_alias=True)
        if name == "fairway.yaml":
            schema["patternProperties"] = {"^x-": True}
    elif name in WIRE:
        value, what = WIRE[name]
        generator = _PairedFence if name in _PAIRED_FENCE else _Generator
        schema = TypeAdapter(value).json_schema(schema_generator=generator, mode="validation")
        if name == "decision":
            del schema["properties"]["state"]  # kept beside the decision, not inside
            schema["required"] = sorted(set(schema["required"]) - {"state"})
        if name in _COMPLETE:
            schema["required"] = sorted(set(schema["properties"]) - _COMPLETE[name])
    else:
        hint = suggest(name, schema_names(), what="schemas")
        raise NotFoundError(f"there is no schema {name!r}", code="schema_not_found", hint=hint)
    return {
        "$schema": DIALECT,
        "$id": f"{_BASE}/{name}.json",
        **schema,
        "title": name,
        "description": what,
    }


class _Generator(GenerateJsonSchema):
    """Schemas of what is written: keys of a histogram are integers as text, nothing unknown rides along."""

    schema_dialect = DIALECT

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        found = super().dataclass_schema(schema)
        # Documentation of fields is in the code; the first sentence is enough here.
        return _short_description(found) | {"additionalProperties": False}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        return _short_description(super().model_schema(schema))

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        keys = schema.get("keys_schema", {})
        if keys.get("type") == "int":
            found["propertyNames"] = {"pattern": "^-?[0-9]+$"}
        return found


class _PairedFence(_Generator):
    """The data plane's form: a fence is ``[term, seq]``."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        if schema["cls"] is not Fence:
            return super().dataclass_schema(schema)
        number = {"type": "integer", "minimum": 0}
        return {
            "type": "array",
            "prefixItems": [number, number],
            "items": False,
            "minItems": 2,
            "description": "[term, seq], compared in this order.",
        }


def _short_description(schema: JsonSchemaValue) -> JsonSchemaValue:
    text = schema.get("description")
    if text:
        first = re.split(r"\n\n|\n *(?:Attributes|Args):", text)[0]
        schema = {**schema, "description": " ".join(first.split())}
    return schema
