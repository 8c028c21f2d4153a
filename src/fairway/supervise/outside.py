"""What ``fairway doctor`` looks at outside: whether the sources of custom gates answer, and what they say now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from fairway.bootstrap import SERVING_ENVIRONMENT
from fairway.clock import SystemClock
from fairway.controller.sources import names_of
from fairway.ledger import open_ledger
from fairway.project.load import Project
from fairway.rollout.values import RouteState
from fairway.rollout.verbs import live
from fairway.rollout.wire import state_from_wire
from fairway.sources.asking import HttpAsker
from fairway.sources.judging import judge_source, take_in
from fairway.sources.placeholders import Arm, Names
from fairway.sources.port import Asker
from fairway.sources.values import OnFail, SourceFinding, SourceGate, SourceReading
from fairway.supervise.examined import Check, fail, ok, warn
from fairway.units import Verdict


def look_at_sources(project: Project) -> Iterator[Check]:
    """Ask each custom gate's question once, about what serves now."""
    gates = tuple(section.to_gate() for section in project.rollout.gates.custom)
    if not gates:
        return
    names = _names(project)
    if names is None:
        hint = "they are asked once a release serves: fairway doctor then says what they answer"
        yield warn("sources", f"{len(gates)} custom gate(s); nothing serves yet to ask about", hint)
        return
    for gate, found in zip(gates, asyncio.run(ask_all(gates, names, HttpAsker())), strict=True):
        yield _told(gate, found)


async def ask_all(gates: tuple[SourceGate, ...], names: Names, asker: Asker) -> list[SourceFinding]:
    """What each gate would say of one answer, asked now and all at once; how long it has to hold is left out."""
    return await asyncio.gather(*(_ask(gate, names, asker) for gate in gates))


async def _ask(gate: SourceGate, names: Names, asker: Asker) -> SourceFinding:
    at = SystemClock().now().timestamp()
    roles = ("candidate", "stable") if gate.compares else ("candidate",)
    answers = await asyncio.gather(*(asker.ask(gate, names, role=role) for role in roles))
    now = replace(gate, holds_for=0.0)
    stable = answers[1] if gate.compares else None
    reading = take_in(now, SourceReading(gate=gate.name), at=at, answer=answers[0], stable=stable)
    return judge_source(now, reading, now=at)


def _told(gate: SourceGate, found: SourceFinding) -> Check:
    said = f"{gate.name} (guarantee: none): {found.reason}"
    match found.verdict:
        case Verdict.PASS:
            return ok("sources", said)
        case Verdict.FAIL:
            then = "goes back" if gate.on_fail is OnFail.ROLL_BACK else "pauses"
            return warn("sources", said, f"a rollout {then} for it: is the limit what you mean?")
        case Verdict.ERROR:
            hint = f"no rollout gets past it: mend the source, or rollout.gates.custom of {gate.name}"
            return fail("sources", said, hint)
        case _:
            return warn("sources", said, "a rollout waits while it is so: does the query select what you mean?")


def _names(project: Project) -> Names | None:
    """The live rollout's arms, else what serves now on both sides; ``None`` when nothing does."""
    route = project.route(SERVING_ENVIRONMENT)
    if not project.state.ledger.exists():
        return None
    with open_ledger(project.state.ledger, migrate=False) as ledger:
        head = ledger.head(route)
    state = RouteState(route=route) if head.state is None else state_from_wire(head.state)
    rollout = live(state)
    if rollout is not None:
        return names_of(route, rollout)
    if state.stable is None:
        return None
    arm = Arm(version=state.stable.version, release=state.stable.release, effective=state.stable.effective)
    return Names(candidate=arm, stable=arm, agent=route.agent, environment=route.environment, rollout="")
