"""``fairway flag``: turn features on and off at run time, without a deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say
from fairway.cli.workspaces import opened, refuse_without_right

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.flags.values import FlagSpec, Setting, Standing

EPILOG = """\b
Examples:
  fairway flag list
  fairway flag set new-refunds 10% --reason 'trial with a tenth'
  fairway flag set new-refunds on --tenant acme --reason 'they asked for it'
  fairway flag set new-refunds off --reason 'refunds twice'
  fairway flag unset new-refunds --reason 'back to the default'

\b
Flags are declared in fairway.yaml (flags:). Gateways know a change within a second while a controller runs.
"""

environment_option = click.option(
    "--environment", default="production", show_default=True, help="Where it is set, or asked about."
)
tenant_option = click.option("--tenant", default="", help="For one tenant only.")
reason_option = click.option("--reason", required=True, help="Why; kept in the audit log.")


@click.group("flag", cls=Listing, epilog=EPILOG)
def command() -> None:
    """Feature flags: on, off or for a share of conversations, by environment and tenant, without a deploy."""


def _stands(workspace: Workspace) -> Standing:
    from fairway.controller.flags import LedgerFlags

    return LedgerFlags(workspace.ledger).read()


@command.command("list", epilog="Example: fairway flag list -o json")
@environment_option
@project_option
@output_option
def list_flags(environment: str, project_dir: str | None, output: str) -> None:
    """Every declared flag and what is in force in an environment."""
    with opened(project_dir) as workspace:
        where = workspace.project.environment(environment).name
        stands, now = _stands(workspace), workspace.clock.now()
        rows = [_row(spec, stands, where, now.date()) for spec in workspace.project.flag_specs()]
    emit(rows, output=output, text=lambda: "\n".join(_line(row) for row in rows) or "no flag is declared")


@command.command("show", epilog="Example: fairway flag show new-refunds")
@click.argument("name")
@environment_option
@project_option
@output_option
def show(name: str, environment: str, project_dir: str | None, output: str) -> None:
    """One flag: what is in force, and who set what, when and why."""
    with opened(project_dir) as workspace:
        where = workspace.project.environment(environment).name
        spec = _spec(workspace, name)
        stands, now = _stands(workspace), workspace.clock.now()
        row = _row(spec, stands, where, now.date()) | {"history": _history(workspace, name)}
    emit(row, output=output, text=lambda: "\n".join([_line(row), *_told(row["history"])]))


@command.command("set", epilog="Example: fairway flag set new-refunds 10% --reason 'trial with a tenth'")
@click.argument("name")
@click.argument("value")
@environment_option
@tenant_option
@reason_option
@project_option
@output_option
def set_flag(
    name: str, value: str, environment: str, tenant: str, reason: str, project_dir: str | None, output: str
) -> None:
    """Set flag NAME to VALUE: on, off, or a share such as 10%."""
    from fairway.flags.values import parse_value

    with opened(project_dir) as workspace:
        share = int(parse_value(value))
        spec = _spec(workspace, name, taking_back=not share)
        made = record_setting(workspace, name, share, environment, tenant, reason)
        row = _row(spec, _stands(workspace), made.environment, made.at.date())
        _say_when(workspace, made)
    emit(row, output=output, text=lambda: _line(row))


@command.command("unset", epilog="Example: fairway flag unset new-refunds --tenant acme --reason 'trial over'")
@click.argument("name")
@environment_option
@tenant_option
@reason_option
@project_option
@output_option
def unset(name: str, environment: str, tenant: str, reason: str, project_dir: str | None, output: str) -> None:
    """Take a setting of flag NAME back: the environment's counts again, or the default."""
    with opened(project_dir) as workspace:
        spec = _spec(workspace, name, taking_back=True)
        made = record_setting(workspace, name, None, environment, tenant, reason)
        row = _row(spec, _stands(workspace), made.environment, made.at.date())
        _say_when(workspace, made)
    emit(row, output=output, text=lambda: _line(row))


