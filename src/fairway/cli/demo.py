"""``fairway demo``: the main job, end to end, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from fairway.cli.output import emit, output_option, say


@click.command("demo", epilog="Example: fairway demo --keep --dir /tmp/shop")
@click.option(
    "--chapter",
    type=click.Choice(["main", "blue-green", "shadow"]),
    default="main",
    show_default=True,
    help="main: four releases, canaries; blue-green: two switches, one of them back; shadow: copies before users.",
)
@click.option("--dir", "directory", type=click.Path(file_okay=False), help="Where the project is made; must be empty.")
@click.option("--keep", is_flag=True, help="Leave everything running, to look at.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the traffic.")
@output_option
def command(chapter: str, directory: str | None, keep: bool, seed: int, output: str) -> None:
    """Take an agent through four releases under live traffic: promote a good one, catch two bad ones.

    Makes a project, serves it, and runs the same commands you would. Needs no key, no container, no database; takes
    about two minutes. Other chapters tell other strategies. Exits 0 only if everything happened as it should.
    """
    import asyncio
    import shutil
    import tempfile
    from pathlib import Path

    from fairway.demo.blue_green import BlueGreenChapter
    from fairway.demo.shadow import ShadowChapter
    from fairway.demo.story import Story
    from fairway.demo.telling import Telling
    from fairway.errors import UserError

    if shutil.which("git") is None:
        raise UserError("the demo needs git", code="no_git", hint="install git and run it again")
    made = None if directory else tempfile.mkdtemp(prefix="fairway-demo-")
    root = Path(directory).absolute() if directory else Path(str(made)) / "shop"
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty", code="not_empty", hint="choose another --dir, or remove it first")
    root.parent.mkdir(parents=True, exist_ok=True)
    chapters: dict[str, type[Telling]] = {"main": Story, "blue-green": BlueGreenChapter, "shadow": ShadowChapter}
    result = asyncio.run(chapters[chapter](root, seed=seed).tell(keep=keep))
    if made is not None and not keep and result["met"]:
        shutil.rmtree(made, ignore_errors=True)
        result["project"] = None
    emit(result, output=output, text=lambda: _summary(result))
    if keep:
        say(f"\nstill running: {result['url']}, project {root}\nstop it with: fairway up --stop --project {root}")
    raise SystemExit(0 if result["met"] else 1)


def _summary(result: Mapping[str, Any]) -> str:
    lines = [""]
    for each in result["expectations"]:
        lines.append(f"{'ok  ' if each['met'] else 'FAIL'} {each['name']}\n       {each['seen']}")
    exposure = result["exposure"]
    if exposure:
        lines.append(
            f"\nThe bad release met {exposure['conversations']} conversations, {exposure['failed_conversations']} of"
            f" which failed, in {exposure['seconds_until_decision']:.0f}s; every gateway was back on stable"
            f" {exposure['seconds_decision_to_confirmed'] * 1000:.0f} ms after the decision."
        )
    verdict = "everything happened as it should" if result["met"] else "something did not happen as it should"
    lines.append(f"{verdict}, in {result['seconds']:.0f}s")
    return "\n".join(lines)
