"""What docs/reference/fairway-yaml.md and docs/prompts.md say is so."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.bundle.environment import DEFAULTS, EnvironmentKind
from fairway.bundle.models import read_models
from fairway.bundle.prompts import PromptFile
from fairway.bundle.tools import read_tools
from fairway.flags.config import FlagSection
from fairway.pipeline.config import SEED_STAGES
from fairway.project.load import load_project
from fairway.units import format_duration
from fairway.validate import validate
from fairway.yaml_file import parse_yaml

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = (DOCS / "reference" / "fairway-yaml.md").read_text()
PROMPTS = (DOCS / "prompts.md").read_text()


def blocks(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)


def test_the_first_example_is_a_whole_project(tmp_path: Path) -> None:
    (tmp_path / "fairway.yaml").write_text(blocks(REFERENCE)[0])
    assert load_project(tmp_path).name == "support"


@pytest.mark.parametrize("section", ["gateway", "pipeline", "rollback", "flags"])
def test_examples_of_sections_load(tmp_path: Path, section: str) -> None:
    (example,) = [block for block in blocks(REFERENCE) if block.startswith(f"{section}:")]
    (tmp_path / "fairway.yaml").write_text(blocks(REFERENCE)[0] + example)
    load_project(tmp_path)


def test_the_example_of_models_needs_only_its_fallback() -> None:
    (example,) = [block for block in blocks(REFERENCE) if "models:" in block]
    read_models(parse_yaml(example.replace("fallback: [other]", "").encode(), file="models.yaml"))


def test_the_example_of_tools_loads() -> None:
    (example,) = [block for block in blocks(REFERENCE) if "tools:" in block]
    assert read_tools(parse_yaml(example.encode(), file="tools.yaml")).tools


def test_the_example_of_a_prompt_loads() -> None:
    assert validate(PromptFile, parse_yaml(blocks(PROMPTS)[0].encode(), file="1.1.0.yaml")).variables


def test_the_table_of_defaults_is_that_of_the_code() -> None:
    rows = {
        cells[0]: cells[1:]
        for line in REFERENCE.splitlines()
        if line.startswith("| `") and len(cells := [cell.strip(" `") for cell in line.strip("| ").split("|")]) == 5
    }
    for column, kind in enumerate(EnvironmentKind):
        default = DEFAULTS[kind]
        assert float(rows["temperature"][column]) == default.temperature
        assert int(rows["max_tokens"][column]) == default.max_tokens
        seconds = default.timeout_seconds
        assert rows["timeout"][column] in (f"{seconds:g}s", format_duration(seconds))
        assert rows["log_level"][column] == default.log_level
        assert int(rows["replicas"][column]) == default.replicas
        assert rows["approval"][column] == default.approval
        assert rows["prompts` (channel)"][column] == default.channel


def test_every_stage_is_named() -> None:
    assert [stage for stage in SEED_STAGES if stage not in REFERENCE] == []


def test_every_key_of_a_section_is_named(full_project: dict[str, str], write_project: Callable[..., Path]) -> None:
    project = load_project(write_project())
    sections = (project.service, project.gateway, project.evals, project.rollout, project.budgets, project.llm)
    for section in (*sections, project.rollback, project.sla, FlagSection()):
        names = [name for name in type(section).model_fields if not re.search(rf"\b{name}\b", REFERENCE)]
        assert names == [], type(section).__name__


def test_every_rule_of_prompt_lint_is_named() -> None:
    source = (DOCS.parent / "src" / "fairway" / "bundle" / "lint.py").read_text()
    rules = set(re.findall(r'"((?:prompt|model|tool|environment)/[a-z-]+)"', source))
    assert sorted(rule for rule in rules if rule not in PROMPTS) == []
