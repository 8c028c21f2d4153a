"""``fairway rollback``: go back, rehearse going back, and close what was gone back from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.rollback_record import close, list_rollbacks, show
from fairway.cli.steering import LAST_SEQ
from fairway.cli.workspaces import opened, refuse_without_right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fairway.bootstrap import Workspace
    from fairway.recovery.component import ComponentBack
    from fairway.recovery.database import DatabaseAct
    from fairway.recovery.database_request import RestoreRequest
    from fairway.recovery.options import WayBack
    from fairway.recovery.rehearsing import Rehearsal
    from fairway.release.values import SignedRelease
    from fairway.rollout.requests import Answer

EPILOG = """\b
Examples:
  fairway rollback --reason 'wrong answers about refunds'
  fairway rollback --to v1.1.0 --reason 'the last two are bad'
  fairway rollback --only prompts --reason 'only the prompt is bad'
  fairway rollback --flag new-refunds --reason 'refunds twice'
  fairway rollback --dry-run
  fairway rollback --rehearse
  fairway rollback close --note 'the prompt dropped the return window'
"""


@click.group("rollback", cls=Listing, invoke_without_command=True, epilog=EPILOG)
@click.option(
    "--to", "target", default=None, help="Version, tag, digest or commit; by default the last stable release."
)
@click.option(
    "--only",
    multiple=True,
    metavar="COMPONENT",
    help="Take back only prompts, models, tools, policies or code, as a derived release; may be given several times.",
)
@click.option(
    "--plan",
    type=click.Choice(["direct", "policy"]),
    default=None,
    help="With --only: at once, which needs every part to have been stable here, or by the policy's steps.",
)
@click.option("--run/--no-run", default=True, help="With --only: run the checks that are missing, or refuse.")
@click.option("--flag", "flag_name", default=None, metavar="NAME", help="Turn this feature flag off for everybody.")
@click.option("--database", is_flag=True, help="Ask to put the agent's database back; what is asked.")
@click.option("--backup", default=None, metavar="NAME", help="With --database: which backup; by default the last.")
@click.option("--yes", is_flag=True, help="With --database: carry out what is approved.")
@click.option("--again", is_flag=True, help="With --database: an earlier one has no known end, and I have looked.")
@click.option("--rehearse", is_flag=True, help="Do everything but move traffic, and record how long it takes.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, how long it takes and at what risk.")
@click.option("--to-nothing", is_flag=True, help="Also where it is the first release, and every request is refused.")
@click.option(
    "--if-version",
    type=click.IntRange(0, LAST_SEQ),
    default=None,
    help="Refuse unless the route's last event is this one (seq of rollout status -o json).",
)
@click.option("--reason", default="", help="Why; kept in the audit log.")
@click.option(
    "--break-glass",
    is_flag=True,
    help="Do it also without the role; recorded loudly, and a note is owed: fairway audit note.",
)
@project_option
@output_option
@click.pass_context
def command(context: click.Context, /, reason: str, project_dir: str | None, output: str, **wanted: Any) -> None:
    """Take all traffic back: to the last stable release, or to one that was stable here before.

    While a rollout is live this aborts it. The release that is left behind is blocked until somebody lifts it
    (`fairway rollout lift-block`). For ten minutes after production went back, it goes further back only when the
    release is named (--to), or the event that was seen (--if-version): two people who press it mean one step.

    What happened is recorded step by step: `fairway rollback show`.
    """
    if context.invoked_subcommand is not None:
        return
    _refuse_mixed(wanted)
    with opened(project_dir) as workspace:
        if wanted["dry_run"]:
            (_dry_run_only if wanted["only"] else _dry_run)(workspace, wanted, output)
        elif wanted["rehearse"]:
            _rehearse(workspace, wanted["target"], output)
        elif wanted["flag_name"] is not None:
            _flag_off(workspace, wanted["flag_name"], reason, output)
        elif wanted["database"]:
            _database(workspace, wanted, reason, output)
        elif wanted["only"]:
            _only(workspace, wanted, reason, output)
        else:
            _whole(workspace, wanted, reason, output)


def _refuse_mixed(wanted: dict[str, Any]) -> None:
    from fairway.errors import UserError

    names = {"flag_name": "--flag", "database": "--database", "only": "--only", "rehearse": "--rehearse",
             "dry_run": "--dry-run"}  # fmt: skip
    given = [name for key, name in names.items() if wanted[key]]
    if given == ["--only", "--dry-run"]:
        given = ["--dry-run"]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} are different things", code="bad_option", hint="one at a time")
    if wanted["target"] is not None and (wanted["flag_name"] or wanted["database"]):
        raise UserError(f"--to does not go with {given[0]}", code="bad_option")
    for option in ("backup", "yes", "again"):
        if wanted[option] and not wanted["database"]:
            raise UserError(f"--{option} goes with --database", code="bad_option")
    if wanted["plan"] is not None and not wanted["only"]:
        raise UserError("--plan goes with --only", code="bad_option")
    if wanted["if_version"] is not None and given and given != ["--only"]:
        raise UserError(f"--if-version does not go with {given[0]}", code="bad_option")
    if wanted["to_nothing"] and given:
        raise UserError(f"--to-nothing does not go with {given[0]}", code="bad_option")
    if wanted["break_glass"] and given and given != ["--only"]:
        raise UserError(f"--break-glass does not go with {given[0]}", code="bad_option")


# -- whole ---------------------------------------------------------------------------------------------------------


def _whole(workspace: Workspace, wanted: dict[str, Any], reason: str, output: str) -> None:
    from fairway.cli.verbs import ask
    from fairway.recovery.options import refuse_to_leave_nothing, refuse_where_nothing_serves
    from fairway.rollout.requests import Verb

    to, target = None, wanted["target"]
    if target is not None:
        to = workspace.ledger.find_release(workspace.project.name, target).manifest.release_digest
    refuse_where_nothing_serves(workspace)
    if to is None and not wanted["to_nothing"]:
        refuse_to_leave_nothing(workspace)
    said = {key: wanted[key] for key in ("break_glass", "if_version")}
    _told(ask(workspace, Verb.ROLLBACK, args={"to": to}, reason=reason, **said), output)


def _told(answer: Answer, output: str) -> None:
    wire = {"request": answer.request_id, "result": answer.kind.value, "seq": answer.seq, "message": answer.message}
    emit(wire, output=output, text=lambda: answer.message)
    if output == "text":
        say("follow it with: fairway rollout watch; what is found out: fairway rollback show")


# -- one component -------------------------------------------------------------------------------------------------


def _only(workspace: Workspace, wanted: dict[str, Any], reason: str, output: str) -> None:
    from fairway.cli.deriving import make_derived
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    said = {key: wanted[key] for key in ("break_glass", "if_version")}
    base, donor = _stable(workspace), _donor(workspace, wanted["target"])
    if _is_all(base, donor, wanted["only"]):
        say(f"nothing else differs: this is {donor.manifest.release_version} itself")
        args = {"to": donor.manifest.release_digest}
        _told(ask(workspace, Verb.ROLLBACK, args=args, reason=reason, **said), output)
        return
    made = make_derived(workspace, base, [(name, donor) for name in wanted["only"]], run=wanted["run"])
    if made is None:
        raise SystemExit(1)
    digest, missing = made.manifest.release_digest, _missing(workspace, made)
    direct = not missing if wanted["plan"] is None else wanted["plan"] == "direct"
    if direct:
        say(
            f"{made.manifest.release_version} goes to everybody in one step, once it has the approvals its policy asks"
            " for, and proves itself in a soak: each of its parts was stable here"
        )
        args = {"to": digest, "release": digest}
        _told(ask(workspace, Verb.ROLLBACK, args=args, reason=reason, **said), output)
        return
    why = f"{', '.join(missing)} was never stable here" if missing else "as asked"
    say(f"{made.manifest.release_version} goes live by the policy's steps: {why}")
    begin = {"release": digest, "supersede": False}
    _told(ask(workspace, Verb.START, args=begin, reason=reason, **said), output)


def _is_all(base: SignedRelease, donor: SignedRelease, only: tuple[str, ...]) -> bool:
    """Whether the components that are taken back are all in which the two releases differ."""
    ours, theirs = base.manifest.components, donor.manifest.components
    differ = {part.value for part in ours if ours[part] != theirs[part]}
    return bool(differ) and differ <= {name.strip().lower() for name in only}


def _stable(workspace: Workspace) -> SignedRelease:
    """What production serves; a live rollout is ended first, so that it is clear what is taken back from what."""
    from fairway.errors import ConflictError, NotFoundError
    from fairway.recovery.options import route_state

    state = route_state(workspace)
    if state is not None and state.rollout is not None and state.rollout.live and state.rollout.phase != "soaking":
        raise ConflictError(
            f"a rollout of {state.rollout.candidate.version} is {state.rollout.phase.value}",
            code="rollout_live",
            hint="fairway rollback takes all of it back; then take a component back from what is stable",
        )
    if state is None or state.stable is None:
        raise NotFoundError("nothing serves in production yet", code="no_stable", hint="deploy a release first")
    return workspace.ledger.find_release(workspace.project.name, state.stable.release)


def _donor(workspace: Workspace, target: str | None) -> SignedRelease:
    from fairway.errors import NotFoundError
    from fairway.recovery.options import route_state

    if target is not None:
        return workspace.ledger.find_release(workspace.project.name, target)
    state = route_state(workspace)
    former = [] if state is None else [arm for arm in state.history if arm.release not in state.blocked]
    if not former:
        raise NotFoundError("no release that is not blocked was stable here before", code="no_previous",
                            hint="name one with --to")  # fmt: skip
    return workspace.ledger.find_release(workspace.project.name, former[0].release)


def _missing(workspace: Workspace, made: SignedRelease) -> tuple[str, ...]:
    """Parts of a derived release that were in no release that was stable here."""
    from fairway.controller.facts import parts_never_stable
    from fairway.recovery.options import route_state

    state = route_state(workspace)
    return parts_never_stable(workspace.ledger, workspace.project.name, made.manifest, state)


# -- looking and rehearsing ----------------------------------------------------------------------------------------


def _dry_run_only(workspace: Workspace, wanted: dict[str, Any], output: str) -> None:
    """What taking back single components would come to: what it is made of, by which way, what has to be checked."""
    from fairway.recovery.component import component_back
    from fairway.recovery.options import way_back

    base, donor = _stable(workspace), _donor(workspace, wanted["target"])
    if _is_all(base, donor, wanted["only"]):
        say(f"nothing else differs: this is {donor.manifest.release_version} itself")
        whole = way_back(workspace, donor)
        emit(whole.to_wire(), output=output, text=lambda: _way_text(whole))
        return
    found = component_back(workspace, base, donor, wanted["only"], by_policy=wanted["plan"] == "policy")
    emit(found.to_wire(), output=output, text=lambda: "\n".join(_component_lines(found)))


def _component_lines(found: ComponentBack) -> list[str]:
    from fairway.cli.deriving import told
    from fairway.incident.kinds import KINDS, Kind

    facts = KINDS[Kind.COMPONENT]
    return [
        *told(found.prepared),
        f"  kind       {facts.kind.value}: {_range(facts.seconds)}, risk {facts.risk.value}",
        f"  way        {found.way}",
        "nothing was cut or moved",
    ]


def _dry_run(workspace: Workspace, wanted: dict[str, Any], output: str) -> None:
    from fairway.recovery.options import way_back

    target = wanted["target"]
    to = None if target is None else workspace.ledger.find_release(workspace.project.name, target)
    way = way_back(workspace, to)
    emit(way.to_wire(), output=output, text=lambda: _way_text(way))


def _way_text(way: WayBack) -> str:
    from fairway.incident.kinds import KINDS

    facts = way.choice.facts
    to = "nothing to go back to" if way.to is None else way.to.release_version
    lines = [f"from {'nothing' if way.leaves is None else way.leaves.release_version} to {to}: {way.choice.why}"]
    if way.refused:
        lines.append(f"  REFUSED      {way.refused}")
    if way.leaves_nothing:
        lines.append("  ALL TRAFFIC  would be refused (503): it is the first release, and it needs --to-nothing")
    if way.to is not None:
        lines.append(f"  intact       {'signature and every file verify' if way.intact else way.problem}")
    if facts is not None:
        lines.append(f"  kind         {facts.kind.value}: {_range(facts.seconds)}, risk {facts.risk.value}")
    if way.rehearsal is not None:
        lines.append(f"  rehearsal    {way.rehearsal.reason}")
    if way.flags:
        lines.append(f"  flags on     {', '.join(way.flags)}: --flag turns one off")
    lines.append(f"  database     {way.database}; only --database touches it")
    lines.append("kinds")
    for one in KINDS.values():
        asks = "; a person asks for it" if one.asks else ""
        lines.append(f"  {one.kind.value:<14} {_range(one.seconds):<8} risk {one.risk.value:<7} {one.what}{asks}")
    return "\n".join(lines)


def _range(seconds: tuple[float, float]) -> str:
    low, high = seconds
    if high < 60:
        return f"< {high:g} s"
    return f"< {high / 60:g} min" if not low else f"{low / 60:g}-{high / 60:g} min"


def _rehearse(workspace: Workspace, target: str | None, output: str) -> None:
    import asyncio

    from fairway.recovery.options import last_stable
    from fairway.recovery.rehearsing import as_evidence, rehearse
    from fairway.supervise.info import running

    release = (
        last_stable(workspace) if target is None else workspace.ledger.find_release(workspace.project.name, target)
    )
    say(f"rehearsing a rollback to {release.manifest.release_version}; no traffic moves")
    info = running(workspace.state)
    done = asyncio.run(rehearse(workspace, release.manifest, mock_url=None if info is None else info.mock_url))
    workspace.ledger.add_evidence([as_evidence(done, workspace, at=workspace.clock.now())])
    emit(done.to_wire(), output=output, text=lambda: _rehearsal_text(done))
    raise SystemExit(0 if done.verdict == "PASS" else 1)


def _rehearsal_text(done: Rehearsal) -> str:
    version = done.release.release_version
    if done.problem:
        hint = f"\n  {done.hint}" if done.hint else ""
        return f"a rollback to {version} would not work: {done.problem}{hint}"
    said = " and answered a message" if done.said else ""
    return (
        f"a rollback to {version} works: ready after {done.ready_after or 0.0:.1f} s (attested by {done.attested_by}),"
        f" healthy{said}; {done.seconds:.1f} s in all"
    )


# -- a flag --------------------------------------------------------------------------------------------------------


def _flag_off(workspace: Workspace, name: str, reason: str, output: str) -> None:
    from fairway.cli.flag import record_setting
    from fairway.controller.flags import LedgerFlags
    from fairway.recovery.by_flag import already_off, last_incident, record_flag_rollback

    environment = str(workspace.route.environment)
    stands = LedgerFlags(workspace.ledger).read()
    own = [tenant for (flag, where, tenant) in stands if (flag, where) == (name, environment) and tenant]
    off = already_off(stands, name, environment)
    if off is not None:
        before = last_incident(workspace, name)
        stays = {"incident": before, "flag": name, "environment": environment, "tenants": own, "value": "off"}
        said = f"flag {name} is already off in {environment}: {off.actor} turned it off at {off.at:%Y-%m-%d %H:%M}"
        recorded = "" if before is None else f"; recorded as {before}"
        emit({**stays, "already": True}, output=output, text=lambda: said + recorded)
        return
    made = record_setting(workspace, name, 0, environment, "", reason)
    for tenant in own:
        record_setting(workspace, name, 0, environment, tenant, reason)
    incident = record_flag_rollback(workspace, made)
    told = {"incident": incident, "flag": name, "environment": environment, "tenants": own, "value": "off"}
    wire = {**told, "already": False}
    emit(wire, output=output, text=lambda: f"flag {name} is off in {environment}; recorded as {incident}")


# -- the database --------------------------------------------------------------------------------------------------


def _database(workspace: Workspace, wanted: dict[str, Any], reason: str, output: str) -> None:
    """Ask for it, show what is asked, or carry it out: what is lost comes first, and others have to say yes."""
    import asyncio

    from fairway.cli.verbs import actor_of
    from fairway.errors import RefusedError, UserError
    from fairway.recovery.database import declared
    from fairway.recovery.database_request import ask_restore, carry_out, open_request

    declared(workspace)
    actor, request = actor_of(workspace.project.root), open_request(workspace)
    if request is None or wanted["yes"]:
        refuse_without_right(workspace, actor, "database", str(workspace.route.environment))
    if request is None:
        if not reason.strip():
            raise UserError("putting a database back needs a reason", code="reason_needed", hint="say it with --reason")
        request = ask_restore(workspace, wanted["backup"], actor=actor, reason=reason)
    elif wanted["backup"] not in (None, request.backup):
        raise RefusedError(
            f"{request.actor} asked for {request.backup} already: {request.id}",
            code="restore_asked",
            hint="carry that out or let it run out first",
        )
    if wanted["yes"]:
        _told_act(asyncio.run(carry_out(workspace, request, actor=actor, again=wanted["again"])), output)
    _told_request(workspace, request, output)


def _told_request(workspace: Workspace, request: RestoreRequest, output: str) -> None:
    from fairway.recovery.database_request import lost_since

    wire = request.to_wire(workspace.clock.now(), lost_since(workspace, request.backup))
    emit(wire, output=output, text=lambda: _request_text(wire))


def _request_text(wire: Mapping[str, Any]) -> str:
    roles = f" ({' or '.join(wire['roles'])})" if wire["roles"] else ""
    said = f" by {', '.join(wire['given'])}" if wire["given"] else ""
    if not wire["needed"]:
        waits = "nobody is listed in people.roles, so nobody else is asked; carry it out with --yes"
    elif wire["missing"]:
        waits = (
            f"approved{said or ' by nobody'}, {wire['missing']} of {wire['needed']} missing{roles}: somebody who"
            f" did not ask says fairway rollout approve {wire['request']}"
        )
    else:
        waits = f"approved{said}; carry it out with fairway rollback --database --yes"
    return "\n".join(
        [
            f"request    {wire['request']} by {wire['by']}: put {wire['backup']} back ({wire['reason']})",
            f"lost       {wire['lost']['text']}",
            f"waits for  {waits}",
            f"void       at {wire['expires'][:16].replace('T', ' ')} UTC",
        ]
    )


def approve_restore(number: str, project_dir: str | None, output: str) -> None:
    """``fairway rollout approve restore-…``: one yes to putting a backup back."""
    from fairway.cli.verbs import actor_of
    from fairway.recovery import database_request

    with opened(project_dir) as workspace:
        actor = actor_of(workspace.project.root)
        _told_request(workspace, database_request.approve_restore(workspace, number, actor=actor), output)


def _told_act(done: DatabaseAct, output: str) -> None:
    how = "went well" if done.good else "its end is not known" if not done.ended else f"exit code {done.code}"
    emit(done.to_wire(), output=output, text=lambda: f"{done.verb} {done.backup}: {how}")
    raise SystemExit(0 if done.good else 3)


@command.command("backup", epilog="Example: fairway rollback backup --reason 'before v1.2.0'")
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@click.option("--again", is_flag=True, help="An earlier one has no known end, and I have looked.")
@project_option
@output_option
def backup(reason: str, again: bool, project_dir: str | None, output: str) -> None:
    """Save the agent's database with the project's own command (rollback.database in fairway.yaml)."""
    import asyncio

    from fairway.cli.verbs import actor_of
    from fairway.recovery.database import back_up

    with opened(project_dir) as workspace:
        actor = actor_of(workspace.project.root)
        refuse_without_right(workspace, actor, "database", str(workspace.route.environment))
        _told_act(asyncio.run(back_up(workspace, actor=actor, reason=reason, again=again)), output)


for _one in (list_rollbacks, show, close):
    command.add_command(_one)
