"""`fairway prompt`, `env` and `schema` as a person and a program see them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fairway.cli.main import main
from fairway.cli.verbs import refusal
from fairway.rollout.requests import Answer, AnswerKind

WriteProject = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fairway", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def inside(write_project: WriteProject, full_files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_project(full_files)
    monkeypatch.chdir(root)
    return root


def test_prompts_are_listed_with_lock_and_environments(inside: Path, run: Run) -> None:
    code, out, _ = run("prompt", "list", "-o", "json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["name"], row["version"], row["lock"]) == ("support", "1.0.0", "locked")
    assert row["environments"] == ["dev", "test", "staging", "production"]
    assert "support@1.0.0" in run("prompt", "list")[1]


def test_lint_says_all_is_well_or_exits_1(inside: Path, run: Run) -> None:
    assert run("prompt", "lint")[0] == 0
    (inside / "prompts/support/1.1.0.yaml").write_text("template: '{{ a }'\nvariables: {a: string}\n")
    code, out, _ = run("prompt", "lint")
    assert code == 1
    assert "prompts/support/1.1.0.yaml:1: error: " in out
    assert "[prompt/unclosed]" in out
    assert re.search(r"^1 error, \d+ warnings?$", out, re.MULTILINE)
    assert "1 warnings" not in out
    code, out, _ = run("prompt", "lint", "-o", "json")
    assert code == 1
    assert json.loads(out)["errors"] == 1


def test_lint_for_a_release_asks_for_the_lock(inside: Path, run: Run) -> None:
    (inside / "prompts.lock").unlink()
    (inside / "fairway.yaml").write_text((inside / "fairway.yaml").read_text().replace("prod-1.0.0", "1.0.0"))
    assert run("prompt", "lint")[0] == 0
    assert run("prompt", "lint", "--release")[0] == 1


def test_locking_adds_what_is_new(inside: Path, run: Run) -> None:
    (inside / "prompts/support/1.1.0.yaml").write_text("template: x\nvariables: {}\n")
    assert json.loads(run("prompt", "lock", "-o", "json")[1]) == {"added": ["support@1.1.0"]}
    assert run("prompt", "lock")[1].strip() == "up to date"


def test_locking_a_changed_version_exits_2_and_says_what_to_do(inside: Path, run: Run) -> None:
    with (inside / "prompts/support/1.0.0.yaml").open("a") as file:
        file.write("# changed\n")
    code, _, err = run("prompt", "lock")
    assert code == 2
    assert "a released version never changes" in err
    assert "new version file" in err


def test_a_prompt_is_shown_rendered_and_compared(inside: Path, run: Run) -> None:
    (inside / "prompts/support/1.1.0.yaml").write_text("template: Hello {{ who }}\nvariables: {who: string}\n")
    assert "Hello {{ who }}" in run("prompt", "show", "support")[1]
    assert json.loads(run("prompt", "show", "support@1.0.0", "-o", "json")[1])["version"] == "1.0.0"
    assert run("prompt", "render", "support", "--var", "who=world")[1] == "Hello world\n"
    assert "+template: Hello {{ who }}" in run("prompt", "diff", "support")[1]
    assert run("prompt", "diff", "support", "1.0.0", "1.0.0")[1].strip().endswith("are the same")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prompt", "show", "suport"), "did you mean 'support'"),
        (("prompt", "diff", "support"), "has only the version 1.0.0"),
        (("prompt", "render", "support"), "needs the variable 'question'"),
        (("prompt", "render", "support", "--var", "question"), "write --var NAME=VALUE"),
        (("env", "diff", "staging", "prod"), "there is no environment 'prod'"),
        (("schema", "nothing"), "there is no schema 'nothing'"),
    ],
)
def test_a_mistake_on_the_command_line_exits_2_with_a_hint(
    inside: Path, run: Run, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert says in err


def test_outside_of_a_project_the_hint_is_init(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("env", "list")
    assert code == 2
    assert "fairway init" in err


def test_a_broken_project_file_is_told_with_its_place(inside: Path, run: Run) -> None:
    (inside / "fairway.yaml").write_text("version: 1\nagnt: {}\n")
    code, _, err = run("env", "list")
    assert code == 2
    assert "fairway.yaml:2:1: agnt: unknown key" in err
    assert "did you mean 'agent'?" in err
    code, out, _ = run("env", "list", "-o", "json")
    error = json.loads(out)["error"]
    assert (code, error["file"], error["line"]) == (2, "fairway.yaml", 1)


def test_environments_are_listed(inside: Path, run: Run) -> None:
    rows = {row["name"]: row for row in json.loads(run("env", "list", "-o", "json")[1])}
    assert list(rows) == ["dev", "test", "staging", "production"]
    assert rows["production"]["tools"] == ["lookup"]
    assert rows["production"]["prompts"] == {"support": "1.0.0"}
    assert "production" in run("env", "list")[1]


def test_a_difference_nobody_declared_closes_the_gate(inside: Path, run: Run) -> None:
    code, out, _ = run("env", "diff", "staging", "production", "--gate", "-o", "json")
    result = json.loads(out)
    assert code == 1
    assert not result["holds"]
    assert {one["setting"] for one in result["differences"] if not one["declared"]} == {
        "replicas",
        "tools.refund.enabled",
    }
    assert run("env", "diff", "staging", "production")[0] == 0
    assert "! tools.refund.enabled" in run("env", "diff", "staging", "production")[1]
    assert run("env", "diff", "dev", "dev", "--gate")[0] == 0


def test_schemas_are_listed_printed_and_written(run: Run, tmp_path: Path) -> None:
    assert "fairway.yaml" in json.loads(run("schema", "-o", "json")[1])
    assert json.loads(run("schema", "models.yaml")[1])["title"] == "models.yaml"
    assert run("schema", "--all", str(tmp_path / "schemas"))[0] == 0
    assert (tmp_path / "schemas" / "fairway.yaml.json").exists()


@pytest.mark.parametrize("arguments", [("prompt",), ("env",), ("schema",), ("prompt", "lint"), ("env", "diff")])
def test_help_has_an_example(run: Run, arguments: tuple[str, ...]) -> None:
    assert "Example" in run(*arguments, "--help")[1]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("fairway.project.load", ("jinja2", "jsonschema", "sqlalchemy", "numpy", "fastapi", "httpx", "rich")),
        ("fairway.bundle.files", ("pydantic", "jinja2", "jsonschema", "yaml")),
        ("fairway.cli.prompt", ("pydantic", "yaml", "jinja2")),
    ],
)
def test_heavy_imports_stay_out(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("prompt", "show", "-o", "json"), "Missing argument"),
        (("prompt", "list", "-o", "json", "--colour"), "No such option"),
        (("audit", "log", "--output=json", "--limit", "many"), "'many' is not a valid integer"),
        (("promt", "list", "-ojson"), "No such command 'promt'"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_told_to_a_program_as_json(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, err) == (2, "")
    error = json.loads(out)["error"]
    assert error["code"] == "usage"
    assert said in error["message"]
    assert error["hint"].endswith(" --help")
    in_words = [word for word in arguments if word not in ("-o", "json", "--output=json", "-ojson")]
    code, out, err = run(*in_words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_deploy_beside_a_live_rollout_says_what_can_be_done() -> None:
    live = Answer(request_id="one", kind=AnswerKind.REFUSED, code="rollout_live", message="a rollout is on its way")
    error = refusal(live)
    assert (error.exit_code, error.code, error.message) == (3, "rollout_live", "a rollout is on its way")
    for command in ("fairway rollout status", "fairway rollout abort", "--supersede"):
        assert command in (error.hint or "")
