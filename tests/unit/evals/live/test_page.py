"""The page about live traffic says what is so."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from pathlib import Path

from fairway.clock import SystemClock
from fairway.project.load import load_project
from fairway.supervise.live_process import scorer_of

PAGE = Path(__file__).parents[4] / "docs" / "evals" / "live.md"
PROJECT = 'version: 1\nagent: {name: shop}\nservice: {command: "x {port}"}\n'
MODELS = "version: 1\nmodels: {small: {provider: openai, model: m-1, api_key: 'env:KEY'}}\n"


async def test_the_example_is_a_project_that_can_be_scored(tmp_path, monkeypatch):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setenv("KEY", "k")
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "fairway.yaml").write_text(PROJECT + example)
    project = load_project(tmp_path)
    assert project.evals.online is not None
    async with AsyncExitStack() as stack:
        await scorer_of(project, project.evals.online, stack, clock=SystemClock())
