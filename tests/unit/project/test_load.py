"""Loading a project: what a minimal file means, and what every mistake is told as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.errors import NotFoundError, ProjectFileError
from fairway.project.load import load_project
from fairway.rollout.config import RolloutSection
from fairway.traffic.table import KeyExtractor, KeyKind, Role, Rule, RuleKind
from fairway.units import EnvironmentName, RouteId
from fairway.validate import all_of

WriteProject = Callable[..., Path]


def test_five_lines_are_a_project(write_project: WriteProject, minimal_file: str, full_project: dict[str, str]) -> None:
    nothing = dict.fromkeys(full_project)
    project = load_project(write_project({**nothing, "fairway.yaml": minimal_file}))
    assert project.service.command == ("python", "-m", "app")
    assert list(project.environments) == ["dev", "test", "staging", "production"]
    assert project.gateway.port == 8700
    assert [step.split for step in project.rollout.steps] == [5_000, 10_000, 30_000, 50_000, 100_000]
    assert project.rollout.dwell == 600
    assert project.rollout.failure_margins() == (0.05, 0.025, 0.01, 0.005)
    assert project.rollout.latency_margins() == (2.0, 1.5, 1.2, 1.1)
    assert project.rollout.success_minimum() == 0.995
    assert project.prompts.names() == ()
    assert project.route("production") == RouteId(agent=project.name, environment=EnvironmentName("production"))


def test_the_project_is_found_from_a_folder_below(write_project: WriteProject) -> None:
    root = write_project()
    below = root / "src" / "deep"
    below.mkdir(parents=True)
    assert load_project(below).root == root.resolve()


def test_without_a_project_the_hint_is_fairway_init(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="fairway init"):
        load_project(tmp_path)


def test_units_are_parsed_where_they_are_written(write_project: WriteProject) -> None:
    project = load_project(write_project())
    assert project.gateway.table_timeouts().total == 90
    assert project.gateway.table_limits().body_bytes == 1 << 20
    assert project.gateway.table_keys() == (
        KeyExtractor(kind=KeyKind.HEADER, name="x-conversation-id"),
        KeyExtractor(kind=KeyKind.PATH_SEGMENT, name="2"),
    )
    assert project.gateway.table_rules() == (
        Rule(id="rule-1", kind=RuleKind.TENANT, name="x-tenant", values=("acme",), to=Role.CANDIDATE),
        Rule(id="gray", kind=RuleKind.HEADER, name="x-gray-tag", values=("a", "b"), to=Role.CANDIDATE),
    )
    assert project.rollout.steps[2].dwell == 1200
    assert project.rollout.failure_margins() == pytest.approx((0.05, 0.025, 0.01, 0.005))
    assert project.rollout.latency_margins() == pytest.approx((2.0, 1.5, 1.2, 1.1))
    assert project.service.environment == {"LANG": "C", "RETRIES": "3"}
    assert list(project.user_stages()) == ["my_check"]
    assert project.user_stages()["my_check"].after == ("unit_test",)


def test_fewer_steps_get_margins_by_their_exposure() -> None:
    rollout = RolloutSection.model_validate({"steps": ["1%", "25%", "100%"]})
    assert rollout.failure_margins() == (0.05, 0.01)
    assert rollout.latency_margins() == (2.0, 1.2)


MISTAKES = [
    # file, replaced, by, text of the line it is told for, key, what is said
    (
        "fairway.yaml",
        "  health: /healthz",
        "  helth: /healthz",
        "helth: /healthz",
        "service.helth",
        "did you mean 'health'?",
    ),
    ("fairway.yaml", "binding: env", "binding: envv", "binding: envv", "service.binding", "did you mean 'env'?"),
    (
        "fairway.yaml",
        "drain: 15s",
        "drain: 15 parsecs",
        "drain: 15 parsecs",
        "service.drain",
        "write for example 250ms",
    ),
    ("fairway.yaml", "drain: 15s", "drain: [15]", "drain: [15]", "service.drain", "expected a duration"),
    (
        "fairway.yaml",
        "  name: support",
        "  name: Support Bot",
        "  name: Support Bot",
        "agent.name",
        "lower-case letters",
    ),
    ("fairway.yaml", "  name: support\n", "", "  description: Answers", "agent.name", "is required and missing"),
    (
        "fairway.yaml",
        "workers: 2",
        "workers: two",
        "workers: two",
        "gateway.workers",
        "expected a whole number; got the text 'two'",
    ),
    (
        "fairway.yaml",
        "workers: 2",
        "workers: true",
        "workers: true",
        "gateway.workers",
        "expected a whole number; got true",
    ),
    ("fairway.yaml", "workers: 2", "workers: 0", "workers: 0", "gateway.workers", "must be at least 1"),
    (
        "fairway.yaml",
        "- path_segment: 2",
        "- path_segmnt: 2",
        "- path_segmnt: 2",
        "gateway.keys[1].path_segmnt",
        "'path_segment'",
    ),
    (
        "fairway.yaml",
        "values: [acme]",
        "valus: [acme]",
        "valus: [acme]",
        "gateway.rules[0].valus",
        "did you mean 'values'?",
    ),
    (
        "fairway.yaml",
        "steps: [5%, 10%,",
        "steps: [5%, 4%,",
        "steps: [5%, 4%,",
        "rollout.steps",
        "must grow from step to step; 4% does not",
    ),
    (
        "fairway.yaml",
        "steps: [5%, 10%,",
        "steps: [5%, 10,",
        "steps: [5%, 10,",
        "rollout.steps[1]",
        "10 is ambiguous",
    ),
    (
        "fairway.yaml",
        "{split: 30%, dwell: 20m}",
        "{split: 30%, dwel: 20m}",
        "{split: 30%, dwel: 20m}",
        "rollout.steps[2].dwel",
        "'dwell'",
    ),
    (
        "fairway.yaml",
        "strategy: canary",
        "strategy: red-black",
        "strategy: red-black",
        "rollout.strategy",
        "expected one of the strategies auto, canary, blue-green, rolling, shadow",
    ),
    (
        "fairway.yaml",
        "  strategy: canary",
        "  strategy: canary\n  rerun: sometimes",
        "rerun: sometimes",
        "rollout.rerun",
        "expected one of never, masked, on_failure",
    ),
    (
        "fairway.yaml",
        "  strategy: canary",
        "  strategy: canary\n  rerun: {also: [GET /x]}",
        "rerun: {also: [GET /x]}",
        "rollout.rerun.also",
        "'GET /x' is not POST or PATCH and a path, such as POST /search",
    ),
    (
        "fairway.yaml",
        "[5pt, 2.5pt, 1pt, 0.005]",
        "[5pt, 2.5pt]",
        "margins: [5pt, 2.5pt]",
        "rollout.gates.failures.margins",
        "one for each of the 4 steps",
    ),
    (
        "fairway.yaml",
        "  dwell: 10m\n  cap: 2h",
        "  dwell: 3h",
        "  dwell: 3h",
        "rollout.dwell",
        "cap (2h by default) is shorter than dwell (3h)",
    ),
    ("fairway.yaml", "2.5pt", "2.5parts", "2.5parts", "rollout.gates.failures.margins[1]", "write points such as 5pt"),
    (
        "fairway.yaml",
        "orchestrator: small",
        "orchestrator: smal",
        "orchestrator: smal",
        "environments.dev.models.orchestrator",
        "'small'",
    ),
    (
        "fairway.yaml",
        "tools: [lookup]",
        "tools: [lokup]",
        "tools: [lokup]",
        "environments.production.tools[0]",
        "'lookup'",
    ),
    (
        "fairway.yaml",
        "after: [dev]",
        "after: [dve]",
        "after: [dve]",
        "environments.staging.after[0]",
        "did you mean 'dev'?",
    ),
    (
        "fairway.yaml",
        "after: [dev]",
        "after: [production]",
        "after: [production]",
        "environments.staging.after[0]",
        "wait for each other",
    ),
    (
        "fairway.yaml",
        "  staging:",
        "  canary: {}\n  staging:",
        "canary: {}",
        "environments.canary",
        "production's first steps",
    ),
    (
        "fairway.yaml",
        "prod-1.0.0",
        "the-best",
        "the-best",
        "environments.production.prompts.support",
        "is not a channel",
    ),
    (
        "fairway.yaml",
        "unit_test: {",
        "unit_tets: {",
        "unit_tets: {",
        "pipeline.stages.unit_tets",
        "did you mean 'unit_test'?",
    ),
    (
        "fairway.yaml",
        "after: [unit_test]",
        "after: [unit]",
        "after: [unit]",
        "pipeline.stages.my_check.after[0]",
        "no stage 'unit'",
    ),
    (
        "fairway.yaml",
        "command: [make, check]",
        "command: []",
        "command: []",
        "pipeline.stages.my_check.command",
        "is empty",
    ),
    (
        "fairway.yaml",
        "judge: {model: small",
        "judge: {model: large",
        "judge: {model: large",
        "evals.judge.model",
        "no model alias 'large'",
    ),
    ("fairway.yaml", "version: 1", "version: 2", "version: 2", "version", "must be at most 1"),
    ("fairway.yaml", "LANG: C", "FAIRWAY_PORT: C", "  command: [python", "service", "Fairway sets FAIRWAY_PORT itself"),
    (
        "models.yaml",
        "fallback: [small]",
        "fallback: [smll]",
        "fallback: [smll]",
        "models.full.fallback[0]",
        "did you mean 'small'?",
    ),
    (
        "models.yaml",
        "orchestrator: full",
        "orchestrator: ful",
        "orchestrator: ful",
        "roles.orchestrator",
        "did you mean 'full'?",
    ),
    (
        "models.yaml",
        "api_key: env:",
        "api_key: sk-abc123",
        "api_key: sk-abc123",
        "models.small.api_key",
        "given by reference",
    ),
    (
        "models.yaml",
        "input: 0.25",
        "input: cheap",
        "input: cheap",
        "models.small.price.input",
        "expected a number; got the text 'cheap'",
    ),
    (
        "models.yaml",
        "context_window: 128000",
        "contxt_window: 1",
        "contxt_window: 1",
        "models.small.contxt_window",
        "'context_window'",
    ),
    ("tools.yaml", "risk: low", "risk: lo", "risk: lo", "tools.lookup.risk", "did you mean 'low'?"),
    ("tools.yaml", "timeout: 5s", "timout: 5s", "timout: 5s", "tools.lookup.timout", "did you mean 'timeout'?"),
]


@pytest.mark.parametrize(
    ("file", "old", "new", "marker", "key", "says"), MISTAKES, ids=[f"{m[4]}:{m[5][:20]}" for m in MISTAKES]
)
def test_a_mistake_is_told_with_file_line_key_and_what_is_right(
    write_project: WriteProject,
    full_project: dict[str, str],
    file: str,
    old: str,
    new: str,
    marker: str,
    key: str,
    says: str,
) -> None:
    assert old in full_project[file]
    text = full_project[file].replace(old, new, 1)
    line = text[: text.index(marker)].count("\n") + 1
    with pytest.raises(ProjectFileError) as caught:
        load_project(write_project({file: text}))
    errors = all_of(caught.value)
    told = {(error.file, error.line, error.key) for error in errors}
    assert (file, line, key) in told
    assert says in str(caught.value)
    assert all(error.column is not None for error in errors)


def test_entries_that_are_wrong_are_not_told_as_a_list_that_is_too_short_as_well(
    write_project: WriteProject, minimal_file: str
) -> None:
    with pytest.raises(ProjectFileError) as caught:
        load_project(write_project({"fairway.yaml": minimal_file + "rollout: {steps: [5, 10]}\n"}))
    told = [(error.key, error.message) for error in all_of(caught.value)]
    assert [key for key, _ in told] == ["rollout.steps[0]", "rollout.steps[1]"], told


@pytest.mark.parametrize(
    ("written", "key"),
    [("100%", "success"), ("1.0", "success"), ("{minimum: 100%, must_pass: true}", "success.minimum")],
)
def test_a_gate_nothing_could_pass_is_refused(
    write_project: WriteProject, minimal_file: str, written: str, key: str
) -> None:
    section = f"rollout: {{gates: {{success: {written}}}}}\n"
    with pytest.raises(ProjectFileError, match="100% can never be shown") as caught:
        load_project(write_project({"fairway.yaml": minimal_file + section}))
    assert caught.value.key == f"rollout.gates.{key}"
    assert caught.value.line == len(minimal_file.splitlines()) + 1
    for fine in ("99.9%", "{minimum: 100%, enabled: false}"):
        load_project(write_project({"fairway.yaml": minimal_file + f"rollout: {{gates: {{success: {fine}}}}}\n"}))


def test_every_mistake_of_every_file_is_told_at_once(write_project: WriteProject, full_project: dict[str, str]) -> None:
    root = write_project(
        {
            "fairway.yaml": full_project["fairway.yaml"]
            .replace("workers: 2", "workerz: 2")
            .replace("drain:", "drian:"),
            "models.yaml": full_project["models.yaml"].replace("provider: mock", "provder: mock"),
            "tools.yaml": full_project["tools.yaml"].replace("risk: low", "risk: none"),
        }
    )
    with pytest.raises(ProjectFileError) as caught:
        load_project(root)
    keys = {error.key for error in all_of(caught.value)}
    assert {"gateway.workerz", "service.drian", "models.full.provder", "tools.lookup.risk"} <= keys
    for key in keys:
        assert key is None or key in str(caught.value)


def test_a_key_given_by_value_is_not_repeated_in_the_message(
    write_project: WriteProject, full_project: dict[str, str]
) -> None:
    root = write_project(
        {"models.yaml": full_project["models.yaml"].replace("env:OPENAI_API_KEY", "sk-very-secret-key")}
    )
    with pytest.raises(ProjectFileError) as caught:
        load_project(root)
    assert "very-secret" not in str(caught.value)
    assert "very-secret" not in str(caught.value.__context__)


def test_a_secret_of_the_wrong_type_is_not_repeated_in_the_message(
    write_project: WriteProject, full_project: dict[str, str]
) -> None:
    root = write_project({"models.yaml": full_project["models.yaml"].replace("env:OPENAI_API_KEY", "123454321")})
    with pytest.raises(ProjectFileError) as caught:
        load_project(root)
    assert "123454321" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "just text", "- a\n- b\n", "null\n", "3\n"])
def test_a_root_that_is_no_mapping_is_told(write_project: WriteProject, content: str) -> None:
    with pytest.raises(ProjectFileError, match=r"fairway\.yaml:?.*expected a mapping"):
        load_project(write_project({"fairway.yaml": content}))


def test_keys_that_begin_with_x_are_left_alone(write_project: WriteProject, full_project: dict[str, str]) -> None:
    text = "x-shared: &shared {ready_timeout: 5s}\n" + full_project["fairway.yaml"].replace(
        "  ready_timeout: 60s", "  <<: *shared"
    )
    assert load_project(write_project({"fairway.yaml": text})).service.ready_timeout == 5


def test_the_rollouts_approval_wins_over_the_environments(
    write_project: WriteProject, full_project: dict[str, str]
) -> None:
    text = full_project["fairway.yaml"].replace("    approval: automatic\n", "")
    root = write_project({"fairway.yaml": text})
    assert load_project(root).approval_required("production")
    (root / "fairway.yaml").write_text(text.replace("  strategy: canary", "  strategy: canary\n  approval: none"))
    assert not load_project(root).approval_required("production")


def test_a_broken_prompt_file_does_not_stop_the_project_from_loading(write_project: WriteProject) -> None:
    project = load_project(write_project({"prompts/support/1.1.0.yaml": "template: ["}))
    assert project.prompts.versions("support") == ("1.0.0", "1.1.0")
    with pytest.raises(ProjectFileError, match=r"prompts/support/1\.1\.0\.yaml:"):
        project.prompts.get("support", "1.1.0")
