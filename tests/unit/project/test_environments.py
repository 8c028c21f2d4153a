"""Environments: the defaults of their kind, what overrides mean, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.bundle.environment import ApprovalMode, EnvironmentKind, LogLevel
from fairway.bundle.overlay import effective_value
from fairway.bundle.tools import Risk, ToolsFile
from fairway.errors import NotFoundError, RefusedError
from fairway.project.environments import PARITY_LIMIT, diff_environments
from fairway.project.load import Project, load_project
from fairway.units import Digest

WriteProject = Callable[..., Path]


@pytest.fixture
def load(write_project: WriteProject, full_files: dict[str, str], minimal_file: str) -> Callable[..., Project]:
    def make(environments: str = "", *, models: str | None = None) -> Project:
        files = {**full_files, "fairway.yaml": minimal_file + environments}
        if models is not None:
            files["models.yaml"] = models
        return load_project(write_project(files))

    return make


@pytest.mark.parametrize(
    ("name", "temperature", "tokens", "timeout", "level", "replicas", "approval", "models", "tools", "after"),
    [
        ("dev", 0.3, 1024, 30, LogLevel.DEBUG, 1, ApprovalMode.AUTOMATIC, True, True, ()),
        ("test", 0.3, 1024, 30, LogLevel.DEBUG, 1, ApprovalMode.AUTOMATIC, True, True, ("dev",)),
        ("staging", 0.1, 2048, 45, LogLevel.INFO, 1, ApprovalMode.AUTOMATIC, False, True, ("test",)),
        ("production", 0.0, 4096, 60, LogLevel.WARNING, 3, ApprovalMode.REQUIRED, False, False, ("staging",)),
    ],
)
def test_defaults_are_those_of_the_kind(
    load: Callable[..., Project], name: str, temperature: float, tokens: int, timeout: float, level: LogLevel,
    replicas: int, approval: ApprovalMode, models: bool, tools: bool, after: tuple[str, ...],
) -> None:  # fmt: skip
    found = load().environment(name)
    assert (found.temperature, found.max_tokens, found.timeout_seconds) == (temperature, tokens, timeout)
    assert (found.log_level, found.replicas, found.approval) == (level, replicas, approval)
    assert (found.mock_models, found.mock_tools, found.after) == (models, tools, after)


def test_the_kind_is_that_of_the_name_unless_written(load: Callable[..., Project]) -> None:
    project = load("environments: {production-eu: {}, prod-us: {}, lab: {kind: staging}}\n")
    kinds = {name: environment.kind for name, environment in project.environments.items()}
    assert kinds["production-eu"] is kinds["prod-us"] is EnvironmentKind.PRODUCTION
    assert kinds["lab"] is EnvironmentKind.STAGING


def test_temperature_zero_is_a_value_not_a_blank(load: Callable[..., Project]) -> None:
    assert load("environments: {dev: {temperature: 0}}\n").environment("dev").temperature == 0


def test_an_unknown_environment_names_the_nearest(load: Callable[..., Project]) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'staging'"):
        load().environment("stagin")


# -- what becomes effective -------------------------------------------------------------------------------------------


def test_mocked_models_are_played_by_the_mock_server(load: Callable[..., Project]) -> None:
    overlay = load().overlay("dev")
    assert {model.provider for model in overlay.models.values()} == {"mock"}
    assert {model.api_key for model in overlay.models.values()} == {None}
    assert overlay.uses_mock_models


def test_a_real_model_keeps_its_provider_and_the_reference_of_its_key(load: Callable[..., Project]) -> None:
    small = load().overlay("production").models["small"]
    assert (small.provider, small.model, small.api_key) == ("openai", "gpt-5-mini-2025-08-07", "env:OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("written", "role", "model"),
    [
        ("{}", "full", "full-2026-05-01"),
        ("{models: {orchestrator: small}}", "small", "gpt-5-mini-2025-08-07"),
        ("{models: {full: small}}", "full", "gpt-5-mini-2025-08-07"),
        ("{models: small}", "full", "gpt-5-mini-2025-08-07"),
    ],
    ids=["as in models.yaml", "a role", "an alias", "every alias"],
)
def test_an_environment_says_which_model_plays_what(
    load: Callable[..., Project], written: str, role: str, model: str
) -> None:
    overlay = load(f"environments: {{production: {written}}}\n").overlay("production")
    assert overlay.roles["orchestrator"] == role
    assert overlay.models[role].model == model


@pytest.mark.parametrize(
    ("written", "enabled"),
    [
        ("{}", {"lookup", "refund"}),
        ("{tools: [lookup]}", {"lookup"}),
        ("{tools: []}", set()),
        ("{tools: {refund: false}}", {"lookup"}),
        ("{tools: {'*': false, refund: true}}", {"refund"}),
    ],
)
def test_an_environment_says_which_tools_are_enabled(
    load: Callable[..., Project], written: str, enabled: set[str]
) -> None:
    overlay = load(f"environments: {{staging: {written}}}\n").overlay("staging")
    assert {name for name, tool in overlay.tools.items() if tool.enabled} == enabled


def test_a_floating_model_is_for_dev_only(load: Callable[..., Project], full_files: dict[str, str]) -> None:
    floating = full_files["models.yaml"].replace("gpt-5-mini-2025-08-07", "gpt-5:latest")
    project = load("environments: {dev: {mock: false}}\n", models=floating)
    assert project.overlay("dev").models["small"].model == "gpt-5:latest"
    with pytest.raises(RefusedError, match="floats"):
        project.overlay("production")


def test_the_effective_configuration_has_the_documented_keys(load: Callable[..., Project]) -> None:
    digest = Digest("sha256:" + "a" * 64)
    value = effective_value(
        load().overlay("production"), agent="support", release=digest, release_version="1.0.0", effective=digest
    )
    assert set(value) == {
        "version", "agent", "environment", "release", "release_version", "effective", "prompts", "models", "roles",
        "tools", "settings",
    }  # fmt: skip
    assert value["prompts"]["support"]["path"] == "prompts/support/1.0.0.yaml"
    assert value["tools"]["lookup"] == {"enabled": True, "risk": "low", "mock": False, "timeout_seconds": 5.0}
    assert value["settings"] == {
        "temperature": 0.0,
        "max_tokens": 4096,
        "timeout_seconds": 60.0,
        "log_level": "WARNING",
    }
    assert value["models"]["small"]["api_key"] == "env:OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("written", "risk"),
    [
        ({}, Risk.HIGH),
        ({"action": "search"}, Risk.LOW),
        ({"action": "write"}, Risk.MEDIUM),
        ({"action": "email"}, Risk.HIGH),
        ({"action": "transfer_funds"}, Risk.CRITICAL),
        ({"action": "search", "risk": "critical"}, Risk.CRITICAL),
    ],
)
def test_the_risk_of_a_tool_is_high_unless_something_says_otherwise(written: dict[str, str], risk: Risk) -> None:
    assert ToolsFile.model_validate({"tools": {"t": written}}).tools["t"].risk_level() is risk


def test_risks_are_ordered() -> None:
    assert sorted(Risk, key=lambda risk: risk.rank) == [Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]


# -- differences ------------------------------------------------------------------------------------------------------


def undeclared(project: Project) -> set[str]:
    return {one.setting for one in diff_environments(project, "staging", "production").undeclared}


def test_the_defaults_of_two_kinds_are_declared_differences(load: Callable[..., Project]) -> None:
    diff = diff_environments(load(), "staging", "production")
    assert {"settings.temperature", "replicas", "approval", "mock.tools"} <= {one.setting for one in diff.differences}
    assert diff.undeclared == ()
    assert diff.parity == 0


def test_an_environment_does_not_differ_from_itself(load: Callable[..., Project]) -> None:
    assert diff_environments(load(), "staging", "staging").differences == ()


@pytest.mark.parametrize(
    ("written", "setting"),
    [
        ("{staging: {temperature: 0.9}}", "settings.temperature"),
        ("{production: {max_tokens: 9}}", "settings.max_tokens"),
        ("{staging: {models: {orchestrator: small}}}", "roles.orchestrator"),
        ("{production: {tools: {refund: false}}}", "tools.refund.enabled"),
        ("{staging: {environment: {A: b}}}", "environment.A"),
        ("{staging: {secrets: {KEY: 'env:KEY'}}}", "secrets.KEY"),
        ("{production: {clusters: [eu]}}", "clusters"),
        ("{production: {resources: {memory: 2Gi}}}", "resources.memory"),
    ],
)
def test_what_one_environment_changed_alone_is_undeclared(
    load: Callable[..., Project], written: str, setting: str
) -> None:
    project = load(f"environments: {written}\n")
    assert undeclared(project) == {setting}
    assert diff_environments(project, "staging", "production").parity >= PARITY_LIMIT


@pytest.mark.parametrize(
    "written",
    [
        "{staging: {temperature: 0.9, differs: [settings.temperature]}}",
        "{staging: {temperature: 0.9}, production: {differs: [settings]}}",
        "{staging: {temperature: 0.9, differs: ['settings.*']}}",
        "{staging: {temperature: 0.9}, production: {temperature: 0.0}}",
    ],
    ids=["named", "by the other, with its group", "by a pattern", "written in both"],
)
def test_a_difference_somebody_meant_is_declared(load: Callable[..., Project], written: str) -> None:
    assert undeclared(load(f"environments: {written}\n")) == set()


def test_mocked_models_nobody_declared_count_for_each_model(load: Callable[..., Project]) -> None:
    assert undeclared(load("environments: {staging: {mock: {models: true}}}\n")) == {
        "mock.models",
        "models.small.provider",
    }


def test_the_difference_of_a_secret_shows_no_value(load: Callable[..., Project]) -> None:
    project = load("environments: {staging: {secrets: {KEY: 'env:WHERE_IT_IS'}}}\n")
    (one,) = diff_environments(project, "staging", "production").undeclared
    assert (one.a, one.b) == ("set", "")
