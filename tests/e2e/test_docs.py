"""What the pages say is so: links lead somewhere, commands and files are Fairway's, the README's commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from fairway.bundle.prompts import PromptRegistry
from fairway.cli.main import cli
from fairway.demo.commands import Done, execute, fairway
from fairway.evals.experiments.config import ExperimentsFile
from fairway.evals.suites.load import parse_suite
from fairway.llm.mock.scenario import parse_scenario
from fairway.project.load import ProjectFile, load_project
from fairway.project.table_file import read_table_file
from fairway.security.waivers import read_waivers
from fairway.stages.registry import build_pipeline

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@dataclass(frozen=True)
class Block:
    """A fenced block: what is written behind the fence, its lines, and where it begins."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    found, begin, language = [], None, ""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("```"):
            continue
        if begin is None:
            begin, language = number, line.strip().removeprefix("```")
        else:
            found.append(Block(language, "\n".join(lines[begin : number - 1]), begin))
            begin = None
    assert begin is None, f"the block at line {begin} has no end"
    return found


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


# -- links ------------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ +(.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> Iterator[str]:
    without_code = re.sub(r"`[^`\n]*`", "code", prose(page.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
            yield f"{target}: no such heading"


@each_page
def test_every_link_leads_somewhere(page: Path):
    assert list(broken_links(page)) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path):
    page = tmp_path / "a.md"
    page.write_text("# A b\n[x](gone.md) [y](#a-b) [z](#c) [web](https://example.org)\n```\n[q](w.md)\n```\n")
    assert list(broken_links(page)) == ["gone.md: no such file", "#c: no such heading"]


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    missing = [page for page in pages if page != "README.md" and f"]({page})" not in index]
    assert [page for page in missing if not page.startswith("design/")] == []


# -- commands ---------------------------------------------------------------------------------------------------------


def command_lines(text: str) -> Iterator[tuple[list[str], bool]]:
    """The words of each ``fairway`` command a page shows, and whether it is shown to be typed as it is."""
    for block in blocks(text):
        for line in block.text.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                yield from ((words, True) for words in fairway_words(line[2:]))
    without_tables_of_messages = re.sub(r"^\| `\w+` \| \w+Error.*$", "", prose(text), flags=re.MULTILINE)
    for code in re.findall(r"`(fairway [^`\n]+)`", without_tables_of_messages):
        yield from ((words, False) for words in fairway_words(re.sub(r"[\[\]]", "", code)))


def fairway_words(line: str) -> Iterator[list[str]]:
    """The words behind ``fairway``, for each simple command of a shell line."""
    scanner = shlex.shlex(line, posix=True, punctuation_chars=True)
    scanner.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in scanner:
        if set(word) <= set("();<>|&"):
            simple.append([])
        else:
            simple[-1].append(word)
    for words in simple:
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0] == "fairway":
            yield words[1:]


def mistake(words: list[str], *, to_type: bool) -> str | None:
    """What Fairway's command line would not take, found without running anything."""
    command: click.Command = cli
    context = click.Context(cli, info_name="fairway", **cli.context_settings)
    try:
        while isinstance(command, click.Group):
            _, words, _ = command.make_parser(context).parse_args(list(words))
            if not words:
                return None
            found = command.get_command(context, words[0])
            if found is None:
                return f"no command {words[0]!r}"
            command, words = found, words[1:]
            context = click.Context(command, info_name=found.name, parent=context)
        given, left, _ = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            value = given.get(parameter.name or "")
            if isinstance(value, str) and value != "…" and isinstance(parameter.type, click.Choice | click.IntRange):
                parameter.type.convert(value, parameter, context)
            if to_type and parameter.required and not isinstance(value, str | tuple | list):
                return f"{parameter.name} is missing"
    except click.UsageError as error:
        return error.format_message()
    return f"{left} is too much" if left else None


@each_page
def test_every_command_line_is_one_that_fairway_takes(page: Path):
    wrong = {
        f"fairway {' '.join(words)}": found
        for words, to_type in command_lines(page.read_text())
        if (found := mistake(words, to_type=to_type))
    }
    assert wrong == {}


def test_the_search_for_commands_finds_them():
    assert len(list(command_lines((ROOT / "README.md").read_text()))) >= 15
    assert len(list(command_lines((ROOT / "docs" / "reference" / "cli.md").read_text()))) >= 60


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("fairway rol", "no command 'rol'"),
        ("fairway rollout plann", "no command 'plann'"),
        ("git tag v1 && fairway run --resum x y", "No such option"),
        ("fairway rollout approve", "release is missing"),
        ("fairway env diff a b c", "too much"),
        ("fairway up --port 70000", "70000"),
        ("fairway audit log -o yaml", "'yaml' is not one of"),
        ("fairway deploy --timeout", "requires an argument"),
    ],
)
def test_a_command_line_that_fairway_does_not_take_is_found(line: str, why: str):
    [words] = fairway_words(line)
    assert why in (mistake(words, to_type=True) or "")


# -- files ------------------------------------------------------------------------------------------------------------

PROJECT = {
    "version": 1,
    "agent": {"name": "support"},
    "service": {"command": "python -m http.server {port}"},
}
MODELS = {
    "version": 1,
    "models": {"small": {"provider": "mock", "model": "small-1"}, "other": {"provider": "mock", "model": "other-1"}},
    "roles": {"orchestrator": "small"},
}
TOOLS = {"version": 1, "tools": {"lookup_order": {"description": "Look up an order.", "action": "read"}}}
PROMPT = {"description": "Support.", "template": "You help."}
SCENARIO = {"version": 1, "name": "s", "rules": [{"name": "any", "reply": "hello"}]}


