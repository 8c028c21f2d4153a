"""``fairway rollout``: move production from stable to a candidate, and steer it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.steering import VERBS, open_project, request_verb, steers

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.cli.following import Lines, Screen
    from fairway.project.load import Project
    from fairway.rollout.forecast import Traffic
    from fairway.rollout.values import Plan
    from fairway.units import Digest

ENDED = ("done", "rolled_back")
OVERRIDE = "Also past what is not known of stable, or a policy that asks less than stable's; needs a reason."


@click.group(
    "rollout",
    cls=Listing,
    epilog="Example: fairway rollout start v1.1.0 && fairway rollout watch",
)
def command() -> None:
    """Move production from stable to a candidate, step by step, judged on evidence."""


@command.command("plan", epilog="Example: fairway rollout plan --traffic 400")
@click.option("--release", help="Plan of this release against the present stable, by its own policy.")
@click.option("--traffic", type=click.FloatRange(min=0), help="New conversations a minute; by default as measured.")
@project_option
@output_option
def plan(release: str | None, traffic: float | None, project_dir: str | None, output: str) -> None:
    """Show the steps a rollout would take: margins, what each can show, and how long each takes at my traffic.

    Settings that change nothing under the strategy are told on stderr, in `-o json` as `warnings`, with their line.
    """
    from pathlib import Path

    from fairway.bootstrap import SERVING_ENVIRONMENT
    from fairway.controller.policy import plan_of
    from fairway.project.load import load_project
    from fairway.project.without_effect import missing_prompts, without_effect
    from fairway.rollout.describe_plan import describe_forecast, plan_report
    from fairway.validate import raise_all

    project = load_project(None if project_dir is None else Path(project_dir))
    idle = () if release is not None else without_effect(project)
    if release is None:
        raise_all(missing_prompts(project, SERVING_ENVIRONMENT))
    compiled = plan_of(project, SERVING_ENVIRONMENT) if release is None else _released_plan(project_dir, release)
    found = _traffic_of(project, traffic)
    for one in idle:
        say(f"warning: {one} ({one.hint})")
    warnings = [{"place": one.place, "key": one.key, "message": one.message, "hint": one.hint} for one in idle]
    told = {**plan_report(compiled, found), "warnings": warnings}
    emit(told, output=output, text=lambda: describe_forecast(compiled, found))


def _released_plan(project_dir: str | None, release: str) -> Plan:
    """What a rollout of a release would follow now; ``auto`` looks at what it changes of the present stable."""
    from fairway.bootstrap import plan_of_release

    workspace = open_project(project_dir)
    try:
        return plan_of_release(workspace, release)
    finally:
        workspace.close()


def _traffic_of(project: Project, told: float | None) -> Traffic | None:
    """What was told, else the telemetry of the last minutes; ``None`` when there is no ledger yet, or no traffic."""
    from fairway.bootstrap import SERVING_ENVIRONMENT
    from fairway.ledger import open_ledger
    from fairway.observe.fold import Block
    from fairway.rollout.describe_plan import traffic_of
    from fairway.rollout.forecast import Traffic as Told
    from fairway.rollout.traffic_rate import WINDOW_SECONDS

    if told is not None:
        return Told(per_minute=told)
    if not project.state.ledger.is_file():
        return None
    with open_ledger(project.state.ledger, migrate=False) as ledger:
        wires = ledger.blocks(project.route(SERVING_ENVIRONMENT), since=time.time() - WINDOW_SECONDS)
    return traffic_of(Block.from_wire(wire) for wire in wires)


@command.command("start", epilog="Example: fairway rollout start v1.1.0")
@click.argument("release")
@click.option("--supersede", is_flag=True, help="Abort a rollout that is live, then start this one.")
@click.option("--override", is_flag=True, help=OVERRIDE)
@steers()
def start(release: str, supersede: bool, override: bool = False, **options: Any) -> None:
    """Start a rollout of RELEASE (version, tag, digest or commit) to production."""

    def named(workspace: Workspace) -> Mapping[str, Any]:
        manifest = workspace.ledger.find_release(workspace.project.name, release).manifest
        return {"release": manifest.release_digest, "supersede": supersede, **({"override": True} if override else {})}

    request_verb("start", args=named, **options)


@command.command("status", epilog="Example: fairway rollout status -o json")
@project_option
@output_option
def status(project_dir: str | None, output: str) -> None:
    """Show in one screen what is desired, observed, why, on which evidence, and what it is waiting for."""
    from fairway.recovery.options import rehearsed_way_back
    from fairway.rollout.describe import describe_status

    workspace = open_project(project_dir)
    try:
        back = rehearsed_way_back(workspace)
        told = {**_status(workspace), "way_back": back}
    finally:
        workspace.close()
    line = "" if back is None else f"\nway back   {back['to']}: {back['rehearsal']['reason']}"
    emit(told, output=output, text=lambda: describe_status(told) + line)


def _version_of(workspace: Workspace, release: Digest) -> str | None:
    """The version of a release of this project; ``None`` when the ledger does not have it."""
    from fairway.errors import FairwayError

    try:
        return workspace.ledger.find_release(workspace.project.name, release).manifest.release_version
    except FairwayError:
        return None


def _status(workspace: Workspace) -> Mapping[str, Any]:
    from fairway.controller.live_view import read_last_view, read_live_view
    from fairway.rollout.status import status_wire
    from fairway.supervise.trouble import controller_trouble

    return status_wire(
        workspace.ledger,
        workspace.route,
        read_live_view(workspace.state, workspace.route),
        now=workspace.clock.now(),
        people=workspace.project.people.to_people(),
        last_view=read_last_view(workspace.state, workspace.route),
        trouble=controller_trouble(workspace.state),
        version_of=partial(_version_of, workspace),
    )


@command.command("watch", epilog="Example: fairway rollout watch --timeout 30m")
@click.option(
    "--timeout", default="2h", show_default=True, help="Give up watching after this long; the rollout goes on."
)
@click.option(
    "--until",
    type=click.Choice(["promoted", "done"]),
    default="promoted",
    show_default=True,
    help="promoted: all traffic confirmed on it, and compared with stable before or since; done: also after its soak.",
)
@click.option(
    "--screen/--lines", default=None, help="The whole status, live, or a line an event; by default as the terminal is."
)
@project_option
@output_option
def watch(timeout: str, until: str, screen: bool | None, project_dir: str | None, output: str) -> None:
    """Follow the live rollout until it ends: exit 0 when it is promoted, 1 when it was rolled back."""
    from fairway.cli.following import Lines, Screen
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
        on_screen = sys.stdout.isatty() if screen is None else screen
        shown = Screen(lambda: _status(workspace)) if on_screen and output == "text" else None
        display = shown or Lines(output, lambda: _status(workspace))
        with display.running():
            phase = _follow(workspace, display, until=until, deadline=deadline, seen=max(0, head.fence.seq - 1))
    finally:
        workspace.close()
    if phase in ENDED or (phase == "promoted" and until == "promoted"):
        raise SystemExit(1 if phase == "rolled_back" else 0)
    raise TransientError(
        f"still {phase} after {timeout}", code="watch_timeout", hint="the rollout goes on; watch again"
    )


def _follow(workspace: Workspace, display: Lines | Screen, *, until: str, deadline: float, seen: int) -> str:
    """Show what happens until the rollout ends or time is up; the phase it is in then."""
    phase = ""
    while time.monotonic() < deadline:
        for event in workspace.ledger.events(workspace.route, after=seen):
            seen = event.fence.seq
            display.event(event)
        phase = _phase(workspace)
        if phase in ENDED or (phase == "promoted" and until == "promoted"):
            break
        display.tick()
        time.sleep(0.2)
    return phase


def _phase(workspace: Workspace) -> str:
    """Where the rollout is; ``promoted``: it soaks, and what had to be shown before that has been."""
    from fairway.recovery.options import route_state
    from fairway.rollout.advised import proved_in_soak

    state = route_state(workspace)
    rollout = None if state is None else state.rollout
    if rollout is None:
        return ""
    return "promoted" if rollout.phase == "soaking" and not proved_in_soak(rollout) else rollout.phase.value


for verb in VERBS:
    command.add_command(verb)
