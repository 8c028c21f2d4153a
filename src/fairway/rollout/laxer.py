"""Where a candidate's plan asks less than stable's would, so that no release is judged by what it brought itself. Pure.

Two plans are compared by what each asks *before a share of the traffic is exposed*, whatever steps it takes there: at
every share either of them stops at, and at 100 %, the candidate's has to have taken as many steps, looked for as long,
and asked gates as strict. Beside that: mirroring, smoke, soak, triggers, custom gates, error budget, approvals.

What only runs the release (replicas, how long it may take to start, how long the former stable stays warm) decides
nothing and is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fairway.rollout.approvals import FIRST, asks, before, points, with_points
from fairway.rollout.gate_plan import alpha_spent, pass_spent
from fairway.rollout.laxer_gates import (
    Laxer,
    is_laxer,
    laxer_alarms,
    laxer_gates,
    laxer_mirror,
    laxer_sources,
)
from fairway.rollout.people import Quorum, Role
from fairway.rollout.values import Plan, Step, Strategy
from fairway.units import WHOLE, Parts, format_duration, format_share, parse_share

PLAN: Mapping[str, Laxer] = {
    "instrument_budget": Laxer.HIGHER,
    "mix_expires": Laxer.HIGHER,
    "mix_goes_back": Laxer.LOST,
    **dict.fromkeys(
        ("strategy", "steps", "soak_gates", "approval", "quorum", "soak", "alarms", "sources", "mixed"), Laxer.OTHER
    ),
    **dict.fromkeys(
        ("policy_digest", "replicas", "prepare_timeout", "warm", "why", "warm_replicas", "loosens", "version"),
        Laxer.NEVER,
    ),
}
"""Every field of a plan; those that are ``OTHER`` have a comparison of their own here."""

_EPSILON = 1e-9


def laxer(stable: Plan, candidate: Plan) -> tuple[str, ...]:
    """Each point at which the candidate's plan is easier to come through than stable's, in words; empty: at none.

    Args:
        stable: What stable's own policy would make of this rollout.
        candidate: What the candidate's policy makes of it.
    """
    if stable == candidate:
        return ()
    found = (
        *_strategy(stable, candidate),
        *_shares(stable, candidate),
        *_beside(stable, candidate),
        *_soak(stable, candidate),
        *laxer_alarms(stable.alarms, candidate.alarms),
        *laxer_sources(stable.sources, candidate.sources),
        *_whole(stable, candidate),
        *_approval(stable, candidate),
    )
    return tuple(dict.fromkeys(found))


def _strategy(stable: Plan, candidate: Plan) -> Iterator[str]:
    """Another strategy is another kind of evidence; only mirroring first adds to a canary."""
    if stable.strategy is candidate.strategy:
        return
    if (stable.strategy, candidate.strategy) != (Strategy.CANARY, Strategy.SHADOW):
        yield f"strategy: {candidate.strategy.value} instead of {stable.strategy.value}"


def _exposing(plan: Plan) -> tuple[Step, ...]:
    return tuple(step for step in plan.steps if step.split)


def _shares(stable: Plan, candidate: Plan) -> Iterator[str]:
    """What is asked before each share."""
    ours, theirs = _exposing(stable), _exposing(candidate)
    gates: dict[tuple[str, str], str] = {}
    told: set[str] = set()
    for share in sorted({step.split for step in (*ours, *theirs)} | {Parts(WHOLE)}):
        asked = [step for step in ours if step.split < share]
        made = [step for step in theirs if step.split < share]
        for what, words in _before_share(asked, made, share):
            if what not in told:
                told.add(what)
                yield words
        if asked and made:
            where = f"before {format_share(share)}"
            gates = laxer_gates(asked[-1].gates, made[-1].gates, where=where) | gates
    yield from gates.values()


def _before_share(asked: list[Step], made: list[Step], share: Parts) -> Iterator[tuple[str, str]]:
    if asked and not made:
        yield "first", f"first exposure: more than {format_share(asked[0].split)} at once"
        return
    if len(made) < len(asked):
        yield "steps", f"steps: {len(made)} before {format_share(share)} instead of {len(asked)}"
    seen, needed = sum(step.dwell for step in made), sum(step.dwell for step in asked)
    if seen < needed - _EPSILON:
        told = f"{format_duration(seen)} instead of {format_duration(needed)} observed"
        yield "dwell", f"dwell: {told} before {format_share(share)}"


def _beside(stable: Plan, candidate: Plan) -> Iterator[str]:
    """Smoke and mirrored requests, before anybody meets it; and how long a step may stay undecided."""
    probe, other = _first(stable, probe=True), _first(candidate, probe=True)
    if probe is not None and other is None:
        yield "no smoke before anybody meets it"
    elif probe is not None and other is not None:
        if other.dwell < probe.dwell - _EPSILON:
            yield f"smoke: {format_duration(other.dwell)} instead of {format_duration(probe.dwell)}"
        yield from laxer_gates(probe.gates, other.gates, where="in the smoke").values()
    mirror, copied = _first(stable, probe=False), _first(candidate, probe=False)
    if mirror is not None and copied is None:
        yield "requests are not mirrored before anybody meets it"
    elif mirror is not None and copied is not None:
        assert mirror.mirroring is not None
        assert copied.mirroring is not None
        yield from laxer_mirror(mirror.mirroring, copied.mirroring)
        if copied.dwell < mirror.dwell - _EPSILON:
            yield f"mirrored requests: {format_duration(copied.dwell)} instead of {format_duration(mirror.dwell)}"
        if copied.mirror < mirror.mirror:
            yield f"mirrored requests: {format_share(copied.mirror)} instead of {format_share(mirror.mirror)}"
    longest, cap = (max((step.cap for step in plan.steps), default=0.0) for plan in (stable, candidate))
    if stable.steps and cap > longest + _EPSILON:
        yield f"cap: a step may stay undecided for {format_duration(cap)} instead of {format_duration(longest)}"


def _first(plan: Plan, *, probe: bool) -> Step | None:
    """The smoke of a plan, or its mirrored step."""
    return next((step for step in plan.steps if (step.probe if probe else step.mirroring is not None)), None)


def _soak(stable: Plan, candidate: Plan) -> Iterator[str]:
    if candidate.soak < stable.soak - _EPSILON:
        yield f"soak: {format_duration(candidate.soak)} instead of {format_duration(stable.soak)}"
    if stable.soak or any(gate.must_pass for gate in stable.soak_gates):
        yield from laxer_gates(stable.soak_gates, candidate.soak_gates, where="in the soak").values()


def _whole(stable: Plan, candidate: Plan) -> Iterator[str]:
    yield from _passing(stable, candidate)
    spent, was = alpha_spent(candidate), alpha_spent(stable)
    if spent < was - _EPSILON:
        yield f"error budget: FAIL takes more evidence of every gate ({spent:.3g} instead of {was:.3g} in all)"
    if candidate.mixed and not stable.mixed:
        yield "conversations may change release between requests"
    if is_laxer(PLAN["instrument_budget"], stable.instrument_budget, candidate.instrument_budget):
        now, then = format_duration(candidate.instrument_budget), format_duration(stable.instrument_budget)
        yield f"telemetry may be unreadable for {now} instead of {then}"
    if is_laxer(PLAN["mix_expires"], stable.mix_expires, candidate.mix_expires):
        now = "for ever" if candidate.mix_expires is None else f"for {format_duration(candidate.mix_expires)}"
        yield f"a mix of former parts may serve unverified {now}"
    if is_laxer(PLAN["mix_goes_back"], stable.mix_goes_back, candidate.mix_goes_back):
        yield "a mix of former parts that is not verified in time pauses instead of going back"


def _passing(stable: Plan, candidate: Plan) -> Iterator[str]:
    """Gates that a bad release passes more often."""
    was, now = _pass_errors(stable), _pass_errors(candidate)
    more = [name for name in was if now.get(name, 0.0) > was[name] * (1 + _EPSILON)]
    if more:
        highest, least = max(now[name] for name in more), min(was[name] for name in more)
        told = f"{highest:.3g} instead of {least:.3g} of rollouts"
        yield f"error budget: a bad release passes {', '.join(more)} in {told}"


def _pass_errors(plan: Plan) -> dict[str, float]:
    """What each gate may err with towards PASS, where it may most."""
    found: dict[str, float] = {}
    named = [(gate.name, gate) for step in plan.steps for gate in step.gates]
    for name, gate in (*named, *((f"{gate.name} in the soak", gate) for gate in plan.soak_gates)):
        found[name] = max(found.get(name, 0.0), pass_spent(gate))
    return found


def _approval(stable: Plan, candidate: Plan) -> Iterator[str]:
    """Whose yes is asked for, and before what."""
    if not asks(stable):
        return
    asked = points(candidate, entering=len(candidate.steps))
    bare = replace(candidate, approval=False, steps=tuple(replace(step, approval=False) for step in candidate.steps))
    for name in points_named(stable):
        as_asked = with_points(bare, (_parsed(name),))
        if not set(points(as_asked, entering=len(bare.steps))) <= set(asked):
            yield f"approval: nobody is asked before {'the first exposure' if name == FIRST else name}"
    if asks(candidate):
        yield from _quorum(stable.quorum, candidate.quorum)


def points_named(plan: Plan) -> tuple[str, ...]:
    """Before what a plan asks for approvals: ``first``, or shares."""
    return tuple(before(plan, step) for step in points(plan, entering=len(plan.steps)))


def _parsed(name: str) -> str | Parts:
    return name if name == FIRST else parse_share(name)


def _quorum(stable: Quorum, candidate: Quorum) -> Iterator[str]:
    if candidate.count < stable.count:
        yield f"approval: {candidate.count} instead of {stable.count} people"
    if stable.roles and not (candidate.roles and set(candidate.roles) <= set(stable.roles)):
        named = " or ".join(role.value for role in candidate.roles) or "whoever may approve"
        yield f"approval: by {named} instead of {' or '.join(role.value for role in stable.roles)}"
    if is_laxer(Laxer.HIGHER, stable.expires, candidate.expires):
        now = "for ever" if candidate.expires is None else f"for {format_duration(candidate.expires)}"
        yield f"approval: a yes counts {now} instead of {format_duration(stable.expires or 0)}"
    if candidate.authors_may and not stable.authors_may:
        yield "approval: authors may approve what they wrote"


def asked_as_well(plan: Plan, names: tuple[str, ...], quorum: Quorum) -> Plan:
    """A plan that asks before these points too, with the stricter of both quorums."""
    asked = with_points(plan, tuple(_parsed(name) for name in names))
    own = plan.quorum if asks(plan) else quorum
    both = Quorum(
        count=max(own.count, quorum.count),
        roles=_both_roles(own, quorum),
        expires=min((each for each in (own.expires, quorum.expires) if each is not None), default=None),
        authors_may=own.authors_may and quorum.authors_may,
    )
    return replace(asked, approval=asked.approval or plan.approval, quorum=both)


def _both_roles(own: Quorum, other: Quorum) -> tuple[Role, ...]:
    """Roles that satisfy both; those of ``other`` where no role does."""
    if not own.roles or not other.roles:
        return own.roles or other.roles
    return tuple(role for role in other.roles if role in own.roles) or other.roles
