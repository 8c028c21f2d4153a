"""People's verbs against a route's state: applied, refused with a code, or left pending. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fairway.rollout.desired import active_hold, is_frozen
from fairway.rollout.requests import Answer, AnswerKind, HoldKind, Request, Verb
from fairway.rollout.values import (
    Approval,
    ArmRef,
    DecisionKind,
    Hold,
    Phase,
    Plan,
    RolloutState,
    RouteState,
    Snapshot,
    Strategy,
)
from fairway.units import Digest, RolloutId, Verdict

LONGEST_FREEZE = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obeyed:
    """What one request did. ``answer`` ``None``: it stays pending until the route can take it."""

    state: RouteState
    answer: Answer | None
    kind: DecisionKind = DecisionKind.OBEY
    code: str = ""
    reason: str = ""


def obey(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    """Apply one verb to ``state`` (which may already be changed by requests before it in the same tick)."""
    if request.if_version is not None and request.if_version != snapshot.head.seq:
        return _refuse(
            state,
            request,
            "moved",
            f"the route is at {snapshot.head.seq}, the request was made at {request.if_version}",
        )
    return _VERBS[request.verb](request, state, snapshot)


def _refuse(state: RouteState, request: Request, code: str, message: str) -> Obeyed:
    answer = Answer(request_id=request.id, kind=AnswerKind.REFUSED, code=code, message=message)
    return Obeyed(state=state, answer=answer, code=code, reason=message)


def _apply(
    state: RouteState, request: Request, snapshot: Snapshot, kind: DecisionKind, code: str, reason: str
) -> Obeyed:
    answer = Answer(request_id=request.id, kind=AnswerKind.APPLIED, seq=snapshot.head.seq + 1, message=reason)
    return Obeyed(state=state, answer=answer, kind=kind, code=code, reason=reason)


def live(state: RouteState) -> RolloutState | None:
    """The rollout that has not ended, or ``None``."""
    return state.rollout if state.rollout is not None and state.rollout.live else None


def begin_rollback(state: RouteState, now: datetime, *, cause: str, text: str) -> RouteState:
    """The state in which the live rollout goes back to the stable it started from."""
    rollout = state.rollout
    assert rollout is not None
    was_promoted = rollout.phase is Phase.SOAKING
    ending = replace(
        rollout, phase=Phase.ROLLING_BACK, phase_at=now, step_from=None, cause=cause, cause_text=text, paused=""
    )
    if not was_promoted:
        return replace(state, rollout=ending)
    history = state.history[1:] if rollout.stable is not None else state.history
    warm = tuple(one for one in state.warm if rollout.stable is None or one.arm.release != rollout.stable.release)
    return replace(state, rollout=ending, stable=rollout.stable, history=history, warm=warm)


def start_rollout(
    state: RouteState,
    candidate: ArmRef,
    plan: Plan,
    request: Request,
    now: datetime,
    *,
    going_back: bool = False,
    authors: tuple[str, ...] = (),
) -> RouteState:
    """The state in which a rollout of ``candidate`` prepares."""
    if state.stable is None:
        plan = replace(plan, strategy=Strategy.DIRECT, steps=())
    rollout = RolloutState(
        id=RolloutId(f"{candidate.version}-{request.id[:8]}"),
        plan=plan,
        candidate=candidate,
        stable=state.stable,
        phase=Phase.PREPARING,
        phase_at=now,
        started_at=now,
        requested_by=request.actor,
        going_back=going_back,
        authors=authors,
    )
    return replace(state, rollout=rollout)


def _start(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    release = Digest(str(request.args.get("release", "")))
    facts = snapshot.releases.get(release)
    refusal = _why_not_start(request, state, snapshot, release)
    if refusal is not None:
        return refusal
    assert facts is not None
    current = live(state)
    if current is not None and current.phase is Phase.SOAKING:
        failing = any(finding.verdict is Verdict.FAIL for finding in snapshot.measured.findings)
        if failing and current.stable is not None:
            return Obeyed(state=state, answer=None)
        text = f"its soak was cut short by {facts.arm.version}"
        ended = replace(current, phase=Phase.DONE, phase_at=snapshot.now, cause="cut_short", cause_text=text)
        state = replace(state, rollout=ended)
        current = None
    if current is not None:
        if current.phase is Phase.ROLLING_BACK:
            return Obeyed(state=state, answer=None)
        text = f"superseded by {facts.arm.version}"
        state = begin_rollback(state, snapshot.now, cause="superseded", text=text)
        return Obeyed(state=state, answer=None, kind=DecisionKind.ROLL_BACK, code="superseded", reason=text)
    plan = facts.plan or snapshot.plan
    if state.stable is not None and not plan.steps:
        return _refuse(state, request, "no_steps", "its policy has no step below 100%: nothing would be compared")
    state = start_rollout(state, facts.arm, plan, request, snapshot.now, authors=facts.authors)
    was = "no release" if state.stable is None else state.stable.version
    return _apply(
        state, request, snapshot, DecisionKind.START, "started", f"rollout of {facts.arm.version} started; {was} serves"
    )


def _why_not_start(request: Request, state: RouteState, snapshot: Snapshot, release: Digest) -> Obeyed | None:
    facts = snapshot.releases.get(release)
    current = live(state)
    if facts is None:
        return _refuse(state, request, "unknown_release", f"no release {release or '(none given)'} in the ledger")
    if facts.refusal:
        return _refuse(state, request, "release_refused", facts.refusal)
    if is_frozen(state, snapshot.now):
        assert state.hold is not None
        return _refuse(state, request, "frozen", f"{state.hold.actor} froze the route: {state.hold.reason}")
    if release in state.blocked:
        return _refuse(
            state,
            request,
            "blocked",
            f"{facts.arm.version} was rolled back here; lift the block before it starts again",
        )
    if state.stable is not None and state.stable.release == release and state.stable.effective == facts.arm.effective:
        return _refuse(state, request, "already_stable", f"{facts.arm.version} is already stable")
    if current is None or current.phase is Phase.SOAKING:
        return None
    if current.candidate.release == release and current.phase is not Phase.ROLLING_BACK:
        return _refuse(state, request, "already_rolling", f"a rollout of {facts.arm.version} is already under way")
    if not request.args.get("supersede") and current.phase is not Phase.ROLLING_BACK:
        return _refuse(
            state,
            request,
            "rollout_live",
            f"a rollout of {current.candidate.version} is {current.phase.value}; abort it, or start with --supersede",
        )
    return None


def _promote(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None or current.phase is not Phase.STEPPING:
        where = "no rollout is live" if current is None else f"the rollout is {current.phase.value}"
        return _refuse(state, request, "not_stepping", f"nothing to promote: {where}")
    if not request.reason:
        return _refuse(state, request, "reason_needed", "promoting past a gate is an override and needs a reason")
    overruled = _promotes_over_others(request, state, snapshot, current)
    if overruled is not None:
        return overruled
    failed = [finding.gate for finding in snapshot.measured.findings if finding.verdict is Verdict.FAIL]
    if failed:
        return _refuse(state, request, "gate_failed", f"{', '.join(failed)} failed; the rollout goes back")
    assert snapshot.state.rollout is not None
    if current != snapshot.state.rollout:
        return _refuse(state, request, "moved", "another verb has just moved the rollout")
    full = bool(request.args.get("full"))
    moved = advance(state, snapshot, full=full)
    assert moved.rollout is not None
    whole = moved.rollout.phase is Phase.PROMOTING
    to = "100%" if whole else f"step {moved.rollout.step + 1} of {len(moved.rollout.plan.steps)}"
    reason = f"{request.actor} promoted to {to}: {request.reason}"
    return _apply(moved, request, snapshot, DecisionKind.ADVANCE, "promoted_by_person", reason)


def _promotes_over_others(
    request: Request, state: RouteState, snapshot: Snapshot, current: RolloutState
) -> Obeyed | None:
    """A promotion overrides gates, never another person's word."""
    hold = active_hold(state, snapshot.now)
    if hold is not None and hold.actor != request.actor:
        return _refuse(state, request, "held", f"{hold.actor} holds the route: {hold.reason}")
    if snapshot.router.pinned is not None:
        return _refuse(state, request, "pinned", "a person pinned the gateway's traffic; let go of that first")
    asked = range(current.step, len(current.plan.steps)) if request.args.get("full") else (current.step,)
    missing = [step for step in asked if current.plan.steps[step].approval and not approved(state, current, step=step)]
    if missing or (current.plan.approval and not approved(state, current, step=None)):
        return _refuse(state, request, "approval_needed", "an approval that the policy asks for has not been given")
    if current.plan.approval and request.actor in current.authors:
        return _refuse(state, request, "author_promotes", f"{request.actor} wrote it; somebody else promotes it")
    return None


