"""Where a route stands, as a value: desired, observed, why, on which evidence, waiting for what, and for whom."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fairway.observe.fold import Block
from fairway.rollout.advised import next_commands
from fairway.rollout.approvals import expires_at, next_entering, points, standing, subject_of
from fairway.rollout.colours import colours_of, colours_wire
from fairway.rollout.desired import active_hold, active_holds, desired_of
from fairway.rollout.early import VersionOf, blocked_names, early_approvals, unknown_version
from fairway.rollout.judged import judged
from fairway.rollout.people import NOBODY_LISTED, People
from fairway.rollout.port import JournalEntry, RolloutLedger
from fairway.rollout.recording import pending_withdrawals
from fairway.rollout.requests import Request
from fairway.rollout.traffic_rate import WINDOW_SECONDS, TrafficRate, traffic_rate
from fairway.rollout.unheard import unheard_refusals
from fairway.rollout.values import ArmRef, Desired, Hold, Phase, RolloutState, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.units import WHOLE, Parts, RouteId, format_duration, format_share
from fairway.verdict.mean_findings import present_means
from fairway.verdict.values import MEAN_KINDS

STATUS_VERSION = 2
_NO_CONTROLLER: Mapping[str, Any] = {
    "code": "no_controller",
    "text": "no controller is running: fairway up",
    "conversations": None,
    "seconds": None,
}
"""What every route without a living controller waits for; nothing moves meanwhile, so there is nothing to foretell."""


def status_wire(
    ledger: RolloutLedger,
    route: RouteId,
    view: Mapping[str, Any] | None,
    *,
    now: datetime | None = None,
    people: People = NOBODY_LISTED,
    last_view: Mapping[str, Any] | None = None,
    trouble: str = "",
    version_of: VersionOf = unknown_version,
) -> dict[str, Any]:
    """Where a route stands, as a value.

    Args:
        ledger: Of the project.
        route: Whose status.
        view: What a living controller last saw, or ``None``.
        now: Decides what has expired; ``None``: the time of the last event.
        people: Who has which role.
        last_view: What a controller saw last, however long ago; it is shown as that, never as what is true now.
        trouble: Why no controller stays alive, where that is known.
        version_of: Names releases that are neither served nor rolled out.
    """
    head = ledger.head(route)
    state = RouteState(route=route) if head.state is None else state_from_wire(head.state)
    lease = ledger.lease_of(route)
    events = ledger.events(route, after=max(0, head.fence.seq - 1))
    last = events[-1] if events else None
    now = now or (None if last is None else last.at)
    rate = None if now is None else _rate(ledger, route, now)
    rollout = state.rollout
    last_view = view or last_view
    view = None if lease is None else view  # of one that has gone: what it saw last, not what is
    evidence = _evidence(rollout, view, last)
    return {
        "version": STATUS_VERSION,
        "route": str(route),
        "seq": head.fence.seq,
        "controller": None if lease is None else lease.holder,
        "controller_trouble": trouble if lease is None else "",
        "stable": _arm(state.stable),
        "former": [_arm(arm) for arm in state.history[:5]],
        "blocked": list(state.blocked),
        "blocked_versions": blocked_names(state, version_of),
        "hold": _hold(state, now),
        "holds": [] if now is None else [_hold_wire(hold) for hold in active_holds(state, now)],
        "rollout": None if rollout is None else _rollout(rollout),
        "colours": None if now is None else colours_wire(colours_of(state, now)),
        "desired": None if now is None else _desired(desired_of(state, now)),
        "observed": None if view is None else _observed(state, view),
        "last_seen": None if view is not None or last_view is None else _last_seen(state, last_view),
        "why": _why(view, last),
        "evidence": evidence,
        "sources": _sources(view, last),
        "traffic": None if rate is None else {"per_hour": round(rate.per_second * 3600, 1), "seconds": rate.seconds},
        "waits_for": _NO_CONTROLLER if lease is None else _waits_for(state, view, last, evidence, rate),
        "next": list(next_commands(state)),
        "approvals": [] if now is None else _approvals(state, now),
        "early_approvals": early_approvals(state, version_of),
        "requests": _requests(ledger.pending(route), people),
        "refused": [] if now is None else unheard_refusals(ledger, route, head=head.fence.seq, now=now),
        "alarms": [] if view is None else list(view.get("alarms", ())),
        "overrides": [] if rollout is None else _overrides(rollout),
        "glass": [_glass(one) for one in state.glass],
        "last_event": None if last is None else _event(last),
        "now": None if view is None else dict(view),
    }


def _arm(arm: ArmRef | None) -> dict[str, Any] | None:
    if arm is None:
        return None
    wire = {"version": arm.version, "release": arm.release, "effective": arm.effective}
    return {**wire, "unverified": True} if arm.unverified else wire


def _hold(state: RouteState, now: datetime | None) -> dict[str, Any] | None:
    hold = state.hold if now is None else active_hold(state, now)
    return None if hold is None else _hold_wire(hold)


def _hold_wire(hold: Hold) -> dict[str, Any]:
    until = None if hold.until is None else hold.until.isoformat()
    return {"kind": hold.kind.value, "by": hold.actor, "reason": hold.reason, "until": until}


def _rollout(rollout: RolloutState) -> dict[str, Any]:
    steps = rollout.plan.steps
    return {
        "id": rollout.id,
        "strategy": rollout.plan.strategy.value,
        "attempt": rollout.attempt,
        "candidate": _arm(rollout.candidate),
        "from": _arm(rollout.stable),
        "phase": rollout.phase.value,
        "step": rollout.step + 1 if steps else 0,
        "steps": [step.split for step in steps],
        "names": [step.name for step in steps],
        "since": rollout.phase_at.isoformat(),
        "started_at": rollout.started_at.isoformat(),
        "requested_by": rollout.requested_by,
        "authors": list(rollout.authors),
        "policy": rollout.plan.policy_digest,
        "loosens": list(rollout.plan.loosens),
        "paused": rollout.paused,
        "cause": rollout.cause,
        "cause_text": rollout.cause_text,
    }


def _desired(desired: Desired) -> dict[str, Any]:
    return {
        "arms": [
            {
                "role": arm.spec.role.value,
                "version": arm.version,
                "release": arm.spec.release_digest,
                "effective": arm.spec.effective_digest,
                "replicas": arm.spec.replicas,
            }
            for arm in desired.arms
        ],
        "split": desired.split,
        "exposure": desired.exposure.value,
        "mirror": desired.mirror,
        "masks": list(desired.masks),
    }


def _observed(state: RouteState, view: Mapping[str, Any]) -> dict[str, Any]:
    fence = str(state.changed_by)
    confirmed = view.get("confirmed")
    return {
        "at": view.get("at"),
        "arms": list(view.get("arms", ())),
        "split": view.get("split"),
        "fence": fence,
        "confirmed": confirmed,
        "in_force": bool(view.get("gateways")) and confirmed == fence,
        "gateways": view.get("gateways", 0),
        "confirmed_by": dict(view.get("confirmed_by", {})),
        "tripped": list(view.get("tripped", ())),
        "pinned": view.get("pinned"),
        "masked": list(view.get("masked", ())),
        "telemetry_error": view.get("telemetry_error", ""),
    }


def _last_seen(state: RouteState, view: Mapping[str, Any]) -> dict[str, Any]:
    seen = _observed(state, view)
    return {key: seen[key] for key in ("at", "arms", "gateways", "confirmed")}


def _why(view: Mapping[str, Any] | None, last: JournalEntry | None) -> dict[str, Any] | None:
    """The last decision: of a living controller what it thinks now, else what was last written down."""
    if view is not None:
        return {key: view.get(key) for key in ("kind", "code", "reason", "at")}
    return None if last is None else _event(last)


def _event(event: JournalEntry) -> dict[str, Any]:
    return {
        "seq": event.fence.seq,
        "kind": event.kind,
        "code": event.code,
        "reason": event.reason,
        "actor": event.actor,
        "at": event.at.isoformat(),
    }


def _evidence(
    rollout: RolloutState | None, view: Mapping[str, Any] | None, last: JournalEntry | None
) -> list[dict[str, Any]]:
    """What each gate says: the sentence of its verdict, which stays once it is latched, and the figures of now."""
    found = list(view.get("evidence", ())) if view is not None else _recorded(last)
    must = _must_pass(rollout)
    return [_gate(finding, must) for finding in found]


def _sources(view: Mapping[str, Any] | None, last: JournalEntry | None) -> list[dict[str, Any]]:
    """What each custom gate says; guarantee: none."""
    told = view.get("sources") if view is not None else None if last is None else last.decision.get("sources")
    return [dict(finding) for finding in told or ()]


def _recorded(last: JournalEntry | None) -> list[Mapping[str, Any]]:
    return [] if last is None else list(last.decision.get("evidence") or ())


def _must_pass(rollout: RolloutState | None) -> Mapping[str, bool]:
    if rollout is None:
        return {}
    steps, soaks, of = rollout.plan.steps, rollout.phase in (Phase.SOAKING, Phase.DONE), judged(rollout)
    gates = rollout.plan.soak_gates if soaks or not steps else steps[rollout.step].gates
    return {gate.name: gate.must_pass for gate in (gates if of is None else of.gates)}


def _gate(finding: Mapping[str, Any], must: Mapping[str, bool]) -> dict[str, Any]:
    verdict = str(finding.get("verdict", ""))
    units, bad = finding.get("units_candidate", 0), finding.get("bad_candidate")
    text = "" if bad is None else f"{bad:,} of {units:,}"
    if finding.get("kind") in MEAN_KINDS:
        text = present_means(finding)
    elif text and finding.get("units_stable"):
        text += f" against {finding.get('bad_stable', 0):,} of {finding['units_stable']:,} on stable"
    return {
        **finding,
        "must_pass": must.get(str(finding.get("gate"))),
        "latched": str(finding.get("reason", "")) if verdict in ("PASS", "FAIL") else "",
        "present": text,
    }


def _rate(ledger: RolloutLedger, route: RouteId, now: datetime) -> TrafficRate | None:
    since = now.timestamp() - WINDOW_SECONDS
    blocks = (Block.from_wire(wire) for wire in ledger.blocks(route, since=since))
    return traffic_rate(blocks, now=now.timestamp())


def _waits_for(
    state: RouteState,
    view: Mapping[str, Any] | None,
    last: JournalEntry | None,
    evidence: list[dict[str, Any]],
    rate: TrafficRate | None,
) -> dict[str, Any] | None:
    """What has to happen next, and how long that takes at the present traffic; ``None``: nothing is waited for."""
    rollout = state.rollout
    if rollout is None or not rollout.live:
        return None
    why = _why(view, last)
    waits: dict[str, Any] = {
        "code": "" if why is None else why["code"],
        "text": "" if why is None else why["reason"],
        "conversations": None,
        "seconds": None,
    }
    if rollout.phase is not Phase.STEPPING or not rollout.plan.steps:
        return waits
    needed = [each["units_needed"] for each in evidence if each["must_pass"] and each.get("units_needed")]
    if waits["code"] != "needs_evidence" or not needed:
        return waits
    share = rollout.plan.steps[rollout.step].split / WHOLE
    seconds = None if rate is None else rate.seconds_until(max(needed), share=share)
    at_traffic = "no traffic comes now" if seconds is None else f"about {_rounded(seconds)} at this traffic"
    return waits | {
        "conversations": max(needed),
        "seconds": seconds,
        "text": f"needs about {max(needed):,} more conversations, {at_traffic}",
    }


def _rounded(seconds: float) -> str:
    """A duration as coarse as an estimate deserves: ``3h`` rather than ``2h57m``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return format_duration(max(1.0, round(seconds)))


