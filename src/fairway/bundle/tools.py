"""``tools.yaml``: what an agent may do, and how dangerous it is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from fairway.section import Duration, Flag, Positive, Section, Text
from fairway.validate import validate
from fairway.yaml_file import YamlDocument

TOOLS_FILE = "tools.yaml"


class Risk(StrEnum):
    """How much harm a wrong call does, from least to most."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical."""
        return list(Risk).index(self)


class Action(StrEnum):
    """What kind of thing a tool does; gives its risk when none is written."""

    SEARCH = "search"
    READ = "read"
    WRITE = "write"
    EMAIL = "email"
    EXECUTE_CODE = "execute_code"
    DELETE_DATA = "delete_data"
    TRANSFER_FUNDS = "transfer_funds"


_RISK_OF: Mapping[Action, Risk] = {
    Action.SEARCH: Risk.LOW,
    Action.READ: Risk.LOW,
    Action.WRITE: Risk.MEDIUM,
    Action.EMAIL: Risk.HIGH,
    Action.EXECUTE_CODE: Risk.HIGH,
    Action.DELETE_DATA: Risk.CRITICAL,
    Action.TRANSFER_FUNDS: Risk.CRITICAL,
}


class ToolSection(Section):
    """One tool.

    Attributes:
        arguments, result: JSON Schemas (draft 2020-12) of what it takes and gives.
        risk: By default that of ``action``; without either it is high, because nobody said otherwise.
        timeout: Seconds of one call.
        concurrency: Calls at a time.
        mock: Answer given where tools are mocked; any JSON value, or ``true``/``false`` for whether one exists.
        idempotent: Whether calling it twice does the same as once.
    """

    description: Text = ""
    arguments: Mapping[str, JsonValue] = {"type": "object"}
    result: Mapping[str, JsonValue] | None = None
    action: Action | None = None
    risk: Risk | None = None
    timeout: Duration = 30.0
    concurrency: Positive = 8
    mock: JsonValue = None
    idempotent: Flag = False
    enabled: Flag = True

    def risk_level(self) -> Risk:
        """The risk written, else that of the action, else high."""
        if self.risk is not None:
            return self.risk
        return _RISK_OF[self.action] if self.action is not None else Risk.HIGH


ToolName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]


class ToolsFile(Section):
    """The whole file: tools by name."""

    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    tools: Mapping[ToolName, ToolSection] = {}


def read_tools(document: YamlDocument) -> ToolsFile:
    """The tools of a document; whether their schemas are JSON Schemas is for lint to say.

    Raises:
        ProjectFileError: Naming each mistake.
    """
    return validate(ToolsFile, document)
