"""``fairway eval import``: a promptfoo configuration as suites."""

from __future__ import annotations

import click

from fairway.cli.output import emit, output_option

EPILOG = """\b
Examples:
  fairway eval import promptfooconfig.yaml --dry-run
  fairway eval import evals/old/promptfooconfig.yaml --folder evals/suites

\b
Exit codes: 0 everything was taken, 1 something was not: it is listed, 2 the file cannot be read.
"""


@click.command("import", epilog=EPILOG)
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--folder", default="evals/suites", show_default=True, help="Where the suites are written.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@output_option
def command(config: str, folder: str, dry_run: bool, force: bool, output: str) -> None:
    """Write the tests of a promptfoo configuration as suites, and say how to ask its providers.

    What cannot be taken is listed with file, line and why. An assertion that cannot be taken stays in its case as one
    that is unknown until somebody writes it, so that no case passes for want of it.
    """
    from dataclasses import asdict
    from pathlib import Path

    from fairway.cli.eval.suites import files_below
    from fairway.errors import UserError
    from fairway.evals.suites.promptfoo.convert import import_promptfoo
    from fairway.evals.suites.promptfoo.files import import_files, import_text
    from fairway.evals.suites.promptfoo.values import Loss

    here = Path.cwd()
    path = Path(config).resolve()
    root = here if path.is_relative_to(here) else path.parent
    files = files_below(root)
    name = path.relative_to(root).as_posix()
    imported = import_promptfoo(name, files, lambda one: (root / one).read_bytes())
    written = import_files(imported, folder=folder)
    there = [one for one in written if (here / one).exists()]
    if there and not (force or dry_run):
        raise UserError(
            f"{there[0]} is there already", code="eval_import", hint="--force replaces it, --folder avoids it"
        )
    if not dry_run:
        for target, text in written.items():
            (here / target).parent.mkdir(parents=True, exist_ok=True)
            (here / target).write_text(text, encoding="utf-8")
    lost = [one for one in imported.not_taken if one.loss is not Loss.SETTING]
    told = {
        "cases": imported.cases,
        "files": list(written),
        "dry_run": dry_run,
        "not_taken": [asdict(one) for one in imported.not_taken],
        "targets": [asdict(one) for one in imported.targets],
    }
    emit(told, output=output, text=lambda: import_text(imported, written))
    raise SystemExit(1 if lost else 0)
