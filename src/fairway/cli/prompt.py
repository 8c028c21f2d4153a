"""``fairway prompt``: list, lint, show, diff, lock, render."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say
from fairway.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from fairway.bundle.prompts import Prompt
    from fairway.project.load import Project


@click.group(name="prompt", cls=Listing, epilog="Example: fairway prompt lint")
def command() -> None:
    """Prompts: list, lint, show, diff, lock, render."""


def _load(project_dir: str | None) -> Project:
    from fairway.project.load import load_project

    return load_project(Path(project_dir) if project_dir else None)


def _find(project: Project, reference: str) -> Prompt:
    """``support`` (the newest), ``support@1.2.0``."""
    name, _, version = reference.partition("@")
    return project.prompts.get(name, version or project.prompts.versions(name)[-1])


def _served_by(project: Project, name: str) -> dict[str, list[str]]:
    """Environments by the version they serve; one that cannot tell is left out (lint says why)."""
    served: dict[str, list[str]] = {}
    for environment in project.environments.values():
        try:
            version = project.prompts.resolve(name, environment.channel_of(name), environment.kind)
        except UserError:
            continue
        served.setdefault(version, []).append(environment.name)
    return served


@command.command("list", epilog="Example: fairway prompt list -o json")
@output_option
@project_option
def list_prompts(output: str, project_dir: str | None) -> None:
    """Every version of every prompt: locked or not, and which environments serve it."""
    project = _load(project_dir)
    rows: list[dict[str, Any]] = []
    for name in project.prompts.names():
        served = _served_by(project, name)
        for version in project.prompts.versions(name):
            digest = project.prompts.sha256(name, version)
            locked = project.prompts.lock.digest_of(name, version)
            state = "not locked" if locked is None else "locked" if locked == digest else "CHANGED"
            rows.append(
                {
                    "name": name,
                    "version": version,
                    "path": project.prompts.path(name, version),
                    "sha256": digest,
                    "lock": state,
                    "environments": served.get(version, []),
                }
            )

    def text() -> str:
        from fairway.units import short

        if not rows:
            return "no prompts yet; the first one stands at prompts/<name>/1.0.0.yaml"
        return "\n".join(
            f"{row['name']}@{row['version']}  {short(row['sha256'])}  {row['lock']:<10}"
            f"  {', '.join(row['environments'])}".rstrip()
            for row in rows
        )

    emit(rows, output=output, text=text)


@command.command("lint", epilog="Example: fairway prompt lint --release")
@click.option("--release", "for_release", is_flag=True, help="A version that is not locked is an error, too.")
@output_option
@project_option
def lint_prompts(for_release: bool, output: str, project_dir: str | None) -> int:
    """Check prompts, tools and what environments make of them; exit 1 when there is an error."""
    from dataclasses import asdict

    from fairway.bundle.lint import Severity, lint
    from fairway.cli.lint_text import lint_text

    findings = lint(_load(project_dir), for_release=for_release)
    errors = sum(finding.severity is Severity.ERROR for finding in findings)

    told = {"errors": errors, "findings": [asdict(finding) for finding in findings]}
    emit(told, output=output, text=lambda: lint_text(findings, errors))
    return 1 if errors else 0


@command.command("show", epilog="Example: fairway prompt show support@1.2.0")
@click.argument("prompt")
@output_option
@project_option
def show_prompt(prompt: str, output: str, project_dir: str | None) -> None:
    """One version of a prompt (NAME or NAME@VERSION): what it is for, its variables, its text."""
    from fairway.bundle.lint import count_tokens

    project = _load(project_dir)
    found = _find(project, prompt)
    content = found.content.model_dump(mode="json")
    result = {
        "name": found.name,
        "version": found.version,
        "path": found.path,
        "sha256": found.sha256,
        "tokens": count_tokens(found.content.template),
        **{key: value for key, value in content.items() if key not in ("name", "version")},
    }

    def text() -> str:
        lines = [f"{found.name}@{found.version}  {found.path}", f"sha256  {found.sha256}"]
        lines.append(f"tokens  about {result['tokens']}")
        for key in ("description", "changes", "model"):
            if result[key]:
                lines.append(f"{key}  {result[key]}")
        for name, variable in content["variables"].items():
            lines.append(f"variable  {name}: {variable['type']}  {variable['description']}".rstrip())
        return "\n".join([*lines, "", found.content.template.rstrip("\n")])

    emit(result, output=output, text=text)


@command.command("diff", epilog="Example: fairway prompt diff support 1.0.0 1.1.0")
@click.argument("name")
@click.argument("old", required=False)
@click.argument("new", required=False)
@output_option
@project_option
def diff_prompts(name: str, old: str | None, new: str | None, output: str, project_dir: str | None) -> None:
    """What changed between two versions of a prompt, by default the newest two."""
    from fairway.bundle.diff import text_diff

    project = _load(project_dir)
    versions = project.prompts.versions(name)
    if new is None:
        new = versions[-1]
    if old is None:
        before = [version for version in versions if version != new]
        if not before:
            raise NotFoundError(f"prompt {name!r} has only the version {new}", code="prompt_not_found")
        old = before[-1]
    one, other = project.prompts.get(name, old), project.prompts.get(name, new)
    difference = text_diff(
        (project.root / one.path).read_bytes(),
        (project.root / other.path).read_bytes(),
        old_name=one.path,
        new_name=other.path,
    )
    result = {"name": name, "old": old, "new": new, "diff": difference}
    emit(result, output=output, text=lambda: difference or f"{name}@{old} and {name}@{new} are the same")


@command.command("lock", epilog="Example: fairway prompt lock && git add prompts.lock")
@output_option
@project_option
def lock_prompts(output: str, project_dir: str | None) -> None:
    """Write new versions into prompts.lock; a version that is locked never changes again."""
    from fairway.bundle.prompts import write_lock

    project = _load(project_dir)
    added = write_lock(project.root, project.prompts)
    emit(
        {"added": list(added)}, output=output, text=lambda: "\n".join(f"locked {one}" for one in added) or "up to date"
    )
    if added:
        say("commit prompts.lock together with the prompts")


@command.command("render", epilog='Example: fairway prompt render support --var shop_name="Harbour Lane"')
@click.argument("prompt")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable; lists and objects as JSON.")
@output_option
@project_option
def render_prompt(prompt: str, variables: tuple[str, ...], output: str, project_dir: str | None) -> None:
    """Fill in a prompt (NAME or NAME@VERSION) and print the text a model would see."""
    from fairway.bundle.lint import count_tokens
    from fairway.bundle.prompts import VariableType
    from fairway.bundle.rendering import parse_value, render

    project = _load(project_dir)
    found = _find(project, prompt)
    values: dict[str, Any] = {}
    for pair in variables:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UserError(f"--var {pair!r} has no value", code="bad_option", hint="write --var NAME=VALUE")
        declared = found.content.variables.get(name)
        try:
            values[name] = parse_value(value, declared.type if declared else VariableType.STRING)
        except ValueError as error:
            raise UserError(f"--var {name}: {error}", code="bad_option") from error
    rendered = render(found, values)
    result = {"name": found.name, "version": found.version, "text": rendered, "tokens": count_tokens(rendered)}
    emit(result, output=output, text=lambda: rendered.rstrip("\n"))
