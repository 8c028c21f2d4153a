"""How good a judge is: tried on labelled items, held against what it must show and against what it showed before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairway.evals.judges.calibration_set import CalibrationItem
from fairway.evals.judges.judge import JudgePanel
from fairway.evals.judges.settings import HealthRules
from fairway.evals.suites.document import read_document
from fairway.evals.trials import JudgeHealth
from fairway.evals.values import AssertionResult, Found
from fairway.stats.agreement import cohen_kappa, sign_test
from fairway.stats.intervals import clopper_pearson
from fairway.units import Digest

_CONCURRENCY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedItem:
    """A labelled item and what the judge said of it, once a repeat.

    Attributes:
        said: Whether it held, by repeat; ``None``: undecided.
    """

    id: str
    good: bool
    results: tuple[AssertionResult, ...]

    @property
    def said(self) -> tuple[bool | None, ...]:
        """What it said, by repeat."""
        return tuple(_said(result) for result in self.results)

    @property
    def right(self) -> bool:
        """Whether the first grade agrees with the label; an undecided one does not."""
        return self.said[0] is self.good

    @property
    def flips(self) -> bool:
        """Whether its repeats disagree."""
        return len(set(self.said)) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """What a judge showed when people last looked: what drift is measured against.

    Attributes:
        judge: Digest of the judge, its calibration set included.
        said: By item, whether it held; ``None``: undecided.
    """

    judge: Digest
    said: Mapping[str, bool | None]

    def to_json(self) -> dict[str, Any]:
        """As it is kept in a file, in the order of the ids."""
        return {"version": 1, "judge": self.judge, "said": dict(sorted(self.said.items()))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """One trial of a judge.

    Attributes:
        health: The figures, and why its verdicts may not be used.
        items: In the order of the set.
        record: To be kept when people accept what it shows.
        calls: Paid calls it took.
        cost_micros: What they cost, in millionths of a US dollar; ``None``: not known.
    """

    health: JudgeHealth
    items: tuple[TriedItem, ...]
    record: CalibrationRecord
    calls: int
    cost_micros: int | None


async def calibrate(
    items: Sequence[CalibrationItem],
    judge: JudgePanel,
    rules: HealthRules,
    *,
    digest: Digest,
    recorded: CalibrationRecord | None = None,
    concurrency: int = _CONCURRENCY,
) -> Calibration:
    """Try a judge on labelled items.

    Args:
        items: The calibration set.
        judge: As the run uses it; its cache is left out.
        rules: What it must show.
        digest: Of the judge, by `judge_digest`, which covers the set.
        recorded: What it showed before; ``None``: nothing is recorded, and drift is not looked for.
        concurrency: Items at a time.

    Raises:
        FairwayError: What is no trouble of a model (the spend cap).
    """
    gate, fresh = asyncio.Semaphore(concurrency), judge.uncached()

    async def tried(item: CalibrationItem) -> TriedItem:
        async with gate:
            results = [
                await fresh.measure(item.assertion, item.observed, repeat=repeat) for repeat in range(rules.repeats)
            ]
        return TriedItem(id=item.id, good=item.good, results=tuple(results))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tried(item)) for item in items]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    found = tuple(task.result() for task in tasks)
    results = [result for item in found for result in item.results]
    costs = [result.cost_micros for result in results]
    cost = None if None in costs else sum(cost for cost in costs if cost is not None)
    return Calibration(
        health=replace(judge_health(found, rules, digest=digest, recorded=recorded), cost_micros=cost),
        items=found,
        record=CalibrationRecord(judge=digest, said={item.id: item.said[0] for item in found}),
        calls=sum(result.calls for result in results),
        cost_micros=cost,
    )


def judge_health(
    items: Sequence[TriedItem], rules: HealthRules, *, digest: Digest, recorded: CalibrationRecord | None = None
) -> JudgeHealth:
    """The figures of a trial, from the first grade of each item; an undecided grade counts as wrong.

    Args:
        items: What the judge said.
        rules: What it must show; everything it does not is named in ``problem``.
        digest: Of the judge.
        recorded: What it showed before.
    """
    good = [item for item in items if item.good]
    bad = [item for item in items if not item.good]
    passed, failed = sum(item.right for item in good), sum(item.right for item in bad)
    health = JudgeHealth(
        items=len(items),
        sensitivity=passed / len(good) if good else None,
        specificity=failed / len(bad) if bad else None,
        sensitivity_interval=clopper_pearson(passed, len(good)) if good else (0.0, 1.0),
        specificity_interval=clopper_pearson(failed, len(bad)) if bad else (0.0, 1.0),
        kappa=cohen_kappa(_agreement_table(items)),
        flip_rate=sum(item.flips for item in items) / len(items) if items and rules.repeats > 1 else None,
        good=len(good),
        bad=len(bad),
    )
    problems = [*_shortfalls(health, rules), *_undecided(items), *_drift(items, rules, digest, recorded)]
    return replace(health, problem="; ".join(problems) or None)


def _said(result: AssertionResult) -> bool | None:
    return {Found.HELD: True, Found.VIOLATED: False}.get(result.found)


def _agreement_table(items: Iterable[TriedItem]) -> list[list[int]]:
    """People by judge, over good, bad and undecided; people are never undecided."""
    table = [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    column = {True: 0, False: 1, None: 2}
    for item in items:
        table[0 if item.good else 1][column[item.said[0]]] += 1
    return table


def _shortfalls(health: JudgeHealth, rules: HealthRules) -> Iterable[str]:
    if health.items < rules.items or min(health.good, health.bad) < rules.each:
        seen = f"{health.good} good and {health.bad} bad items"
        yield f"the calibration set has {seen}; at least {rules.items} are needed, {rules.each} of each"
    for name, value, least in (
        ("sensitivity", health.sensitivity, rules.sensitivity),
        ("specificity", health.specificity, rules.specificity),
        ("kappa", health.kappa, rules.kappa),
    ):
        if value is None or value < least:
            yield f"its {name} is {'not defined' if value is None else f'{value:.2f}'}, below {least:g}"
    if health.flip_rate is not None and health.flip_rate > rules.flip_rate:
        yield f"it changes its mind on {health.flip_rate:.0%} of the items, more than {rules.flip_rate:.0%}"


def _undecided(items: Sequence[TriedItem]) -> Iterable[str]:
    """Told only beside what it made worse: an undecided grade already counts as wrong."""
    missing = [item for item in items if item.said[0] is None]
    if len(missing) * 2 > len(items):
        first = missing[0].results[0].message
        yield f"it could not grade {len(missing)} of {len(items)} items ({first})"


def _drift(
    items: Sequence[TriedItem], rules: HealthRules, digest: Digest, recorded: CalibrationRecord | None
) -> Iterable[str]:
    if recorded is None:
        return
    if recorded.judge != digest or set(recorded.said) != {item.id for item in items}:
        yield "the recorded calibration is of another judge or set; calibrate it and record that"
        return
    before = {item.id: recorded.said[item.id] is item.good for item in items}
    worse = sum(before[item.id] and not item.right for item in items)
    better = sum(item.right and not before[item.id] for item in items)
    if sign_test(worse, better) <= rules.drift_alpha:
        yield f"it drifted: {worse} items it graded rightly when it was recorded are wrong now, {better} the other way"
    changed = sum(recorded.said[item.id] is not item.said[0] for item in items)
    if changed > rules.flip_rate * len(items):
        yield f"it drifted: it grades {changed} of {len(items)} items otherwise than recorded"


def read_record(content: bytes, *, file: str) -> CalibrationRecord:
    """A record as `CalibrationRecord.to_json` gives it.

    Raises:
        ProjectFileError: It is none.
    """
    document = read_document(content, file=file)
    value = document.value
    if not isinstance(value, dict) or value.keys() != {"version", "judge", "said"} or value["version"] != 1:
        hint = "write it again with `fairway eval calibrate`"
        raise document.error((), "is no record of a calibration", hint=hint)
    judge, said = value["judge"], value["said"]
    if not isinstance(judge, str) or not isinstance(said, dict):
        raise document.error((), "is no record of a calibration")
    for name, held in said.items():
        if held is not None and not isinstance(held, bool):
            raise document.error(("said", name), "expected true, false or null")
    return CalibrationRecord(judge=Digest(judge), said=said)
