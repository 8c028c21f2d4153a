"""Blue-green as a value: which colour serves, what each runs, and in how many instances. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fairway.rollout.desired import desired_of
from fairway.rollout.values import Colour, Phase, RouteState, Strategy
from fairway.traffic.table import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """Both places of a route.

    Attributes:
        active: The colour of stable; until every gateway has confirmed the switch, that is the old one.
        blue_version, green_version: What each runs; ``None``: nothing.
        blue_replicas, green_replicas: Instances each shall have.
    """

    active: Colour
    blue_version: str | None
    green_version: str | None
    blue_replicas: int
    green_replicas: int


def colours_of(state: RouteState, now: datetime) -> Colours | None:
    """The colours of a route; ``None`` where the last rollout was not blue-green."""
    rollout = state.rollout
    if rollout is None or rollout.plan.strategy is not Strategy.BLUE_GREEN or rollout.stable is None:
        return None
    arms = {arm.spec.role: arm for arm in desired_of(state, now).arms}
    serving, other = arms.get(Role.STABLE), arms.get(Role.CANDIDATE) or arms.get(Role.SHADOW) or arms.get(Role.BASELINE)
    if rollout.phase is Phase.PROMOTING and serving is not None and serving.spec.release_digest != _stable(state):
        serving, other = other, serving  # the switch is under way
    active, idle = (None if arm is None else (arm.version, arm.spec.replicas) for arm in (serving, other))
    blue, green = (active, idle) if state.active is Colour.BLUE else (idle, active)
    return Colours(
        active=state.active,
        blue_version=None if blue is None else blue[0],
        green_version=None if green is None else green[0],
        blue_replicas=0 if blue is None else blue[1],
        green_replicas=0 if green is None else green[1],
    )


def _stable(state: RouteState) -> str | None:
    return None if state.stable is None else state.stable.release


def colours_wire(colours: Colours | None) -> dict[str, object] | None:
    """As JSON: ``{active, blue_version, green_version, blue_replicas, green_replicas}``."""
    if colours is None:
        return None
    return {
        "active": colours.active.value,
        "blue_version": colours.blue_version,
        "green_version": colours.green_version,
        "blue_replicas": colours.blue_replicas,
        "green_replicas": colours.green_replicas,
    }


def describe_colours(wire: dict[str, object]) -> str:
    """One line for people."""
    places = []
    for colour in Colour:
        version, replicas = wire[f"{colour.value}_version"], wire[f"{colour.value}_replicas"]
        what = "empty" if version is None else f"{version} with {replicas}"
        places.append(f"{colour.value} {what}{' (active)' if wire['active'] == colour.value else ''}")
    return ", ".join(places)
