"""What one rule of a decision comes to, and what several rules ask of a snapshot. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from fairway.rollout.approvals import missing, passed, sentence
from fairway.rollout.deciding import DecisionKind, Snapshot
from fairway.rollout.desired import desired_of, served_digest
from fairway.rollout.values import Exposure, Phase, RolloutState, RouteState, Step
from fairway.rollout.verbs import advance, begin_rollback
from fairway.units import Verdict, format_duration, format_share
from fairway.verdict.kinds import KINDS, Among
from fairway.verdict.values import GateFinding


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one rule decided, before the table is looked at."""

    kind: DecisionKind
    code: str
    reason: str
    state: RouteState
    again: float = 1.0


def wait(state: RouteState, code: str, reason: str, again: float = 1.0) -> Outcome:
    """Nothing moves; look again after ``again`` seconds."""
    return Outcome(kind=DecisionKind.WAIT, code=code, reason=reason, state=state, again=again)


def roll_back(snapshot: Snapshot, code: str, reason: str) -> Outcome:
    """All traffic goes back to the stable the rollout started from."""
    state = begin_rollback(snapshot.state, snapshot.now, cause=code, text=reason)
    return Outcome(kind=DecisionKind.ROLL_BACK, code=code, reason=reason, state=state, again=0.0)


def pause(snapshot: Snapshot, rollout: RolloutState, code: str, reason: str) -> Outcome:
    """Automation waits for a person; a paused rollout still rolls back."""
    state = replace(snapshot.state, rollout=replace(rollout, paused=reason))
    return Outcome(kind=DecisionKind.PAUSE, code=code, reason=reason, state=state)


def move_on(snapshot: Snapshot, rollout: RolloutState, code: str, why: str) -> Outcome:
    """One step further, or to 100 % after the last."""
    moved = advance(snapshot.state, snapshot)
    assert moved.rollout is not None
    if moved.rollout.phase is Phase.PROMOTING:
        reason = f"{why}; all traffic goes to {rollout.candidate.version}"
        return Outcome(kind=DecisionKind.ADVANCE, code=code, reason=reason, state=moved, again=0.05)
    reason = f"{why}; {exposure(moved.rollout.plan.steps[moved.rollout.step], rollout.candidate.version)}"
    return Outcome(kind=DecisionKind.ADVANCE, code=code, reason=reason, state=moved, again=0.05)


def exposure(step: Step, version: str) -> str:
    """Who meets the candidate in a step, in words."""
    if step.mirroring is not None:
        return f"copies of {format_share(step.mirror)} of requests go to the shadow of {version}"
    if step.exposure is Exposure.RULES_ONLY:
        return f"nobody meets {version} but by a rule"
    return f"{format_share(step.split)} of new conversations go to {version}"


def confirmed(snapshot: Snapshot) -> bool:
    """Whether every live gateway serves exactly what is desired now: read back, never "sent"."""
    confirmed, state = snapshot.router.confirmed, snapshot.state
    if confirmed is None or snapshot.router.gateways == 0 or confirmed != state.changed_by:
        return False
    return state.table == served_digest(desired_of(state, snapshot.now), snapshot.arms, snapshot.route_policy)


def not_confirmed(snapshot: Snapshot, rollout: RolloutState, since: datetime, text: str) -> Outcome:
    """Wait for the gateways; pause for a person once that takes longer than telemetry may be unreadable.

    While gateways serve different tables no block can be compared, so nobody sees what the candidate does.

    Args:
        snapshot: Now.
        rollout: Whose table they have not confirmed.
        since: When it was decided, or last changed.
        text: What they have not confirmed.
    """
    budget = rollout.plan.instrument_budget
    if rollout.paused or (snapshot.now - since).total_seconds() <= budget:
        return wait(snapshot.state, "waiting_for_gateways", text, again=0.05)
    whole = f"{text} for {format_duration(budget)}; until they do, nothing that is served can be compared"
    return pause(snapshot, rollout, "gateways_unconfirmed", whole)


def ahead(snapshot: Snapshot) -> bool:
    """Whether gateways serve a table this ledger never decided: it was restored, or began anew."""
    confirmed = snapshot.router.confirmed
    return confirmed is not None and confirmed > snapshot.state.changed_by


def unapproved(snapshot: Snapshot, rollout: RolloutState, *, entering: int) -> Outcome | None:
    """Nobody meets the candidate at a step without the quorum for it, also when it was taken back in between."""
    lacking = missing(snapshot.state, rollout, snapshot.now, entering=entering)
    if lacking is None:
        return None
    again = lacking.step in passed(rollout)
    reason = sentence(lacking, version=rollout.candidate.version, plan=rollout.plan, again=again)
    return wait(snapshot.state, "approval_needed", reason)


def is_blind(finding: GateFinding) -> bool:
    """Whether a gate cannot see what it is there for.

    One about what agents report, where neither arm reports anything, has nothing to see: that is no defect. Where one
    of the two does, the other's silence is.
    """
    if finding.verdict is Verdict.ERROR:
        return True
    silent = KINDS[finding.kind].among is Among.REPORTED and not finding.units_candidate and not finding.units_stable
    return finding.verdict is Verdict.NO_DATA and not silent


def pinned(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A person pinned the gateway's traffic, or masked the candidate: nothing moves forward until they let go."""
    if snapshot.router.pinned is not None:
        return wait(snapshot.state, "pinned", "a person pinned the gateway's traffic: fairway gateway pin none lets go")
    candidate = rollout.candidate
    if candidate.release in snapshot.router.masked:
        again = f"fairway gateway unmask {candidate.version}"
        return wait(
            snapshot.state, "masked", f"a person masked {candidate.version} on a gateway: {again} lets it serve"
        )
    return None


def left_out(snapshot: Snapshot, rollout: RolloutState) -> Outcome | None:
    """A gateway spares users an instance of the candidate that fares badly: the others prove nothing of the release."""
    candidate = rollout.candidate
    if candidate.release not in snapshot.router.left_out:
        return None
    told = (
        f"a gateway leaves an instance of {candidate.version} out, as it fares badly: fairway gateway status names it"
    )
    return wait(snapshot.state, "left_out", told)
