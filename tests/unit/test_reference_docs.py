"""The pages written from the code are what the code says, and every command says what it is for."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from fairway.cli import main as command_line
from fairway.errors import NotFoundError, PermanentError, ProjectFileError, UserError
from fairway.rollout.refusals import INSTEAD

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reference = load(ROOT / "docs" / "tools" / "reference.py")
TREE = [(context.command_path, command) for command, context in reference.commands()]
LEAVES = [(path, command) for path, command in TREE if not isinstance(command, click.Group)]
SERVES = {"fairway gateway serve", "fairway demo"}
"""Not run below: the first serves until it is stopped, the second takes two minutes."""
SMALL = {"fairway simulate": ("fairway", "simulate", "--runs", "1", "--for", "2m", "--effect", "aa")}
"""Run below instead of the example, where that really does its work without a project, and takes a minute over it."""


def named(pairs: list[tuple[str, click.Command]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("path", "command"), pairs, ids=[path for path, _ in pairs])


# -- the pages --


@pytest.mark.parametrize("page", sorted(reference.pages()), ids=lambda page: page.name)
def test_a_reference_page_is_what_the_code_says(page: Path):
    assert page not in reference.stale(), f"{page.name} is stale; run: {reference.COMMAND}"


def test_a_stale_page_fails_the_check_and_is_named_with_the_command_to_run(monkeypatch, tmp_path, capsys):
    page = tmp_path / "docs" / "reference" / "errors.md"
    page.parent.mkdir(parents=True)
    page.write_text("old")
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "pages", lambda: {page: "new"})
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/reference/errors.md is stale; run: python docs/tools/reference.py\n"
    assert page.read_text() == "old"
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_every_code_written_in_the_source_beside_an_error_is_on_the_page():
    listed = set(re.findall(r"^\| `([^`]+)` \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE))
    written = set()
    for path in sorted((ROOT / "src" / "fairway").rglob("*.py")):
        text = path.read_text()
        # Another way of looking than the script's: any class of the tree, then the next code="…" within its brackets.
        for found in re.finditer(rf"\b({'|'.join(reference.ERRORS)})\(", text):
            code = re.search(r'code="(\w+)"', text[found.end() : end_of_call(text, found.end())])
            if code:
                written.add(code.group(1))
    assert len(written) > 100, "the search itself must work"
    assert written - listed == set()


def test_everything_a_verb_is_refused_with_is_on_both_pages():
    errors = set(re.findall(r"^\| `([^`]+)` \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE))
    refusals = (REFERENCE / "reasons.md").read_text().partition("Requests are refused with:")[2]
    assert {"mirror_failed", "probe_failed", "trigger_fired", "candidate_crashed", "gate_failed"} <= set(INSTEAD)
    assert set(INSTEAD) - errors == set()
    assert set(INSTEAD) - set(re.findall(r"`([a-z_]+)`", refusals)) == set()


def end_of_call(text: str, start: int) -> int:
    """Where the call that begins at ``start`` closes."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text)


