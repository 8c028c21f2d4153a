"""What each strategy can be told in the ``rollout`` section of ``fairway.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fairway.section import Duration, Flag, Points, Positive, Section, Share

Variable = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]


class BlueGreenSection(Section):
    """The idle colour is started whole and probed, then everybody moves at once.

    Attributes:
        smoke: Seconds in which every probe of every instance has to succeed before any traffic.
        gray: Share compared with stable before the switch, under the gates; ``null``: none.
        ready_timeout: Seconds all instances have to become ready.
        warm_replicas: Instances of the old colour that stay warm once the soak is over.
        on_smoke_error: When the smoke cannot be run, read or decided, or takes longer than ``smoke``: ``pause`` for a
            person, or ``roll_back``.
    """

    smoke: Duration = 30.0
    gray: Share | None = None
    ready_timeout: Duration = 300.0
    warm_replicas: Positive = 1
    on_smoke_error: Literal["pause", "roll_back"] = "pause"


class RollingSection(Section):
    """One instance is replaced at a time: one more than stable has, never one less.

    Attributes:
        dwell: Seconds of mature observed traffic each step needs at least.
        mixed: Conversations may change release between requests, where the router is not sticky.
    """

    dwell: Duration = 60.0
    mixed: Flag = False


class MixSection(Section):
    """A release of former parts that goes to everybody in one step, as ``fairway rollback --only`` does.

    Attributes:
        expires: Seconds its soak may take to verify it; ``null``: for ever.
        then: What follows when it has not: ``pause`` for a person, or ``roll_back`` to what it replaced.
    """

    expires: Duration | None = 86400.0
    then: Literal["pause", "roll_back"] = "pause"


class ShadowSection(Section):
    """Copies of requests go to a shadow whose tools are mocked; its answers are compared and thrown away.

    Attributes:
        mirror: Share of requests that is copied.
        dwell: Seconds of mature observed traffic at least.
        margin: Share of the compared pairs in which the shadow alone may fail.
        minimum_pairs: Compared pairs before any verdict.
        max_diverged: Share of pairs that may diverge; above it nothing is decided.
        replicas: Instances of the shadow.
        environment: Variables that look like secrets and that the shadow may have all the same: its model's key. Any
            other such variable is kept from it.
        heeded: The agent is known to reach no real tool when it is told to be a shadow, and says so in each outcome
            (``shadow=1``): the first answer that does not ends the mirror. Without it ``auto`` mirrors nothing.
    """

    mirror: Share = 10_000
    dwell: Duration = 600.0
    margin: Points = 0.02
    minimum_pairs: Annotated[int, Field(strict=True, ge=20)] = 200
    max_diverged: Share = 50_000
    replicas: Positive = 1
    environment: Annotated[tuple[Variable, ...], Field(max_length=100)] = ()
    heeded: Flag = False
