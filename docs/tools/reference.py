"""Write the pages of ``docs/reference/`` that follow from the code: ``cli.md`` and ``errors.md``.

``python docs/tools/reference.py`` writes them; with ``--check`` it only says which are stale, and exits 1 when one is.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import click

import fairway.errors
from fairway.cli.main import cli
from fairway.cli.verbs import refusal
from fairway.errors import FairwayError, PermanentError, ProjectFileError, UserError
from fairway.rollout.requests import Answer, AnswerKind

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fairway"
REFERENCE = ROOT / "docs" / "reference"
COMMAND = "python docs/tools/reference.py"
_NOTE = f"<!-- Written by `{COMMAND}` from the code; do not edit. -->\n"
_CLI_INTRODUCTION = """\
Every command takes `-h` and `--help`. Results go to stdout, talk to stderr. `-o json` gives the result to a program, an
error too: `{"error": {"code", "message", "hint"}}`, see [errors](errors.md). Exit codes: 0 fine, 1 a gate, check or
verdict said no, 2 something you can mend, 3 something is broken or unreachable, 130 interrupted.
"""

_ERRORS_INTRODUCTION = """\
What Fairway refuses on purpose has a stable `code`, a message and, where something can be done, a hint. A person reads
them on stderr; with `-o json` they are on stdout as `{"error": {"code", "message", "hint"}}`, and an error in a project
file also gives `file`, `line`, `column` and `key`. Its message begins with `file:line:column: key:`, which the table
leaves out. `<name>` stands for what is filled in. A command line that cannot be read, such as one with an unknown
option or without an argument, has the code `usage` and exits 2.

A gate, check or verdict that says no is no error: the command exits 1 and its result says why. What a controller
decides has [reasons](reasons.md). An interrupted command exits 130.
"""

_ANSWERS_INTRODUCTION = """\
## What the gateway answers by itself

Clients get JSON, `{"error": {"code", "message"}}`; everything else a client sees comes from an arm, unchanged.
"""

# ---- the command line ----------------------------------------------------------------------------------------------


def commands(
    command: click.Command = cli, name: str = "fairway", parent: click.Context | None = None
) -> Iterator[tuple[click.Command, click.Context]]:
    """Every command and subcommand with its context, in the order of the page."""
    context = click.Context(command, info_name=name, parent=parent)
    yield command, context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None, each
            yield from commands(found, each, context)


def epilog(command: click.Command) -> tuple[list[str], list[str]]:
    """The example lines of a command's epilog, and its other paragraphs."""
    examples: list[str] = []
    prose: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.epilog or "")):
        text = paragraph.replace("\b\n", "").replace("\b", "").strip()
        example = re.match(r"Examples?:\s*", text)
        if example:
            lines = (line.strip() for line in text[example.end() :].splitlines())
            examples += [re.sub(r" {2,}", "  # ", line, count=1) for line in lines]
        elif text:
            prose.append(text)
    return examples, prose


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _options(command: click.Command, context: click.Context) -> list[str]:
    records = [one.get_help_record(context) for one in command.params if isinstance(one, click.Option)]
    rows = [f"| `{names.replace('|', chr(92) + '|')}` | {_cell(text)} |" for names, text in filter(None, records)]
    return ["| option | what it does |", "|---|---|", *rows, ""] if rows else []


