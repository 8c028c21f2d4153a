"""How often the gates on means err and what they see, from seeds: ``python -m benchmarks.means [--rollouts N]``.

Prints the tables of ``docs/explanation/verdicts.md``. Modelled traffic with everything at once: conversations of three
turns that grow dearer with each, a lasting character each, heavy users in nearly every block, a split that grows from
5 to 50 %, weather that moves both arms by a factor of three.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic, calm, drift
from fairway.testing.modelled_values import ModelledValues, ValueModel
from fairway.units import Verdict
from fairway.verdict.panel import Panel
from fairway.verdict.values import GateFinding, GateKind, GateSpec

WARM = 12
RATIOS, POINTS = (GateKind.COST_MEAN, GateKind.TOKENS_MEAN), (GateKind.SCORE_MEAN, GateKind.FEEDBACK_MEAN)
ALPHA_FAIL, ALPHA_PASS = 0.04 / 3, 0.05
PLAIN = ArmModel(spread=0, failure=0)
LEVELS = ((10, 160, 1.0), (100, 40, 1.0), (1_000, 20, 0.2))
"""Conversations a minute, blocks of a rollout, and rollouts as a part of those asked for."""


@dataclass(slots=True, kw_only=True)
class Course:
    """One rollout of one candidate, block by block.

    Attributes:
        seconds, units: Observed time and candidate units at the first verdict of each gate, by its name.
    """

    seed: int
    per_minute: float
    blocks: int
    candidate: ValueModel
    split: Callable[[int], float]
    weather: Callable[[int], float] = calm
    seconds: dict[str, float] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0

    def run(self, specs: Sequence[GateSpec]) -> Iterator[GateFinding]:
        """Every finding of every look, until each gate has said FAIL or PASS."""
        units = self.per_minute / 6
        traffic = ModelledTraffic(
            seed=self.seed,
            units_per_block=units,
            stable=PLAIN,
            candidate=PLAIN,
            turns=3,
            heavy_users=max(5, int(units)),
        )
        values = ModelledValues(seed=self.seed + 10_000, candidate=self.candidate, aging=0.3, weather=self.weather)
        panel = Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=WARM * 10.0)
        for _ in range(WARM):
            panel.take(values.of(traffic.next_block(split=0.0)))
        for index in range(self.blocks):
            block = values.of(traffic.next_block(split=self.split(index)))
            begun = time.process_time()
            panel.take(block)
            findings = panel.judge(specs, step_from=WARM * 10.0)
            self.cpu += time.process_time() - begun
            for finding in findings:
                if finding.verdict in (Verdict.FAIL, Verdict.PASS) and finding.gate not in self.seconds:
                    self.seconds[finding.gate] = 10.0 * (index + 1)
                    self.units[finding.gate] = finding.units_candidate
                yield finding


def gates(
    ratio: float, points: float, *, alpha_fail: float = ALPHA_FAIL, fail: tuple[float, float] | None = None
) -> tuple[GateSpec, ...]:
    """The four gates at these margins."""
    last = fail or (ratio, points)
    return tuple(
        GateSpec(
            name=kind.value, kind=kind, margin=ratio if kind in RATIOS else points,
            fail_margin=last[0] if kind in RATIOS else last[1],
            alpha_fail=alpha_fail, alpha_pass=ALPHA_PASS, stages=4,
        )
        for kind in (*RATIOS, *POINTS)
    )  # fmt: skip


def errors(name: str, candidate: ValueModel, specs: Sequence[GateSpec], rollouts: int, period: int) -> list[str]:
    """Rows of FAIL and PASS of a candidate, by traffic."""
    rows = []
    for per_minute, blocks, part in LEVELS:
        runs, hits = max(10, int(rollouts * part)), Counter[Verdict]()
        for seed in range(runs):
            course = Course(
                seed=seed, per_minute=per_minute, blocks=blocks, candidate=candidate,
                split=partial(_ladder, blocks),
                weather=drift(3, period) if period else calm,
            )  # fmt: skip
            found = {(f.gate, f.verdict) for f in course.run(specs)}
            hits.update(verdict for _, verdict in found)
        said = [
            f"{_share(hits[verdict], runs * len(specs))}" for verdict in (Verdict.FAIL, Verdict.PASS, Verdict.ERROR)
        ]
        rows.append(f"| {name} | {per_minute:,} | {' | '.join(said)} |")
    return rows


def _ladder(blocks: int, index: int) -> float:
    return (0.05, 0.1, 0.3, 0.5)[min(3, 4 * index // blocks)]


def _share(hits: int, of: int) -> str:
    low, high = clopper_pearson(hits, of)
    return f"{hits} of {of:,} ({low:.2%}-{high:.2%})"


def power(name: str, candidate: ValueModel, kind: GateKind, *, split: float, per_minute: int, rollouts: int) -> str:
    """A row of how soon one gate says FAIL, or PASS, of a candidate: at the margins and the alpha of a plan."""
    ratio, points = {0.05: (2.0, 0.1), 0.5: (1.1, 0.02)}[split]
    specs = [s for s in gates(ratio, points, alpha_fail=0.04 / 21, fail=(1.1, 0.02)) if s.kind is kind]
    seconds, units, verdicts = list[float](), list[int](), Counter[str]()
    for seed in range(rollouts):
        course = Course(
            seed=seed,
            per_minute=per_minute,
            blocks=60,
            candidate=candidate,
            split=lambda _: split,
        )
        last = Verdict.NO_DATA
        for finding in course.run(specs):
            last = finding.verdict
            if course.seconds:
                break
        verdicts[last.value] += 1
        seconds.append(course.seconds.get(kind.value, float("inf")))
        units.append(course.units.get(kind.value, sys.maxsize))
    said = ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common())
    return f"| {name} | {split:.0%} | {said} | {statistics.median(units):,.0f} | {statistics.median(seconds):.0f} s |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=400)
    parser.add_argument("--only", choices=("errors", "power"))
    told = parser.parse_args()
    if told.only != "power":
        print_errors(told.rollouts)
    if told.only != "errors":
        print_power(max(5, told.rollouts // 10))


def print_errors(rollouts: int) -> None:
    """The table of errors."""
    out = sys.stdout.write
    out("| candidate | a minute | FAIL | PASS | ERROR |\n|---|---|---|---|---|\n")
    at_margin = ValueModel(cost=0.012, tokens=1080, score=0.75, feedback=0.65)
    for row in errors("the same release, no margin", ValueModel(), gates(1.0, 0.001), rollouts, 16):
        out(row + "\n")
    for row in errors("at its margins (+20 %, 5 points)", at_margin, gates(1.2, 0.05), rollouts, 0):
        out(row + "\n")


def print_power(rollouts: int) -> None:
    """The table of what is seen, and what a look costs."""
    out = sys.stdout.write
    out("\n| candidate | split | verdicts | its conversations, median | after |\n|---|---|---|---|---|\n")
    for name, candidate, kind in (
        ("cost doubled", ValueModel(cost=0.02), GateKind.COST_MEAN),
        ("cost +30 %", ValueModel(cost=0.013), GateKind.COST_MEAN),
        ("score 20 points lower", ValueModel(score=0.6), GateKind.SCORE_MEAN),
        ("feedback 30 points lower", ValueModel(feedback=0.4), GateKind.FEEDBACK_MEAN),
        ("cost as stable", ValueModel(), GateKind.COST_MEAN),
        ("score as stable", ValueModel(), GateKind.SCORE_MEAN),
    ):
        for split in (0.05, 0.5):
            out(power(name, candidate, kind, split=split, per_minute=2_000, rollouts=rollouts) + "\n")
    course = Course(seed=1, per_minute=2_000, blocks=60, candidate=ValueModel(), split=lambda _: 0.3)
    looks = sum(1 for _ in course.run(gates(1.1, 0.02)))
    each = course.cpu / looks * 1e3
    out(f"\nOne look of one gate at a block of 333 new conversations: {each:.2f} ms, reading it included.\n")


if __name__ == "__main__":
    main()
