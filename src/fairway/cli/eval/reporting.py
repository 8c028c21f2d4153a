"""What an evaluation shows: on stdout, and in the files that were asked for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fairway.errors import PermanentError

if TYPE_CHECKING:
    from fairway.cli.eval.report_files import Files
    from fairway.evals.reports.content import ReportContent


def tell(content: ReportContent, files: Files, *, output: str) -> None:
    """Print the result, for a person or a program, and write the reports.

    Raises:
        PermanentError: ``eval_report``: a file cannot be written.
    """
    if output == "json":
        from fairway.evals.reports.as_json import render_json

        click.echo(render_json(content))
    else:
        from fairway.evals.reports.terminal import render_terminal

        width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
        click.echo(render_terminal(content, width=width, color=_colored()))
    write_reports(content, files)


def _colored() -> bool:
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def write_reports(content: ReportContent, files: Files) -> None:
    """Write each report that was asked for, whole or not at all.

    Raises:
        PermanentError: ``eval_report``: a file cannot be written.
    """
    if files.json:
        from fairway.evals.reports.as_json import json_pieces

        _write(files.json, json_pieces(content))
    if files.junit:
        from fairway.evals.reports.junit import render_junit

        _write(files.junit, [render_junit(content)])
    if files.markdown:
        from fairway.evals.reports.markdown import render_markdown

        _write(files.markdown, [render_markdown(content)])
    if files.html:
        from fairway.evals.reports.html import render_html

        _write(files.html, render_html(content))


def _write(target: str, pieces: Iterable[str]) -> None:
    path = Path(target)
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
        temporary.replace(path)
    except OSError as error:
        raise PermanentError(f"cannot write {target}: {error.strerror}", code="eval_report") from error
