"""Approvals: whose yes counts for what, until when, and which exposure it allows. Pure.

The law: nobody meets a candidate, and no more people do, without the quorum the plan asks for, in whatever order
requests, expiries and revocations arrive. A yes counts only for exactly the release, effective configuration, policy
and step it was given for; once an exposure was made on it it no longer expires, but may still be revoked, and it
counts for no other attempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fairway.rollout.people import Quorum, is_among, same_person
from fairway.rollout.values import Approval, Phase, Plan, RolloutState, RouteState
from fairway.traffic.table import NO_SHARE
from fairway.units import WHOLE, Digest, Parts, RolloutId, format_share

FIRST = "first"
"""The point before the first exposure, as the policy names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an approval is about: another byte of any of these, and it counts for nothing.

    Attributes:
        authors: Whose yes does not count, unless the quorum lets them.
        rollout: The attempt that asks; ``None`` before it has begun.
        loosens: Where the plan asks less than stable's: each of it was told to who approved.
    """

    release: Digest
    effective: Digest
    policy_digest: Digest
    quorum: Quorum
    authors: tuple[str, ...] = ()
    rollout: RolloutId | None = None
    loosens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One point at which a plan asks for a quorum, and how far it is.

    Attributes:
        step: ``None``: before the first exposure; else the index of the step that is left by it.
        given: Who has said yes and counts, in the order they did.
        needed: How many different people it takes.
        expires: When the first of those stops counting, if no exposure is made before; ``None``: never.
    """

    step: int | None
    given: tuple[str, ...]
    needed: int
    expires: datetime | None = None

    @property
    def met(self) -> bool:
        """Whether enough people have said yes."""
        return len(self.given) >= self.needed


def subject_of(rollout: RolloutState) -> Subject:
    """What the approvals of a rollout have to name."""
    return Subject(
        release=rollout.candidate.release,
        effective=rollout.candidate.effective,
        policy_digest=rollout.plan.policy_digest,
        quorum=rollout.plan.quorum,
        authors=rollout.authors,
        rollout=rollout.id,
        loosens=rollout.plan.loosens,
    )


def asks(plan: Plan) -> bool:
    """Whether a plan asks for an approval anywhere."""
    return plan.approval or any(step.approval for step in plan.steps)


def points(plan: Plan, *, entering: int) -> tuple[int | None, ...]:
    """Where a plan asks for a quorum before ``entering`` a step; 0 is the first exposure, ``len(steps)`` is 100 %."""
    first: tuple[int | None, ...] = (None,) if plan.approval else ()
    return (*first, *(index for index, step in enumerate(plan.steps[:entering]) if step.approval))


def counting(given: Iterable[Approval], subject: Subject, *, step: int | None, now: datetime) -> tuple[Approval, ...]:
    """The approvals that count for one point: at most one a person, the newest."""
    newest: dict[str, Approval] = {}
    for approval in given:
        if _counts(approval, subject, step, now):
            newest[approval.actor.casefold()] = approval
    return tuple(newest.values())


def _counts(approval: Approval, subject: Subject, step: int | None, now: datetime) -> bool:
    named = (approval.release, approval.effective, approval.policy_digest, approval.step)
    if named != (subject.release, subject.effective, subject.policy_digest, step):
        return False
    if not set(subject.loosens) <= set(approval.loosens):
        return False
    quorum = subject.quorum
    if not quorum.authors_may and is_among(approval.actor, subject.authors):
        return False
    if quorum.roles and not set(quorum.roles).intersection(approval.roles):
        return False
    if approval.used_by is not None:
        return approval.used_by == subject.rollout
    until = expires_at(approval, quorum)
    return until is None or now < until


def expires_at(approval: Approval, quorum: Quorum) -> datetime | None:
    """When an approval stops counting; ``None``: never, or an exposure was made on it."""
    if quorum.expires is None or approval.used_by is not None:
        return None
    return approval.at + timedelta(seconds=quorum.expires)


def asked(given: Iterable[Approval], subject: Subject, *, step: int | None, now: datetime) -> Asked:
    """How far the quorum of one point is."""
    counted = counting(given, subject, step=step, now=now)
    ends = [until for one in counted if (until := expires_at(one, subject.quorum)) is not None]
    return Asked(
        step=step,
        given=tuple(one.actor for one in counted),
        needed=subject.quorum.count,
        expires=min(ends, default=None),
    )


def standing(state: RouteState, rollout: RolloutState, now: datetime, *, entering: int) -> tuple[Asked, ...]:
    """How far each quorum is that has to be met before ``entering`` a step."""
    subject = subject_of(rollout)
    found = points(rollout.plan, entering=entering)
    return tuple(asked(state.approvals, subject, step=step, now=now) for step in found)


def missing(state: RouteState, rollout: RolloutState, now: datetime, *, entering: int) -> Asked | None:
    """The first quorum that is not met before ``entering`` a step; ``None`` when nothing is in the way."""
    return next((one for one in standing(state, rollout, now, entering=entering) if not one.met), None)


def next_entering(rollout: RolloutState) -> int:
    """The step a rollout enters next, as :func:`points` counts: 0 while it prepares."""
    return 0 if rollout.phase is Phase.PREPARING else rollout.step + 1


