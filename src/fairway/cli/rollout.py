"""``fairway rollout``: move production from stable to a candidate, and steer it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option
from fairway.cli.steering import VERBS, open_project, request_verb, steers

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace

ENDED = ("done", "rolled_back")


@click.group(
    "rollout",
    epilog="Example: fairway rollout start v1.1.0 && fairway rollout watch",
)
def command() -> None:
    """Move production from stable to a candidate, step by step, judged on evidence."""


@command.command("plan", epilog="Example: fairway rollout plan")
@project_option
@output_option
def plan(project_dir: str | None, output: str) -> None:
    """Show the steps a rollout would take, its gates and margins, and what they need."""
    from pathlib import Path

    from fairway.bootstrap import SERVING_ENVIRONMENT
    from fairway.controller.policy import plan_of
    from fairway.project.load import load_project
    from fairway.rollout.describe import describe_plan
    from fairway.rollout.wire import plan_to_wire

    project = load_project(None if project_dir is None else Path(project_dir))
    compiled = plan_of(project, SERVING_ENVIRONMENT)
    emit(plan_to_wire(compiled), output=output, text=lambda: describe_plan(compiled))


@command.command("start", epilog="Example: fairway rollout start v1.1.0")
@click.argument("release")
@click.option("--supersede", is_flag=True, help="Abort a rollout that is live, then start this one.")
@steers()
def start(release: str, supersede: bool, **options: Any) -> None:
    """Start a rollout of RELEASE (version, tag, digest or commit) to production."""

    def named(workspace: Workspace) -> Mapping[str, Any]:
        manifest = workspace.ledger.find_release(workspace.project.name, release).manifest
        return {"release": manifest.release_digest, "supersede": supersede}

    request_verb("start", args=named, **options)


@command.command("status", epilog="Example: fairway rollout status -o json")
@project_option
@output_option
def status(project_dir: str | None, output: str) -> None:
    """Show in one screen what is desired, why, on which evidence, and what it is waiting for."""
    from fairway.rollout.describe import describe_status, status_wire

    workspace = open_project(project_dir)
    try:
        told = status_wire(workspace.ledger, workspace.route, _live_view(workspace))
    finally:
        workspace.close()
    emit(told, output=output, text=lambda: describe_status(told))


@command.command("watch", epilog="Example: fairway rollout watch --timeout 30m")
@click.option(
    "--timeout", default="2h", show_default=True, help="Give up watching after this long; the rollout goes on."
)
@click.option(
    "--until",
    type=click.Choice(["promoted", "done"]),
    default="promoted",
    show_default=True,
    help="promoted: all traffic confirmed on it; done: also after its soak.",
)
@project_option
@output_option
def watch(timeout: str, until: str, project_dir: str | None, output: str) -> None:
    """Follow the live rollout until it ends: exit 0 when it is promoted, 1 when it was rolled back."""
    from fairway.errors import NotFoundError, TransientError, UserError
    from fairway.units import parse_duration

    try:
        deadline = time.monotonic() + parse_duration(timeout)
    except ValueError as error:
        raise UserError(f"--timeout: {error}", code="bad_option") from error
    workspace = open_project(project_dir)
    try:
        head = workspace.ledger.head(workspace.route)
        if head.state is None or not head.state.get("rollout"):
            raise NotFoundError(
                "no rollout has been started", code="no_rollout", hint="fairway rollout start <release>"
            )
        seen = max(0, head.fence.seq - 1)
        while time.monotonic() < deadline:
            for event in workspace.ledger.events(workspace.route, after=seen):
                seen = event.fence.seq
                _print_event(event, output)
            phase = _phase(workspace)
            if phase in ENDED or (phase == "soaking" and until == "promoted"):
                raise SystemExit(1 if phase == "rolled_back" else 0)
            time.sleep(0.2)
    finally:
        workspace.close()
    raise TransientError(
        f"still {phase} after {timeout}", code="watch_timeout", hint="the rollout goes on; watch again"
    )


def _phase(workspace: Workspace) -> str:
    state = workspace.ledger.head(workspace.route).state or {}
    rollout: Mapping[str, Any] = state.get("rollout") or {}
    return str(rollout.get("phase", ""))


def _print_event(event: Any, output: str) -> None:
    if output == "json":
        wire = {
            "seq": event.fence.seq,
            "at": event.at.isoformat(),
            "kind": event.kind,
            "code": event.code,
            "reason": event.reason,
            "actor": event.actor,
        }
        click.echo(json.dumps(wire, ensure_ascii=False))
        return
    click.echo(f"{event.at:%H:%M:%S}  {event.kind:<9} {event.reason}")


def _live_view(workspace: Workspace) -> Mapping[str, Any] | None:
    from fairway.controller.live_view import read_live_view

    return read_live_view(workspace.state, workspace.route)


for verb in VERBS:
    command.add_command(verb)
