"""`experiments.yaml`: read strictly, assigned for good, each variant a derived release."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.bundle.files import scan
from fairway.cli.main import main
from fairway.errors import NotFoundError, ProjectFileError
from fairway.evals.experiments.assigning import assigned
from fairway.project.load import load_project
from fairway.stages.experiments import find_experiment, read_experiments, variant_content

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py {port}"}
environments:
  production: {prompts: {support: "1.0.0", other: "1.0.0"}, models: {orchestrator: full}, temperature: 0.5}
"""
MODELS = """\
version: 1
models:
  small: {provider: openai, model: m-1}
  full: {provider: openai, model: m-2}
roles: {orchestrator: full}
"""
PROMPT = "template: You help.\nvariables: {}\nmodel: orchestrator\n"
EXPERIMENTS = """\
experiments:
  shorter:
    variants:
      control: {share: 50}
      short: {share: 30.5, prompts: {support: "1.1.0"}}
      cheap: {share: 19.5, models: {orchestrator: small}, temperature: 0}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "fairway.yaml": PROJECT, "models.yaml": MODELS, "experiments.yaml": EXPERIMENTS, "app.py": "",
        "prompts/support/1.0.0.yaml": PROMPT, "prompts/support/1.1.0.yaml": PROMPT.replace("help", "help briefly"),
        "prompts/other/1.0.0.yaml": PROMPT,
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_an_experiment_is_read_with_its_control(root):
    experiment = find_experiment(load_project(root), "shorter")
    assert experiment.compared_with == "control"
    assert experiment.variants["cheap"].overrides() == {"models": {"orchestrator": "small"}, "temperature": 0.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("share: 50", "share: 49"), "experiments.yaml:4:7: experiments.shorter.variants: the shares are 99 together"),
        (("share: 50", "share: 0"), "experiments.yaml:4:24: experiments.shorter.variants.control.share"),
        (("share: 50", "shares: 50"), "did you mean 'share'?"),
        (('"1.1.0"', '"1.2.0"'), "experiments.yaml:5:47: experiments.shorter.variants.short.prompts.support: prompt"),
        (("{support:", "{suport:"), "did you mean 'support'?"),
        (("orchestrator: small", "orchestrator: smal"), "there is no model alias 'smal'"),
        (("{orchestrator:", "{orchestra:"), "there is no model alias or role 'orchestra'"),
        (("    variants:", "    environment: prod\n    variants:"), "there is no environment 'prod'"),
        (("    variants:", "    control: nobody\n    variants:"), "experiments.yaml:3:14: experiments.shorter.control"),
        ((', prompts: {support: "1.1.0"}', ""), "is the same as 'control'"),
        (("    variants:", "    live: true\n    variants:"), "a gateway serves two arms"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_file_line_and_key(root, change, said):
    (root / "experiments.yaml").write_text(EXPERIMENTS.replace(*change))
    with pytest.raises(ProjectFileError) as caught:
        read_experiments(load_project(root))
    assert said in str(caught.value)


def test_an_experiment_that_is_not_there_names_the_nearest(root):
    with pytest.raises(NotFoundError) as caught:
        find_experiment(load_project(root), "short")
    assert "shorter" in str(caught.value)


def test_each_variant_is_a_derived_release_with_its_own_effective_digest(root, tmp_path_factory):
    project, folder = load_project(root), tmp_path_factory.mktemp("variants")
    experiment = find_experiment(project, "shorter")
    bundle = scan(root)
    found = {
        name: variant_content(project, bundle, "production", name, variant, folder / name)
        for name, variant in experiment.variants.items()
    }
    assert found["control"].release == bundle.digest
    assert len({content.release for content in found.values()}) == 3
    assert len({content.effective("production") for content in found.values()}) == 3
    short, cheap = (found[name].project.overlay("production") for name in ("short", "cheap"))
    assert (short.prompts["support"].version, short.prompts["other"].version) == ("1.1.0", "1.0.0")
    assert (cheap.roles["orchestrator"], cheap.temperature) == ("small", 0.0)
    assert short.temperature == 0.5
    assert (root / "fairway.yaml").read_text() == PROJECT


def test_an_assignment_is_for_good_and_follows_the_shares():
    shares = {"control": 50.0, "short": 30.5, "cheap": 19.5}
    counts = Counter(assigned("shorter", shares, f"user-{n}") for n in range(20_000))
    for name, share in shares.items():
        assert abs(counts[name] / 20_000 - share / 100) < 0.015
    assert [assigned("shorter", shares, f"user-{n}") for n in range(4)] == [
        assigned("shorter", shares, f"user-{n}") for n in range(4)
    ]


@given(key=st.text(max_size=30), grown=st.floats(50.0, 90.0))
def test_a_larger_share_of_the_first_variant_only_adds_keys_to_it(key, grown):
    before = assigned("e", {"a": 50.0, "b": 50.0}, key)
    after = assigned("e", {"a": grown, "b": 100 - grown}, key)
    assert not (before == "a" and after == "b")


def test_the_command_lists_and_assigns(root, monkeypatch, capsys):
    monkeypatch.chdir(root)

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["fairway", "eval", "experiment", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        return capsys.readouterr().out

    assert "prompt support 1.1.0" in call()
    said = json.loads(call("shorter", "--assign", "user-1", "-o", "json"))
    assert said["variant"] == assigned("shorter", {"control": 50.0, "short": 30.5, "cheap": 19.5}, "user-1")


def test_a_mistake_exits_3_because_2_is_a_verdict(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["fairway", "eval", "experiment", "nobody"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 3
