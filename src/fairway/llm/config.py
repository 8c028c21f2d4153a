"""The ``llm`` section of ``fairway.yaml``."""

from __future__ import annotations

from fairway.section import Port, ProjectPath, Section


class MockSection(Section):
    """Fairway's own deterministic model server, started wherever an environment uses the provider ``mock``."""

    scenario: ProjectPath = "evals/mock-llm.yaml"
    port: Port = 0


class LlmSection(Section):
    """How model calls are made by Fairway itself ."""

    mock: MockSection = MockSection()
