"""``fairway rollout`` for people: the verbs that steer a live rollout, each a request a controller answers once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.rollout.requests import Answer

_SHORT = 4
"""Characters of a request's id that are enough to name it, when no other begins alike."""

LAST_SEQ = 2**53 - 1
"""The largest seq there can be: every program that reads JSON keeps it exactly, and so does every database."""

Command = Callable[..., Any]


def steers(*, reason_required: bool = False, glass: bool = True) -> Callable[[Command], Command]:
    """The options every verb has: why, at which version, without the role, of which project, in which form."""

    def decorate(function: Command) -> Command:
        why = (
            click.option("--reason", required=True, help="Why; kept in the audit log.")
            if reason_required
            else click.option("--reason", default="", help="Why; kept in the audit log.")
        )
        options = [
            why,
            click.option(
                "--if-version",
                type=click.IntRange(0, LAST_SEQ),
                default=None,
                help="Refuse unless the route's last event is this one (seq of status -o json).",
            ),
            *([_GLASS] if glass else []),
            project_option,
            output_option,
        ]
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_GLASS = click.option(
    "--break-glass",
    is_flag=True,
    help="Do it also without the role; recorded loudly, and a note is owed: fairway audit note.",
)


def open_project(project_dir: str | None) -> Workspace:
    """The project with its ledger open."""
    from fairway.bootstrap import open_workspace

    return open_workspace(project_dir)


def request_verb(
    verb: str,
    *,
    project_dir: str | None,
    output: str,
    reason: str = "",
    if_version: int | None = None,
    break_glass: bool = False,
    args: Callable[[Workspace], Mapping[str, Any]] | None = None,
) -> None:
    """Ask the controller for one verb, and say what became of it.

    Args:
        verb: Its name on the wire.
        project_dir: As ``--project`` gives it.
        output: ``text`` or ``json``.
        reason: Why.
        if_version: Event the route has to be at.
        break_glass: Also without the role.
        args: Of the verb, read from the open project.
    """
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    workspace = open_project(project_dir)
    try:
        given = {} if args is None else args(workspace)
        answer = ask(workspace, Verb(verb), args=given, reason=reason, if_version=if_version, break_glass=break_glass)
    finally:
        workspace.close()
    told(answer, output)


def told(answer: Answer, output: str) -> None:
    """Say what became of a request."""
    wire = {"request": answer.request_id, "result": answer.kind.value, "seq": answer.seq, "message": answer.message}
    emit(wire, output=output, text=lambda: str(answer.message))
    if output == "text":
        say("follow it with: fairway rollout watch")


def _named(release: str) -> Callable[[Workspace], Mapping[str, Any]]:
    return lambda workspace: {"release": _digest(workspace, release)}


def _digest(workspace: Workspace, release: str) -> str:
    return workspace.ledger.find_release(workspace.project.name, release).manifest.release_digest


def _plain(name: str, *, summary: str, example: str) -> click.Command:
    """A verb that differs from the others in nothing but the word."""

    @click.command(name, help=summary, epilog=f"Example: {example}")
    @steers()
    def steer(**options: Any) -> None:
        request_verb(name, **options)

    return steer


pause = _plain(
    "pause",
    summary="Stop advancing; a failed gate still rolls back.",
    example="fairway rollout pause --reason 'launch in an hour'",
)
resume = _plain("resume", summary="Go on after a pause.", example="fairway rollout resume")


@click.command("abort", epilog="Example: fairway rollout abort --reason 'wrong answers about refunds'")
@click.option("--to-nothing", is_flag=True, help="Also where it is the first release, and every request is refused.")
@steers(glass=False)
def abort(to_nothing: bool, **options: Any) -> None:
    """Take all traffic back to stable now; works in every phase, and nothing ever blocks it.

    Where there is no stable release to take it to, it asks for --to-nothing.
    """
    from fairway.recovery.options import refuse_to_leave_nothing

    def checked(workspace: Workspace) -> Mapping[str, Any]:
        if not to_nothing:
            refuse_to_leave_nothing(workspace)
        return {}

    request_verb("abort", args=checked, **options)


@click.command("promote", epilog="Example: fairway rollout promote --full --reason 'hotfix, reviewed by hand'")
@click.option("--full", is_flag=True, help="Skip the remaining steps: all traffic to the candidate.")
@steers(reason_required=True)
def promote(full: bool, **options: Any) -> None:
    """Go one step further without waiting for the gates; an override, so it needs a reason.

    It never goes past a gate that failed, an approval that is missing or another person's hold, and it is shown as what
    it is: not a pass.
    """
    request_verb("promote", args=lambda _: {"full": full}, **options)


@click.command("skip", epilog="Example: fairway rollout skip --reason 'too little traffic at night, seen by hand'")
@steers(reason_required=True)
def skip(**options: Any) -> None:
    """Leave the current step, or the soak, without its evidence; later steps are judged as ever."""
    request_verb("skip", **options)


@click.command("retry", epilog="Example: fairway rollout retry v1.1.0 --reason 'the shop was down, not us'")
@click.argument("release", required=False)
@steers(reason_required=True)
def retry(release: str | None, **options: Any) -> None:
    """Start the rollout that was rolled back again: every gate anew, the same users, its block lifted.

    RELEASE is by default that of the last rollout.
    """
    request_verb("retry", args=lambda workspace: {"release": _last_or(workspace, release)}, **options)


def _last_or(workspace: Workspace, release: str | None) -> str:
    from fairway.errors import NotFoundError

    if release is not None:
        return _digest(workspace, release)
    state = workspace.ledger.head(workspace.route).state or {}
    rollout = state.get("rollout")
    if not rollout:
        raise NotFoundError(
            "no rollout has been started here", code="no_rollout", hint="fairway rollout start <release>"
        )
    return str(rollout["candidate"]["release"])