def _approvals(state: RouteState, now: datetime) -> list[dict[str, Any]]:
    """Each quorum the plan asks for, the later ones too: who has said yes, and how many are missing."""
    rollout = state.rollout
    if rollout is None:
        return []
    every = standing(state, rollout, now, entering=len(rollout.plan.steps))
    due = points(rollout.plan, entering=next_entering(rollout)) if rollout.live else ()
    subject = subject_of(rollout)
    return [
        {
            "before": _before(rollout, one.step),
            "needed": one.needed,
            "given": list(one.given),
            "missing": max(0, one.needed - len(one.given)),
            "due": one.step in due,
            "roles": [role.value for role in subject.quorum.roles],
            "expires": None if one.expires is None else one.expires.isoformat(),
            "expired": sorted(
                {
                    each.actor
                    for each in state.approvals
                    if each.step == one.step
                    and each.release == subject.release
                    and (until := expires_at(each, subject.quorum)) is not None
                    and until <= now
                }
            ),
        }
        for one in every
    ]


def _before(rollout: RolloutState, step: int | None) -> str:
    if step is None:
        return "first exposure"
    steps = rollout.plan.steps
    return format_share(steps[step + 1].split if step + 1 < len(steps) else Parts(WHOLE))


def _requests(pending: tuple[Request, ...], people: People) -> list[dict[str, Any]]:
    """What nobody has answered yet."""
    back = pending_withdrawals(pending)
    return [
        {
            "id": request.id,
            "verb": request.verb.value,
            "by": request.actor,
            "roles": [role.value for role in people.roles_of(request.actor)] if people.listed else None,
            "at": request.at.isoformat(),
            "reason": request.reason,
            "args": dict(request.args),
            "withdrawn_by": back.get(request.id),
        }
        for request in pending
    ]


def _overrides(rollout: RolloutState) -> list[dict[str, Any]]:
    return [
        {
            "verb": one.verb,
            "by": one.actor,
            "at": one.at.isoformat(),
            "reason": one.reason,
            "past": one.past,
            "whole": one.whole,
        }
        for one in rollout.overrides
    ]


def _glass(one: Any) -> dict[str, Any]:
    return {
        "event": one.seq,
        "verb": one.verb,
        "by": one.actor,
        "at": one.at.isoformat(),
        "reason": one.reason,
        "note": one.note,
        "noted_by": one.noted_by,
    }
