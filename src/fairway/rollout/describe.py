"""Plans and routes in words, for people; and the same as a value, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.rollout.port import RolloutLedger
from fairway.rollout.values import ArmRef, Plan, RolloutState, RouteState
from fairway.rollout.wire import state_from_wire
from fairway.units import RouteId, format_duration, format_share, short
from fairway.verdict.needed import clean_units_needed
from fairway.verdict.values import GateKind, GateSpec


def describe_plan(plan: Plan) -> str:
    """The steps of a plan, their gates, margins and what each needs at least."""
    lines = [f"strategy {plan.strategy.value}, policy {short(plan.policy_digest)}"]
    if plan.approval:
        lines.append("a person approves before the first exposure")
    lines.append(f"0. start the candidate, ready within {format_duration(plan.prepare_timeout)}")
    for number, step in enumerate(plan.steps, start=1):
        gates = "; ".join(_gate(gate) for gate in step.gates)
        lines.append(
            f"{number}. {format_share(step.split)} for at least {format_duration(step.dwell)} observed"
            f" (pauses undecided after {format_duration(step.cap)}): {gates}"
        )
    soak = f", soaks for {format_duration(plan.soak)}" if plan.soak else ""
    lines.append(f"{len(plan.steps) + 1}. 100%{soak}; the former stable stays warm for {format_duration(plan.warm)}")
    return "\n".join(lines)


def _gate(gate: GateSpec) -> str:
    must = "" if gate.must_pass else ", must only not fail"
    match gate.kind:
        case GateKind.FAILURES:
            needs = clean_units_needed(gate)
            return f"failures within {gate.margin * 100:g} points of stable (≥ {needs:,} clean conversations){must}"
        case GateKind.LATENCY_P95:
            return f"P95 within {(gate.margin - 1) * 100:+.0f}% of stable{must}"
        case GateKind.SUCCESS:
            needs = clean_units_needed(gate)
            return f"success ≥ {gate.margin * 100:g}% (≥ {needs:,} clean conversations){must}"


def status_wire(ledger: RolloutLedger, route: RouteId, view: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where a route stands, as a value.

    Args:
        ledger: Of the project.
        route: Whose status.
        view: What a living controller last saw, or ``None``.
    """
    head = ledger.head(route)
    state = RouteState(route=route) if head.state is None else state_from_wire(head.state)
    lease = ledger.lease_of(route)
    last = ledger.events(route, after=max(0, head.fence.seq - 1))
    return {
        "route": str(route),
        "seq": head.fence.seq,
        "controller": None if lease is None else lease.holder,
        "stable": _arm(state.stable),
        "former": [_arm(arm) for arm in state.history[:5]],
        "blocked": list(state.blocked),
        "hold": None
        if state.hold is None
        else {
            "kind": state.hold.kind.value,
            "by": state.hold.actor,
            "reason": state.hold.reason,
            "until": None if state.hold.until is None else state.hold.until.isoformat(),
        },
        "rollout": None if state.rollout is None else _rollout(state.rollout),
        "last_event": None
        if not last
        else {"kind": last[-1].kind, "code": last[-1].code, "reason": last[-1].reason, "at": last[-1].at.isoformat()},
        "now": None if view is None else dict(view),
    }


def _arm(arm: ArmRef | None) -> dict[str, Any] | None:
    return None if arm is None else {"version": arm.version, "release": arm.release, "effective": arm.effective}


def _rollout(rollout: RolloutState) -> dict[str, Any]:
    steps = rollout.plan.steps
    return {
        "id": rollout.id,
        "candidate": _arm(rollout.candidate),
        "from": _arm(rollout.stable),
        "phase": rollout.phase.value,
        "step": rollout.step + 1 if steps else 0,
        "steps": [step.split for step in steps],
        "since": rollout.phase_at.isoformat(),
        "started_at": rollout.started_at.isoformat(),
        "requested_by": rollout.requested_by,
        "paused": rollout.paused,
        "cause": rollout.cause,
        "cause_text": rollout.cause_text,
    }


def describe_status(status: Mapping[str, Any]) -> str:
    """One screen: what is desired, observed, why, on which evidence, and what it is waiting for."""
    lines = [f"route      {status['route']} (event {status['seq']})"]
    stable = status["stable"]
    lines.append(f"stable     {'none yet' if stable is None else _named(stable)}")
    if status["controller"] is None:
        lines.append("controller none is running: start one with fairway up")
    if status["hold"]:
        hold = status["hold"]
        lines.append(f"hold       {hold['kind']} by {hold['by']}: {hold['reason']}")
    if status["rollout"]:
        lines.extend(_rollout_lines(status["rollout"]))
    if status["now"]:
        lines.extend(_now_lines(status["now"]))
    elif status["last_event"]:
        lines.append(f"last       {status['last_event']['reason']}")
    if status["blocked"]:
        lines.append("blocked    " + ", ".join(short(digest) for digest in status["blocked"]))
    return "\n".join(lines)


def _named(arm: Mapping[str, Any]) -> str:
    return f"{arm['version']} ({short(arm['release'])})"


def _rollout_lines(rollout: Mapping[str, Any]) -> list[str]:
    where = rollout["phase"].replace("_", " ")
    if rollout["phase"] == "stepping":
        share = format_share(rollout["steps"][rollout["step"] - 1])
        where = f"step {rollout['step']} of {len(rollout['steps'])}, {share}"
    lines = [f"rollout    {_named(rollout['candidate'])}: {where}, asked by {rollout['requested_by']}"]
    if rollout["paused"]:
        lines.append(f"paused     {rollout['paused']}")
    if rollout["cause_text"]:
        lines.append(f"because    {rollout['cause_text']}")
    return lines


def _now_lines(now: Mapping[str, Any]) -> list[str]:
    lines = [f"now        {now['reason']}"]
    lines.extend(f"evidence   {found['gate']}: {found['verdict']} - {found['reason']}" for found in now["evidence"])
    for arm in now["arms"]:
        for instance in arm["instances"]:
            detail = f" ({instance['detail']})" if instance["detail"] else ""
            lines.append(f"arm        {short(arm['release'])} {instance['state']} at {instance['endpoint']}{detail}")
    if now["gateways"] == 0:
        lines.append("gateway    none is alive")
    if now["telemetry_error"]:
        lines.append(f"telemetry  {now['telemetry_error']}")
    return lines