@click.command("supersede", epilog="Example: fairway rollout supersede v1.1.1 --reason 'fixes what v1.1.0 broke'")
@click.argument("release")
@steers(reason_required=True)
def supersede(release: str, **options: Any) -> None:
    """Take the live rollout back to stable, then start RELEASE in its place."""
    request_verb("start", args=lambda workspace: {**_named(release)(workspace), "supersede": True}, **options)


@click.command("approve", epilog="Example: fairway rollout approve v1.1.0")
@click.argument("release")
@click.option(
    "--before",
    default=None,
    help="What for, when the rollout does not wait for it now: first, or a share such as 100%.",
)
@steers(glass=False)
def approve(release: str, before: str | None, **options: Any) -> None:
    """Approve RELEASE for production; it counts only for exactly this release, configuration, policy and step.

    A request to put the agent's database back (restore-…) is approved by its name as well.
    """
    if release.startswith("restore-"):
        from fairway.cli.rollback import approve_restore

        approve_restore(release, options["project_dir"], options["output"])
        return
    given = {} if before is None else {"before": before}
    request_verb("approve", args=lambda workspace: {**_named(release)(workspace), **given}, **options)


@click.command("revoke", epilog="Example: fairway rollout revoke v1.1.0 --reason 'legal has not read it'")
@click.argument("release")
@click.option("--of", "whose", default=None, help="Whose approval; by default your own.")
@steers(reason_required=True)
def revoke(release: str, whose: str | None, **options: Any) -> None:
    """Take an approval of RELEASE back; a rollout that was exposed on it pauses."""
    request_verb("revoke", args=lambda workspace: {**_named(release)(workspace), "of": whose}, **options)


@click.command("lift-block", epilog="Example: fairway rollout lift-block v1.2.0 --reason 'the shop was down, not us'")
@click.argument("release")
@steers(reason_required=True)
def lift_block(release: str, **options: Any) -> None:
    """Allow RELEASE to start again after it was rolled back."""
    request_verb("lift_block", args=_named(release), **options)


@click.command("hold", epilog="Example: fairway rollout hold --for 2h --reason 'on call is at lunch'")
@click.option("--freeze", is_flag=True, help="Stop automation altogether, rollback included; at most 4h.")
@click.option("--for", "duration", default=None, help="How long; without it the hold stays until it is released.")
@click.option("--release", "let_go", is_flag=True, help="Release the hold, as release-hold does.")
@steers()
def hold(freeze: bool, duration: str | None, let_go: bool, **options: Any) -> None:
    """Pin the route: automation does not advance it (and with --freeze does nothing) until the hold ends."""
    if let_go:
        request_verb("release_hold", **options)
        return
    kind = "freeze" if freeze else "no-advance"
    request_verb("hold", args=lambda workspace: {"kind": kind, "until": _until(workspace, duration)}, **options)


def _until(workspace: Workspace, duration: str | None) -> str | None:
    from datetime import timedelta

    from fairway.errors import UserError
    from fairway.units import parse_duration

    if duration is None:
        return None
    try:
        return (workspace.clock.now() + timedelta(seconds=parse_duration(duration))).isoformat()
    except (ValueError, OverflowError) as error:
        raise UserError(f"--for: {error}", code="bad_option", hint="for example --for 2h") from error


@click.command("release-hold", epilog="Example: fairway rollout release-hold --reason 'launch is over'")
@click.option("--of", "whose", default=None, metavar="NAME", help="Whose hold; by default my own, else the only one.")
@steers()
def release_hold(whose: str | None, **options: Any) -> None:
    """Let go of a hold: my own, or with the role that of another person. What others hold stays."""
    request_verb("release_hold", args=lambda _: {"of": whose}, **options)


@click.command("withdraw", epilog="Example: fairway rollout withdraw 3fa9c1d2")
@click.argument("request_id", metavar="REQUEST")
@steers(glass=False)
def withdraw(request_id: str, project_dir: str | None, output: str, **options: Any) -> None:
    """Take back a REQUEST that no controller has answered yet (its id, or how it begins; status shows them).

    Without a controller the withdrawal is recorded too: the first one alive answers both, and does nothing else.
    """
    from fairway.errors import TransientError
    from fairway.rollout.requests import Answer, AnswerKind

    def named(workspace: Workspace) -> Mapping[str, Any]:
        return {"request": _pending(workspace, request_id)}

    try:
        request_verb("withdraw", args=named, project_dir=project_dir, output=output, **options)
    except TransientError as error:
        if error.code != "no_controller":
            raise
        text = "recorded: it will be answered as withdrawn, and nothing done, once a controller runs"
        told(Answer(request_id=request_id, kind=AnswerKind.PENDING, message=text), output)


def _pending(workspace: Workspace, beginning: str) -> str:
    """The id of the one pending request that begins so."""
    from fairway.errors import NotFoundError, UserError

    ids = [request.id for request in workspace.ledger.pending(workspace.route)]
    found = [one for one in ids if one == beginning] or [one for one in ids if one.startswith(beginning)]
    if len(found) == 1 and len(beginning) >= _SHORT:
        return found[0]
    if not found:
        raise NotFoundError(
            f"no request that begins with {beginning!r} waits for an answer",
            code="not_pending",
            hint="fairway rollout status shows what waits",
        )
    raise UserError(
        f"{beginning!r} names {len(found)} requests; give more of its id", code="bad_option", hint=", ".join(found)
    )


VERBS: tuple[click.Command, ...] = (
    promote,
    skip,
    pause,
    resume,
    abort,
    retry,
    supersede,
    approve,
    revoke,
    hold,
    release_hold,
    lift_block,
    withdraw,
)
"""Every verb of people, as a command of ``fairway rollout``."""
