"""What every verb shares: the answer it gets, and the moves of a rollout that people and automation both make. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from fairway.rollout.approvals import asks, next_entering, spend, unspent
from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.instances import scaling_towards
from fairway.rollout.judged import serving
from fairway.rollout.people import Override
from fairway.rollout.requests import Answer, AnswerKind, Request
from fairway.rollout.source_gates import source_findings
from fairway.rollout.values import ArmRef, Phase, Plan, RolloutState, RouteState, Strategy
from fairway.units import Digest, RolloutId, Verdict, format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Obeyed:
    """What one request did. ``answer`` ``None``: it stays pending until the route can take it."""

    state: RouteState
    answer: Answer | None
    kind: DecisionKind = DecisionKind.OBEY
    code: str = ""
    reason: str = ""


def refuse(state: RouteState, request: Request, code: str, message: str) -> Obeyed:
    """The answer ``refused``; nothing changes."""
    answer = Answer(request_id=request.id, kind=AnswerKind.REFUSED, code=code, message=message)
    return Obeyed(state=state, answer=answer, code=code, reason=message)


def apply(
    state: RouteState, request: Request, snapshot: Snapshot, kind: DecisionKind, code: str, reason: str
) -> Obeyed:
    """The answer ``applied``, by the event that comes of it."""
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
        rollout,
        phase=Phase.ROLLING_BACK,
        phase_at=now,
        left=rollout.phase,
        step_from=None,
        served=None,
        cause=cause,
        cause_text=text,
        paused="",
    )
    if not was_promoted:
        return replace(state, rollout=ending)
    # What was left stands first in the history, or last when the rollout itself went back: it is found by its digest.
    back = None if rollout.stable is None else rollout.stable.release
    history = tuple(arm for arm in state.history if arm.release != back)
    warm = tuple(one for one in state.warm if one.arm.release != back)
    return replace(state, rollout=ending, stable=rollout.stable, history=history, warm=warm)


def blocked_after(state: RouteState, rollout: RolloutState) -> tuple[Digest, ...]:
    """What is blocked once a soak has ended well, however it ended: also what was gone back *from*."""
    if not rollout.going_back or rollout.stable is None or rollout.stable.release in state.blocked:
        return state.blocked
    return (*state.blocked, rollout.stable.release)


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
    """The state in which a rollout of ``candidate`` prepares; what earlier attempts used of approvals is gone."""
    if state.stable is None:  # all at once, so whatever a step asks for is asked before it
        plan = replace(plan, strategy=Strategy.DIRECT, steps=(), approval=asks(plan))
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
    return replace(state, rollout=rollout, approvals=unspent(state.approvals))


def advance(state: RouteState, snapshot: Snapshot, *, full: bool = False) -> RouteState:
    """The state one step further: the next step, or promoting after the last (or at once when ``full``).

    The approvals this exposure is made on are used by it.
    """
    rollout = state.rollout
    assert rollout is not None
    following = next_entering(rollout)
    entering = len(rollout.plan.steps) if full else following
    state = spend(state, rollout, snapshot.now, entering=entering)
    if full or following >= len(rollout.plan.steps):
        moved = replace(
            rollout,
            phase=Phase.PROMOTING,
            phase_at=snapshot.now,
            step_from=None,
            served=serving(rollout),
            paused="",
            theta=None,
            scaling=scaling_towards(rollout, None),
        )
    else:
        theta = snapshot.measured.theta if snapshot.measured.theta is not None else rollout.theta
        moved = replace(
            rollout,
            phase=Phase.STEPPING,
            step=following,
            phase_at=snapshot.now,
            step_from=None,
            served=serving(rollout),
            paused="",
            theta=theta,
            theta_at=None,
            yardsticks={**rollout.yardsticks, **snapshot.measured.yardsticks},
            scaling=scaling_towards(rollout, following),
        )
    return replace(state, rollout=moved)


def overridden(
    state: RouteState, request: Request, snapshot: Snapshot, *, verb: str, past: str | None = None
) -> RouteState:
    """The state, as moved by a person, with it on record what stood open when they did.

    Args:
        state: After the move.
        request: Who asked, and why.
        snapshot: As it was.
        verb: As the override is called.
        past: What they went past; by default how far the evidence was.
    """
    rollout = state.rollout
    assert rollout is not None
    override = Override(
        verb=verb,
        actor=request.actor,
        at=snapshot.now,
        reason=request.reason,
        past=_stands_open(snapshot) if past is None else past,
        whole=rollout.phase is Phase.PROMOTING and verb not in ("resume", "start"),
    )
    return replace(state, rollout=replace(rollout, overrides=(*rollout.overrides, override)))


def _stands_open(snapshot: Snapshot) -> str:
    """What the evidence was when a person went past it: the gates that had to pass by name, the others by number."""
    seen = format_duration(snapshot.measured.mature_seconds)
    if not snapshot.measured.findings:
        return f"nothing was measured; {seen} observed"
    custom = [each for each in source_findings(snapshot, snapshot.state.rollout) if each.verdict is not Verdict.PASS]
    stood = [each for each in snapshot.measured.findings if each.verdict is not Verdict.PASS]
    must = _must_pass(snapshot.state.rollout)
    named = [f"{each.gate} {each.verdict.value}" for each in stood if each.gate in must]
    others = len(stood) - len(named)
    if others:
        named.append(f"{others} other{'s' if others > 1 else ''} not passed")
    named += [f"{each.gate} {each.verdict.value} (custom)" for each in custom]
    return f"{', '.join(named) or 'every gate passed'}; {seen} observed"


def _must_pass(rollout: RolloutState | None) -> frozenset[str]:
    if rollout is None or not rollout.plan.steps or rollout.phase is Phase.SOAKING:
        return frozenset()
    return frozenset(gate.name for gate in rollout.plan.steps[rollout.step].gates if gate.must_pass)