def spend(state: RouteState, rollout: RolloutState, now: datetime, *, entering: int) -> RouteState:
    """The state in which the approvals an exposure is made on are used: they stay until revoked, for this attempt."""
    return _spent_on(state, rollout, now, points(rollout.plan, entering=entering))


def _spent_on(state: RouteState, rollout: RolloutState, now: datetime, steps: tuple[int | None, ...]) -> RouteState:
    subject = subject_of(rollout)
    used = [approval for step in steps for approval in counting(state.approvals, subject, step=step, now=now)]
    if not used:
        return state
    marked = tuple(replace(one, used_by=rollout.id) if one in used else one for one in state.approvals)
    return replace(state, approvals=marked)


def entered(rollout: RolloutState) -> int:
    """How far a rollout has come, as :func:`points` counts ``entering``; 0 while nobody meets the candidate."""
    if rollout.phase is Phase.STEPPING:
        return rollout.step
    return 0 if rollout.phase is Phase.PREPARING else len(rollout.plan.steps)


def passed(rollout: RolloutState) -> tuple[int | None, ...]:
    """The points whose exposure is made already: a yes that is missing there was taken back."""
    exposed = rollout.phase in (Phase.STEPPING, Phase.PROMOTING, Phase.SOAKING)
    return points(rollout.plan, entering=entered(rollout)) if exposed else ()


def spend_again(state: RouteState, rollout: RolloutState, now: datetime) -> RouteState:
    """The state in which a quorum that is met again, after a yes was taken back, stays: people are exposed on it."""
    subject = subject_of(rollout)
    met = (step for step in passed(rollout) if asked(state.approvals, subject, step=step, now=now).met)
    return _spent_on(state, rollout, now, tuple(met))


def with_approval(given: tuple[Approval, ...], approval: Approval) -> tuple[Approval, ...]:
    """One more yes; it takes the place of the same person's for the same thing that nothing was exposed on."""
    kept = (one for one in given if one.used_by is not None or not _same_subject(one, approval))
    return (*kept, approval)


def _same_subject(one: Approval, other: Approval) -> bool:
    named = (one.release, one.effective, one.policy_digest, one.step)
    return same_person(one.actor, other.actor) and named == (
        other.release,
        other.effective,
        other.policy_digest,
        other.step,
    )


def without(given: tuple[Approval, ...], *, actor: str, release: Digest) -> tuple[Approval, ...]:
    """What is left when one person's approvals of a release are taken back."""
    return tuple(one for one in given if not (one.release == release and same_person(one.actor, actor)))


def unspent(given: tuple[Approval, ...]) -> tuple[Approval, ...]:
    """What may still count for a new attempt."""
    return tuple(one for one in given if one.used_by is None)


def with_points(plan: Plan, named: tuple[str | Parts, ...]) -> Plan:
    """A plan that asks for a quorum before the named exposures.

    Args:
        plan: Compiled, without.
        named: ``first``, or shares: before that much is exposed; 100 % is the promotion.
    """
    steps = []
    for index, step in enumerate(plan.steps):
        following = plan.steps[index + 1].split if index + 1 < len(plan.steps) else Parts(WHOLE)
        # Other strategies than the canary have other shares: the first that reaches the named one asks.
        crossed = any(step.split < share <= following for share in named if not isinstance(share, str))
        steps.append(replace(step, approval=step.approval or crossed))
    reached = plan.steps[0].split if plan.steps else NO_SHARE
    before = FIRST in named or any(share <= reached for share in named if not isinstance(share, str))
    return replace(plan, steps=tuple(steps), approval=before)


def before(plan: Plan, step: int | None) -> str:
    """What a point comes before, as the policy names it: ``first``, or the share that is entered."""
    return FIRST if step is None else _entered(plan, step)


def point_named(plan: Plan, name: str) -> int | None:
    """The point of a plan that comes before ``first`` or a share such as ``100%``.

    Raises:
        KeyError: When the plan asks nothing before that.
    """
    found = {before(plan, step): step for step in points(plan, entering=len(plan.steps))}
    return found[name]


def sentence(found: Asked, *, version: str, plan: Plan, again: bool = False) -> str:
    """What is waited for, for people.

    Args:
        found: The quorum that is not met.
        version: Of the candidate.
        plan: That asks for it.
        again: The exposure it allows was made already, on a yes that was taken back since.
    """
    at = "first exposure" if found.step is None else _entered(plan, found.step)
    where = f"to go on: one for {at}, which is past, was taken back" if again else f"before {at}"
    why = f"; its policy asks less than stable's: {'; '.join(plan.loosens)}" if plan.loosens else ""
    if found.needed == 1:
        return f"{version} waits for an approval {where}{why}"
    said = f" ({', '.join(found.given)} approved)" if found.given else ""
    return f"{version} waits for {found.needed - len(found.given)} of {found.needed} approvals {where}{said}{why}"


def _entered(plan: Plan, left: int) -> str:
    following = plan.steps[left + 1].split if left + 1 < len(plan.steps) else Parts(WHOLE)
    return format_share(following)
