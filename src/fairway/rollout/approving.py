"""Verbs about approvals: say yes, and take it back. Pure."""

from __future__ import annotations

from dataclasses import replace

from fairway.rollout.approvals import (
    FIRST,
    Subject,
    asked,
    asks,
    before,
    entered,
    missing,
    next_entering,
    point_named,
    points,
    spend_again,
    standing,
    with_approval,
    without,
)
from fairway.rollout.deciding import DecisionKind, ReleaseFacts, Snapshot
from fairway.rollout.guarding import in_words, plan_to_follow
from fairway.rollout.obeying import Obeyed, apply, live, refuse
from fairway.rollout.people import is_among, same_person
from fairway.rollout.requests import Request
from fairway.rollout.roles import Right, why_not
from fairway.rollout.values import Approval, Phase, Plan, RolloutState, RouteState, Scaling
from fairway.units import Digest


def approve(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """One yes, to exactly this release, configuration, policy and step."""
    release = Digest(str(request.args.get("release", "")))
    facts = snapshot.releases.get(release)
    if facts is None:
        return refuse(state, request, "unknown_release", "name the release to approve")
    plan = _plan_of(state, facts, snapshot)
    if is_among(request.actor, facts.authors) and not plan.quorum.authors_may:
        text = f"{request.actor} wrote or published it; somebody else approves"
        return refuse(state, request, "author_approves", text)
    if not asks(plan):
        text = f"the policy of {facts.arm.version} asks for no approval; start it without one"
        return refuse(state, request, "approval_not_asked", text)
    if (unknown := _no_such_point(request, state, plan, facts)) is not None:
        return unknown
    try:
        step = _point_to_approve(request, state, plan, snapshot)
    except KeyError:
        text = f"{facts.arm.version} waits for no approval now; its policy asks before {_asked_before(plan)}"
        return refuse(state, request, "approval_not_due", text)
    wrong = _wrong_role(request, plan, snapshot)
    if wrong:
        return refuse(state, request, "not_an_approver", wrong)
    approval = Approval(
        actor=request.actor,
        at=snapshot.now,
        release=release,
        effective=facts.arm.effective,
        policy_digest=plan.policy_digest,
        step=step,
        roles=snapshot.people.roles_of(request.actor),
        reason=request.reason,
        loosens=plan.loosens,
    )
    moved = replace(state, approvals=with_approval(state.approvals, approval))
    current = live(moved)
    if current is not None and current.candidate.release == release:
        moved = spend_again(moved, current, snapshot.now)
    where = "" if step is None else f" before {before(plan, step)}"
    so_far = _so_far(moved, approval, facts, plan, snapshot)
    laxer = f"; {in_words(plan)}" if plan.loosens else ""
    reason = f"{request.actor} approved {facts.arm.version}{where}{so_far}{laxer}"
    return apply(moved, request, snapshot, DecisionKind.OBEY, "approved", reason)


def _no_such_point(request: Request, state: RouteState, plan: Plan, facts: ReleaseFacts) -> Obeyed | None:
    """A point is named at which the plan asks for nobody; a first release takes every point at once."""
    named = request.args.get("before")
    real = [before(plan, step) for step in points(plan, entering=len(plan.steps))]
    if named is None or str(named) in real or state.stable is None:
        return None
    text = f"{named} is no point at which the policy of {facts.arm.version} asks: {', '.join(real)}"
    return refuse(state, request, "no_such_point", text)


def _plan_of(state: RouteState, facts: ReleaseFacts, snapshot: Snapshot) -> Plan:
    """The plan the yes is about: that of the live rollout, else the one a rollout would follow."""
    current = live(state)
    follows = current is not None and current.candidate.release == facts.arm.release
    if current is not None and follows and (not current.going_back or asks(current.plan)):
        return current.plan
    return plan_to_follow(facts, snapshot.plan, state)


def _wrong_role(request: Request, plan: Plan, snapshot: Snapshot) -> str:
    """Why this person's yes would not count; the policy's own roles go before the matrix."""
    if not plan.quorum.roles:
        return why_not(request.actor, Right.APPROVE, people=snapshot.people, kind=snapshot.environment_kind)
    if set(plan.quorum.roles).intersection(snapshot.people.roles_of(request.actor)):
        return ""
    named = ", ".join(role.value for role in plan.quorum.roles)
    return f"the policy asks for the approval of {named}, which {request.actor} is not"


def _point_to_approve(request: Request, state: RouteState, plan: Plan, snapshot: Snapshot) -> int | None:
    """The point a yes is for: the one that is named, else the one that is waited for; ``None``: the first exposure.

    Raises:
        KeyError: When the plan asks nothing there, or nothing is waited for now.
    """
    named = request.args.get("before")
    if state.stable is None:
        return None  # a first release takes everything at once
    if named is not None:
        return point_named(plan, str(named))
    current = live(state)
    if current is None or current.candidate.release != request.args.get("release"):
        return point_named(plan, FIRST)
    lacking = missing(state, current, snapshot.now, entering=next_entering(current))
    due = points(plan, entering=next_entering(current))
    if not due or (lacking is None and not _waits_at(current, due[-1])):
        raise KeyError
    return due[-1] if lacking is None else lacking.step


def _waits_at(rollout: RolloutState, step: int | None) -> bool:
    """Whether a point is the one the rollout stands before: one more yes than it takes is welcome there."""
    return (
        rollout.phase is Phase.PREPARING if step is None else rollout.phase is Phase.STEPPING and step == rollout.step
    )


def _asked_before(plan: Plan) -> str:
    every = [before(plan, step) for step in points(plan, entering=len(plan.steps))]
    return f"{' and '.join(every)}: name one of these with --before"


def _so_far(state: RouteState, approval: Approval, facts: ReleaseFacts, plan: Plan, snapshot: Snapshot) -> str:
    if plan.quorum.count == 1:
        return f": {approval.reason}" if approval.reason else ""
    current = live(state)
    subject = Subject(
        release=approval.release,
        effective=approval.effective,
        policy_digest=approval.policy_digest,
        quorum=plan.quorum,
        authors=facts.authors,
        rollout=None if current is None else current.id,
        loosens=plan.loosens,
    )
    found = asked(state.approvals, subject, step=approval.step, now=snapshot.now)
    why = f": {approval.reason}" if approval.reason else ""
    return f" ({len(found.given)} of {found.needed}){why}"


def _stops(rollout: RolloutState) -> bool:
    """Whether a rollout can still stop where it is: it steps, or its last instances are starting."""
    last = rollout.phase is Phase.PROMOTING and rollout.scaling is Scaling.STARTING
    return rollout.phase is Phase.STEPPING or last


def revoke(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Take a yes back: one's own, or with a role and a reason somebody else's; what was exposed on it pauses."""
    release = Digest(str(request.args.get("release", "")))
    whose = str(request.args.get("of") or request.actor)
    if not any(one.release == release and same_person(one.actor, whose) for one in state.approvals):
        return refuse(state, request, "no_approval", f"there is no approval of that release by {whose}")
    if not request.reason:
        return refuse(state, request, "reason_needed", "taking an approval back needs a reason")
    moved = replace(state, approvals=without(state.approvals, actor=whose, release=release))
    of_other = "" if same_person(whose, request.actor) else f" of {whose}"
    reason = f"{request.actor} revoked the approval{of_other}: {request.reason}"
    current = live(moved)
    if current is None or current.candidate.release != release or not _stops(current):
        return apply(moved, request, snapshot, DecisionKind.OBEY, "approval_revoked", reason)
    if all(one.met for one in standing(moved, current, snapshot.now, entering=entered(current))):
        return apply(moved, request, snapshot, DecisionKind.OBEY, "approval_revoked", reason)
    moved = replace(moved, rollout=replace(current, paused=reason))
    return apply(moved, request, snapshot, DecisionKind.PAUSE, "approval_revoked", reason)
