"""``fairway eval show``: a run, in the terminal or as a report in a file."""

from __future__ import annotations

import click

from fairway.cli.eval.report_files import Files, report_options
from fairway.cli.output import output_option, project_option

EPILOG = """\b
Examples:
  fairway eval show
  fairway eval show 20261120-0955 --html report.html
  fairway eval show blessed -o json
"""


@click.command("show", epilog=EPILOG)
@click.argument("run", required=False)
@report_options
@project_option
@output_option
def command(
    run: str | None,
    files: Files,
    project_dir: str | None,
    output: str,
) -> None:
    """Show a run: by id, the beginning of one, latest (the default), blessed, or the path of its folder.

    The verdict is the one that was reached then.
    """
    from fairway.cli.eval.place import eval_place
    from fairway.cli.eval.reading import find_folder
    from fairway.cli.eval.reporting import tell
    from fairway.cli.eval.told import kept_content

    content = kept_content(find_folder(eval_place(project_dir), run))
    tell(content, files, output=output)
