"""``rollout.approval`` and ``people`` of ``fairway.yaml``: whose yes is asked for, and who has which role."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from fairway.rollout.approvals import FIRST
from fairway.rollout.people import People, Quorum, Role
from fairway.section import Duration, Flag, Section, Text
from fairway.units import Parts, parse_share


def _point(value: object) -> object:
    """``first``, or a share: before more than that of the traffic is exposed."""
    if value == FIRST:
        return value
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("expected first, or a share of the steps such as 50%")
    return parse_share(value)


Point = Annotated[
    str | int,
    BeforeValidator(_point),
    WithJsonSchema({"type": ["string", "number"], "description": "first, or a share of the steps such as 50%"}),
]


class ApprovalSection(Section):
    """Whose yes a rollout needs, and where.

    Attributes:
        required: ``false`` asks for none, whatever the environment says.
        quorum: How many different people.
        roles: One of these each of them has; empty: whoever the matrix of roles lets approve.
        expires: How long a yes counts that nothing was exposed on; ``None``: until it is revoked.
        authors_may: Whether the candidate's authors count.
        steps: Before which exposures it is asked: ``first``, and shares of the steps; 100 % is the promotion.
    """

    required: Flag = True
    quorum: Annotated[int, Field(strict=True, ge=1, le=20)] = 1
    roles: Annotated[tuple[Role, ...], Field(max_length=len(Role))] = ()
    expires: Duration | None = None
    authors_may: Flag = False
    steps: Annotated[tuple[Point, ...], Field(min_length=1, max_length=50)] = (FIRST,)

    @field_validator("expires")
    @classmethod
    def _counts_for_a_while(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds <= 0:
            raise ValueError("expires must be above 0: a yes that counts for no time approves nothing")
        return seconds

    def to_quorum(self) -> Quorum:
        """As the plan carries it."""
        return Quorum(count=self.quorum, roles=self.roles, expires=self.expires, authors_may=self.authors_may)

    def points(self) -> tuple[str | Parts, ...]:
        """Where it is asked."""
        return tuple(point if isinstance(point, str) else Parts(point) for point in self.steps)


def _rule(value: object) -> object:
    """``none`` and ``required`` are short for ``{required: false}`` and ``{}``."""
    words = {"none": {"required": False}, "required": {}}
    if isinstance(value, str):
        if value not in words:
            raise ValueError("expected none, required, or a mapping with quorum, roles, expires, authors_may, steps")
        return words[value]
    return value


ApprovalSetting = Annotated[
    ApprovalSection,
    BeforeValidator(_rule),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "required"]},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "required": {"type": "boolean"},
                        "quorum": {"type": "integer", "minimum": 1, "maximum": 20},
                        "roles": {"type": "array", "items": {"enum": [role.value for role in Role]}},
                        "expires": {"type": ["string", "number"], "description": "a duration: 30s, 10m, 1h30m"},
                        "authors_may": {"type": "boolean"},
                        "steps": {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1},
                    },
                },
            ]
        }
    ),
]
"""``rollout.approval``: a word, or the whole rule."""


def _names(value: object) -> object:
    """``release_manager: ada`` is short for a list of one; a list of nobody would give the role to everybody."""
    if isinstance(value, list | tuple) and not value:
        raise ValueError(
            "nobody is listed; with nobody listed everybody has every role: name somebody, or leave it out"
        )
    return [value] if isinstance(value, str) else value


_NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Names = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], BeforeValidator(_names), WithJsonSchema(_NAMES)]


class RolesSection(Section):
    """People by role, as ``git config user.email`` or the operating system names them."""

    developer: Names = ()
    qa: Names = ()
    platform_engineer: Names = ()
    release_manager: Names = ()
    operator: Names = ()
    auditor: Names = ()
    admin: Names = ()


class PeopleSection(Section):
    """Who may do what; with nobody listed every local user has every role."""

    roles: RolesSection = RolesSection()

    def to_people(self) -> People:
        """As decisions carry it."""
        found = {role: tuple(getattr(self.roles, role.value)) for role in Role}
        return People(roles={role: names for role, names in found.items() if names})
