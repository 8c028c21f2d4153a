"""The page of the docs that ``fairway simulate --all --write`` writes."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.simulate.rollout import Ending
from fairway.simulate.scenario import EFFECTS, SHAPES
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
        *_section(healthy, [_HEALTHY_HEAD, *(_healthy_row(study) for study in healthy.studies), _together(healthy)]),
        *_section(margins, [_MARGINS_HEAD, *(_margin_row(study) for study in margins.studies)]),
        *_section(delays, [_DELAYS_HEAD, *(_delay_row(study) for study in delays.studies)]),
        *_section(exposed, [_EXPOSED_HEAD, *(_exposed_row(study) for study in exposed.studies)]),
        "## Words",
        "\n".join(f"- *{shape.value}*: {text}" for shape, text in SHAPES.items()),
        "\n".join(f"- *{effect.value}*: {text}" for effect, text in EFFECTS.items()),
    ]
    return "\n\n".join(parts) + "\n"


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
    ended = [
        Rate(
            hits=sum(study.ended(ending).hits for study in group.studies),
            of=sum(len(study.outcomes) for study in group.studies),
        )
        for ending in (Ending.ROLLED_BACK, Ending.PROMOTED, Ending.PAUSED)
    ]
    rules = [
        Delays.of([each.rivals[place] for study in group.studies for each in study.outcomes])
        for place in range(len(_RULES))
    ]
    return "**all**", "", "", rate(ended[0]), rate(ended[1]), str(ended[2].hits), *(stopped(each) for each in rules)


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
