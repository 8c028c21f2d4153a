"""Prompt and tool lint: every rule fires where it should, with its line, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.bundle.lint import LintFinding, Severity, count_tokens, lint
from fairway.bundle.prompts import write_lock
from fairway.project.load import load_project

WriteProject = Callable[..., Path]
PATH = "prompts/support/1.0.0.yaml"


def found(root: Path, *, lock: bool = False, for_release: bool = False) -> dict[str, LintFinding]:
    project = load_project(root)
    if lock:
        write_lock(root, project.prompts)
    return {finding.rule: finding for finding in lint(load_project(root), for_release=for_release)}


def test_a_good_project_has_no_finding(write_project: WriteProject) -> None:
    assert found(write_project(), lock=True, for_release=True) == {}


GOOD = """\
model: orchestrator
tools: [lookup]
variables:
  shop: string
template: |
  One {{ shop }}
"""


@pytest.mark.parametrize(
    ("old", "new", "rule", "line", "severity"),
    [
        ("One {{ shop }}", "One {{ shop", "prompt/unclosed", 6, "error"),
        ("One {{ shop }}", "One\n  Two\n  {{ shop }", "prompt/unclosed", 8, "error"),
        ("One {{ shop }}", "One\n  Two {{ shp }} {{ shop }}", "prompt/undefined-variable", 7, "error"),
        ("One {{ shop }}", "One", "prompt/unused-variable", 4, "warning"),
        ("template: |\n  One {{ shop }}\n", "", "prompt/missing-template", 1, "error"),
        ("variables:\n  shop: string\n", "", "prompt/missing-variables", 1, "error"),
        ("model: orchestrator", "model: orchestrater", "prompt/unknown-model", 1, "error"),
        ("tools: [lookup]", "tools: [lookup, lokup]", "prompt/unknown-tool", 2, "error"),
        ("shop: string", "shop: strng", "prompt/invalid", 4, "error"),
        ("One", "One " * 2400, "prompt/long", 5, "warning"),
        ("One", "One " * 4000, "prompt/too-long", 5, "error"),
        ("One", "One " * 120_000, "prompt/too-long", 5, "error"),
        ("One", "sk-" + "a" * 30, "prompt/secret", 6, "error"),
        ("model:", "output_schema: {type: objekt}\nmodel:", "prompt/schema", 1, "error"),
        ("model:", "description: use sk-" + "a" * 30 + "\nmodel:", "prompt/secret", 1, "error"),
        ("shop: string", "shop: {type: string, untrusted: true}", "prompt/undelimited", 6, "error"),
        ("One", "Always name the price.\n  Never name the price.", "prompt/contradiction", 6, "warning"),
        ("shop: string", "shop: {type: string, default: " + "word " * 3500 + "}", "prompt/too-long", 5, "error"),
        ("shop: string", "shop: {type: string, default: " + "word " * 2500 + "}", "prompt/long", 5, "warning"),
        ("model: orchestrator", "parameters: {max_tokens: 127990}\nmodel: small", "prompt/too-long", 6, "error"),
    ],
)
def test_a_mistake_in_a_prompt_is_found_at_its_line(
    write_project: WriteProject, old: str, new: str, rule: str, line: int, severity: str
) -> None:
    assert old in GOOD
    findings = found(write_project({PATH: GOOD.replace(old, new, 1)}))
    assert rule in findings
    assert (findings[rule].file, findings[rule].line, findings[rule].severity) == (PATH, line, severity)


def test_the_hint_names_the_nearest_variable_model_and_tool(write_project: WriteProject) -> None:
    text = (
        GOOD.replace("{{ shop }}", "{{ shp }} {{ shop }}")
        .replace("[lookup]", "[lokup]")
        .replace("model: o", "model: 0")
    )
    findings = found(write_project({PATH: text}))
    assert findings["prompt/undefined-variable"].hint == "did you mean 'shop'?"
    assert findings["prompt/unknown-tool"].hint == "did you mean 'lookup'?"
    assert findings["prompt/unknown-model"].hint == "did you mean 'orchestrator'?"


def test_a_version_that_is_not_locked_stops_a_release_only(write_project: WriteProject) -> None:
    root = write_project()
    assert found(root)["prompt/not-locked"].severity is Severity.WARNING
    assert found(root, for_release=True)["prompt/not-locked"].severity is Severity.ERROR


def test_a_locked_version_that_changed_or_is_gone_is_an_error(write_project: WriteProject) -> None:
    root = write_project({"prompts/support/1.1.0.yaml": GOOD})
    found(root, lock=True)
    (root / PATH).write_text(GOOD.replace("One", "Changed"))
    (root / "prompts/support/1.1.0.yaml").unlink()
    findings = found(root)
    assert findings["prompt/changed"].severity is Severity.ERROR
    assert findings["prompt/changed"].file == PATH
    assert findings["prompt/removed"].severity is Severity.ERROR
    assert "support@1.1.0" in findings["prompt/removed"].message


def test_a_mistake_in_a_version_nobody_serves_is_only_a_warning(write_project: WriteProject) -> None:
    root = write_project({"prompts/support/0.9.0.yaml": GOOD.replace("lookup", "gone")})
    assert found(root, lock=True)["prompt/unknown-tool"].severity is Severity.WARNING


def test_two_versions_with_one_text_are_told(write_project: WriteProject) -> None:
    root = write_project({PATH: GOOD, "prompts/support/1.1.0.yaml": GOOD})
    assert found(root)["prompt/duplicate"].file == "prompts/support/1.1.0.yaml"


@pytest.mark.parametrize(
    ("old", "new", "rule", "line"),
    [
        ("    risk: low\n", "", "tool/unknown-risk", 3),
        ("    description: Looks up an order.\n", "", "tool/no-description", 3),
        ("type: object\n", "type: objekt\n", "tool/schema", 8),
        ("type: object\n", "type: string\n", "tool/schema", 8),
        ("{type: string}", "{type: 3}", "tool/schema", 9),
    ],
)
def test_a_mistake_in_a_tool_is_found(
    write_project: WriteProject, full_project: dict[str, str], old: str, new: str, rule: str, line: int
) -> None:
    assert old in full_project["tools.yaml"]
    findings = found(write_project({"tools.yaml": full_project["tools.yaml"].replace(old, new, 1)}))
    assert (findings[rule].file, findings[rule].line) == ("tools.yaml", line)


def test_a_floating_model_is_refused_outside_dev(write_project: WriteProject, full_project: dict[str, str]) -> None:
    text = full_project["models.yaml"].replace("gpt-5-mini-2025-08-07", "gpt-5-latest")
    finding = found(write_project({"models.yaml": text}), lock=True)["model/floating"]
    assert finding.severity is Severity.ERROR
    assert finding.file == "fairway.yaml"


def test_a_channel_that_leads_nowhere_is_told_at_the_environment(
    write_project: WriteProject, full_project: dict[str, str]
) -> None:
    text = full_project["fairway.yaml"].replace("prod-1.0.0", "prod-7.0.0")
    finding = found(write_project({"fairway.yaml": text}))["environment/unresolved"]
    assert "has no version '7.0.0'" in finding.message
    assert finding.line == text[: text.index("  production:")].count("\n") + 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("one two three four", 6), ("a" * 400, 100), ("你好世界", 4), ("word " * 1000, 1300)],
)
def test_tokens_are_estimated_the_same_everywhere(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


def test_a_name_that_sounds_like_text_from_outside_is_a_warning_until_somebody_says_what_it_is(
    write_project: WriteProject,
) -> None:
    text = GOOD.replace("shop", "question")
    one = found(write_project({PATH: text}))["prompt/undelimited"]
    assert (one.severity, one.line) == (Severity.WARNING, 6)
    for said in ("One {{ question }}", "question: string"):
        mended = {"One {{ question }}": "<q>{{ question }}</q>", "question: string": "question: {untrusted: false}"}
        assert "prompt/undelimited" not in found(write_project({PATH: text.replace(said, mended[said])}))


def test_versions_that_are_served_at_the_same_time_must_not_contradict_each_other(write_project: WriteProject) -> None:
    newer = GOOD.replace("shop: string", "shop: integer").replace("One", "Never name the price. Two")
    root = write_project({PATH: GOOD.replace("One", "Always name the price. One"), "prompts/support/1.1.0.yaml": newer})
    # dev serves the newest version on disk, production the locked one
    project = load_project(root)
    lock = f"version: 1\nprompts:\n  support:\n    1.0.0: {project.prompts.sha256('support', '1.0.0')}\n"
    (root / "prompts.lock").write_text(lock)
    findings = [one for one in lint(load_project(root)) if one.rule == "prompt/contradictory-versions"]
    assert [(one.file, one.line, one.severity) for one in findings] == [
        ("prompts/support/1.1.0.yaml", 4, Severity.ERROR),
        ("prompts/support/1.1.0.yaml", 6, Severity.WARNING),
    ]


def test_an_older_version_that_nobody_serves_may_have_said_the_opposite(write_project: WriteProject) -> None:
    older = GOOD.replace("One", "Always name the price. One")
    newer = GOOD.replace("One", "Never name the price. Two")
    root = write_project({"prompts/support/0.9.0.yaml": older, PATH: newer})
    assert "prompt/contradictory-versions" not in found(root, lock=True)


def test_versions_that_differ_only_in_white_space_are_duplicates(write_project: WriteProject) -> None:
    root = write_project({PATH: GOOD, "prompts/support/1.1.0.yaml": GOOD.replace("One ", "One  ")})
    assert found(root)["prompt/duplicate"].file == "prompts/support/1.1.0.yaml"