def check_project(root: Path, **files: Any) -> None:
    """Load a small project in which these files are replaced, and read the settings of every stage."""
    written = {"fairway.yaml": PROJECT, "models.yaml": MODELS, "tools.yaml": TOOLS} | files
    (root / "prompts" / "support").mkdir(parents=True)
    written["prompts/support/1.0.0.yaml"] = PROMPT
    for name, value in written.items():
        (root / name).write_text(yaml.safe_dump(value))
    build_pipeline(load_project(root), releasing=True)


def check_yaml(block: Block, root: Path) -> None:
    """Read a block as what it is; a block that is nothing Fairway reads is a mistake of the page."""
    value = yaml.safe_load(block.text)
    named = re.match(r"# (\S+\.ya?ml)\n", block.text)
    name = named.group(1) if named else ""
    if name.startswith("prompts/"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(block.text)
        PromptRegistry(root).get(Path(name).parent.name, Path(name).stem)
    elif name.startswith("evals/suites/"):
        parse_suite(block.text.encode(), file=name)
    elif name == "gateway.yaml":
        (root / name).write_text(block.text)
        read_table_file(root / name)
    elif name == "experiments.yaml":
        ExperimentsFile.model_validate(value)
    elif name == "policies/waivers.yaml":
        assert read_waivers(block.text.encode(), today=date(2026, 11, 20)).active
    elif isinstance(value, list):
        pass  # a few lines of a longer list
    elif "models" in value:
        check_project(root, **{"models.yaml": value | {"models": MODELS["models"] | value["models"]}})
    elif "tools" in value:
        check_project(root, **{"tools.yaml": value})
    elif {"rules", "directives", "faults"} & set(value):
        parse_scenario(yaml.safe_dump(SCENARIO | value), file="evals/mock-llm.yaml")
    else:
        assert set(value) <= set(ProjectFile.model_fields), f"line {block.line}: which file is this?"
        check_project(root, **{"fairway.yaml": PROJECT | value})


@each_page
def test_every_piece_of_yaml_is_one_that_fairway_reads(page: Path, tmp_path: Path):
    for number, block in enumerate(block for block in blocks(page.read_text()) if block.language == "yaml"):
        root = tmp_path / str(number)
        root.mkdir()
        check_yaml(block, root)


@pytest.mark.parametrize(
    "text",
    [
        "rollout: {dwel: 5m}",
        "pipeline: {stages: {unit_test: {coverag: 3}}}",
        "environments: {staging: {promts: {}}}",
        "# gateway.yaml\nagent: a\narms: {stable: {version: v, endpoints: [127.0.0.1:1]}}\nsplti: 1%",
        "# evals/suites/x.yaml\ncases: [{id: a}]",
        "nothing: 1",
    ],
)
def test_a_piece_of_yaml_that_fairway_does_not_read_is_found(text: str, tmp_path: Path):
    with pytest.raises(Exception, match=r"unknown key|needs one of|which file|did you mean"):
        check_yaml(Block("yaml", text, 1), tmp_path)


# -- the README's commands, run ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
async def test_the_commands_the_readme_shows_for_ones_own_agent_run_on_a_fresh_one(tmp_path: Path):
    made = await execute(fairway("init", "my-agent"), cwd=tmp_path)
    assert made.code == 0, made.stderr
    root = tmp_path / "my-agent"

    async def answer(*words: str, expect: int = 0) -> Done:
        done = await execute(fairway(*words), cwd=root)
        assert done.code == expect, f"{words}: {done.code}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    doctor = await execute(fairway("doctor", "-o", "json"), cwd=root)
    checks = {check["name"]: check["status"] for check in doctor.json()["checks"]}
    assert checks.pop("ports", "ok") in ("ok", "fail")  # something else may listen on the project's ports
    assert "fail" not in checks.values(), checks
    assert (await answer("prompt", "lint", "-o", "json")).json() == {"errors": 0, "findings": []}
    assert (await answer("env", "diff", "staging", "production", "--gate", "-o", "json")).json()["holds"] is True
    plan = (await answer("rollout", "plan")).stdout
    assert "100%" in plan
    assert json.loads((await answer("release", "list", "-o", "json")).stdout) == []
    assert "fairway.yaml" in (await answer("schema", "-o", "json")).json()


# -- starting up ------------------------------------------------------------------------------------------------------

HEAVY = {"pydantic", "sqlalchemy", "yaml", "rich", "httpx", "asyncio", "jinja2", "cryptography", "alembic", "uvloop"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_import_nothing_heavy(option: str):
    command = [sys.executable, "-X", "importtime", "-m", "fairway", option]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert {"click", "fairway.cli.main"} <= loaded, "the search itself must work"
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    assert sorted(name for name in loaded if name.startswith("fairway.")) == [
        "fairway.cli", "fairway.cli.lazy_group", "fairway.cli.main", "fairway.entry", "fairway.errors",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fairway", "ro"], {"rollback", "rollout"}),
        (["fairway", "rollout", "st"], {"start", "status"}),
        (["fairway", "up", "--de"], {"--detach"}),
        (["fairway", "audit", "log", "-o", ""], {"text", "json"}),
    ],
    ids=["commands", "subcommands", "options", "choices"],
)
def test_bash_completes_commands_and_options(words: list[str], offered: set[str], tmp_path: Path):
    program = tmp_path / "fairway"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fairway "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_FAIRWAY_COMPLETE=bash_source fairway)"\n'
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}\n"
        '_fairway_completion fairway\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(done.stdout.split()) == offered
