"""``fairway gateway restart``: the code that is installed now, without a failed request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.state_dir import StateDir

EPILOG = """\b
Examples:
  fairway gateway restart                  after an upgrade of Fairway: parent and workers, the pid stays
  fairway gateway restart --workers-only   the workers one by one
  fairway gateway restart --no-wait -o json"""

_STARTS_WITHIN = 45.0


@click.command("restart", epilog=EPILOG)
@click.option("--workers-only", is_flag=True, help="Replace the workers one by one; the parent goes on.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the old ones' requests are done.")
@project_option
@output_option
def command(workers_only: bool, wait: bool, project_dir: str | None, output: str) -> None:
    """Restart the running gateway in place; no request fails, and running streams complete within its drain.

    A new gateway of the code that is installed now serves before the old one drains. When it does not
    start, the old one goes on and this says why. Pid, ports, pin, trip and conversations stay.
    """
    state = state_of(project_dir)
    before = ask(state, "GET", "/v1/status")
    ask(state, "POST", "/v1/restart", {"what": "workers" if workers_only else "gateway"}, within=_STARTS_WITHIN)
    if wait:
        if output == "text":
            say("the new one serves; waiting for what the old one still answers" if not workers_only else "one by one")
        found = _finished(state)
    else:
        found = {"restarting": True}
    found = {"pid": before["pid"], "version_before": before["version"], **found}
    emit(found, output=output, text=lambda: _text(found))


def _finished(state: StateDir) -> dict[str, Any]:
    """The status once the restart is over.

    Raises:
        PermanentError: ``restart_failed``: it ended early.
        TransientError: The gateway does not answer for ten seconds.
    """
    import time

    from fairway.errors import PermanentError, TransientError

    heard = time.monotonic()
    while True:
        try:
            status = ask(state, "GET", "/v1/status")
            heard = time.monotonic()
            if status["restarting"] is None:
                break
        except TransientError:
            if time.monotonic() - heard > 10.0:  # between two processes nobody answers for a moment
                raise
        time.sleep(0.1)
    if status["restart_error"]:
        raise PermanentError(status["restart_error"], code="restart_failed", hint="the gateway's log says more")
    return {"restarting": False, "version": status["version"], "workers": [w["pid"] for w in status["workers"]]}


def _text(found: dict[str, Any]) -> str:
    if found["restarting"]:
        return "the new one serves; `fairway gateway status` says when the old one is done"
    same = found["version"] == found["version_before"]
    changed = found["version"] if same else f"{found['version_before']} -> {found['version']}"
    return f"restarted: pid {found['pid']}, version {changed}, {len(found['workers'])} workers"
