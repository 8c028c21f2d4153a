"""The demo's policies are policies: read as a project's own, compiled to the plan their chapter tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.demo.policy import BLUE_GREEN, CANARY, SHADOW, compress_policy, shorten_pipeline
from fairway.project.load import load_project
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Plan, Strategy
from fairway.scaffold import make_project
from fairway.units import WHOLE


def plan_of(root: Path, policy: str) -> Plan:
    compress_policy(root, policy, port=18_700, admin_port=18_701)
    project = load_project(root)
    assert (project.gateway.port, project.gateway.admin_port) == (18_700, 18_701)
    return compile_plan(project.rollout)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("demo") / "shop", commit=False).directory


@pytest.fixture(autouse=True)
def unchanged(root: Path) -> None:
    """Each test begins with the template's own file."""
    kept = root.parent / "fairway.yaml"
    if not kept.exists():
        kept.write_bytes((root / "fairway.yaml").read_bytes())
    (root / "fairway.yaml").write_bytes(kept.read_bytes())


def test_the_main_story_takes_the_templates_steps(root: Path) -> None:
    written = [step.split for step in compile_plan(load_project(root).rollout).steps]
    plan = plan_of(root, CANARY)
    assert plan.strategy is Strategy.CANARY
    assert [step.split for step in plan.steps] == written == [5_000, 10_000, 30_000, 50_000]


def test_blue_green_shares_no_traffic_and_proves_nothing_but_its_smoke_before_the_switch(root: Path) -> None:
    plan = plan_of(root, BLUE_GREEN)
    assert plan.strategy is Strategy.BLUE_GREEN
    assert [(step.split, step.probe) for step in plan.steps] == [(0, True)]
    assert plan.soak > 0
    assert any(gate.must_pass for gate in plan.soak_gates)


def test_the_shadow_chapter_copies_every_conversation_before_the_first_user(root: Path) -> None:
    plan = plan_of(root, SHADOW)
    assert plan.strategy is Strategy.SHADOW
    first, *others = plan.steps
    assert (first.split, first.mirror) == (0, WHOLE)
    assert first.mirroring is not None
    assert [step.split for step in others] == [50_000]
    assert all(step.mirroring is None for step in others)


def test_a_short_pipeline_leaves_out_stages_by_name_and_with_a_reason(root: Path) -> None:
    shorten_pipeline(root)
    text = (root / "fairway.yaml").read_text(encoding="utf-8")
    assert text.count("enabled: false, reason:") == 3
    project = load_project(root)
    assert project.evals.suites, "what follows the section is still there"