def record_setting(
    workspace: Workspace, name: str, share: int | None, environment: str, tenant: str, reason: str
) -> Setting:
    """Check a setting and write it to the audit log; ``share`` ``None`` takes one back.

    Raises:
        NotFoundError: For an environment that is not declared, or a flag that is not; one that somebody set and that
            is not declared any more can be turned off and taken back.
        UserError: When the declaration does not allow to turn it on.
    """
    from fairway.cli.verbs import actor_of
    from fairway.flags.values import RECORD_KIND, Setting, check_setting, setting_to_wire
    from fairway.units import Parts

    actor = actor_of(workspace.project.root)
    refuse_without_right(workspace, actor, "flag_off" if share == 0 else "set_flag", environment)
    made = check_setting(
        _spec(workspace, name, taking_back=not share),
        Setting(
            flag=name,
            environment=workspace.project.environment(environment).name,
            tenant=tenant,
            share=None if share is None else Parts(share),
            actor=actor,
            at=workspace.clock.now(),
            reason=reason,
        ),
    )
    workspace.ledger.append_audit(RECORD_KIND, f"{made.environment}/{name}", made.actor, setting_to_wire(made), made.at)
    return made


def _say_when(workspace: Workspace, made: Setting) -> None:
    if made.environment != workspace.route.environment:
        say(f"recorded; no gateway of Fairway serves {made.environment} on this machine")
    elif workspace.ledger.lease_of(workspace.route) is None:
        say("recorded; no controller is running, gateways learn of it when one is: fairway up")
    else:
        say("recorded; every gateway knows within a second")


def _spec(workspace: Workspace, name: str, *, taking_back: bool = False) -> FlagSpec:
    from fairway.errors import NotFoundError
    from fairway.flags.values import OFF, FlagSpec, FlagType
    from fairway.validate import suggest

    specs = {spec.name: spec for spec in workspace.project.flag_specs()}
    if name not in specs:
        if taking_back and any(flag == name for flag, _, _ in _stands(workspace)):
            return FlagSpec(name=name, type=FlagType.SHARE, default=OFF, description="not declared any more")
        hint = suggest(name, specs, what="flags") if specs else "declare it in fairway.yaml under flags:"
        raise NotFoundError(f"there is no flag {name!r}", code="flag_not_found", hint=hint)
    return specs[name]


def _row(spec: FlagSpec, stands: Standing, environment: Any, today: Any) -> dict[str, Any]:
    from fairway.flags.values import format_value, in_force

    (flag,) = in_force([spec], stands, environment, tenant_header="")
    return {
        "name": spec.name,
        "type": spec.type.value,
        "environment": environment,
        "value": format_value(flag.share),
        "default": format_value(spec.default),
        "set": (spec.name, environment, "") in stands,
        "tenants": {tenant: format_value(share) for tenant, share in flag.tenants},
        "owner": spec.owner,
        "expires": None if spec.expires is None else spec.expires.isoformat(),
        "expired": spec.expired(today),
        "description": spec.description,
    }


def _line(row: dict[str, Any]) -> str:
    tenants = "".join(f", {tenant} {value}" for tenant, value in row["tenants"].items())
    notes = [] if row["set"] else ["default"]
    if row["expired"]:
        notes.append(f"expired {row['expires']}: take it out of the code")
    said = f" ({'; '.join(notes)})" if notes else ""
    return f"{row['name']:<24} {row['value']}{tenants}{said}  {row['description']}".rstrip()


def _history(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    from fairway.controller.flags import settings_of
    from fairway.flags.values import RECORD_KIND, format_value

    entries = workspace.ledger.audit_log(None, 1000, kind=RECORD_KIND)
    return [
        {
            "at": one.at.isoformat(),
            "environment": one.environment,
            "tenant": one.tenant,
            "value": None if one.share is None else format_value(one.share),
            "actor": one.actor,
            "reason": one.reason,
        }
        for one in settings_of(entries)
        if one.flag == name
    ]


def _told(history: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {one['at'][:19]}  {one['environment']}{' for ' + one['tenant'] if one['tenant'] else ''}"
        f"  {one['value'] or 'unset'}  {one['actor']}: {one['reason']}"
        for one in history
    ]
