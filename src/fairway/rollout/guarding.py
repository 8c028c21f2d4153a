"""What a rollout follows when its policy asks less than that of what is stable: a person's yes beside its gates. Pure.

A release brings the policy it is judged by. So whoever can commit could set every gate aside and release on it: the
policy that serves, which earlier rollouts had to come through, decides whether anybody has to look first.
"""

from __future__ import annotations

from dataclasses import replace

from fairway.rollout.approvals import FIRST, asks
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.laxer import asked_as_well, laxer, points_named
from fairway.rollout.people import Quorum, Role
from fairway.rollout.values import Plan, RouteState

NOT_KNOWN = "stable's policy cannot be read, so nobody knows whether this one asks less"

ONE_WHO_RELEASES = Quorum(count=1, roles=(Role.RELEASE_MANAGER, Role.ADMIN))
"""Whose yes a laxer policy needs where stable's policy asks for nobody's."""


def loosened(facts: ReleaseFacts, plan: Plan) -> tuple[str, ...]:
    """Where a plan asks less than stable's policy would; nothing where there is no stable release."""
    if not facts.compared:
        return ()
    by_plan = (NOT_KNOWN,) if facts.stable_plan is None else laxer(facts.stable_plan, plan)
    return (*by_plan, *facts.asks_less)


def plan_to_follow(facts: ReleaseFacts, fallback: Plan, state: RouteState, *, waived: bool = False) -> Plan:
    """The plan of a release, with the approvals that what it loosens needs: stable's own, else one yes.

    Args:
        facts: Of the release.
        fallback: Plan of a release without one.
        state: Of the route; without a stable release nothing is compared.
        waived: A person took it upon them, with a reason: nobody is asked beside the plan's own approvals.
    """
    plan = facts.plan or fallback
    if state.stable is None or state.stable.release == facts.arm.release:
        return plan
    words = loosened(facts, plan)
    if not words:
        return plan
    told = replace(plan, loosens=words)
    if waived:
        return told
    stable = facts.stable_plan
    if stable is None or not asks(stable):
        return asked_as_well(told, (FIRST,), ONE_WHO_RELEASES)
    return asked_as_well(told, tuple(dict.fromkeys((FIRST, *points_named(stable)))), stable.quorum)


def may_be_waived(facts: ReleaseFacts) -> bool:
    """Whether a person may start a laxer policy alone: not where stable's policy asks for approvals."""
    return facts.stable_plan is None or not asks(facts.stable_plan)


def in_words(plan: Plan) -> str:
    """That a plan asks less than stable's policy, for people; empty when it does not."""
    return f"its policy asks less than stable's: {'; '.join(plan.loosens)}" if plan.loosens else ""
