"""Feature flags: what is declared, what people set at run time, and what is in force where. Pure.

A flag is *declared* in ``fairway.yaml`` with its default, and *set* by people without a deploy. The most specific
setting counts: of a tenant in the environment, then of the environment, then the default. What is in force travels in
the route table, so that a gateway knows it within a second and keeps it when everything else is down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from fairway.errors import RefusedError, UserError
from fairway.traffic.flags import TableFlag
from fairway.units import WHOLE, EnvironmentName, Parts, format_share, parse_share

RECORD_KIND = "flag"
"""Kind of the audit records that hold what people set."""

OFF, ON = Parts(0), WHOLE


class FlagType(StrEnum):
    """``bool`` is on or off; ``share`` is on for a share of conversations, the same ones as long as it only grows."""

    BOOL = "bool"
    SHARE = "share"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSpec:
    """A declared flag.

    Attributes:
        default: Share of conversations it is on for where nobody set it; 0 or the whole for ``bool``.
        environments: Where it may be set; empty: everywhere.
        tenants: Tenants it may be set for; empty: any.
        owner: Who knows what it is for.
        expires: After this day it should be gone from the code; it goes on as it is, and is complained about.
    """

    name: str
    type: FlagType
    default: Parts
    environments: tuple[EnvironmentName, ...] = ()
    tenants: tuple[str, ...] = ()
    owner: str = ""
    expires: date | None = None
    description: str = ""

    def expired(self, today: date) -> bool:
        """Whether its day has passed."""
        return self.expires is not None and today > self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What somebody set; ``share`` ``None`` takes an earlier setting back.

    Attributes:
        tenant: For one tenant; ``""``: for all that have no setting of their own.
    """

    flag: str
    environment: EnvironmentName
    tenant: str
    share: Parts | None
    actor: str
    at: datetime
    reason: str


def check_setting(spec: FlagSpec, setting: Setting) -> Setting:
    """The setting, when the declaration allows it. Turning off and taking back are allowed whatever is declared.

    Raises:
        RefusedError: ``flag_environment`` or ``flag_tenant`` where the flag is not declared for it.
        UserError: ``flag_value`` for a share of a flag that is only on or off; ``reason_needed``.
    """
    if not setting.reason.strip():
        raise UserError("setting a flag needs a reason", code="reason_needed", hint="say it with --reason")
    if not setting.share:
        return setting  # a flag set before its declaration shrank must not stay on for want of a line of it
    if spec.environments and setting.environment not in spec.environments:
        raise RefusedError(
            f"flag {spec.name} is declared for {', '.join(spec.environments)}, not for {setting.environment}",
            code="flag_environment",
            hint="add the environment to flags in fairway.yaml",
        )
    if setting.tenant and spec.tenants and setting.tenant not in spec.tenants:
        raise RefusedError(
            f"flag {spec.name} is declared for tenants {', '.join(spec.tenants)}, not for {setting.tenant}",
            code="flag_tenant",
            hint="add the tenant to flags in fairway.yaml",
        )
    if spec.type is FlagType.BOOL and setting.share != ON:
        raise UserError(f"flag {spec.name} is on or off, not a share", code="flag_value", hint="declare type: share")
    return setting


def parse_value(text: str) -> Parts:
    """``on``, ``off`` or a share such as ``10%``.

    Raises:
        UserError: ``flag_value``.
    """
    known = {"on": ON, "true": ON, "off": OFF, "false": OFF}
    if text.strip().lower() in known:
        return known[text.strip().lower()]
    try:
        return parse_share(text)
    except ValueError as error:
        raise UserError(f"{text!r} is no value of a flag", code="flag_value", hint="write on, off or 10%") from error


def format_value(share: int) -> str:
    """``on``, ``off`` or the share."""
    return {int(ON): "on", int(OFF): "off"}.get(share, format_share(share))


def setting_to_wire(setting: Setting) -> dict[str, Any]:
    """Body of the audit record; actor and time are the record's own."""
    return {
        "version": 1,
        "flag": setting.flag,
        "environment": setting.environment,
        "tenant": setting.tenant,
        "share": setting.share,
        "reason": setting.reason,
    }


def setting_from_wire(wire: Any, *, actor: str, at: datetime) -> Setting | None:
    """Read a record's body; ``None`` when it was erased or another version wrote it."""
    try:
        if wire["version"] != 1:
            return None
        share = wire["share"]
        if share is not None and not 0 <= int(share) <= WHOLE:
            return None
        return Setting(
            flag=str(wire["flag"]),
            environment=EnvironmentName(wire["environment"]),
            tenant=str(wire["tenant"]),
            share=None if share is None else Parts(int(share)),
            actor=actor,
            at=at,
            reason=str(wire["reason"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


Standing = Mapping[tuple[str, EnvironmentName, str], Setting]
"""The last setting of each flag, environment and tenant."""


def standing(settings: Iterable[Setting]) -> dict[tuple[str, EnvironmentName, str], Setting]:
    """What stands after these settings, in the order they were made; what was taken back is gone."""
    last: dict[tuple[str, EnvironmentName, str], Setting] = {}
    for setting in settings:
        key = (setting.flag, setting.environment, setting.tenant)
        if setting.share is None:
            last.pop(key, None)
        else:
            last[key] = setting
    return last


def in_force(
    specs: Iterable[FlagSpec], stands: Standing, environment: EnvironmentName, *, tenant_header: str
) -> tuple[TableFlag, ...]:
    """The flags of an environment as its route table carries them, by name.

    A setting of a flag that is not declared any more, or not for that environment or tenant, turns nothing on: the
    declaration is part of the project, and reviewed. Turned off is off wherever it was said.
    """
    made = []
    for spec in sorted(specs, key=lambda spec: spec.name):
        declared_here = not spec.environments or environment in spec.environments
        own = stands.get((spec.name, environment, ""))
        if own is not None and own.share and not declared_here:
            own = None
        tenants = {
            tenant: int(setting.share)
            for (name, where, tenant), setting in stands.items()
            if (name, where) == (spec.name, environment) and tenant and setting.share is not None
            if not setting.share or (declared_here and (not spec.tenants or tenant in spec.tenants))
        }
        share = spec.default if own is None or own.share is None else own.share
        made.append(
            TableFlag(
                name=spec.name,
                share=Parts(share),
                tenant_header=tenant_header,
                tenants=tuple(sorted((tenant, Parts(value)) for tenant, value in tenants.items())),
            )
        )
    return tuple(made)


def guarding(specs: Iterable[FlagSpec], stands: Standing, environment: EnvironmentName) -> tuple[str, ...]:
    """Flags that are on here and off by default: what turning off would take back, by name."""
    return tuple(
        flag.name
        for flag in in_force(specs, stands, environment, tenant_header="")
        if any(share for share in (flag.share, *(value for _, value in flag.tenants)))
        and next(spec.default for spec in specs if spec.name == flag.name) == OFF
    )
