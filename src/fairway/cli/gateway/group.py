"""``fairway gateway``: the data plane."""

from __future__ import annotations

import click

from fairway.cli.lazy_group import LazyGroup

EPILOG = """\b
Examples:
  fairway gateway serve --port 8700 --admin-port 8701
  fairway gateway status
  fairway gateway pin stable"""

COMMANDS: dict[str, tuple[str, str]] = {
    "explain": ("fairway.cli.gateway.explain", "Say which rule fires for a request, and who would serve it."),
    "instances": ("fairway.cli.gateway.instances", "List the instances, and how each is."),
    "mask": ("fairway.cli.gateway.mask", "Keep one release from traffic, with nothing else alive."),
    "pass": ("fairway.cli.gateway.release_pass", "Print the header that sends a request to one release."),
    "pin": ("fairway.cli.gateway.pin", "Send everything to stable, whatever the controller says."),
    "restart": ("fairway.cli.gateway.restart", "The code that is installed now, without a failed request."),
    "serve": ("fairway.cli.gateway.serve", "Serve until SIGTERM or Ctrl-C, then drain."),
    "shadow": ("fairway.cli.gateway.shadow", "Show what a shadow answered, beside what users got."),
    "status": ("fairway.cli.gateway.status", "Show what the running gateway serves: table, arms, workers."),
    "unmask": ("fairway.cli.gateway.unmask", "Let a release serve again that was masked by hand."),
    "untrip": ("fairway.cli.gateway.untrip", "Let a release serve again that the gateway tripped by itself."),
}


@click.group(name="gateway", cls=LazyGroup, commands_by_name=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Serve traffic: split by rule, pin or hash, pass through, count.

    `fairway up` runs a gateway for you; these commands run one by itself, look into one that runs, and
    hold traffic on stable with nothing else alive.
    """
