"""The decision: what is desired of a route now, why, on which evidence, and when to look again. Pure and total.

The order of the rules is here; what each phase asks for is in ``preparing``, ``stepping``, ``promoting`` and
``rolling_back``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairway.rollout.deciding import Decision, DecisionKind, Snapshot
from fairway.rollout.desired import active_hold, desired_of, is_frozen, served_digest, serves_nobody
from fairway.rollout.not_ahead import not_ahead
from fairway.rollout.outcome import Outcome, ahead, roll_back, wait
from fairway.rollout.overlooking import without_ended
from fairway.rollout.preparing import preparing
from fairway.rollout.promoting import promoting, soaking
from fairway.rollout.requests import Answer, HoldKind, Request, Verb
from fairway.rollout.rolling_back import rolling_back
from fairway.rollout.source_gates import source_findings
from fairway.rollout.stepping import stepping
from fairway.rollout.values import Phase, RolloutState, RouteState
from fairway.rollout.verbs import Obeyed, cancel, ends_live, live, obey, take_back, withdrawn
from fairway.traffic.fence import Fence

_URGENT = frozenset({Verb.ABORT, Verb.ROLLBACK})
_STARTS = frozenset({Verb.START, Verb.RETRY})


def next_step(snapshot: Snapshot) -> Decision:
    """Decide.

    Order: people's verbs, abort first → freeze → shared cause → a failed gate → the target's health → instrument
    errors → no-advance hold → evidence and dwell → approval → advance. Unknown never advances: a rule that cannot
    tell waits, and a wait that outlives its cap pauses for a person.
    """
    snapshot = without_ended(not_ahead(snapshot))
    obeyed, answers, actor = _obey_all(snapshot)
    outcome = obeyed if obeyed is not None else _automate(snapshot)
    state, changed = _with_table(_with_colour(outcome.state, snapshot.state), snapshot)
    code = outcome.code
    if changed and outcome.kind in (DecisionKind.WAIT, DecisionKind.IDLE) and outcome.state.code == code:
        code = "endpoints_changed"
    state = replace(state, code=outcome.code)
    return Decision(
        kind=outcome.kind,
        code=code,
        reason=outcome.reason,
        state=state,
        desired=desired_of(state, snapshot.now),
        answers=answers,
        evidence=snapshot.measured.findings,
        sources=source_findings(snapshot, live(snapshot.state)),
        look_again_after=outcome.again,
        actor=actor,
    )


def _with_colour(after: RouteState, before: RouteState) -> RouteState:
    """Another release is stable: it runs in the other place."""
    if after.stable is None or before.stable is None or after.stable.release == before.stable.release:
        return after
    return replace(after, active=before.active.other)


def _with_table(state: RouteState, snapshot: Snapshot) -> tuple[RouteState, bool]:
    """Stamp the fence of this event on the state when gateways have to serve something else from now on."""
    desired = desired_of(state, snapshot.now)
    if serves_nobody(desired, snapshot.arms) and state.table:
        return state, False
    table = served_digest(desired, snapshot.arms, snapshot.route_policy)
    if table == state.table and not ahead(snapshot):
        return state, False
    return replace(state, table=table, changed_by=Fence(term=snapshot.term, seq=snapshot.head.seq + 1)), True


def _obey_all(snapshot: Snapshot) -> tuple[Outcome | None, tuple[Answer, ...], str]:
    """Fold the pending requests into the state, aborts first; ``None`` when none had an effect."""
    state = snapshot.state
    answers: list[Answer] = []
    effects: list[tuple[Obeyed, str]] = []
    back = withdrawn(snapshot)
    overtaken = _overtaken(tuple(request for request in snapshot.requests if request.id not in back), live(state))
    for request in sorted(snapshot.requests, key=lambda request: request.verb not in _URGENT):
        if request.id in back:
            obeyed = take_back(request, state, back[request.id])
        else:
            obeyed = cancel(request, state) if request.id in overtaken else obey(request, state, snapshot)
        if obeyed.answer is not None:
            answers.append(obeyed.answer)
        if obeyed.answer is not None or obeyed.state != state:
            effects.append((obeyed, request.actor))
        state = obeyed.state
    if not effects:
        return None, (), "controller"
    told = next((pair for pair in effects if pair[0].state != snapshot.state), effects[0])
    outcome = Outcome(kind=told[0].kind, code=told[0].code, reason=told[0].reason, state=state, again=0.0)
    return outcome, tuple(answers), told[1]


def _overtaken(requests: tuple[Request, ...], current: RolloutState | None) -> frozenset[str]:
    """Starts and retries that came before an abort, also one said as a rollback: it meant them too."""
    last_stop = max((place for place, request in enumerate(requests) if _stops(request, current)), default=0)
    return frozenset(request.id for request in requests[:last_stop] if request.verb in _STARTS)


def _stops(request: Request, current: RolloutState | None) -> bool:
    """Whether a request ends the live rollout, or what would have been one."""
    if request.verb is not Verb.ROLLBACK:
        return request.verb is Verb.ABORT
    return current is not None and ends_live(request, current)


def _automate(snapshot: Snapshot) -> Outcome:
    state = snapshot.state
    rollout = live(state)
    if rollout is None:
        return _settled(snapshot)
    hold = active_hold(state, snapshot.now)
    if hold is not None and hold.kind is HoldKind.FREEZE:
        return wait(state, "frozen", f"{hold.actor} froze the route: {hold.reason}")
    return _tripped(snapshot, rollout) or _PHASES[rollout.phase](snapshot, rollout)


def _tripped(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A gateway took the candidate's traffic away by itself: go back everywhere."""
    if rollout.phase is Phase.ROLLING_BACK or rollout.candidate.release not in snapshot.router.tripped:
        return None
    if rollout.stable is None:
        return None
    back, bad = rollout.stable.version, rollout.candidate.version
    reason = f"a gateway went back to {back} by itself: {bad} passed its exposure limit"
    return roll_back(snapshot, "gateway_tripped", reason)


def _settled(snapshot: Snapshot) -> Outcome:
    state = snapshot.state
    over = tuple(warm for warm in state.warm if snapshot.now >= warm.until)
    if over and not is_frozen(state, snapshot.now):
        kept = replace(state, warm=tuple(warm for warm in state.warm if warm not in over))
        names = ", ".join(warm.arm.version for warm in over)
        return Outcome(
            kind=DecisionKind.FINISH, code="warm_ended", reason=f"{names} is no longer kept warm", state=kept
        )
    what = "no release yet" if state.stable is None else f"{state.stable.version} is stable"
    return Outcome(kind=DecisionKind.IDLE, code="settled", reason=what, state=state)


def _ended(snapshot: Snapshot, rollout: RolloutState) -> Outcome:
    return _settled(snapshot)


_PHASES: dict[Phase, Callable[[Snapshot, RolloutState], Outcome]] = {
    Phase.PREPARING: preparing,
    Phase.STEPPING: stepping,
    Phase.PROMOTING: promoting,
    Phase.SOAKING: soaking,
    Phase.ROLLING_BACK: rolling_back,
    Phase.DONE: _ended,
    Phase.ROLLED_BACK: _ended,
}
