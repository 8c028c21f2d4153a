"""Which scenarios belong together: what a person asked for, and the whole of the docs' page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import UserError
from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.simulate.policy import policy_from
from fairway.simulate.rollout import exposing
from fairway.simulate.scenario import Effect, Scenario, Shape, held_at, margins_of
from fairway.simulate.study import Study
from fairway.units import Parts, parse_duration, parse_share

LONGEST_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A table of the page.

    Attributes:
        title: Of the table.
        text: What it shows and under which policy.
        studies: Its rows.
    """

    title: str
    text: str
    studies: tuple[Study, ...]


def scenario_of(
    policy: RolloutSection,
    *,
    name: str = "default",
    shape: Shape = Shape.IID,
    effect: Effect = Effect.SAME,
    per_minute: float = 100.0,
    held: Parts | None = None,
    seconds: float = 3600.0,
) -> Scenario:
    """One scenario under a policy.

    Raises:
        UserError: When the policy has no step to hold at, or compares nothing.
    """
    plan = exposing(compile_plan(policy))
    margins_of(plan)
    return Scenario(
        plan=plan if held is None else held_at(plan, held),
        alpha_fail=policy.alpha_fail,
        alpha_pass=policy.alpha_pass,
        per_minute=per_minute,
        shape=shape,
        effect=effect,
        seconds=seconds,
        held=held,
        policy=name,
    )


def studies_of(
    path: Path | None,
    *,
    project: Path | None,
    levels: Iterable[float],
    shapes: Iterable[str],
    effects: Iterable[str],
    held: str | None,
    time: str,
    runs: int,
) -> list[Study]:
    """What a person asked for, as studies that have not begun.

    Raises:
        UserError: For options that cannot be read.
        ProjectFileError: For a policy that is wrong.
    """
    policy, name = policy_from(path, project=project)
    try:
        split = None if held is None else parse_share(held)
        seconds = parse_duration(time)
    except ValueError as error:
        raise UserError(str(error), code="bad_option") from error
    if not 10.0 <= seconds <= LONGEST_SECONDS:
        raise UserError("--for takes 10s to 7d", code="bad_option")
    return [
        Study(
            scenario=scenario_of(
                policy,
                name=name,
                shape=Shape(shape),
                effect=Effect(effect),
                per_minute=level,
                held=split,
                seconds=seconds,
            ),
            wanted=runs,
        )
        for level in levels
        for shape in shapes
        for effect in effects
    ]


def policy_of(**rollout: Any) -> RolloutSection:
    """The default policy with these keys of the ``rollout`` section."""
    return RolloutSection.model_validate(rollout)


FAILING_STABLE: dict[str, Any] = {"gates": {"success": "98%"}}
"""For a stable that fails in 1 % of conversations: "success ≥ 99.5 %" is broken before a rollout begins."""
TIGHT_P95: dict[str, Any] = {"gates": {"success": "98%", "p95": {"margins": ["+10%"]}}}
SMALL_STEPS: dict[str, Any] = {
    "steps": ["1%", "5%", "25%", "100%"],
    "gates": {"success": "98%", "p95": {"margins": ["+10%"]}},
}


