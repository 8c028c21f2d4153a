"""``fairway schema``: JSON Schemas of the project files and of every value on the wire."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fairway.cli.output import emit, output_option


@click.command(name="schema", epilog="Example: fairway schema fairway.yaml > fairway.schema.json")
@click.argument("name", required=False)
@click.option("--all", "directory", type=click.Path(file_okay=False), help="Write every schema into this folder.")
@output_option
def command(name: str | None, directory: str | None, output: str) -> None:
    """Print one JSON Schema (draft 2020-12), list them all, or write them into a folder.

    An editor with a YAML language server checks fairway.yaml as you type when its first line is
    `# yaml-language-server: $schema=fairway.schema.json`.
    """
    from fairway.project.schemas import describe, json_schema, schema_names

    if name is not None:
        # A schema is JSON in either form of output.
        click.echo(json.dumps(json_schema(name), indent=2, sort_keys=True))
        return
    if directory is not None:
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for each in schema_names():
            path = folder / f"{each}.json"
            path.write_text(json.dumps(json_schema(each), indent=2, sort_keys=True) + "\n", encoding="utf-8")
            written.append(str(path))
        emit({"written": written}, output=output, text=lambda: "\n".join(written))
        return
    names = {each: describe(each) for each in schema_names()}
    emit(names, output=output, text=lambda: "\n".join(f"{each:<14} {what}" for each, what in names.items()))
