"""``fairway eval lint``: what is wrong with suites, before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.bundle.lint import LintFinding
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.suites.lint import Surroundings

EPILOG = """\b
Examples:
  fairway eval lint
  fairway eval lint cases.yaml -o json

\b
Exit codes: 0 no error, 1 an error was found.
"""


@click.command("lint", epilog=EPILOG)
@click.argument("paths", nargs=-1, metavar="[SUITE]...")
@project_option
@output_option
def command(paths: tuple[str, ...], project_dir: str | None, output: str) -> None:
    """Check suites: what always holds, contradicts itself, needs what is not there, or is too little for the gate.

    SUITE is a file or a glob; without one the project's suites are checked.
    """
    from dataclasses import asdict
    from pathlib import Path

    from fairway.bundle.lint import Severity
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.suites import default_files, named_files, passed_over
    from fairway.cli.lint_text import lint_text
    from fairway.errors import UserError
    from fairway.evals.suites.lint_files import lint_files

    place = eval_place(project_dir)
    surroundings, patterns = _surroundings(place)
    if not place.in_project:
        paths = paths or default_files(Path.cwd())
    if paths:
        files, chosen = named_files(paths, Path.cwd())
        findings = lint_files(files, lambda name: files[name].read_bytes(), chosen, surroundings)
    elif place.in_project:
        from fairway.bundle.files import scan

        bundle = scan(place.root)
        names = [file.path for file in bundle.files]
        left_out = tuple(_left_out(path) for path in passed_over(names, patterns))
        findings = (*left_out, *lint_files(names, bundle.read, patterns, surroundings))
    else:
        raise UserError(
            "there is no fairway.yaml here, so name a suite", code="eval_option", hint="eval lint cases.yaml"
        )
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    emit([asdict(finding) for finding in findings], output=output, text=lambda: lint_text(findings, errors))
    raise SystemExit(1 if errors else 0)


def _left_out(path: str) -> LintFinding:
    from fairway.bundle.lint import LintFinding, Severity

    return LintFinding(
        severity=Severity.WARNING,
        rule="suite/not-played",
        message="no evaluation plays it: evals.suites in fairway.yaml does not name it",
        file=path,
        line=None,
        hint="add it there, for example as evals/suites/*",
    )


def _surroundings(place: EvalPlace) -> tuple[Surroundings, tuple[str, ...]]:
    """What suites are compared with, and where the project's are."""
    from fairway.errors import FairwayError
    from fairway.evals.suites.lint import Surroundings

    if not place.in_project:
        return Surroundings(), ()
    project = place.project
    served: set[str] = set()
    variables: set[str] = set()
    for environment in project.environments:
        try:
            pins = project.overlay(environment).prompts
        except FairwayError:
            continue  # what cannot be resolved is prompt lint's to say
        for name, pin in pins.items():
            served.add(pin.version)
            variables |= set(project.prompts.get(name, pin.version).content.variables)
    judge = project.evals.judge
    known = Surroundings(
        tools=tuple(project.tools.tools) or None,
        prompt_versions=tuple(sorted(served)) or None,
        prompt_variables=tuple(sorted(variables)),
        judge=judge is not None and judge.enabled,
        embeddings=project.evals.embeddings is not None,
        margin=project.evals.compare.margin,
    )
    return known, project.evals.suites
