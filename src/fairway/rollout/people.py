"""People as a rollout sees them: who has which role, whose yes it needs, and what they overrode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What somebody is trusted with; the matrix of :mod:`fairway.rollout.roles` says what it allows where."""

    DEVELOPER = "developer"
    QA = "qa"
    PLATFORM_ENGINEER = "platform_engineer"
    RELEASE_MANAGER = "release_manager"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


EVERY_ROLE = tuple(Role)


def same_person(one: str, other: str) -> bool:
    """Whether two names are the same person's: upper and lower case, as in mail addresses, do not make two people."""
    return one.casefold() == other.casefold()


def is_among(actor: str, people: tuple[str, ...]) -> bool:
    """Whether somebody is one of ``people``."""
    return any(same_person(actor, one) for one in people)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who has which role, by the project's file.

    Attributes:
        roles: ``{role: names}``; empty: nobody is listed and every local user has every role.
    """

    roles: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)

    @property
    def listed(self) -> bool:
        """Whether the project says who may do what."""
        return any(self.roles.values())

    def roles_of(self, actor: str) -> tuple[Role, ...]:
        """The roles of one person, in their order; every role when nobody is listed."""
        if not self.listed:
            return EVERY_ROLE
        return tuple(role for role in Role if is_among(actor, self.roles.get(role, ())))


NOBODY_LISTED = People()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Whose yes an exposure needs; part of the plan, so that another rule is another policy digest.

    Attributes:
        count: How many different people.
        roles: One of these each of them must have had when saying it; empty: as the matrix allows.
        expires: Seconds after which a yes that no exposure was made on no longer counts; ``None``: never.
        authors_may: Whether authors of the candidate count.
    """

    count: int = 1
    roles: tuple[Role, ...] = ()
    expires: float | None = None
    authors_may: bool = False


ONE_YES = Quorum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A person moved a rollout where its evidence had not: never to be read as a pass.

    Attributes:
        verb: ``promote``, ``promote_full``, ``skip``, ``resume`` in spite of an alarm, or ``start`` past what is not
            known of stable or a policy that asks less than its.
        past: What stood open when they did, in words.
        whole: All traffic went to the candidate by it: no step after it could still have judged.
    """

    verb: str
    actor: str
    at: datetime
    reason: str
    past: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenGlass:
    """Somebody did what their roles do not allow, on purpose and on record; owes a note afterwards.

    Attributes:
        request: Id of the request.
        seq: Event that applied it.
        note: What it was about, written afterwards; empty as long as it is owed.
    """

    request: str
    seq: int
    verb: str
    actor: str
    at: datetime
    reason: str
    note: str = ""
    noted_by: str = ""
