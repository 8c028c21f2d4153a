"""An environment that asks less than the one before it is a mistake with a place; people and quorums are read."""

from __future__ import annotations

import pytest

from fairway.errors import ProjectFileError
from fairway.project.load import load_project
from fairway.rollout.people import Role

BASE = """version: 1
agent: {name: shop}
service: {command: python app.py, health: /health, ready: /ready}
"""


def written(folder, text):
    (folder / "fairway.yaml").write_text(BASE + text)
    return folder


LAXER = """environments:
  staging:
    latency_sla: 2s
    tool_accuracy: 0.95
  production:
    latency_sla: 3s
    tool_accuracy: 0.9
"""


def test_production_that_is_laxer_than_staging_is_named_with_line_column_and_key(tmp_path):
    with pytest.raises(ProjectFileError) as caught:
        load_project(written(tmp_path, LAXER))
    first, second = caught.value.errors
    assert (first.file, first.line, first.column, first.key) == (
        "fairway.yaml", 9, 18, "environments.production.latency_sla",
    )  # fmt: skip
    assert "3s is laxer than the 2s of staging" in str(first)
    assert second.key == "environments.production.tool_accuracy"
    assert "leave it out" in str(first)


@pytest.mark.parametrize(
    "production", ["{latency_sla: 2s, tool_accuracy: 0.95}", "{latency_sla: 1s}", "{}", "{tool_accuracy: 0.99}"]
)
def test_production_that_asks_as_much_or_says_nothing_is_fine(tmp_path, production):
    staging = "{latency_sla: 2s, tool_accuracy: 0.95}"
    load_project(written(tmp_path, f"environments: {{staging: {staging}, production: {production}}}\n"))


def test_people_and_approvals_are_read(tmp_path):
    text = """rollout:
  approval: {quorum: 2, roles: [qa, release_manager], expires: 24h, steps: [first, 50%, 100%]}
people:
  roles:
    release_manager: [ada, grace@example.org]
    qa: linus
"""
    project = load_project(written(tmp_path, text))
    people = project.people.to_people()
    assert people.roles_of("linus") == (Role.QA,)
    assert people.roles_of("Grace@example.org") == (Role.RELEASE_MANAGER,)
    assert people.roles_of("stranger") == ()
    assert project.rollout.approval.to_quorum().expires == 86_400
    assert project.approval_required("production")


WRONG = [
    ("people: {roles: {relase_manager: [ada]}}", "people.roles.relase_manager", "release_manager"),
    ("people: {roles: {qa: 3}}", "people.roles.qa", "list"),
    ("people: {role: {qa: [ada]}}", "people.role", "roles"),
    ("people: {roles: {release_manager: []}}", "people.roles.release_manager", "nobody is listed"),
    ("rollout: {approval: maybe}", "rollout.approval", "none, required, or a mapping"),
    ("rollout: {approval: {quorum: 0}}", "rollout.approval.quorum", "1"),
    ("rollout: {approval: {quorum: two}}", "rollout.approval.quorum", "whole number"),
    ("rollout: {approval: {roles: [boss]}}", "rollout.approval.roles[0]", "release_manager"),
    ("rollout: {approval: {expires: 0s}}", "rollout.approval.expires", "above 0"),
    ("rollout: {approval: {steps: [first, last]}}", "rollout.approval.steps[1]", "share"),
    ("rollout: {approval: {steps: []}}", "rollout.approval.steps", "1"),
    ("rollout: {approval: {author_may: true}}", "rollout.approval.author_may", "authors_may"),
]


@pytest.mark.parametrize(("text", "key", "says"), WRONG, ids=[row[1] for row in WRONG])
def test_a_mistake_about_people_names_its_key(tmp_path, text, key, says):
    with pytest.raises(ProjectFileError) as caught:
        load_project(written(tmp_path, text + "\n"))
    assert caught.value.key == key, str(caught.value)
    assert says in str(caught.value)
    assert caught.value.line == 4


@pytest.mark.parametrize(("word", "asked"), [("none", False), ("required", True), ("{required: false}", False)])
def test_the_short_form_of_an_approval_is_read_as_ever(tmp_path, word, asked):
    project = load_project(written(tmp_path, f"rollout: {{approval: {word}}}\n"))
    assert project.approval_required("production") is asked
