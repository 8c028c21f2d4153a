"""Settings that change nothing are told with their line; a prompt version nobody wrote is an error of its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.cli.main import cli
from fairway.errors import ProjectFileError
from fairway.project.load import load_project
from fairway.project.without_effect import missing_prompts, without_effect
from fairway.supervise.examined import CheckStatus
from fairway.supervise.settings import look_at_settings

BASE = """version: 1
agent: {name: shop}
service: {command: python app.py, health: /health, ready: /ready}
"""


def _project(root: Path, rollout: str, more: str = ""):
    (root / "fairway.yaml").write_text(f"{BASE}rollout:\n{rollout}{more}")
    return load_project(root)


@pytest.mark.parametrize(
    ("rollout", "told"),
    [
        ("  strategy: canary\n  blue_green: {gray: 10%}\n", [("fairway.yaml:6:3", "rollout.blue_green")]),
        ("  strategy: canary\n  shadow: {heeded: true}\n  rolling: {mixed: true}\n",
         [("fairway.yaml:7:3", "rollout.rolling"), ("fairway.yaml:6:3", "rollout.shadow")]),
        ("  strategy: blue-green\n  steps: [5%, 50%]\n  dwell: 5m\n",
         [("fairway.yaml:6:3", "rollout.steps"), ("fairway.yaml:7:3", "rollout.dwell")]),
        ("  strategy: blue-green\n  blue_green: {gray: 10%}\n  dwell: 5m\n", []),
        ("  strategy: rolling\n  dwell: 5m\n", [("fairway.yaml:6:3", "rollout.dwell")]),
        ("  strategy: canary\n  breaking: true\n", [("fairway.yaml:6:3", "rollout.breaking")]),
        ("  strategy: auto\n  breaking: true\n  blue_green: {gray: 10%}\n  rolling: {mixed: true}\n", []),
        ("  dwell: 0s\n", [("fairway.yaml:5:3", "rollout.dwell")]),
        ("  steps: [5%, {split: 50%, dwell: 0}]\n", [("fairway.yaml:5:28", "rollout.steps[1].dwell")]),
        ("  approval: {required: false, quorum: 2}\n", [("fairway.yaml:5:31", "rollout.approval.quorum")]),
        ("  approval: {quorum: 2}\n  strategy: canary\n  steps: [5%]\n  dwell: 5m\n", []),
    ],
)  # fmt: skip
def test_what_the_strategy_does_not_heed_is_told_with_its_line(tmp_path: Path, rollout, told) -> None:
    found = without_effect(_project(tmp_path, rollout))
    assert [(one.place, one.key) for one in found] == told
    assert all(one.message and one.hint for one in found)
    statuses = {check.status for check in look_at_settings(_project(tmp_path, rollout))}
    assert statuses == ({CheckStatus.WARN} if told else {CheckStatus.OK})


def test_a_plan_tells_them_on_stderr_and_as_a_value(tmp_path: Path) -> None:
    _project(tmp_path, "  strategy: canary\n  blue_green: {gray: 10%}\n")
    ran = CliRunner().invoke(cli, ["rollout", "plan", "--project", str(tmp_path), "-o", "json"])
    assert ran.exit_code == 0
    (told,) = json.loads(ran.stdout)["warnings"]
    assert (told["place"], told["key"]) == ("fairway.yaml:6:3", "rollout.blue_green")
    assert "warning: fairway.yaml:6:3: rollout.blue_green: without effect: the strategy is canary" in ran.stderr


def test_a_prompt_version_nobody_wrote_is_an_error_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "prompts" / "support").mkdir(parents=True)
    (tmp_path / "prompts" / "support" / "1.2.0.yaml").write_text("template: hello\n")
    named = 'environments:\n  production:\n    prompts: {support: "%s"}\n'
    wrong = _project(tmp_path, "  soak: 1m\n", named % "1.9.0")
    (error,) = missing_prompts(wrong, "production")
    assert (error.file, error.line, error.key) == ("fairway.yaml", 8, "environments.production.prompts.support")
    assert list(missing_prompts(wrong, "staging")) == []
    ran = CliRunner().invoke(cli, ["rollout", "plan", "--project", str(tmp_path)])
    assert isinstance(ran.exception, ProjectFileError)
    assert ran.exception.exit_code == 2
    assert CheckStatus.FAIL in {check.status for check in look_at_settings(wrong)}
    right = _project(tmp_path, "  soak: 1m\n", named % "1.2.0")
    assert list(missing_prompts(right, "production")) == []