def _command_section(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    examples, prose = epilog(command)
    lines = [f"## {context.command_path}", "", "```text", usage, "```", ""]
    lines += [inspect.cleandoc(command.help or "").replace("\b\n", ""), ""]
    if isinstance(command, click.Group):
        names = command.list_commands(context)
        anchor = context.command_path.replace(" ", "-")
        lines += ["Subcommands: " + ", ".join(f"[`{name}`](#{anchor}-{name})" for name in names) + ".", ""]
    lines += _options(command, context)
    if examples:
        lines += ["```console", *(f"$ {line}" for line in examples), "```", ""]
    for text in prose:
        lines += [text, ""]
    return lines


def cli_page() -> str:
    """Every command with its options and examples."""
    lines = ["# Command line", "", _NOTE, _CLI_INTRODUCTION]
    for command, context in commands():
        lines += _command_section(command, context)
    return "\n".join(lines).rstrip() + "\n"


# ---- errors --------------------------------------------------------------------------------------------------------

_TEMPLATES = "scaffold/templates/"  # agents as users get them, not Fairway

ERRORS: dict[str, type[FairwayError]] = {
    name: found
    for name, found in vars(fairway.errors).items()
    if inspect.isclass(found) and issubclass(found, FairwayError)
}


@dataclass(frozen=True, slots=True)
class _Maker:
    """A function that makes an error: its class, and where its code and its message stand."""

    error: type[FairwayError]
    code: int | str
    message: int


MAKERS: dict[tuple[str, str], _Maker] = {
    ("*", "document.error"): _Maker(ProjectFileError, "code", 1),
    ("targets/local/ephemeral.py", "_NotReadyError"): _Maker(UserError, 0, 1),
    ("targets/local/ephemeral.py", "_error"): _Maker(UserError, 1, 2),
}
"""By module and name. ``YamlDocument.error`` is called on something named ``document`` everywhere."""

EXPLAINED = {
    ("yaml_file.py", "ProjectFileError"): "YamlDocument.error",
    ("targets/local/ephemeral.py", "UserError"): "_error",
    ("targets/local/ephemeral.py", "_error"): "_NotReadyError",
    ("cli/main.py", "PermanentError"): "operating_system()",
    ("cli/verbs.py", "ConflictError"): "refusals()",
    ("cli/verbs.py", "NotFoundError"): "refusals()",
    ("cli/verbs.py", "RefusedError"): "refusals()",
}
"""Places where the code of an error is computed, and where this script gets the codes from instead."""


@dataclass(frozen=True, slots=True, order=True)
class Raised:
    """One place where an error is made."""

    code: str
    error: str
    message: str
    module: str


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of Fairway by its path below ``src/fairway``, parsed."""
    paths = [(path.relative_to(SOURCE).as_posix(), path) for path in sorted(SOURCE.rglob("*.py"))]
    return tuple((name, ast.parse(path.read_text())) for name, path in paths if not name.startswith(_TEMPLATES))


def shape(node: ast.expr | None) -> str:
    """A message with what is filled in as ``<name>``; ``<…>`` where no name says it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(shape(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return shape(node.value) if isinstance(node.value, ast.Constant) else f"<{_name_of(node.value)}>"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return shape(node.left) + shape(node.right)
    return f"<{_name_of(node)}>" if node is not None else "<…>"


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id.strip("_")
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name):
        return _name_of(node.args[0])
    return "…"


def _argument(call: ast.Call, place: int | str) -> ast.expr | None:
    if isinstance(place, str):
        return next((keyword.value for keyword in call.keywords if keyword.arg == place), None)
    return call.args[place] if place < len(call.args) else None


def _maker(module: str, call: ast.Call) -> tuple[str, _Maker] | None:
    """Who makes an error here, or ``None`` when nobody does."""
    name = ast.unparse(call.func)
    if name in ERRORS:
        return name, _Maker(ERRORS[name], "code", 0)
    if name.endswith("document.error"):
        return name, MAKERS["*", "document.error"]
    found = MAKERS.get((module, name))
    return (name, found) if found else None


def default_code(error: type[FairwayError]) -> str:
    """The code of an error made without one."""
    return str(inspect.signature(error).parameters["code"].default)


def _raised_in(module: str, tree: ast.Module) -> Iterator[Raised]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or (made := _maker(module, call)) is None:
            continue
        name, maker = made
        code = _argument(call, maker.code)
        message = shape(_argument(call, maker.message))
        if code is None:
            yield Raised(default_code(maker.error), maker.error.__name__, message, module)
        elif isinstance(code, ast.Constant):
            yield Raised(str(code.value), maker.error.__name__, message, module)
        elif (module, name) not in EXPLAINED:
            where = f"src/fairway/{module}:{call.lineno}"
            raise SystemExit(f"{where}: the code of {name} is computed; say in docs/tools/reference.py where from")


def _operating_system(tree: ast.Module) -> Iterator[Raised]:
    """What the border of the command line makes of an ``OSError``."""
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "_from_os_error")
    pairs = [node.elts[0] for node in ast.walk(function) if isinstance(node, ast.Tuple) and len(node.elts) == 2]
    for code in pairs:
        if isinstance(code, ast.Constant):
            yield Raised(str(code.value), PermanentError.__name__, "<strerror> (<filename>)", "cli/main.py")


def _choices(node: ast.expr, function: ast.FunctionDef) -> list[ast.expr]:
    """What an expression can be: itself, both sides of a condition, or what was last assigned to the name."""
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.Name):
        assigned = [n for n in ast.walk(function) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == node.id]
        before = [one for one in assigned if one.lineno < node.lineno]
        return _choices(max(before, key=lambda one: one.lineno).value, function) if before else [node]
    return [node]


def _refusals(module: str, tree: ast.Module) -> Iterator[Raised]:
    """What the controller answers to a request that it does not obey."""
    for function, call in _calls_of("refuse", tree):
        codes, texts = _choices(call.args[2], function), _choices(call.args[3], function)
        for code, text in zip(codes, texts, strict=True) if len(codes) == len(texts) else product(codes, texts):
            if isinstance(code, ast.Attribute) and code.attr == "code":
                continue  # of a Lack or a Proof, which say their own below
            if not isinstance(code, ast.Constant):
                where = f"src/fairway/{module}:{call.lineno}"
                raise SystemExit(
                    f"{where}: the code of a refusal is computed; make it one docs/tools/reference.py reads"
                )
            answer = Answer(request_id="", kind=AnswerKind.REFUSED, code=str(code.value))
            yield Raised(str(code.value), type(refusal(answer)).__name__, shape(text), module)
    for function, call in _calls_of("Lack", tree):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        said = [
            node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and node.lineno < call.lineno and ast.unparse(node.targets[0]) == "text"
        ]
        code = str(ast.literal_eval(given["code"]))
        answer = Answer(request_id="", kind=AnswerKind.REFUSED, code=code)
        yield Raised(code, type(refusal(answer)).__name__, shape(said[-1]), module)


