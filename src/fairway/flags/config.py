"""The ``flags`` section of ``fairway.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fairway.errors import UserError
from fairway.flags.values import OFF, ON, FlagSpec, FlagType, parse_value
from fairway.section import Name, Section, Text
from fairway.units import EnvironmentName, Parts, parse_share

NonEmpty = Annotated[str, Field(strict=True, min_length=1, max_length=256)]


def _value(value: object) -> int:
    if isinstance(value, bool):
        return ON if value else OFF
    if isinstance(value, str):
        try:
            return parse_value(value)
        except UserError as error:
            raise ValueError(f"{value!r} is no value of a flag; write on, off or 10%") from error
    if isinstance(value, int | float):
        return parse_share(value)
    raise ValueError("expected on, off or a share such as 10%")


def _day(value: object) -> date:
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f'{value!r} is not a day; write for example "2027-01-31" in quotes')


FlagValue = Annotated[
    int,
    BeforeValidator(_value),
    WithJsonSchema({"type": ["string", "number", "boolean"], "description": "on, off or a share such as 10%"}),
]
Day = Annotated[
    date, BeforeValidator(_day), WithJsonSchema({"type": "string", "description": 'a day in quotes: "2027-01-31"'})
]


class FlagSection(Section):
    """A feature flag, set at run time by ``fairway flag``.

    Attributes:
        type: ``bool``: on or off. ``share``: on for a share of conversations.
        default: In force where nobody set it.
        environments: Where it may be set; none named: everywhere.
        tenants: Tenants it may be set for; none named: any.
        owner: Who knows what it is for.
        expires: The day after which it should be gone from the code.
    """

    type: FlagType = FlagType.BOOL
    default: FlagValue = OFF
    environments: tuple[Name, ...] = ()
    tenants: tuple[NonEmpty, ...] = ()
    owner: Text = ""
    expires: Day | None = None
    description: Text = ""

    @model_validator(mode="after")
    def _on_or_off(self) -> FlagSection:
        if self.type is FlagType.BOOL and self.default not in (OFF, ON):
            raise ValueError("a flag of type bool is on or off; declare type: share for a share")
        return self

    def spec(self, name: str) -> FlagSpec:
        """As the flags are judged by."""
        return FlagSpec(
            name=name,
            type=self.type,
            default=Parts(self.default),
            environments=tuple(EnvironmentName(one) for one in self.environments),
            tenants=self.tenants,
            owner=self.owner,
            expires=self.expires,
            description=self.description,
        )


def _at_most(flags: Mapping[str, FlagSection]) -> Mapping[str, FlagSection]:
    if len(flags) > MOST:
        raise ValueError(f"{len(flags)} flags are declared; every request carries a header for each, {MOST} at most")
    return flags


MOST = 64
FlagsSection = Annotated[Mapping[Name, FlagSection], AfterValidator(_at_most)]
"""Flags by name."""
