"""The ``pipeline`` section of ``fairway.yaml``: stages by id, each with a mapping its own model checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from fairway.section import Command, Duration, Flag, Positive, Section, Text, Variables

SEED_STAGES = (
    "prepare",
    "static_analysis",
    "unit_test",
    "prompt_regression",
    "tool_integration",
    "security_scan",
    "cost_gate",
    "build_image",
    "deploy_staging",
    "smoke_test",
    "e2e_test",
    "approval_gate",
    "canary_deploy",
    "production_deploy",
    "sla_snapshot",
)
"""Ids of the stages Fairway brings, in their order."""


class UserStageSection(Section):
    """A stage of one's own: a command whose exit code is the verdict (0 passed, anything else failed).

    Attributes:
        after: Ids of the stages it waits for; empty: it starts at once.
        title: For the reports; by default the id.
        inputs: Globs of the files its result depends on; empty: every file of the bundle. ``cache: false`` runs it
            each time.
        timeout: Seconds.
        environment: Environment variables of the command.
    """

    command: Command
    after: tuple[Text, ...] = ()
    title: Text | None = None
    enabled: Flag = True
    timeout: Duration = 600.0
    inputs: tuple[Text, ...] = ()
    cache: Flag = True
    environment: Variables = {}


class PipelineSection(Section):
    """The pipeline.

    Attributes:
        stages: Settings by stage id; an id that is not Fairway's is a stage of one's own and needs ``command``.
        parallel: Stages at a time; ``None``: as many as the machine has processors.
        timeout: Seconds of a whole run.
    """

    stages: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")], Mapping[str, JsonValue] | None] = {}
    parallel: Positive | None = None
    timeout: Duration = 3600.0