@pytest.mark.parametrize(
    ("code", "error", "module"),
    [
        ("no_project", NotFoundError, "project/load.py"),
        ("disk_full", PermanentError, "cli/main.py"),
        ("service_exited", UserError, "targets/local/ephemeral.py"),
        ("scenario", ProjectFileError, "llm/mock/scenario.py"),
        ("project_file", ProjectFileError, "validate.py"),
        ("never_stable", "RefusedError", "rollout/verbs.py"),
        ("rollout_live", "ConflictError", "rollout/starting.py"),
        ("mirror_failed", "RefusedError", "rollout/against.py"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_code_is_found_however_it_is_made(code, error, module):
    name = error if isinstance(error, str) else error.__name__
    assert any((one.code, one.error, one.module) == (code, name, module) for one in reference.raised())


def test_a_code_that_is_computed_where_nobody_expects_it_stops_the_script():
    import ast

    tree = ast.parse("def f(x):\n    raise UserError('no', code=x)\n")
    with pytest.raises(SystemExit, match=r"src/fairway/new\.py:2: the code of UserError is computed"):
        list(reference._raised_in("new.py", tree))


def test_a_message_shows_what_is_filled_in_by_name():
    import ast

    def shape(source: str) -> str:
        return reference.shape(ast.parse(source, mode="eval").body)

    assert shape("f'{path}: {error.strerror} in {len(found)} of {a[0] + b}' ' end'") == (
        "<path>: <strerror> in <found> of <…> end"
    )


# -- the commands --


def test_the_tree_of_commands_is_whole():
    paths = [path for path, _ in TREE]
    assert len(paths) == len(set(paths))
    assert {f"fairway {name}" for name in command_line.COMMANDS} <= set(paths)
    assert {"fairway rollout plan", "fairway release verify", "fairway gateway serve"} <= set(paths)


@named(TREE)
def test_help_of_every_command_answers_with_an_example_of_that_command(path: str, command: click.Command):
    shown = CliRunner().invoke(command_line.cli, [*path.split()[1:], "--help"], prog_name="fairway")
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert text.startswith(f"Usage: {path} ")
    assert re.search(rf"(Examples?|Start with): .*{re.escape(path)}", text), "no example of this command"
    assert (command.help or "").strip()[0].isupper()


@named(TREE)
def test_every_option_says_what_it_does(path: str, command: click.Command):
    silent = [one.name for one in command.params if isinstance(one, click.Option) and not one.help]
    assert silent == []


@named(LEAVES)
def test_every_command_gives_its_result_to_a_program(path: str, command: click.Command):
    found = [one for one in command.params if isinstance(one, click.Option) and {"-o", "--output"} <= set(one.opts)]
    assert found, f"{path} has no -o json"
    assert isinstance(found[0].type, click.Choice)
    assert set(found[0].type.choices) == {"text", "json"}


@named([(path, command) for path, command in LEAVES if path not in SERVES])
def test_a_command_asked_for_json_where_there_is_no_project_answers_json_and_no_traceback(
    path: str, command: click.Command, tmp_path: Path, monkeypatch, capsys
):
    example = reference.epilog(command)[0][0]
    words = shlex.split(example, comments=True)
    ends = [words.index(word) for word in ("&&", ">", "|") if word in words]
    words = words[: min(ends, default=len(words))]
    assert words[0] == "fairway", example
    words = [*SMALL.get(path, words)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [*words, *(() if "json" in words else ("-o", "json"))])
    monkeypatch.delenv("FAIRWAY_PROJECT", raising=False)
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    if "Invalid value" in told.err:  # a file of the example that is not here: told before the command begins
        assert ended.value.code == 2
        return
    body = json.loads(told.out)
    assert ended.value.code in (0, 1, 2, 3)
    if ended.value.code in (2, 3):
        assert set(body["error"]) >= {"code", "message", "hint"}
        listed = (REFERENCE / "errors.md").read_text()
        assert f"| `{body['error']['code']}` |" in listed


# -- benchmarks.md --


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.page

    return benchmarks.page


def test_every_bench_has_its_measured_region_on_the_page(page):
    text = page.PAGE.read_text()
    folder = ROOT / "benchmarks"
    files = {path.stem: path for path in folder.glob("*.py")} | {p.parent.name: p for p in folder.glob("*/__init__.py")}
    names = [name for name, path in files.items() if re.search(r"^def run\(.*\) -> Bench", path.read_text(), re.M)]
    assert {"gateway", "pipeline", "rollback", "verdict"} <= set(names)
    assert [name for name in names if text.count(page.begin(name)) != 1] == []


def test_what_was_measured_replaces_its_region_and_nothing_else(page):
    from benchmarks.bench import Bench, Promise

    before = "a\n<!-- measured: x -->\nold\n<!-- end -->\nb\n<!-- measured: y -->\nkept\n<!-- end -->\nc\n"
    bench = Bench(title="X", promises=[Promise(text="fast", measured=r"1 \1 s", kept=False)])
    after = page.with_results(before, {"x": bench})
    assert after.startswith("a\n<!-- measured: x -->\n### X\n")
    assert r"- fast: 1 \1 s (**BROKEN**)" in after
    assert after.endswith("<!-- end -->\nb\n<!-- measured: y -->\nkept\n<!-- end -->\nc\n")
    assert "old" not in after
    assert page.with_results(after, {"x": bench}) == after


def test_a_bench_that_could_not_run_leaves_what_was_measured_before(page):
    from benchmarks.bench import Bench

    before = "<!-- measured: x -->\n1 s\n<!-- end -->\n"
    assert page.with_results(before, {"x": Bench(title="X", skipped="no nginx")}) == before


def test_a_bench_without_a_region_is_an_error(page):
    from benchmarks.bench import Bench

    with pytest.raises(ValueError, match="no region '<!-- measured: new -->'"):
        page.with_results("nothing", {"new": Bench(title="New")})


@pytest.mark.parametrize(
    ("last", "traffic", "failures", "broken"),
    [
        (0.02, 40, [], []),
        (1.2, 40, [], ["last request on the bad arm"]),
        (0.0, 0, [], ["last request on the bad arm"]),
        (0.02, 40, ["EOFError: "], ["no failed request"]),
    ],
    ids=["kept", "a late request", "nothing was on the bad arm", "a failed request"],
)
def test_the_rollback_bench_breaks_its_promise_when_it_should(page, last, traffic, failures, broken):
    from benchmarks.rollback import Load, Switch, report

    switches = [
        Switch(last_request=0.01, confirmed=0.02, on_bad_arm_before=50),
        Switch(last_request=last, confirmed=0.03, on_bad_arm_before=traffic),
    ]
    bench = report(switches, Load(took=[0.001, 0.002], failures=failures))
    found = [promise.text for promise in bench.promises if promise.kept is not True]
    assert len(found) == len(broken)
    assert all(text.startswith(beginning) for text, beginning in zip(found, broken, strict=True))
