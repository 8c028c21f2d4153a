"""`fairway init`: a whole agent project, made at once or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from fairway.bundle.prompts import PromptRegistry, write_lock
from fairway.errors import UserError
from fairway.scaffold.git import enclosing_repository, find_git, first_commit
from fairway.scaffold.lockfile import lock_text
from fairway.scaffold.result import InitResult
from fairway.units import parse_name

DEFAULT_NAME = "support"
_RENAMED = {"gitignore": ".gitignore"}  # under its own name it would act on Fairway's repository
_NAMED = {
    "fairway.yaml": ("  name: support\n", "  name: {name}\n"),
    "pyproject.toml": ('name = "support"\n', 'name = "{name}"\n'),
    "README.md": ("# support\n", "# {name}\n"),
}
_LEFT_OUT = frozenset({"__pycache__", ".pytest_cache", ".ruff_cache", ".fairway", ".coverage"})


def make_project(directory: Path, *, name: str | None = None, commit: bool = True) -> InitResult:
    """Write the plain template into a folder that does not exist yet or is empty.

    Args:
        directory: The project's folder.
        name: Of the agent; by default that of the folder when it can be one, else ``support``.
        commit: Make a git repository with a first commit, when git is there and the folder is in none yet.

    Raises:
        UserError: The folder has something in it, the name cannot be one, or what the agent needs is not installed.
        OSError: It cannot be written.
    """
    target = directory.absolute()
    _must_be_free(target)
    agent = _agent_name(name, target)
    requirements = lock_text()
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", dir=target.parent))
    try:
        written = write_template(workplace, name=agent)
        (workplace / "requirements.lock").write_text(requirements, "utf-8")
        write_lock(workplace, PromptRegistry(workplace))
        made, note = _commit(workplace, target) if commit else (None, None)
        workplace.chmod(0o755)
        _move_into_place(workplace, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    without_git = () if find_git() else ("install git first           # then: git init, git add -A, git commit",)
    return InitResult(
        directory=target,
        template="plain",
        name=agent,
        files=tuple(sorted([*written, "prompts.lock", "requirements.lock"])),
        commit=made,
        notes=(note,) if note else (),
        next_steps=(
            *without_git,
            *(() if target == Path.cwd() else (f"cd {directory}",)),
            "fairway run                     # check it; nothing goes live",
            "fairway up --detach             # serve",
            "fairway run --version 1.0.0     # release it",
        ),
    )


def write_template(root: Path, *, name: str) -> list[str]:
    """Copy the template's files into a folder, with the agent's name in them; the paths written."""
    written = []
    for path, source in _walk(files("fairway.scaffold") / "templates" / "plain", ""):
        content = source.read_bytes()
        if path in _NAMED and name != DEFAULT_NAME:
            old, new = _NAMED[path]
            content = content.decode().replace(old, new.format(name=name), 1).encode()
        place = _RENAMED.get(path, path)
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(content)
        written.append(place)
    return written


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif not entry.name.endswith(".pyc"):
            yield f"{prefix}{entry.name}", entry


def _must_be_free(target: Path) -> None:
    if target.is_symlink() or target.is_file():
        raise UserError(f"{target} is a file", code="not_empty", hint="give a folder that does not exist yet")
    if not target.exists():
        return
    inside = sorted(entry.name for entry in target.iterdir())
    if inside:
        shown = ", ".join(inside[:5]) + (f" and {len(inside) - 5} more" if len(inside) > 5 else "")
        raise UserError(
            f"{target} is not empty: {shown}",
            code="not_empty",
            hint="give a new folder; to add Fairway to a service that is there, use --template existing",
        )


def _agent_name(name: str | None, target: Path) -> str:
    if name is not None:
        try:
            return parse_name(name, what="the agent's name")
        except ValueError as error:
            raise UserError(str(error), code="agent_name", hint="for example --name support") from error
    slug = re.sub(r"[^a-z0-9]+", "-", target.name.lower()).strip("-")[:63]
    return slug if re.match(r"^[a-z]", slug) else DEFAULT_NAME


def _commit(workplace: Path, target: Path) -> tuple[str | None, str | None]:
    around = enclosing_repository(target.parent)
    if around is not None:
        return None, f"{target.name} is inside the git repository {around}: no repository of its own was made"
    return first_commit(workplace, "A support agent, made by fairway init")


def _move_into_place(workplace: Path, target: Path) -> None:
    """Rename the finished folder; into an empty folder that is there, entry by entry (a shell may stand in it)."""
    if not target.exists():
        workplace.rename(target)
        return
    moved: list[Path] = []
    try:
        for entry in sorted(workplace.iterdir()):
            moved.append(entry.rename(target / entry.name))
    except OSError:
        for path in moved:
            path.rename(workplace / path.name)
        raise