def _proofs(module: str, tree: ast.Module) -> Iterator[Raised]:
    """What speaks against a candidate, as an override that would go past it is refused."""
    for _, call in _calls_of("Proof", tree):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        code = str(ast.literal_eval(given["code"]))
        answer = Answer(request_id="", kind=AnswerKind.REFUSED, code=code)
        message = f"no override goes past this: {shape(given['text'])}"
        yield Raised(code, type(refusal(answer)).__name__, message, module)


def _calls_of(name: str, tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
    for function in ast.walk(tree):
        for call in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            if isinstance(call, ast.Call) and ast.unparse(call.func) == name:
                assert isinstance(function, ast.FunctionDef)
                yield function, call


@cache
def raised() -> tuple[Raised, ...]:
    """Every place in the code where an error of Fairway is made."""
    found: set[Raised] = set()
    for module, tree in modules():
        if module != "errors.py":
            found.update(_raised_in(module, tree))
        if module == "cli/main.py":
            found.update(_operating_system(tree))
        if module.startswith("rollout/"):
            found.update(_refusals(module, tree))
            found.update(_proofs(module, tree))
    return tuple(sorted(found))


def answers() -> list[tuple[str, int, str]]:
    """Code, HTTP status and message of everything the gateway answers by itself."""
    found = set()
    for module, tree in modules():
        if not module.startswith("gateway/"):
            continue
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or len(call.args) < 3:
                continue
            status, code, message = call.args[:3]
            is_status = isinstance(status, ast.Constant) and isinstance(status.value, int) and 400 <= status.value < 600
            if is_status and isinstance(code, ast.Constant | ast.JoinedStr):
                found.add((shape(code), int(shape(status)), shape(message)))
    return sorted(found)


_TOLD = 3


def _distinct(values: Iterable[str], *, most: int = _TOLD) -> str:
    """A few of the values as code; one that is nothing but a placeholder only where there is no other."""
    every = list(dict.fromkeys(values))
    distinct = [value for value in every if not re.fullmatch(r"<[^>]*>", value)] or every
    more = f"<br>and {len(distinct) - most} more" if len(distinct) > most else ""
    return (
        "<br>".join(f"`{value.replace('|', chr(92) + '|').replace('`', chr(39))}`" for value in distinct[:most]) + more
    )


def _error_rows(places: Iterable[Raised]) -> list[str]:
    by_code: dict[str, list[Raised]] = {}
    for place in places:
        by_code.setdefault(place.code, []).append(place)
    rows = ["| code | class | message | made in |", "|---|---|---|---|"]
    for code, of_code in sorted(by_code.items()):
        classes = ", ".join(sorted({place.error for place in of_code}))
        messages = _distinct(" ".join(place.message.split()) for place in of_code)
        where = _distinct((place.module for place in of_code), most=len(of_code))
        rows.append(f"| `{code}` | {classes} | {messages} | {where} |")
    return [*rows, ""]


def errors_page() -> str:
    """Every stable code of an error."""
    every = raised()
    lines = ["# Errors", "", _NOTE, _ERRORS_INTRODUCTION]
    titles = {
        2: "Exit 2: something you can mend",
        3: "Exit 3: something is broken, unreachable or was changed meanwhile",
    }
    for exit_code, title in titles.items():
        lines += [f"## {title}", ""]
        lines += _error_rows([place for place in every if ERRORS[place.error].exit_code == exit_code])
    lines += [_ANSWERS_INTRODUCTION, "| code | HTTP status | message |", "|---|---|---|"]
    by_code: dict[tuple[str, int], list[str]] = {}
    for code, status, message in answers():
        by_code.setdefault((code, status), []).append(message)
    lines += [f"| `{code}` | {status} | {_distinct(messages)} |" for (code, status), messages in by_code.items()]
    return "\n".join(lines).rstrip() + "\n"


# ---- writing -------------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Each page and what it should hold."""
    return {REFERENCE / "cli.md": cli_page(), REFERENCE / "errors.md": errors_page()}


def stale() -> list[Path]:
    """The pages that are not what the code says."""
    return [path for path, text in pages().items() if not path.exists() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """Write the pages, or check them."""
    if "--check" in arguments:
        for path in (found := stale()):
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale; run: {COMMAND}\n")
        return 1 if found else 0
    for path, text in pages().items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
