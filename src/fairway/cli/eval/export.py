"""``fairway eval export``: a suite in another format."""

from __future__ import annotations

import click

from fairway.cli.output import output_option, say

EPILOG = """\b
Examples:
  fairway eval export evals/suites/support.yaml --format csv > support.csv
  fairway eval export cases.jsonl --format promptfoo --out promptfooconfig.yaml
"""


@click.command("export", epilog=EPILOG)
@click.argument("suite")
@click.option(
    "--format",
    "form",
    type=click.Choice(["yaml", "json", "jsonl", "csv", "promptfoo"]),
    default="yaml",
    show_default=True,
    help="Of what is written.",
)
@click.option("--out", type=click.Path(dir_okay=False), help="File to write; by default stdout.")
@output_option
def command(suite: str, form: str, out: str | None, output: str) -> None:
    """Write a suite in another format; what that format cannot say is told on stderr, never left out silently."""
    import json
    from pathlib import Path

    from fairway.cli.eval.suites import named_suites
    from fairway.errors import UserError
    from fairway.evals.suites.export import SuiteFormat, export_suite

    found = named_suites((suite,), Path.cwd())
    if len(found) != 1:
        raise UserError(f"{suite} is {len(found)} suites", code="eval_option", hint="name one file")
    exported = export_suite(found[0], SuiteFormat(form))
    if out is not None:
        Path(out).write_text(exported.text, encoding="utf-8")
        say(f"{len(found[0].cases)} cases written to {out}")
    if output == "json":
        told = {"suite": found[0].name, "cases": len(found[0].cases), "format": form, "out": out, "lost": exported.lost}
        click.echo(json.dumps(told if out is not None else {**told, "text": exported.text}, indent=2))
    elif out is None:
        click.echo(exported.text, nl=False)
    for lost in exported.lost:
        say(f"lost: {lost}")
