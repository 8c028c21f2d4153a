"""The ``llm`` section of ``fairway.yaml``."""

from __future__ import annotations

from fairway.section import Duration, Port, Positive, ProjectPath, Section


class MockSection(Section):
    """Fairway's own deterministic model server, started wherever an environment uses the provider ``mock``."""

    scenario: ProjectPath = "evals/mock-llm.yaml"
    port: Port = 0


class LlmSection(Section):
    """How model calls are made by Fairway itself (evals, judge, mock)."""

    mock: MockSection = MockSection()
    timeout: Duration = 60.0
    concurrency: Positive = 8