def approved(state: RouteState, rollout: RolloutState, *, step: int | None) -> bool:
    """Whether somebody has said yes to exactly this: release, configuration, policy, and step or first exposure."""
    wanted = (rollout.candidate.release, rollout.candidate.effective, rollout.plan.policy_digest, step)
    return wanted in ((one.release, one.effective, one.policy_digest, one.step) for one in state.approvals)


def advance(state: RouteState, snapshot: Snapshot, *, full: bool = False) -> RouteState:
    """The state one step further: the next step, or promoting after the last (or at once when ``full``)."""
    rollout = state.rollout
    assert rollout is not None
    following = 0 if rollout.phase is Phase.PREPARING else rollout.step + 1
    if full or following >= len(rollout.plan.steps):
        moved = replace(rollout, phase=Phase.PROMOTING, phase_at=snapshot.now, step_from=None, paused="", theta=None)
    else:
        theta = snapshot.measured.theta if snapshot.measured.theta is not None else rollout.theta
        moved = replace(
            rollout,
            phase=Phase.STEPPING,
            step=following,
            phase_at=snapshot.now,
            step_from=None,
            paused="",
            theta=theta,
            theta_at=None,
        )
    return replace(state, rollout=moved)


def _pause(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None:
        return _refuse(state, request, "no_rollout", "no rollout is live")
    reason = f"{request.actor} paused" + (f": {request.reason}" if request.reason else "")
    moved = replace(state, rollout=replace(current, paused=reason))
    return _apply(moved, request, snapshot, DecisionKind.PAUSE, "paused_by_person", reason)


def _resume(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None or not current.paused:
        return _refuse(state, request, "not_paused", "the rollout is not paused" if current else "no rollout is live")
    moved = replace(state, rollout=replace(current, paused="", phase_at=snapshot.now, telemetry_lost_at=None))
    return _apply(moved, request, snapshot, DecisionKind.OBEY, "resumed", f"{request.actor} resumed")


def _abort(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    if current is None:
        return _refuse(state, request, "no_rollout", "no rollout is live; fairway rollback goes to the last stable")
    reason = f"{request.actor} aborted" + (f": {request.reason}" if request.reason else "")
    if current.phase is Phase.ROLLING_BACK:
        return _apply(state, request, snapshot, DecisionKind.OBEY, "already_rolling_back", "already going back")
    moved = begin_rollback(state, snapshot.now, cause="aborted", text=reason)
    return _apply(moved, request, snapshot, DecisionKind.ROLL_BACK, "aborted", reason)


def cancel(request: Request, state: RouteState) -> Obeyed:
    """A start that an abort has overtaken before it was obeyed."""
    return _refuse(state, request, "aborted", "it was aborted before it began")


def _rollback(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    current = live(state)
    wanted = request.args.get("to")
    if current is not None and not current.going_back:
        if wanted is None or (current.stable is not None and wanted == current.stable.release):
            return _abort(request, state, snapshot)
        return _refuse(state, request, "rollout_live", "abort the live rollout first, then roll back further")
    if current is not None:
        return _refuse(state, request, "already_rolling_back", f"already going back to {current.candidate.version}")
    target = _former_stable(state, None if wanted is None else Digest(str(wanted)))
    if target is not None and target.release in state.blocked:
        text = f"{target.version} was rolled back here; lift its block before going back to it"
        return _refuse(state, request, "blocked", text)
    if target is None:
        code = "no_previous" if wanted is None else "never_stable"
        text = (
            "no release that is not blocked was stable here before"
            if wanted is None
            else "that release was never stable here; deploy it instead, through its gates"
        )
        return _refuse(state, request, code, text)
    plan = replace(snapshot.plan, strategy=Strategy.DIRECT, steps=(), approval=False, soak=0.0, soak_gates=())
    moved = start_rollout(state, target, plan, request, snapshot.now, going_back=True)
    reason = f"{request.actor} rolls back to {target.version}" + (f": {request.reason}" if request.reason else "")
    return _apply(moved, request, snapshot, DecisionKind.ROLL_BACK, "rollback_requested", reason)


def _former_stable(state: RouteState, wanted: Digest | None) -> ArmRef | None:
    if wanted is None:
        return next((arm for arm in state.history if arm.release not in state.blocked), None)
    return next((arm for arm in state.history if arm.release == wanted), None)


def _hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    try:
        kind = HoldKind(str(request.args.get("kind", "")))
        until = None if request.args.get("until") is None else datetime.fromisoformat(str(request.args["until"]))
    except ValueError:
        return _refuse(state, request, "bad_hold", "kind is no-advance or freeze; until is an ISO time with its zone")
    if not request.reason:
        return _refuse(state, request, "reason_needed", "a hold needs a reason")
    if until is not None and until.tzinfo is None:
        return _refuse(state, request, "bad_hold", "until needs a time zone")
    if kind is HoldKind.FREEZE and (until is None or until - snapshot.now > LONGEST_FREEZE):
        return _refuse(state, request, "freeze_too_long", "a freeze expires, in at most 4 hours")
    other = active_hold(state, snapshot.now)
    if other is not None and other.kind is HoldKind.FREEZE and other.actor != request.actor:
        return _refuse(state, request, "held", f"{other.actor} froze the route: {other.reason}; release that first")
    hold = Hold(kind=kind, actor=request.actor, reason=request.reason, until=until)
    reason = f"{request.actor} holds ({kind.value}): {request.reason}"
    return _apply(replace(state, hold=hold), request, snapshot, DecisionKind.OBEY, "held", reason)


def _release_hold(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    if state.hold is None:
        return _refuse(state, request, "no_hold", "nothing is held")
    moved = replace(state, hold=None)
    return _apply(moved, request, snapshot, DecisionKind.OBEY, "hold_released", f"{request.actor} released the hold")


def _approve(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    release = Digest(str(request.args.get("release", "")))
    facts = snapshot.releases.get(release)
    if facts is None:
        return _refuse(state, request, "unknown_release", "name the release to approve")
    if request.actor in facts.authors:
        return _refuse(
            state, request, "author_approves", f"{request.actor} wrote or published it; somebody else approves"
        )
    approval = Approval(
        actor=request.actor,
        at=snapshot.now,
        release=release,
        effective=facts.arm.effective,
        policy_digest=(facts.plan or snapshot.plan).policy_digest,
        step=_step_to_approve(state, release),
    )
    moved = replace(state, approvals=(*state.approvals, approval))
    reason = f"{request.actor} approved {facts.arm.version}"
    return _apply(moved, request, snapshot, DecisionKind.OBEY, "approved", reason)


def _step_to_approve(state: RouteState, release: Digest) -> int | None:
    """The step that asks for an approval now; ``None``: the first exposure."""
    current = live(state)
    if current is None or current.candidate.release != release or current.phase is not Phase.STEPPING:
        return None
    return current.step


def _lift_block(request: Request, state: RouteState, snapshot: Snapshot) -> Obeyed:
    release = Digest(str(request.args.get("release", "")))
    if release not in state.blocked:
        return _refuse(state, request, "not_blocked", "that release is not blocked here")
    if not request.reason:
        return _refuse(state, request, "reason_needed", "lifting a block is an override and needs a reason")
    moved = replace(state, blocked=tuple(digest for digest in state.blocked if digest != release))
    reason = f"{request.actor} lifted the block: {request.reason}"
    return _apply(moved, request, snapshot, DecisionKind.OBEY, "block_lifted", reason)


_VERBS: dict[Verb, Callable[[Request, RouteState, Snapshot], Obeyed]] = {
    Verb.START: _start,
    Verb.PROMOTE: _promote,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.ABORT: _abort,
    Verb.ROLLBACK: _rollback,
    Verb.HOLD: _hold,
    Verb.RELEASE_HOLD: _release_hold,
    Verb.APPROVE: _approve,
    Verb.LIFT_BLOCK: _lift_block,
}
