"""The page of the docs that ``fairway simulate --all --write`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fairway.simulate.rollout import Ending
from fairway.simulate.scenario import EFFECTS, SHAPES, Effect, Shape
from fairway.simulate.study import Delays, Rate, Study
from fairway.simulate.suite import Group
from fairway.simulate.tables import markdown, median, plan_of, rate, seconds, spread, stopped


def page_of(groups: Sequence[Group], *, runs: int, seed: int) -> str:
    """The page, from studies that have run."""
    command = f"fairway simulate --all --runs {runs} --seed {seed} --write docs/simulations.md"
    healthy, margins, delays, exposed = groups
    parts = [
        "# Simulated: what the default policy does",
        f"<!-- Written by `{command}`; do not edit. -->",
        f"Written by `{command}`: the same seed gives the same page. How it is modelled, what it proves and what"
        " it does not: [simulation](explanation/simulation.md). Intervals are exact 95 % ones (Clopper-Pearson; of a"
        " median from order statistics). Columns of Argo and Flagger give the share of rollouts their rule gives up, on"
        " the same traffic and with the policy's own limits, and the median delay.",
        "## Asked for, and found",
        markdown([("asked for", "found", "met"), *_asked(groups)]),
        *_section(healthy, [_HEALTHY_HEAD, *(_healthy_row(study) for study in healthy.studies), _together(healthy)]),
        *_section(margins, [_MARGINS_HEAD, *(_margin_row(study) for study in margins.studies)]),
        *_section(delays, [_DELAYS_HEAD, *(_delay_row(study) for study in delays.studies)]),
        *_section(exposed, [_EXPOSED_HEAD, *(_exposed_row(study) for study in exposed.studies)]),
        "## Words",
        "\n".join(f"- *{shape.value}*: {text}" for shape, text in SHAPES.items()),
        "\n".join(f"- *{effect.value}*: {text}" for effect, text in EFFECTS.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _asked(groups: Sequence[Group]) -> Iterator[tuple[str, str, str]]:
    """The figures asked for, beside those of the tables below."""
    healthy, margins, delays, exposed = groups
    for shape in Shape:
        rolled_back = _sum(_of_shape(healthy, shape), Ending.ROLLED_BACK)
        good = rolled_back.hits / rolled_back.of <= 0.01 and rolled_back.interval[1] <= 0.02
        yield f"A/A, {shape.value}: false rollback ≤ 1 %, upper limit ≤ 2 %", rate(rolled_back), _met(good)
    for effect in (Effect.MARGIN_ERRORS, Effect.MARGIN_P95):
        promoted = _sum([study for study in margins.studies if study.scenario.effect is effect], Ending.PROMOTED)
        yield f"{EFFECTS[effect]}: false promotion ≤ 5 %", rate(promoted), _met(promoted.hits <= 0.05 * promoted.of)
    for effect, shape, split, limit in _LIMITS:
        for study in delays.studies:
            scenario = study.scenario
            if (scenario.effect, scenario.shape, scenario.held) != (effect, shape, split):
                continue
            found = study.delays.median
            asked = f"{EFFECTS[effect]}, {plan_of(study)}, {scenario.policy}: median ≤ {seconds(limit)}"
            yield asked, median(study.delays), _met(found is not None and found <= limit)
    for study in exposed.studies:
        middle, _ = study.exposed()
        found_share = "-" if middle is None else f"{100 * middle:.2f}%"
        asked = f"{EFFECTS[study.scenario.effect]}, 1/5/25 %: users exposed ≤ 3 % (median)"
        yield asked, found_share, _met(middle is not None and middle <= 0.03)


_LIMITS = (
    (Effect.ERRORS_3, Shape.IID, 5_000, 600.0),
    (Effect.ERRORS_3, Shape.IID, 10_000, 360.0),
    (Effect.ERRORS_3, Shape.IID, 50_000, 180.0),
    (Effect.ERRORS_10, Shape.IID, 5_000, 90.0),
    (Effect.P95_50, Shape.IID, 5_000, 240.0),
)


def _met(yes: bool) -> str:
    return "yes" if yes else "**no**"


def _of_shape(group: Group, shape: Shape) -> list[Study]:
    return [study for study in group.studies if study.scenario.shape is shape]


def _sum(studies: Sequence[Study], ending: Ending) -> Rate:
    return Rate(
        hits=sum(study.ended(ending).hits for study in studies), of=sum(len(study.outcomes) for study in studies)
    )


def _section(group: Group, rows: Sequence[Sequence[str]]) -> tuple[str, str, str]:
    return f"## {group.title}", group.text, markdown(rows)


_RULES = ("Argo, limit 0", "Argo, limit 3", "Flagger, 5", "Flagger, 10")
_HEALTHY_HEAD = ("shape", "a minute", "plan", "rolled back", "promoted", "paused", *_RULES)
_MARGINS_HEAD = ("candidate", "shape", "promoted", "rolled back", "median delay", *_RULES)
_DELAYS_HEAD = (
    "candidate",
    "shape",
    "policy",
    "split",
    "rolled back",
    "median delay",
    "p10 - p90",
    "best possible",
    "times the best",
    "rolled back by",
    *_RULES,
)
_EXPOSED_HEAD = ("candidate", "rolled back", "median delay", "users exposed, median", "p90", *_RULES)


def _healthy_row(study: Study) -> tuple[str, ...]:
    scenario = study.scenario
    return (
        scenario.shape.value,
        f"{scenario.per_minute:g}",
        plan_of(study),
        rate(study.ended(Ending.ROLLED_BACK)),
        rate(study.ended(Ending.PROMOTED)),
        str(study.ended(Ending.PAUSED).hits),
        *_rules(study),
    )


def _together(group: Group) -> tuple[str, ...]:
    """All rollouts of a group: the interval that many of them allow."""
    return "**all**", "", "", *_healthy_cells(group.studies)


def _healthy_cells(studies: Sequence[Study]) -> tuple[str, ...]:
    ended = [_sum(studies, ending) for ending in (Ending.ROLLED_BACK, Ending.PROMOTED, Ending.PAUSED)]
    rules = [
        Delays.of([each.rivals[place] for study in studies for each in study.outcomes]) for place in range(len(_RULES))
    ]
    return rate(ended[0]), rate(ended[1]), str(ended[2].hits), *(stopped(each) for each in rules)


def _margin_row(study: Study) -> tuple[str, ...]:
    return (
        study.scenario.effect.value,
        study.scenario.shape.value,
        rate(study.ended(Ending.PROMOTED)),
        rate(study.ended(Ending.ROLLED_BACK)),
        median(study.delays),
        *_rules(study),
    )


def _delay_row(study: Study) -> tuple[str, ...]:
    scenario, delays, best = study.scenario, study.delays, study.best
    by = ", ".join(f"{name} {count}" for name, count in study.stopped_by().items())
    return (
        scenario.effect.value,
        scenario.shape.value,
        scenario.policy,
        plan_of(study).removeprefix("held at "),
        rate(study.ended(Ending.ROLLED_BACK)),
        median(delays),
        spread(delays),
        "-" if best is None else seconds(best.median),
        _times(delays, best),
        by or "-",
        *_rules(study),
    )


def _exposed_row(study: Study) -> tuple[str, ...]:
    middle, p90 = study.exposed()
    return (
        study.scenario.effect.value,
        rate(study.ended(Ending.ROLLED_BACK)),
        median(study.delays),
        "-" if middle is None else f"{100 * middle:.2f}%",
        "-" if p90 is None else f"{100 * p90:.2f}%",
        *_rules(study),
    )


def _times(delays: Delays, best: Delays | None) -> str:
    if best is None or best.median is None or delays.median is None or best.median <= 0:
        return "-"
    return f"{delays.median / best.median:.1f}"


def _rules(study: Study) -> tuple[str, ...]:
    return tuple(stopped(delays) for delays in study.rivals().values())
