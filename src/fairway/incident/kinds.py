"""Kinds of rollback with their time and risk (SPEC J1), and the cheapest that is sufficient. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fairway.release.values import Component


class Risk(StrEnum):
    """How much can go wrong; in this order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Kind(StrEnum):
    """What is taken back."""

    TRAFFIC = "traffic"
    """The former stable still runs: only traffic moves."""
    FLAG = "flag"
    CONFIGURATION = "configuration"
    """Prompts, models, tools or policies; the code that runs is the same."""
    COMPONENT = "component"
    """One component as a derived release ``-rN``."""
    CODE = "code"
    IMAGE = "image"
    DATABASE = "database"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFacts:
    """What a kind takes.

    Attributes:
        seconds: Least and most it is expected to take; beside it stands what a rehearsal measured.
        asks: Whether only a person does it.
    """

    kind: Kind
    seconds: tuple[float, float]
    risk: Risk
    what: str
    asks: bool = False


KINDS: Mapping[Kind, KindFacts] = {
    facts.kind: facts
    for facts in (
        KindFacts(kind=Kind.TRAFFIC, seconds=(0, 1), risk=Risk.LOW, what="traffic to a release that runs already"),
        KindFacts(kind=Kind.FLAG, seconds=(0, 30), risk=Risk.LOW, what="a feature flag is turned off"),
        KindFacts(
            kind=Kind.CONFIGURATION,
            seconds=(0, 60),
            risk=Risk.LOW,
            what="a release with the same code and other prompts, models, tools or policies is started",
        ),
        KindFacts(kind=Kind.CODE, seconds=(60, 180), risk=Risk.MEDIUM, what="a release with other code is started"),
        KindFacts(
            kind=Kind.COMPONENT,
            seconds=(60, 300),
            risk=Risk.MEDIUM,
            what="one component of a former stable in a derived release -rN: its checks run first",
        ),
        KindFacts(kind=Kind.IMAGE, seconds=(120, 300), risk=Risk.MEDIUM, what="an image is pulled and started"),
        KindFacts(
            kind=Kind.DATABASE,
            seconds=(300, 600),
            risk=Risk.HIGH,
            what="a database backup is put back: what was written since is lost, stable's writes too",
            asks=True,
        ),
    )
}
"""Time and risk of each kind, cheapest first."""

_RISKS = list(Risk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Possible:
    """What can be done now.

    Attributes:
        running: Whether the release to go back to still runs and is ready.
        former: Whether there is a release to go back to at all.
        changed: Components in which the bad release and the one to go back to differ.
        suspects: Components that are suspected, by evidence; empty: nobody knows.
        flags: Feature flags that are on, off by default, and guard what is suspected.
        images: Whether arms run from images that have to be pulled.
    """

    running: bool
    former: bool
    changed: frozenset[Component]
    suspects: frozenset[Component] = frozenset()
    flags: Collection[str] = ()
    images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The kind that was chosen, and why; ``None``: nothing automation may do is sufficient.

    Attributes:
        then: What a suspect makes possible afterwards; empty: nothing.
    """

    kind: Kind | None
    why: str
    then: str = ""

    @property
    def facts(self) -> KindFacts | None:
        """Its time and risk."""
        return None if self.kind is None else KINDS[self.kind]


def choose(possible: Possible) -> Choice:
    """The cheapest kind that is sufficient: least risk first, then least time.

    Going back whole is always sufficient where there is a release to go back to: it leaves nothing of the bad one. A
    flag is sufficient only when it guards what is suspected. A single component is never cheaper than going back whole,
    for its mix has to be checked first: it is said as what can follow. A database is never chosen: a person asks.
    """
    sufficient: dict[Kind, str] = {}
    if possible.flags:
        sufficient[Kind.FLAG] = f"flag {', '.join(sorted(possible.flags))} guards what is suspected"
    if possible.former:
        sufficient |= _whole(possible)
    if not sufficient:
        return Choice(kind=None, why="there is no earlier release to go back to and no flag to turn off")
    best = min(sufficient, key=lambda kind: (_RISKS.index(KINDS[kind].risk), KINDS[kind].seconds[1]))
    return Choice(kind=best, why=sufficient[best], then=_then(possible))


def _then(possible: Possible) -> str:
    """Going back whole loses what was good; with one suspect of several changes, the rest can come again."""
    if not possible.former or len(possible.suspects) != 1 or not possible.suspects < possible.changed:
        return ""
    (part,) = possible.suspects
    rest = ", ".join(one.value for one in Component if one in possible.changed - possible.suspects)
    return f"{rest} can come again without {part.value}: fairway release derive --only {part.value}=<the good release>"


def _whole(possible: Possible) -> dict[Kind, str]:
    if possible.running:
        return {Kind.TRAFFIC: "the former stable still runs"}
    if possible.images:
        return {Kind.IMAGE: "the former stable has to be pulled and started"}
    if Component.CODE in possible.changed:
        return {Kind.CODE: "the former stable has other code and has to be started"}
    return {Kind.CONFIGURATION: "the code is the same; the former stable has to be started"}
