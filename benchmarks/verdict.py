"""What a look at a gate costs, beside reading the same block from JSON."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench, Promise
from fairway.observe.fold import Block
from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.stats.intervals import rate_lower
from fairway.stats.logrank import ERRORS, QUANTILES, Direction, Grid, log_e_value, nothing_yet, with_events
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.traffic.table import Role
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.panel import Panel
from fairway.verdict.values import GateKind, GateSpec

TICK_LIMIT_US = 50.0
_BLOCKS = 120
_OFF: dict[str, Any] = {name: {"enabled": False} for name in ("p99", "first_byte", "loops")}


def microseconds(action: Callable[[], object], *, repeats: int) -> float:
    """Median over five runs of ``repeats`` calls, per call; of this process alone."""
    runs = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(repeats):
            action()
        runs.append((time.process_time() - begun) / repeats * 1e6)
    return statistics.median(runs)


def tick_of(grid: Grid) -> float:
    """One block with events through T1, and its e-value."""
    ratios = nothing_yet(grid)

    def tick() -> float:
        after = with_events(ratios, grid, Direction.WORSE, candidate=2, stable=9, weight=0.07, margin=1.8)
        return log_e_value(after, grid)

    return microseconds(tick, repeats=2_000)


def modelled(units: int, turns: int = 3) -> list[Block]:
    model = ArmModel(failure=0.01)
    traffic = ModelledTraffic(seed=1, units_per_block=units, turns=turns, stable=model, candidate=model)
    theta = {Role.STABLE: 900.0, Role.CANDIDATE: 990.0}
    return [traffic.next_block(split=0.1, theta=theta) for _ in range(_BLOCKS)]


def gate_cost(spec: GateSpec, blocks: list[Block]) -> tuple[float, float]:
    """Microseconds a block for ``observe`` over a whole rollout, and for ``find`` at its end."""
    state = start(spec)
    begun = time.process_time()
    for block in blocks:
        state = observe(spec, state, block, candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE)
    folding = (time.process_time() - begun) / len(blocks) * 1e6
    return folding, microseconds(lambda: find(spec, state), repeats=20)


def round_of(gates: dict[str, Any], blocks: list[Block]) -> tuple[int, float]:
    """How many gates a policy has, and microseconds a block for all of them and the alarms: best of three rollouts."""
    plan = compile_plan(RolloutSection.model_validate({"gates": gates}))
    specs, runs = plan.steps[0].gates, []
    for _ in range(3):
        panel = Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=0.0, alarms=plan.alarms)
        begun = time.process_time()
        for block in blocks:
            panel.take(block)
            panel.judge(specs, step_from=0.0)
            panel.alarming(blocks)
        runs.append((time.process_time() - begun) / len(blocks) * 1e6)
    return len(specs), min(runs)


def run() -> Bench:
    rows: list[dict[str, Any]] = []
    rounds = []
    for units in (17, 170, 1_700):
        blocks = [replace(block, split=10_000) for block in modelled(units)]
        for gates in (_OFF, {}):
            count, cost = round_of(gates, blocks)
            rounds.append((units, count, cost))
            rows.append(
                {
                    "conversations a minute": units * 6,
                    "gate": f"{count} gates and the alarms",
                    "observe, µs a block": round(cost),
                    "a gate": round(cost / count, 1),
                }
            )
    for units in (17, 170, 1_700):
        blocks = modelled(units)
        wires = [json.dumps(block.to_wire()) for block in blocks]
        turn = iter(range(10**9))
        floor = microseconds(lambda w=wires, t=turn: json.loads(w[next(t) % len(w)]), repeats=len(wires))  # type: ignore[misc]
        for kind, margin in ((GateKind.FAILURES, 0.05), (GateKind.LATENCY_P95, 1.1), (GateKind.SUCCESS, 0.99)):
            spec = GateSpec(name=kind.value, kind=kind, margin=margin, alpha_fail=0.01, alpha_pass=0.05)
            folding, finding = gate_cost(spec, blocks)
            rows.append(
                {
                    "conversations a minute": units * 6,
                    "gate": kind.value,
                    "observe, µs a block": round(folding),
                    "json.loads of the block, µs": round(floor),
                    "ratio": round(folding / floor, 2),
                    "find, µs": round(finding),
                }
            )
    ticks = {"errors": tick_of(ERRORS), "quantiles": tick_of(QUANTILES)}
    counter = iter(range(10**9))
    bound = microseconds(lambda: rate_lower(next(counter) % 90 + 10, 5_000 + next(counter), 0.001), repeats=500)
    worst = max(ticks.values())
    count, all_of_them = rounds[1][1:]
    busy = rounds[3][2] / rounds[3][1]
    return Bench(
        title="Verdicts: the cost of a look",
        rows=rows,
        promises=[
            Promise(
                text=f"T1 over one block in at most {TICK_LIMIT_US:.0f} µs",
                measured=", ".join(f"{name} {value:.0f} µs" for name, value in ticks.items()),
                kept=worst <= TICK_LIMIT_US,
            ),
            Promise(
                text=(
                    f"a gate's tick over a block in at most {TICK_LIMIT_US:.0f} µs, all gates of the default policy on,"
                    " at 100 conversations a minute"
                ),
                measured=(
                    f"{all_of_them / count:.0f} µs a gate, {all_of_them:.0f} µs for all {count} and the alarms;"
                    f" {busy:.0f} µs a gate at 1,000 a minute"
                ),
                kept=all_of_them / count <= TICK_LIMIT_US,
            ),
        ],
        notes=[
            f"a bound of the confidence sequence takes {bound:.0f} µs, once a block",
            f"observe is the mean over {_BLOCKS} blocks of one rollout with three turns a conversation",
            "a gate alone reads its block alone; gates together share what is alike; their row has find too",
        ],
    )
