"""``fairway env``: the environments of a project, and what differs between two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.bundle.environment import Environment
    from fairway.project.load import Project


@click.group(name="env", cls=Listing, epilog="Example: fairway env diff staging production")
def command() -> None:
    """Environments: list them, and what differs between two."""


def _load(project_dir: str | None) -> Project:
    from fairway.project.load import load_project

    return load_project(Path(project_dir) if project_dir else None)


def _row(project: Project, environment: Environment) -> dict[str, Any]:
    from fairway.errors import UserError

    row: dict[str, Any] = {
        "name": environment.name,
        "kind": environment.kind.value,
        "after": list(environment.after),
        "temperature": environment.temperature,
        "max_tokens": environment.max_tokens,
        "timeout_seconds": environment.timeout_seconds,
        "log_level": environment.log_level.value,
        "replicas": environment.replicas,
        "approval": "required" if project.approval_required(environment.name) else "automatic",
        "mock": {"models": environment.mock_models, "tools": environment.mock_tools},
    }
    try:
        overlay = project.overlay(environment.name)
    except UserError as error:
        return row | {"problem": error.message}
    return row | {
        "models": {role: overlay.models[alias].model for role, alias in overlay.roles.items()},
        "prompts": {name: prompt.version for name, prompt in overlay.prompts.items()},
        "tools": [name for name, tool in overlay.tools.items() if tool.enabled],
    }


@command.command("list", epilog="Example: fairway env list -o json")
@output_option
@project_option
def list_environments(output: str, project_dir: str | None) -> None:
    """Every environment with what is in force there."""
    project = _load(project_dir)
    rows = [_row(project, environment) for environment in project.environments.values()]

    def text() -> str:
        lines = []
        for row in rows:
            mocked = [what for what, on in row["mock"].items() if on]
            lines.append(
                f"{row['name']:<12} {row['kind']:<10} after {', '.join(row['after']) or '-'};"
                f" {row['replicas']} replicas, {row['approval']}, temperature {row['temperature']:g},"
                f" {row['max_tokens']} tokens, {row['timeout_seconds']:g}s, {row['log_level']}"
                + (f", mocked {' and '.join(mocked)}" if mocked else "")
            )
            for what in ("models", "prompts"):
                if row.get(what):
                    lines.append(f"{'':<12} {what}: " + ", ".join(f"{k} = {v}" for k, v in row[what].items()))
            if "problem" in row:
                lines.append(f"{'':<12} problem: {row['problem']}")
        return "\n".join(lines)

    emit(rows, output=output, text=text)


@command.command("diff", epilog="Example: fairway env diff staging production --gate")
@click.argument("a")
@click.argument("b")
@click.option("--gate", is_flag=True, help="Exit 1 when parity is 0.1% or more.")
@output_option
@project_option
def diff(a: str, b: str, gate: bool, output: str, project_dir: str | None) -> int:
    """Every difference between two environments, and their parity.

    A difference is declared when it is in `differs` of either environment, when both have the default of their kind,
    when both write the setting down, or when it follows from such a one. Parity is undeclared differences / settings.
    """
    from dataclasses import asdict

    from fairway.project.environments import PARITY_LIMIT, diff_environments

    found = diff_environments(_load(project_dir), a, b)
    holds = found.parity < PARITY_LIMIT
    result = {
        "a": found.a,
        "b": found.b,
        "settings": found.settings,
        "parity": found.parity,
        "limit": PARITY_LIMIT,
        "holds": holds,
        "differences": [asdict(one) for one in found.differences],
    }

    def text() -> str:
        width = max((len(one.setting) for one in found.differences), default=0)
        lines = [
            f"{'  ' if one.declared else '! '}{one.setting:<{width}}  {one.a or '-'} | {one.b or '-'}"
            f"  ({one.reason or 'undeclared'})"
            for one in found.differences
        ]
        lines.append(
            f"{found.a} and {found.b}: {len(found.differences)} differences in {found.settings} settings,"
            f" {len(found.undeclared)} undeclared; parity {found.parity:.2%}"
            f" ({'below' if holds else 'not below'} {PARITY_LIMIT:.1%})"
        )
        return "\n".join(lines)

    emit(result, output=output, text=text)
    return 1 if gate and not holds else 0
