"""``fairway rollout``: move production from stable to a candidate, and steer it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace

ENDED = ("done", "rolled_back")


@click.group(
    "rollout",
    epilog="Example: fairway rollout start v1.1.0 && fairway rollout watch",
)
def command() -> None:
    """Move production from stable to a candidate, step by step, judged on evidence."""


def _open(project_dir: str | None) -> Workspace:
    from fairway.bootstrap import open_workspace

    return open_workspace(project_dir)


def _reason_option(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if required:
        return click.option("--reason", required=True, help="Why; kept in the audit log.")
    return click.option("--reason", default="", help="Why; kept in the audit log.")


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
@_reason_option(required=False)
@project_option
@output_option
def start(release: str, supersede: bool, reason: str, project_dir: str | None, output: str) -> None:
    """Start a rollout of RELEASE (version, tag, digest or commit) to production."""
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    workspace = _open(project_dir)
    try:
        manifest = workspace.ledger.find_release(workspace.project.name, release).manifest
        answer = ask(
            workspace, Verb.START, args={"release": manifest.release_digest, "supersede": supersede}, reason=reason
        )
    finally:
        workspace.close()
    _told(answer, output)


@command.command("status", epilog="Example: fairway rollout status -o json")
@project_option
@output_option
def status(project_dir: str | None, output: str) -> None:
    """Show in one screen what is desired, why, on which evidence, and what it is waiting for."""
    from fairway.rollout.describe import describe_status, status_wire

    workspace = _open(project_dir)
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
    workspace = _open(project_dir)
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


def _verb(name: str, *, summary: str, reason_required: bool, example: str) -> click.Command:
    """One steering verb as a command; they differ in nothing but the word."""

    @click.command(name, help=summary, epilog=f"Example: {example}")
    @_reason_option(required=reason_required)
    @project_option
    @output_option
    def steer(reason: str, project_dir: str | None, output: str) -> None:
        from fairway.cli.verbs import ask
        from fairway.rollout.requests import Verb

        workspace = _open(project_dir)
        try:
            answer = ask(workspace, Verb(name), reason=reason)
        finally:
            workspace.close()
        _told(answer, output)

    return steer


command.add_command(
    _verb(
        "pause",
        summary="Stop advancing; a failed gate still rolls back.",
        reason_required=False,
        example="fairway rollout pause --reason 'launch in an hour'",
    )
)
command.add_command(
    _verb("resume", summary="Go on after a pause.", reason_required=False, example="fairway rollout resume")
)
command.add_command(
    _verb(
        "abort",
        summary="Take all traffic back to stable now.",
        reason_required=False,
        example="fairway rollout abort --reason 'wrong answers about refunds'",
    )
)


@command.command("promote", epilog="Example: fairway rollout promote --full --reason 'hotfix, reviewed by hand'")
@click.option("--full", is_flag=True, help="Skip the remaining steps: all traffic to the candidate.")
@_reason_option(required=True)
@project_option
@output_option
def promote(full: bool, reason: str, project_dir: str | None, output: str) -> None:
    """Go one step further without waiting for the gates; an override, so it needs a reason."""
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    workspace = _open(project_dir)
    try:
        answer = ask(workspace, Verb.PROMOTE, args={"full": full}, reason=reason, pinned=False)
    finally:
        workspace.close()
    _told(answer, output)


@command.command("approve", epilog="Example: fairway rollout approve v1.1.0")
@click.argument("release")
@_reason_option(required=False)
@project_option
@output_option
def approve(release: str, reason: str, project_dir: str | None, output: str) -> None:
    """Approve RELEASE for production; it counts only for exactly this release, configuration and policy."""
    _about_release("approve", release, reason, project_dir, output)


@command.command("lift-block", epilog="Example: fairway rollout lift-block v1.2.0 --reason 'the shop was down, not us'")
@click.argument("release")
@_reason_option(required=True)
@project_option
@output_option
def lift_block(release: str, reason: str, project_dir: str | None, output: str) -> None:
    """Allow RELEASE to start again after it was rolled back."""
    _about_release("lift_block", release, reason, project_dir, output)


def _about_release(verb: str, release: str, reason: str, project_dir: str | None, output: str) -> None:
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    workspace = _open(project_dir)
    try:
        manifest = workspace.ledger.find_release(workspace.project.name, release).manifest
        answer = ask(workspace, Verb(verb), args={"release": manifest.release_digest}, reason=reason)
    finally:
        workspace.close()
    _told(answer, output)


@command.command("hold", epilog="Example: fairway rollout hold --for 2h --reason 'on call is at lunch'")
@click.option("--freeze", is_flag=True, help="Stop automation altogether, rollback included; at most 4h.")
@click.option("--for", "duration", default=None, help="How long; without it the hold stays until it is released.")
@click.option("--release", "let_go", is_flag=True, help="Release the hold.")
@_reason_option(required=False)
@project_option
@output_option
def hold(freeze: bool, duration: str | None, let_go: bool, reason: str, project_dir: str | None, output: str) -> None:
    """Pin the route: automation does not advance it (and with --freeze does nothing) until the hold ends."""
    from datetime import timedelta

    from fairway.cli.verbs import ask
    from fairway.errors import UserError
    from fairway.rollout.requests import Verb
    from fairway.units import parse_duration

    workspace = _open(project_dir)
    try:
        if let_go:
            answer = ask(workspace, Verb.RELEASE_HOLD, reason=reason)
        else:
            until = None
            if duration is not None:
                try:
                    until = (workspace.clock.now() + timedelta(seconds=parse_duration(duration))).isoformat()
                except ValueError as error:
                    raise UserError(f"--for: {error}", code="bad_option") from error
            kind = "freeze" if freeze else "no-advance"
            answer = ask(workspace, Verb.HOLD, args={"kind": kind, "until": until}, reason=reason)
    finally:
        workspace.close()
    _told(answer, output)


def _told(answer: Any, output: str) -> None:
    """Say what became of a request."""
    wire = {"request": answer.request_id, "result": answer.kind.value, "seq": answer.seq, "message": answer.message}
    emit(wire, output=output, text=lambda: str(answer.message))
    if output == "text":
        say("follow it with: fairway rollout watch")
