"""``fairway rollout plan``: a plan with what each step takes, shows and costs, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from fairway.observe.fold import Block
from fairway.rollout.choose import RISK_AND_COST
from fairway.rollout.describe_gates import beside_lines, gate_words, source_words
from fairway.rollout.forecast import GateForecast, StepForecast, Traffic, forecast
from fairway.rollout.gate_plan import alpha_spent, pass_spent
from fairway.rollout.traffic_rate import traffic_rate
from fairway.rollout.values import Exposure, Plan, Step
from fairway.rollout.wire import plan_to_wire
from fairway.traffic.table import Role
from fairway.units import format_duration, format_share, short
from fairway.verdict.kinds import Test, recipe_of
from fairway.verdict.values import MEAN_KINDS, GateKind, GateSpec

_BESIDE_GATES = {"triggers": "the triggers", "sample_ratio": "the sample ratio"}


def traffic_of(blocks: Iterable[Block]) -> Traffic | None:
    """What telemetry says comes to the route; ``None`` when it says too little."""
    known = [block for block in blocks if not block.gap]
    rate = traffic_rate(known)
    if rate is None:
        return None
    stable = [arm for block in known for arm in block.arms.values() if arm.role is Role.STABLE]
    active = sum(len(arm.active) for arm in stable)
    failed = sum(len(arm.failed_units) for arm in stable)
    return Traffic(per_minute=rate.per_second * 60, failing=failed / active if active else 0.0, measured=True)


def plan_report(plan: Plan, traffic: Traffic | None) -> dict[str, Any]:
    """The plan as a value, with the forecast beside it; ``forecast`` is ``None`` without traffic."""
    risk, cost = RISK_AND_COST[plan.strategy]
    steps = None if traffic is None else forecast(plan, traffic)
    return {
        **plan_to_wire(plan),
        "risk": risk,
        "cost": cost,
        "budgets": _budgets(plan),
        "traffic": None
        if traffic is None
        else {"per_minute": traffic.per_minute, "failing": traffic.failing, "measured": traffic.measured},
        "forecast": None if steps is None else [_step_wire(found) for found in steps],
        "seconds": None if steps is None else _whole(plan, steps),
    }


def _gates(plan: Plan) -> tuple[GateSpec, ...]:
    return (*(gate for step in plan.steps for gate in step.gates), *plan.soak_gates)


def _budgets(plan: Plan) -> dict[str, Any]:
    """What may go wrong by chance: healthy rollouts rolled back or paused, and bad ones passed by a gate."""
    alarms = plan.alarms
    limits = () if alarms is None else (alarms.error_rate, alarms.latency_ms, alarms.failed_traces, alarms.exposure)
    triggers = alarms.alpha if alarms is not None and any(limit is not None for limit in limits) else 0.0
    sample = alarms.sample_alpha if alarms is not None and alarms.sample_ratio else 0.0
    gates = alpha_spent(plan)
    return {
        "alpha_fail": round(gates, 9),
        "triggers": triggers,
        "sample_ratio": sample,
        "in_all": round(math.fsum((gates, triggers, sample)), 9),
        "alpha_pass": sorted({round(pass_spent(gate), 9) for gate in _gates(plan)}),
    }


def _step_wire(found: StepForecast) -> dict[str, Any]:
    return {
        "seconds": found.seconds,
        "undecided": found.undecided,
        "pairs_needed": found.pairs,
        "gates": [
            {"gate": each.gate.name, "units_needed": each.needs, "seconds": each.seconds,
             "units_in_dwell": each.units, "shows": each.shows, "never": each.never}
            for each in found.gates
        ],
    }  # fmt: skip


def _whole(plan: Plan, steps: tuple[StepForecast, ...]) -> float | None:
    """Seconds from the first exposure to the end of the soak; ``None`` when a step is not decided by itself."""
    if any(found.seconds is None or found.undecided for found in steps):
        return None
    return sum(found.seconds or 0.0 for found in steps) + plan.soak


def describe_forecast(plan: Plan, traffic: Traffic | None) -> str:
    """The plan on one screen."""
    risk, cost = RISK_AND_COST[plan.strategy]
    lines = [f"strategy  {plan.strategy.value}{f': {plan.why}' if plan.why else ''}", f"risk      {risk}"]
    lines += [f"cost      {cost}", f"policy    {short(plan.policy_digest)}, {_budget(plan)}", _traffic(traffic)]
    lines.extend(f"LAXER     than stable's policy: {one}" for one in plan.loosens)
    if plan.approval:
        lines.append(f"approval  {_people(plan)} before the first exposure")
    lines.append(f"0. start the candidate, ready within {format_duration(plan.prepare_timeout)}")
    found = forecast(plan, traffic) if traffic is not None else ()
    for number, step in enumerate(plan.steps, start=1):
        lines.extend(_lines(number, step, found[number - 1] if found else None))
        if step.approval:
            lines.append(f"   {_people(plan)} before the next")
    lines.append(f"{len(plan.steps) + 1}. {_end(plan)}")
    lines.extend(f"beside    {line}" for line in beside_lines(plan))
    lines.extend(f"custom    {source_words(gate)}" for gate in plan.sources)
    if found:
        whole = _whole(plan, found)
        late = "pauses for a person" if _never_passes(found) else "not decided by itself at this traffic"
        told = late if whole is None else f"about {format_duration(whole)}"
        lines.append(f"in all    {told}, for a candidate as good as stable")
    return "\n".join(lines)


def _never_passes(steps: tuple[StepForecast, ...]) -> bool:
    """Whether no traffic would be enough for a gate that has to pass."""
    return any(each.never for found in steps for each in found.gates if each.gate.must_pass)


def _budget(plan: Plan) -> str:
    found = _budgets(plan)
    passes = " or ".join(f"{alpha:g}" for alpha in found["alpha_pass"]) or "nothing"
    beside = [f"{found[key]:.3g} for {words}" for key, words in _BESIDE_GATES.items() if found[key]]
    whole = f", {', '.join(beside)}: {found['in_all']:.3g} in all" if beside else ""
    return f"error budgets: {found['alpha_fail']:.3g} for all FAILs together{whole}; {passes} for each PASS"


def _traffic(traffic: Traffic | None) -> str:
    if traffic is None:
        return "traffic   not known; say --traffic N conversations a minute to see how long steps take"
    how = "measured" if traffic.measured else "assumed"
    failing = f", {traffic.failing:.2%} of stable's fail" if traffic.measured else ""
    return f"traffic   {traffic.per_minute:,.0f} new conversations a minute ({how}{failing})"


def _people(plan: Plan) -> str:
    quorum = plan.quorum
    who = "a person approves" if quorum.count == 1 else f"{quorum.count} people approve"
    roles = f" ({' or '.join(role.value for role in quorum.roles)})" if quorum.roles else ""
    ends = f", which counts for {format_duration(quorum.expires)}," if quorum.expires is not None else ""
    return f"{who}{roles}{ends}"


def _lines(number: int, step: Step, found: StepForecast | None) -> Iterator[str]:
    takes = f": {_takes(found)}" if found is not None else ""
    yield f"{number}. {_what(step)}, at least {format_duration(step.dwell)}, at most {format_duration(step.cap)}{takes}"
    if step.mirroring is not None:
        gate = step.mirroring
        needs = "" if found is None or found.pairs is None else f"; about {found.pairs:,} pairs without one decide"
        yield (
            f"   mirror: the shadow alone fails in less than {gate.margin:.1%} of the compared pairs, at least"
            f" {gate.minimum_pairs:,} of them, at most {gate.max_diverged:.0%} left out{needs}"
        )
    forecasts = {each.gate.name: each for each in found.gates} if found is not None else {}
    for spec in step.gates:
        if spec.must_pass or spec.kind in MEAN_KINDS:
            must = "" if spec.must_pass else ", must only not fail"
            yield f"   {gate_words(spec)}{must}{_shown(forecasts.get(spec.name))}"


def _what(step: Step) -> str:
    name = f"{step.name}: " if step.name else ""
    if step.mirroring is not None:
        return f"{name}copies of {format_share(step.mirror)} of requests to a shadow, nobody meets the candidate"
    if step.exposure is Exposure.RULES_ONLY:
        return f"{name}probed by the controller, met by rules alone"
    return f"{name}{format_share(step.split)} of new conversations"


def _takes(found: StepForecast) -> str:
    if _never_passes((found,)):
        return "never decided, it pauses for a person"
    if found.seconds is None:
        return "never decided at this traffic, it pauses for a person"
    late = ", so it pauses for a person" if found.undecided else ""
    return f"about {format_duration(found.seconds)}{late}"


def _shown(found: GateForecast | None) -> str:
    """How long a gate takes, and what the step's dwell shows."""
    if found is None:
        return ""
    unit = found.gate.unit
    test = recipe_of(found.gate).test
    needs = "" if found.needs is None else f", about {found.needs:,} {unit}"
    takes = "never" if found.seconds is None else format_duration(found.seconds)
    told = f": never, {found.never}" if found.never else f": {takes} at this traffic{needs}"
    if found.gate.kind is GateKind.FEEDBACK_MEAN:
        told += ", if each gave feedback"
    if found.shows is None:
        return f"{told}; {found.units:,} {unit} in the dwell show nothing"
    match test:
        case Test.RELATIVE:
            shows = f"{found.shows:.1f} times as many beyond it"
        case Test.MEAN_RATIO:
            shows = f"{found.shows:.2f} times the mean"
        case Test.MEAN_POINTS:
            shows = f"a mean {found.shows * 100:.1f} points lower"
        case _:
            shows = f"{found.shows:.1%} failing"
    return f"{told}; {found.units:,} {unit} in the dwell show {shows}"


def _end(plan: Plan) -> str:
    soak = f", soaks for {format_duration(plan.soak)}" if plan.soak else ""
    proof = [gate.name for gate in plan.soak_gates if gate.must_pass]
    until = f" and until {', '.join(proof)} passes" if proof else ""
    left = "" if plan.warm_replicas is None else f" ({plan.warm_replicas} of its instances after the soak)"
    return f"100%{soak}{until}; the former stable stays warm for {format_duration(plan.warm)}{left}"
