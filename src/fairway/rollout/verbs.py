"""People's verbs against a route's state: applied, refused with a code, or left pending. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from fairway.rollout.against import against
from fairway.rollout.approvals import asks, missing, next_entering, passed, sentence
from fairway.rollout.approving import approve, revoke
from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import hold_of_another
from fairway.rollout.holding import LONGEST_FREEZE, hold, release_hold, to_release
from fairway.rollout.instances import scaled_down
from fairway.rollout.judged import begun_anew
from fairway.rollout.obeying import (
    Obeyed,
    advance,
    apply,
    begin_rollback,
    blocked_after,
    live,
    overridden,
    refuse,
    start_rollout,
)
from fairway.rollout.overlooking import past_alarms
from fairway.rollout.people import BrokenGlass, is_among, same_person
from fairway.rollout.recording import note, take_back, withdraw, withdrawn
from fairway.rollout.requests import AnswerKind, Request, Verb
from fairway.rollout.roles import right_of, why_not
from fairway.rollout.starting import cancel, retry, start
from fairway.rollout.values import ArmRef, Hold, Phase, Plan, RolloutState, RouteState, Scaling, Strategy
from fairway.units import Digest, Verdict, format_duration

__all__ = [
    "LONGEST_FREEZE",
    "Obeyed",
    "advance",
    "begin_rollback",
    "cancel",
    "ends_live",
    "just_went_back",
    "live",
    "obey",
    "start_rollout",
    "take_back",
    "withdrawn",
]

ONE_STEP_BACK = timedelta(minutes=10)
"""For so long after production went back, whoever asks for a rollback without a name is taken to ask for the same."""
GLASS_KEPT = 50
"""Breakings of glass remembered in a route's state; every one stays in the audit log."""


