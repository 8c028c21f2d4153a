"""``fairway mock-llm``."""

from __future__ import annotations

import json

import click

from fairway.cli.output import output_option, say

EPILOG = """\b
Example:
  fairway mock-llm --scenario evals/mock-llm.yaml --port 8090
  OPENAI_BASE_URL=http://127.0.0.1:8090/v1 OPENAI_API_KEY=none python my_agent.py
"""


@click.command(epilog=EPILOG)
@click.option("--scenario", default="evals/mock-llm.yaml", show_default=True, help="What the model does.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default="a free one", type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--check", is_flag=True, help="Only check the scenario file.")
@output_option
def command(scenario: str, host: str, port: int, check: bool, output: str) -> None:
    """Serve a deterministic model on OpenAI's protocol.

    Its behaviour is a function of the system prompt, the conversation and the tools offered, written
    down in a scenario file. A directive missing from the system prompt is not followed, so a prompt
    change really changes what an agent does. Stops on Ctrl-C.
    """
    import asyncio
    from pathlib import Path

    from fairway.llm.mock.scenario import load_scenario

    loaded = load_scenario(Path(scenario))
    if check:
        result = {"scenario": loaded.name, "rules": len(loaded.rules), "directives": sorted(loaded.directives)}
        click.echo(json.dumps(result) if output == "json" else f"{scenario}: {len(loaded.rules)} rules, no errors")
        return

    from fairway.llm.mock.server import serve

    def ready(url: str) -> None:
        if output == "json":
            click.echo(json.dumps({"url": url, "scenario": loaded.name}))
        else:
            click.echo(url)
            say(f"serving '{loaded.name}' with {len(loaded.rules)} rules; Ctrl-C stops")

    try:
        import uvloop
    except ImportError:  # not built for this platform; asyncio's own loop does, with fewer requests a second
        loop_factory = None
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(loaded, host=host, port=port, ready=ready))
