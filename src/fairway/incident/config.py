"""The ``sla`` and ``rollback`` sections of ``fairway.yaml``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, WithJsonSchema

from fairway.section import Command, Duration, Positive, Ratio, Section, Share
from fairway.units import WHOLE, Parts
from fairway.verdict.sla import SlaPolicy

_OFF = ("off", False)


def _share_or_off(value: object) -> object:
    return None if value in _OFF else value


ShareOrOff = Annotated[
    Share | None,
    BeforeValidator(_share_or_off),
    WithJsonSchema({"type": ["string", "number", "boolean"], "description": "a share such as 2%, or false for none"}),
]


class SlaSection(Section):
    """What a release must keep in production, and what is said when it does not.

    Attributes:
        success: Requests that must end well; below it the rollout stops.
        p95: Highest P95 against the mean of the releases before.
        failed_traces: From so many failed requests (while success is below its limit) the release is masked.
        callback_failures: Above it the output channel is abnormal. ``false``: the agent has no callbacks.
        unknown: Requests of unknown outcome above which a person looks.
        clean: Observed time without a complaint after which a release is verified.
        minimum_requests: Below it nothing is concluded.
    """

    success: Share = Parts(99_000)
    p95: Ratio = 1.2
    failed_traces: Positive = 50
    callback_failures: ShareOrOff = Parts(2_000)
    unknown: Share = Parts(5_000)
    clean: Duration = 3600.0
    minimum_requests: Positive = 100

    def policy(self) -> SlaPolicy:
        """As the snapshot is judged by."""
        callbacks = self.callback_failures
        return SlaPolicy(
            success_rate=self.success / WHOLE,
            latency_factor=self.p95,
            failed_traces=self.failed_traces,
            callback_fail_rate=None if callbacks is None else callbacks / WHOLE,
            clean_seconds=self.clean,
            minimum_requests=self.minimum_requests,
            unknown_share=self.unknown / WHOLE,
        )


class DatabaseSection(Section):
    """How the agent's own database is saved and put back; run by a person's verb only, without a shell.

    Attributes:
        backup: Writes a backup and prints its name as the last line.
        restore: Puts one back; ``{backup}`` becomes its name.
        timeout: Of each.
    """

    backup: Command
    restore: Command
    timeout: Duration = 600.0


class RollbackSection(Section):
    """What goes with a rollback.

    Attributes:
        notify: Told of each rollback: gets one JSON object on stdin. One that fails is recorded and blocks nothing.
        notify_timeout: How long it may take.
        database: ``none``: the agent has none of its own; nothing given: nothing is known of one.
        rehearsed_within: How long a rehearsal counts.
    """

    notify: Command | None = None
    notify_timeout: Duration = 30.0
    database: DatabaseSection | Literal["none"] | None = None
    rehearsed_within: Duration = 7 * 86400.0
