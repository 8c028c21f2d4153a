"""Verbs that begin a rollout: start (also in the place of another) and retry. Pure."""

from __future__ import annotations

from dataclasses import replace

from fairway.rollout.against import against
from fairway.rollout.deciding import DecisionKind, ReleaseFacts, Snapshot
from fairway.rollout.desired import active_holds, hold_of_another, is_frozen
from fairway.rollout.guarding import in_words, may_be_waived, plan_to_follow
from fairway.rollout.instances import scaled_down, soak_lacks, why_not_followed
from fairway.rollout.obeying import (
    Obeyed,
    apply,
    begin_rollback,
    blocked_after,
    live,
    overridden,
    refuse,
    start_rollout,
)
from fairway.rollout.people import is_among
from fairway.rollout.requests import Request
from fairway.rollout.values import Phase, Plan, RolloutState, RouteState
from fairway.units import Digest, Verdict


def start(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Begin a rollout; what is live is aborted first when the request supersedes it."""
    release = Digest(str(request.args.get("release", "")))
    facts = snapshot.releases.get(release)
    refusal = _why_not_start(request, state, snapshot, release)
    if refusal is not None:
        return refusal
    assert facts is not None
    over = bool(request.args.get("override"))
    plan = plan_to_follow(facts, snapshot.plan, state, waived=over)
    # Before anything is ended for it: what is refused changes nothing.
    unable = _cannot_follow(request, state, plan, snapshot)
    if (refusal := unable or _not_past(request, state, facts, plan, snapshot)) is not None:
        return refusal
    current = live(state)
    if current is not None and _may_cut_short(request, state, current, snapshot):
        if current.stable is not None and _fails(current, snapshot):
            return Obeyed(state=state, answer=None)
        text = f"its soak was cut short by {facts.arm.version}"
        ended = replace(current, phase=Phase.DONE, phase_at=snapshot.now, cause="cut_short", cause_text=text)
        state = replace(state, rollout=ended, blocked=blocked_after(state, current), warm=scaled_down(state, current))
        current = None
    if current is not None:
        if current.phase is Phase.ROLLING_BACK:
            return Obeyed(state=state, answer=None)
        text = f"superseded by {facts.arm.version}"
        state = begin_rollback(state, snapshot.now, cause="superseded", text=text)
        return Obeyed(state=state, answer=None, kind=DecisionKind.ROLL_BACK, code="superseded", reason=text)
    state = start_rollout(state, facts.arm, plan, request, snapshot.now, authors=facts.authors)
    past = "; ".join(filter(None, (facts.unknown, in_words(plan))))
    if over and past:
        state = overridden(state, request, snapshot, verb="start", past=past)
    was = "no release" if state.stable is None else state.stable.version
    told = f"; {past}" if past else ""
    reason = f"rollout of {facts.arm.version} started; {was} serves{told}"
    return apply(state, request, snapshot, DecisionKind.START, "started", reason)


def _not_past(
    request: Request, state: RouteState, facts: ReleaseFacts, plan: Plan, snapshot: Snapshot
) -> Obeyed | None:
    """Why a release does not start past what is not known of stable, or a person not past what its policy loosens."""
    over = bool(request.args.get("override"))
    if facts.unknown and not over:
        return refuse(state, request, "stable_unknown", facts.unknown)
    if not over:
        return None
    if not request.reason:
        return refuse(state, request, "reason_needed", "starting in spite of that is an override and needs a reason")
    if plan.loosens and not may_be_waived(facts):
        text = f"no override goes past the approvals that stable's policy asks for; {in_words(plan)}"
        return refuse(state, request, "approval_needed", text)
    if plan.loosens and snapshot.people.listed and is_among(request.actor, facts.authors):
        text = f"{request.actor} wrote or published it, and {in_words(plan)}; somebody else starts or approves it"
        return refuse(state, request, "author_loosens", text)
    return None


def _may_cut_short(request: Request, state: RouteState, current: RolloutState, snapshot: Snapshot) -> bool:
    """Whether the rollout is in its soak and may end there: what was never compared has to prove itself first.

    A start is not an override: what a person stopped, or nobody can see, it does not end.
    """
    if current.phase is not Phase.SOAKING or soak_lacks(current, snapshot.measured.findings):
        return False
    return _kept_from_its_end(request, state, current, snapshot) is None


def _kept_from_its_end(request: Request, state: RouteState, current: RolloutState, snapshot: Snapshot) -> Obeyed | None:
    """Why a start does not end this soak; a first release that fails is replaced all the same, nothing is behind it."""
    if current.stable is None and _fails(current, snapshot):
        return None
    version = current.candidate.version
    if current.paused:
        return refuse(state, request, "soak_paused", f"the soak of {version} is paused: {current.paused}")
    hold = hold_of_another(state, snapshot.now, request.actor)
    if hold is not None:
        return refuse(state, request, "held", f"{hold.actor} holds the soak of {version}: {hold.reason}")
    if snapshot.measured.error:
        text = f"the soak of {version} cannot be measured now: {snapshot.measured.error}"
        return refuse(state, request, "soak_unseen", text)
    return None


def _fails(current: RolloutState, snapshot: Snapshot) -> bool:
    failed = any(finding.verdict is Verdict.FAIL for finding in snapshot.measured.findings)
    return failed or against(snapshot, current) is not None


def _why_not_start(request: Request, state: RouteState, snapshot: Snapshot, release: Digest) -> Obeyed | None:
    facts = snapshot.releases.get(release)
    current = live(state)
    if facts is None:
        return refuse(state, request, "unknown_release", f"no release {release or '(none given)'} in the ledger")
    if facts.refusal:
        return refuse(state, request, "release_refused", facts.refusal)
    if is_frozen(state, snapshot.now):
        freeze = active_holds(state, snapshot.now)[0]
        return refuse(state, request, "frozen", f"{freeze.actor} froze the route: {freeze.reason}")
    if release in state.blocked:
        return refuse(
            state,
            request,
            "blocked",
            f"{facts.arm.version} was rolled back here; lift the block before it starts again",
        )
    if state.stable is not None and state.stable.release == release and state.stable.effective == facts.arm.effective:
        return refuse(state, request, "already_stable", f"{facts.arm.version} is already stable")
    if current is None or _may_cut_short(request, state, current, snapshot):
        return None
    if current.candidate.release == release and current.phase is not Phase.ROLLING_BACK:
        return refuse(state, request, "already_rolling", f"a rollout of {facts.arm.version} is already under way")
    superseded = bool(request.args.get("supersede")) and not _soaks_alone(current)
    if not superseded and current.phase is Phase.SOAKING:
        kept = _kept_from_its_end(request, state, current, snapshot)
        if kept is not None:
            return kept
    if not superseded and current.phase is not Phase.ROLLING_BACK:
        return refuse(
            state,
            request,
            "rollout_live",
            f"a rollout of {current.candidate.version} is {current.phase.value}; abort it, or start with --supersede",
        )
    return None


def _soaks_alone(current: RolloutState) -> bool:
    """The soak of a first release: nothing stood before it, so superseding it would serve nobody."""
    return current.phase is Phase.SOAKING and current.stable is None


def _cannot_follow(request: Request, state: RouteState, plan: Plan, snapshot: Snapshot) -> Obeyed | None:
    """A plan that compares nothing, or needs what is not there; a first release has nothing to follow."""
    if state.stable is None:
        return None
    if not plan.steps:
        return refuse(state, request, "no_steps", "its policy has no step below 100%: nothing would be compared")
    can = snapshot.abilities
    lacks = why_not_followed(plan, sticky=can.sticky, mirror=can.mirror, probe=can.probe)
    return None if lacks is None else refuse(state, request, lacks.code, lacks.text)


def retry(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Begin the rollout that was rolled back again: every gate anew, the same users, its block lifted."""
    release = Digest(str(request.args.get("release", "")))
    last = state.rollout
    if last is not None and last.live:
        where = last.phase.value.replace("_", " ")
        return refuse(state, request, "rollout_live", f"a rollout of {last.candidate.version} is {where}; wait for it")
    if last is None or last.phase is not Phase.ROLLED_BACK or last.candidate.release != release or last.going_back:
        text = "the last rollout here was not one of this release that was rolled back"
        return refuse(state, request, "not_rolled_back", text)
    if not request.reason:
        return refuse(state, request, "reason_needed", "trying again what was rolled back is an override; say why")
    unblocked = replace(state, blocked=tuple(digest for digest in state.blocked if digest != release))
    refusal = _why_not_start(request, unblocked, snapshot, release)
    if refusal is not None:
        return replace(refusal, state=state)
    facts = snapshot.releases[release]
    plan = plan_to_follow(facts, snapshot.plan, state)
    if facts.unknown:
        return refuse(state, request, "stable_unknown", facts.unknown)
    if (unable := _cannot_follow(request, state, plan, snapshot)) is not None:
        return unable
    begun = start_rollout(unblocked, facts.arm, plan, request, snapshot.now, authors=facts.authors)
    assert begun.rollout is not None
    again = replace(begun.rollout, salt=last.bucket_salt, attempt=last.attempt + 1)
    reason = f"{request.actor} tries {facts.arm.version} again, every gate anew: {request.reason}"
    return apply(replace(begun, rollout=again), request, snapshot, DecisionKind.START, "retried", reason)


def cancel(request: Request, state: RouteState) -> Obeyed:
    """A start that an abort has overtaken before it was obeyed."""
    return refuse(state, request, "aborted", "it was aborted before it began")