def obey(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Apply one verb to ``state`` (which may already be changed by requests before it in the same tick)."""
    if request.if_version is not None and request.if_version != snapshot.head.seq:
        return refuse(
            state,
            request,
            "moved",
            f"the route is at {snapshot.head.seq}, the request was made at {request.if_version}",
        )
    denied = _denied(request, state, snapshot)
    if not denied:
        return _VERBS[request.verb](request, state, snapshot)
    if not request.args.get("break_glass"):
        return refuse(state, request, "role_missing", denied)
    if not request.reason:
        return refuse(state, request, "reason_needed", "breaking the glass needs a reason")
    return _loudly(request, state, snapshot, _VERBS[request.verb](request, state, snapshot))


def _denied(request: Request, state: RouteState, snapshot: Snapshot) -> str:
    """Why the person's roles do not allow it; one's own things need none, and approvals have their own rules."""
    if request.verb in (Verb.APPROVE, Verb.WITHDRAW):
        return ""
    if request.verb is Verb.RELEASE_HOLD and _is_own(to_release(request, state, snapshot), request.actor):
        return ""
    if request.verb is Verb.REVOKE and same_person(str(request.args.get("of") or request.actor), request.actor):
        return ""
    current = live(state)
    past = request.verb is Verb.RESUME and current is not None and bool(past_alarms(snapshot, current))
    right = right_of(request, goes_back=current is not None and not current.going_back, past_alarm=past)
    return why_not(request.actor, right, people=snapshot.people, kind=snapshot.environment_kind)


def _is_own(holds: tuple[Hold, ...], actor: str) -> bool:
    return bool(holds) and all(same_person(hold.actor, actor) for hold in holds)


def _loudly(request: Request, state: RouteState, snapshot: Snapshot, obeyed: Obeyed) -> Obeyed:
    """What was done without the role for it, on record: in the event, the state and the answer; a note is owed."""
    if obeyed.state == state:
        return obeyed
    broken = BrokenGlass(
        request=request.id,
        seq=snapshot.head.seq + 1,
        verb=request.verb.value,
        actor=request.actor,
        at=snapshot.now,
        reason=request.reason,
    )
    kept = tuple(one for one in obeyed.state.glass if one.request != request.id)
    loud = f"BREAK GLASS: {obeyed.reason}"
    answer = obeyed.answer
    if answer is not None and answer.kind is AnswerKind.APPLIED:
        answer = replace(answer, message=f"{loud}; a note is owed: fairway audit note {broken.seq}")
    moved = replace(obeyed.state, glass=(*kept, broken)[-GLASS_KEPT:])
    return replace(obeyed, state=moved, reason=loud, answer=answer)


def _promote(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None or current.phase is not Phase.STEPPING:
        where = "no rollout is live" if current is None else f"the rollout is {_where(current)}"
        return refuse(state, request, "not_stepping", f"nothing to promote: {where}")
    full = bool(request.args.get("full"))
    refusal = _why_not_further(request, state, snapshot, current, full=full)
    if refusal is not None:
        return refusal
    moved = overridden(advance(state, snapshot, full=full), request, snapshot, verb=right_of(request).value)
    reason = f"{request.actor} promoted to {_reached(moved)} past its gates: {request.reason}"
    return apply(moved, request, snapshot, DecisionKind.ADVANCE, "promoted_by_person", reason)


def _reached(state: RouteState) -> str:
    rollout = state.rollout
    assert rollout is not None
    whole = rollout.phase is Phase.PROMOTING
    return "100%" if whole else f"step {rollout.step + 1} of {len(rollout.plan.steps)}"


def _where(rollout: RolloutState) -> str:
    return rollout.phase.value.replace("_", " ")


def _why_not_further(
    request: Request, state: RouteState, snapshot: Snapshot, current: RolloutState, *, full: bool
) -> Obeyed | None:
    """What no override goes past: a missing reason, another person's word, a failure, another click."""
    if not request.reason:
        return refuse(state, request, "reason_needed", "promoting past a gate is an override and needs a reason")
    overruled = _over_others(request, state, snapshot, current, full=full)
    if overruled is not None:
        return overruled
    proof = against(snapshot, current)
    if proof is not None:
        return refuse(state, request, proof.code, f"no override goes past this: {proof.text}")
    failed = [finding for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if failed:
        told = "; ".join(f"{finding.gate} failed: {finding.reason}" for finding in failed)
        return refuse(state, request, "gate_failed", f"no override goes past this: {told}")
    if current.scaling is Scaling.STARTING:
        return refuse(state, request, "still_starting", "the instances of this step are still starting; ask again")
    if current != snapshot.state.rollout:
        return refuse(state, request, "moved", "another verb has just moved the rollout")
    return None


def _over_others(
    request: Request, state: RouteState, snapshot: Snapshot, current: RolloutState, *, full: bool
) -> Obeyed | None:
    """A promotion overrides gates, never another person's word."""
    other = hold_of_another(state, snapshot.now, request.actor)
    if other is not None:
        return refuse(state, request, "held", f"{other.actor} holds the route: {other.reason}")
    if snapshot.router.pinned is not None:
        return refuse(state, request, "pinned", "a person pinned the gateway's traffic; let go of that first")
    if current.candidate.release in snapshot.router.masked:
        return refuse(state, request, "masked", "a person masked the candidate on a gateway; unmask it first")
    entering = len(current.plan.steps) if full else next_entering(current)
    lacking = missing(state, current, snapshot.now, entering=entering)
    if lacking is not None:
        again = lacking.step in passed(current)
        waits = sentence(lacking, version=current.candidate.version, plan=current.plan, again=again)
        return refuse(state, request, "approval_needed", f"no override goes past an approval: {waits}")
    if asks(current.plan) and not current.plan.quorum.authors_may and is_among(request.actor, current.authors):
        return refuse(state, request, "author_promotes", f"{request.actor} wrote it; somebody else promotes it")
    return None


def _skip(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None or current.phase not in (Phase.STEPPING, Phase.SOAKING):
        where = "no rollout is live" if current is None else f"the rollout is {_where(current)}"
        return refuse(state, request, "nothing_to_skip", f"there is no step to leave: {where}")
    refusal = _why_not_further(request, state, snapshot, current, full=False)
    if refusal is not None:
        return refusal
    if current.phase is Phase.SOAKING:
        return _skip_soak(request, overridden(state, request, snapshot, verb="skip"), snapshot)
    moved = overridden(advance(state, snapshot), request, snapshot, verb="skip")
    left = f"step {current.step + 1} of {len(current.plan.steps)}"
    reason = f"{request.actor} skipped {left} without its evidence, on to {_reached(moved)}: {request.reason}"
    return apply(moved, request, snapshot, DecisionKind.ADVANCE, "step_skipped", reason)


def _skip_soak(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    rollout = state.rollout
    assert rollout is not None
    reason = f"{request.actor} ended the soak without its evidence: {request.reason}"
    ended = replace(rollout, phase=Phase.DONE, phase_at=snapshot.now, cause="soak_skipped", cause_text=reason)
    moved = replace(state, rollout=ended, blocked=blocked_after(state, rollout), warm=scaled_down(state, rollout))
    return apply(moved, request, snapshot, DecisionKind.FINISH, "soak_skipped", reason)


def _pause(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None:
        return refuse(state, request, "no_rollout", "no rollout is live")
    starts = current.phase is Phase.PROMOTING and current.scaling is Scaling.STARTING
    if current.phase not in (Phase.PREPARING, Phase.STEPPING, Phase.SOAKING) and not starts:
        return refuse(state, request, "too_late", f"the rollout is {_where(current)}: there is no step left to stop at")
    reason = f"{request.actor} paused" + (f": {request.reason}" if request.reason else "")
    moved = replace(state, rollout=replace(current, paused=reason))
    return apply(moved, request, snapshot, DecisionKind.PAUSE, "paused_by_person", reason)


def _resume(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None or not current.paused:
        return refuse(state, request, "not_paused", "the rollout is not paused" if current else "no rollout is live")
    past = past_alarms(snapshot, current)
    if past and not request.reason:
        text = f"resuming in spite of {', '.join(past)} is an override; say why"
        return refuse(state, request, "reason_needed", text)
    seen = (*(name for name in current.overlooked if name not in past), *past)
    rollout = replace(current, paused="", phase_at=snapshot.now, telemetry_lost_at=None, overlooked=seen)
    failed = [each for each in snapshot.measured.findings if each.verdict is Verdict.FAIL]
    if failed and not any(each.damning for each in failed):
        rollout = begun_anew(rollout, snapshot)  # a limit both arms broke: what was counted is the outage
    moved = replace(state, rollout=rollout)
    if past:
        moved = overridden(moved, request, snapshot, verb="resume", past="; ".join(past.values()))
    spite = f" in spite of {', '.join(past)}" if past else ""
    why = f": {request.reason}" if request.reason else ""
    return apply(moved, request, snapshot, DecisionKind.OBEY, "resumed", f"{request.actor} resumed{spite}{why}")


def _abort(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None:
        return refuse(state, request, "no_rollout", "no rollout is live; fairway rollback goes to the last stable")
    return _end(request, state, snapshot, current, cause="aborted", what="aborted")


def _end(
    request: Request, state: RouteState, snapshot: Snapshot, current: RolloutState, *, cause: str, what: str
) -> Obeyed:
    """A live rollout goes back because a person says so."""
    reason = f"{request.actor} {what}" + (f": {request.reason}" if request.reason else "")
    if current.phase is Phase.ROLLING_BACK:
        return apply(state, request, snapshot, DecisionKind.OBEY, "already_rolling_back", "already going back")
    moved = begin_rollback(state, snapshot.now, cause=cause, text=reason)
    return apply(moved, request, snapshot, DecisionKind.ROLL_BACK, cause, reason)


def ends_live(request: Request, current: RolloutState) -> bool:
    """Whether a rollback means the end of the live rollout: it names nothing, or what that would return to.

    What goes back already is ended only by the name of the release it left: whoever asks twice asks for one rollback.
    """
    wanted = request.args.get("to")
    if wanted is None:
        return not current.going_back
    return current.stable is not None and bool(wanted == current.stable.release)


def _rollback(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is not None and ends_live(request, current):
        if current.going_back:  # what is left by it is a former stable, and nobody says that it is bad
            return _abort(request, state, snapshot)
        what = f"rolled {current.candidate.version} back"
        return _end(request, state, snapshot, current, cause="rollback_requested", what=what)
    if current is not None and not current.going_back:
        return refuse(state, request, "rollout_live", "abort the live rollout first, then roll back further")
    return _back(request, state, snapshot) if current is None else _elsewhere(request, state, snapshot, current)


def _elsewhere(request: Request, state: RouteState, snapshot: Snapshot, current: RolloutState) -> Obeyed:
    """Back to another release than the one it goes back to now, in its place: not by way of the one that was left.

    A soak that a person cuts short so has shown what it was for, and what it left is blocked as at its end.
    """
    wanted = request.args.get("to")
    if wanted is None or wanted == current.candidate.release:
        left = "no release" if current.stable is None else current.stable.version
        text = (
            f"already going back to {current.candidate.version};"
            f" --to names another former stable, fairway rollout abort returns to {left}"
        )
        return refuse(state, request, "already_rolling_back", text)
    if current.phase is Phase.ROLLING_BACK:
        return Obeyed(state=state, answer=None)
    text = f"{request.actor} goes back further"
    ended = replace(current, phase=Phase.DONE, phase_at=snapshot.now, cause="replaced", cause_text=text)
    put_off = replace(state, rollout=ended)
    if current.phase is Phase.SOAKING:
        put_off = replace(put_off, blocked=blocked_after(state, current), warm=scaled_down(state, current))
    obeyed = _back(request, put_off, snapshot)
    return replace(obeyed, state=state) if obeyed.state is put_off else obeyed


def _back(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """All traffic to a former stable, or to a mix of former parts."""
    wanted = request.args.get("to")
    if wanted is not None and state.stable is not None and wanted == state.stable.release:
        return refuse(state, request, "already_stable", f"{state.stable.version} is already stable")
    went_back = just_went_back(state, snapshot.now)
    if wanted is None and request.if_version is None and went_back:
        return refuse(state, request, "just_rolled_back", went_back)
    target = _former_stable(state, None if wanted is None else Digest(str(wanted)))
    if target is not None and target.release in state.blocked:
        text = f"{target.version} was rolled back here; lift its block before going back to it"
        return refuse(state, request, "blocked", text)
    if target is None and wanted is not None:
        mix = _derived(request, state, snapshot, Digest(str(wanted)))
        if mix is not None:
            return mix
    if target is None:
        code = "no_previous" if wanted is None else "never_stable"
        text = (
            "no release that is not blocked was stable here before"
            if wanted is None
            else "that release was never stable here; deploy it instead, through its gates"
        )
        return refuse(state, request, code, text)
    plan = replace(snapshot.plan, strategy=Strategy.DIRECT, steps=(), approval=False, soak=0.0, soak_gates=())
    return _goes_back(request, state, snapshot, target, plan)


def just_went_back(state: RouteState, now: datetime) -> str:
    """What to say to whoever asks for a rollback right after one: two people who press it mean one step back.

    Empty when nothing went back just now; also when a rollback came to nothing itself, and production is where it was,
    and when automation ended a rollout that stable never was part of: then what serves is bad by itself.
    """
    ended = state.rollout
    if ended is None or state.stable is None or now - ended.phase_at > ONE_STEP_BACK:
        return ""
    what = _what_went_back(ended)
    if not what:
        return ""
    ago = format_duration(max(1.0, round((now - ended.phase_at).total_seconds())))
    further = _former_stable(state, None)
    to = "there is no release further back" if further is None else f"{further.version} would be next: say --to"
    return f"{what} went back to {state.stable.version} (done {ago} ago); {to}"


def _what_went_back(ended: RolloutState) -> str:
    """All of production, or what a person took back: users of a candidate, or a rollout that had met nobody yet."""
    if ended.going_back:
        return "production" if ended.phase is Phase.DONE else ""
    if ended.phase is not Phase.ROLLED_BACK:
        return ""
    if ended.left is Phase.SOAKING:
        return "production"
    under_way = ended.left in (Phase.STEPPING, Phase.PROMOTING) and ended.scaling is not Scaling.STARTING
    met_somebody = ended.counted_from is not None or under_way
    if ended.cause not in ("rollback_requested", "aborted"):
        return ""
    return f"the {'users' if met_somebody else 'rollout'} of {ended.candidate.version}"


def _goes_back(
    request: Request,
    state: RouteState,
    snapshot: Snapshot,
    target: ArmRef,
    plan: Plan,
    *,
    authors: tuple[str, ...] = (),
) -> Obeyed:
    moved = start_rollout(state, target, plan, request, snapshot.now, going_back=True, authors=authors)
    reason = f"{request.actor} rolls back to {target.version}" + (f": {request.reason}" if request.reason else "")
    return apply(moved, request, snapshot, DecisionKind.ROLL_BACK, "rollback_requested", reason)


def _derived(request: Request, state: RouteState, snapshot: Snapshot, wanted: Digest) -> Obeyed | None:
    """A release that was never stable itself, when each of its components was; ``None`` when nothing is known of it.

    Its parts have served, their mix has not: whatever its policy asks a quorum for is asked before it meets anybody,
    and it proves itself in a soak, since no step compared it.
    """
    facts = snapshot.releases.get(wanted)
    if facts is None or facts.never_stable is None:
        return None
    if facts.refusal:
        return refuse(state, request, "release_refused", facts.refusal)
    if wanted in state.blocked:
        text = f"{facts.arm.version} was rolled back here; lift its block before going back to it"
        return refuse(state, request, "blocked", text)
    if facts.never_stable:
        parts = ", ".join(facts.never_stable)
        text = f"{parts} of {facts.arm.version} was never stable here; roll it out instead, through its gates"
        return refuse(state, request, "never_stable", text)
    own = facts.plan or snapshot.plan
    proves = tuple(replace(gate, must_pass=True) for gate in own.soak_gates)
    plan = replace(own, strategy=Strategy.DIRECT, steps=(), approval=asks(own), soak_gates=proves)
    mix = replace(facts.arm, unverified=True)
    return _goes_back(request, state, snapshot, mix, plan, authors=facts.authors)


def _former_stable(state: RouteState, wanted: Digest | None) -> ArmRef | None:
    """What was stable here: the release that is wanted, else the newest that is not blocked; never the present one."""
    present = None if state.stable is None else state.stable.release
    former = [arm for arm in state.history if arm.release != present]
    if wanted is None:
        return next((arm for arm in former if arm.release not in state.blocked), None)
    return next((arm for arm in former if arm.release == wanted), None)


def _lift_block(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    release = Digest(str(request.args.get("release", "")))
    if release not in state.blocked:
        return refuse(state, request, "not_blocked", "that release is not blocked here")
    if not request.reason:
        return refuse(state, request, "reason_needed", "lifting a block is an override and needs a reason")
    moved = replace(state, blocked=tuple(digest for digest in state.blocked if digest != release))
    reason = f"{request.actor} lifted the block: {request.reason}"
    return apply(moved, request, snapshot, DecisionKind.OBEY, "block_lifted", reason)


_VERBS: Mapping[Verb, Callable[[Request, RouteState, Snapshot], Obeyed]] = {
    Verb.START: start,
    Verb.PROMOTE: _promote,
    Verb.SKIP: _skip,
    Verb.RETRY: retry,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.ABORT: _abort,
    Verb.ROLLBACK: _rollback,
    Verb.HOLD: hold,
    Verb.RELEASE_HOLD: release_hold,
    Verb.APPROVE: approve,
    Verb.REVOKE: revoke,
    Verb.LIFT_BLOCK: _lift_block,
    Verb.WITHDRAW: withdraw,
    Verb.NOTE: note,
}
