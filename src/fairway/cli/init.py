"""``fairway init``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fairway.cli.output import emit, output_option, say

if TYPE_CHECKING:
    from fairway.scaffold import InitResult

EPILOG = """\b
Examples:
  fairway init my-agent
  fairway init . --template existing --command 'node server.js --port {port}' --health /healthz
"""


@click.command(epilog=EPILOG)
@click.argument("directory", default=".", type=click.Path(file_okay=True))
@click.option(
    "--template",
    type=click.Choice(["plain", "existing"]),
    default="plain",
    show_default=True,
    help="plain: a whole agent. existing: only Fairway's files, beside a service that is there.",
)
@click.option("--name", help="Name of the agent; by default that of the folder.")
@click.option("--command", "start", help="existing: how the service is started; {port} is where it must listen.")
@click.option("--health", help="existing: path that answers 200 while the process lives.")
@click.option("--ready", help="existing: path that answers 200 when it can serve; by default the health path.")
@click.option("--chat", help="existing: path a message is posted to.")
@click.option("--no-git", is_flag=True, help="plain: make no repository and no first commit.")
@output_option
def command(
    directory: str,
    template: str,
    name: str | None,
    start: str | None,
    health: str | None,
    ready: str | None,
    chat: str | None,
    no_git: bool,
    output: str,
) -> None:
    """Make an agent project in DIRECTORY, or add Fairway to a service that is there.

    The plain template is a support agent that runs at once, offline: code, prompt, models, tools, evals
    and tests. With --template existing only fairway.yaml, a first eval case and a line in .gitignore are
    added, and nothing is overwritten.
    """
    from pathlib import Path

    from fairway.errors import UserError
    from fairway.scaffold import Wishes, add_to_service, make_project

    wishes = Wishes(command=start, health=health, ready=ready, chat=chat)
    if template == "existing":
        result = add_to_service(Path(directory), name=name, wishes=wishes)
    else:
        if wishes != Wishes():
            raise UserError(
                "--command, --health, --ready and --chat describe a service that is there",
                hint="add --template existing",
            )
        result = make_project(Path(directory), name=name, commit=not no_git)
    for note in result.notes:
        say(f"note: {note}")
    emit(result.wire(), output=output, text=lambda: _text(result))


def _text(result: InitResult) -> str:
    made = f"{result.name}: {len(result.files)} files in {result.directory}"
    committed = f", commit {result.commit[:8]}" if result.commit else ""
    steps = "\n".join(f"  {step}" for step in result.next_steps)
    return f"{made}{committed}\nNext:\n{steps}"