def every_study(runs: int) -> list[Group]:
    """The tables of ``docs/simulations.md``.

    With twelve runs every bound asked for can be shown: of 192 healthy rollouts of a shape at 100 conversations a
    minute none may be rolled back (no event in 183 has an upper limit of 2 %), of 72 at the margin of failures none
    promoted (no event in 72: 5 %), and of 240 at that of the P95, where the policy uses up what it promises, at most
    twelve.

    Args:
        runs: Rollouts of a row of delays; the others are multiples of it, fewer where the traffic is heavier.
    """
    default, failing = policy_of(), policy_of(**FAILING_STABLE)
    tight, small = policy_of(**TIGHT_P95), policy_of(**SMALL_STEPS)
    same = [
        Study(scenario=scenario_of(default, shape=shape, per_minute=level), wanted=round(times * runs + 0.01))
        for level, times in _LEVELS
        for shape in Shape
        if times * runs >= 1 or level == _LEVELS[0][0]
    ]
    same.append(Study(scenario=scenario_of(default, per_minute=2000.0, held=Parts(50_000)), wanted=_half(runs)))
    margins = [
        Study(
            scenario=scenario_of(default, shape=shape, effect=effect, per_minute=600.0),
            wanted=max(1, round(times * runs)),
        )
        for effect, times in (
            (Effect.MARGIN_ERRORS, 3.0),
            (Effect.MARGIN_P95, 10.0),
            (Effect.TWICE_ERRORS, 0.5),
            (Effect.TWICE_P95, 0.5),
        )
        for shape in (Shape.IID, Shape.AUTOCORRELATED)
    ]
    cells: Sequence[tuple[RolloutSection, str, Effect, int, Shape]] = (
        (failing, "success 98%", Effect.ERRORS_3, 5_000, Shape.IID),
        (failing, "success 98%", Effect.ERRORS_3, 10_000, Shape.IID),
        (failing, "success 98%", Effect.ERRORS_3, 50_000, Shape.IID),
        (failing, "success 98%", Effect.ERRORS_10, 5_000, Shape.IID),
        (failing, "success 98%", Effect.ERRORS_10, 5_000, Shape.LATE),
        (failing, "success 98%", Effect.ERRORS_10, 5_000, Shape.HEAVY),
        (default, "default", Effect.P95_50, 5_000, Shape.IID),
        (tight, "P95 +10% at every step", Effect.P95_50, 5_000, Shape.IID),
        (default, "default", Effect.P95_50, 50_000, Shape.IID),
        (default, "default", Effect.P95_10, 50_000, Shape.IID),
        (default, "default", Effect.ERRORS_10, 5_000, Shape.IID),
    )
    found = [
        Study(
            scenario=scenario_of(
                policy, name=name, effect=effect, shape=shape, per_minute=2000.0, held=Parts(held), seconds=1800.0
            ),
            wanted=runs,
        )
        for policy, name, effect, held, shape in cells
    ]
    exposed = [
        Study(
            scenario=scenario_of(small, name="1/5/25", effect=effect, per_minute=2000.0, seconds=3600.0),
            wanted=_half(runs),
        )
        for effect in (Effect.ERRORS_3, Effect.ERRORS_10, Effect.P95_50)
    ]
    return [
        Group(title="A healthy candidate", text=_HEALTHY, studies=tuple(same)),
        Group(title="At its margins and beyond", text=_MARGINS, studies=tuple(margins)),
        Group(title="How long a bad candidate lives", text=_DELAYS, studies=tuple(found)),
        Group(title="Who was exposed", text=_EXPOSED, studies=tuple(exposed)),
    ]


_LEVELS = ((100.0, 16.0), (10.0, 4.0), (1000.0, 1 / 3), (10_000.0, 1 / 24))
"""Conversations a minute of a healthy candidate, and how many times the runs it gets: fewer where there are more."""


def _half(runs: int) -> int:
    return max(1, runs // 2)


_HEALTHY = """\
The same release twice, failing in 0.2 % of conversations, under the default policy, stepped, 10 to 1,000 conversations
a minute, a look every ten seconds for an hour; then a busy route held at 50 %. Every rollback is a false one: the
policy promises at most 4 %, asked for are at most 1 % with an upper limit of 2 % in each shape of traffic."""

_MARGINS = """\
Under the default policy, stepped, 600 conversations a minute, for an hour. The last margins are 0.5 points of failed
conversations and P95 +10 %. Every promotion is a false one: the policy promises at most 5 %. A rollback is none: beside
the gates, "success ≥ 99.5 %" and the triggers look at what 0.5 points more failures come to."""

_DELAYS = """\
2,000 conversations a minute, held at one split of the default plan for half an hour, all gates on. Delays count from
the first exposure (or the fault, when it comes late) to the decision; a rollout that was not stopped counts as longer
than any. *Success 98%* is the default policy with that limit: where stable fails in 1 % of conversations, "success ≥
99.5 %" is broken before a rollout begins (last row). What keeps the last margins is not stopped, and shall not be:
P95 +10 %, where they allow just that. *Best possible* is the fastest test that keeps the margins; a trigger keeps none
and may be faster."""

_EXPOSED = """\
Steps of 1, 5 and 25 %, success ≥ 98 % and P95 within +10 % at every step, 2,000 conversations a minute. Exposed are the
conversations that were on the candidate until it was rolled back, of all that were active in the hour."""
