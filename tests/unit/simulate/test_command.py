"""``fairway simulate``: what a person and a program get, and how mistakes are told."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fairway.cli.main import cli
from fairway.cli.simulate import _EFFECTS, _SHAPES
from fairway.errors import FairwayError, NotFoundError, ProjectFileError, UserError
from fairway.simulate import study as studies
from fairway.simulate.page import page_of
from fairway.simulate.scenario import Effect, Shape
from fairway.simulate.suite import every_study

QUICK = ("simulate", "--runs", "2", "--for", "5m", "--per-minute", "300")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FAIRWAY_PROJECT", raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def refusal(*arguments: str) -> FairwayError:
    error = run(*arguments).exception
    assert isinstance(error, FairwayError), error
    return error


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-nan"])
def test_what_is_no_number_of_conversations_is_refused(number: str) -> None:
    refused = run(*QUICK, "--effect", "aa", f"--per-minute={number}")
    assert refused.exit_code == 2
    assert "--per-minute" in refused.output


def test_a_program_gets_every_figure_with_its_interval_and_the_same_bytes_again() -> None:
    arguments = (*QUICK, "--effect", "errors-1-10", "--effect", "aa", "-o", "json")
    first, second = run(*arguments), run(*arguments)
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    told = json.loads(first.stdout)
    assert told["complete"] is True
    one = told["studies"][0]
    assert (one["effect"], one["shape"], one["rollouts"], one["policy"]) == ("errors-1-10", "iid", 2, "default")
    assert one["endings"]["promoted"] == {
        "hits": 0,
        "of": 2,
        "share": 0.0,
        "low": 0.0,
        "high": pytest.approx(0.842, abs=1e-3),
    }
    assert set(one["rules"]) == {
        "Argo, failureLimit 0", "Argo, failureLimit 3", "Flagger, threshold 5", "Flagger, threshold 10"
    }  # fmt: skip
    assert one["best_possible"]["median"] is not None


def test_a_person_gets_tables_and_a_picture(tmp_path: Path) -> None:
    shown = run(*QUICK, "--effect", "errors-1-10", "--shape", "iid", "--shape", "heavy", "--plot", "p.svg")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"errors-1-10\s+heavy\s+300\s+stepped", shown.stdout)
    assert "best possible" in shown.stdout
    assert re.search(r"^4 rollouts in [\d.]+ s of one core: [\d,]+ a minute$", shown.stderr, re.MULTILINE)
    picture = ElementTree.fromstring((tmp_path / "p.svg").read_text())
    assert sum(element.tag.endswith("polyline") for element in picture.iter()) >= 4


def test_the_policy_of_a_file_is_what_is_simulated(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("steps: [20%, 100%]\ngates: {success: 90%}\n")
    (tmp_path / "wrapped.yaml").write_text("rollout:\n  steps: [20%, 100%]\n  gates: {success: 90%}\n")
    base = (*QUICK, "--effect", "aa", "--held", "20%", "-o", "json")
    bare, wrapped = run(*base, "policy.yaml"), run(*base, "wrapped.yaml")
    assert bare.exit_code == wrapped.exit_code == 0, bare.output
    studies_of = [json.loads(shown.stdout)["studies"][0] for shown in (bare, wrapped)]
    assert studies_of[0]["held"] == 20_000
    assert studies_of[0] | {"policy": ""} == studies_of[1] | {"policy": ""}


def test_a_mistake_in_a_policy_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("rollout:\n  stepz: [20%]\n")
    error = refusal("simulate", "policy.yaml")
    assert isinstance(error, ProjectFileError)
    assert (error.file, error.line, error.key) == ("policy.yaml", 2, "rollout.stepz")


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("nowhere.yaml",), NotFoundError, "policy_not_found"),
        (("--held", "7%"), UserError, "no_such_step"),
        (("--held", "lots"), UserError, "bad_option"),
        (("--for", "1s"), UserError, "bad_option"),
        (("--for", "soon"), UserError, "bad_option"),
        (("--write", "page.md"), UserError, "bad_option"),
        (("--project", "/nowhere"), NotFoundError, "no_project"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_simulated_is_refused_with_what_to_change(
    arguments: tuple[str, ...], kind: type[FairwayError], code: str
) -> None:
    error = refusal("simulate", *arguments)
    assert isinstance(error, kind)
    assert error.code == code
    assert error.exit_code == 2


def test_ctrl_c_prints_what_was_done_and_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = studies.simulate, 0

    def interrupted(scenario: studies.Scenario, seed: int) -> studies.Outcome:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(scenario, seed)

    monkeypatch.setattr(studies, "simulate", interrupted)
    shown = run(*QUICK, "--effect", "aa", "--effect", "errors-1-3", "--effect", "p95-50", "-o", "json")
    assert shown.exit_code == 130
    told = json.loads(shown.stdout)
    assert told["complete"] is False
    assert [one["effect"] for one in told["studies"]] == ["aa"]
    assert "interrupted" in shown.stderr


def test_a_disproved_promise_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies.Study, "broken_promise", lambda self: "9 of 9 rolled back")
    shown = run(*QUICK, "--effect", "aa")
    assert shown.exit_code == 1
    assert "9 of 9 rolled back" in shown.stdout


def test_every_shape_and_effect_there_is_can_be_asked_for() -> None:
    assert set(_SHAPES) == set(Shape)
    assert set(_EFFECTS) == set(Effect)


def test_the_page_has_a_row_for_every_study_and_says_how_it_was_made() -> None:
    groups = every_study(runs=1)
    sample = studies.simulate(groups[2].studies[3].scenario, 1)
    for group in groups:
        for each in group.studies:
            each.outcomes.append(sample)
    page = page_of(groups, runs=1, seed=7)
    assert "fairway simulate --all --runs 1 --seed 7 --write docs/simulations.md" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    asked = 1 + len(Shape) + 2 + 6 + 1 + 3
    assert len(rows) == asked + 1 + sum(1 + len(group.studies) for group in groups)
    tables = [part.splitlines() for part in page.split("\n\n") if part.startswith("| ")]
    assert [len({line.count("|") for line in table}) for table in tables] == [1, 1, 1, 1, 1]
