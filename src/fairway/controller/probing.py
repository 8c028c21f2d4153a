"""The controller's own questions to an arm that has no traffic yet: is every instance what it should be?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from fairway.clock import Clock
from fairway.rollout.evidence import Probed, Smoked, SmokeOutcome
from fairway.targets.local.probe import ProbeError, fetch, judge
from fairway.targets.local.records import RecordFolder
from fairway.targets.port import ObservedArm, ObservedInstance

PROBE_SECONDS = 1.0
"""Between two questions to an instance."""
LONGEST_PAUSE = 5.0
"""Seconds without a question after which what was seen before counts no more: nobody was looking."""
_PROBE_TIMEOUT = 2.0
_OPEN = frozenset({SmokeOutcome.ERROR, SmokeOutcome.TIMEOUT})

log = logging.getLogger("fairway.controller")

Ask = Callable[[ObservedArm, ObservedInstance], Awaitable[str]]
"""One question to one instance: why its answer is wrong, or an empty string."""


class Smoker(Protocol):
    """What the project would have an arm asked before anybody meets it."""

    async def __call__(self, arm: ObservedArm, *, seconds: float) -> Smoked:
        """Ask it once, within so many seconds; whatever goes wrong is a named outcome, never an exception."""
        ...


class Prober(Protocol):
    """Asks the instances of an arm, as often as it is called and no more often than it needs to."""

    async def look(
        self, arm: ObservedArm | None, instances: int, *, seconds: float = 0.0, since: datetime | None = None
    ) -> Probed | None:
        """What the probes of an arm have found so far; returns at once.

        Args:
            arm: As the target sees it; ``None``: nothing to ask, and what was seen is forgotten.
            instances: How many have to answer.
            seconds: A smoke of it may take.
            since: When people last let the rollout go on: a smoke that could not be run before is run again.
        """
        ...

    def forget(self) -> None:
        """Begin anew: another controller may have been at work."""
        ...


@dataclass(slots=True, kw_only=True)
class ArmProber:
    """Implements :class:`Prober`: one round of questions a second, beside the loop.

    What was seen is kept in memory only. A controller that takes over begins anew, so that seconds in which nobody
    looked are never counted. The smoke begins once every instance has answered, and is run once: again only by another
    controller, or where it could not be run and a person let the rollout go on.

    Attributes:
        ask: One question to one instance.
        smoke: Run once beside the questions; ``None``: none is.
    """

    ask: Ask
    clock: Clock
    smoke: Smoker | None = None
    _found: Probed | None = None
    _round: asyncio.Task[str] | None = None
    _asked_at: float = float("-inf")
    _since: float | None = None
    _restarts: dict[str, int] = field(default_factory=dict)
    _smoking: asyncio.Task[Smoked] | None = None
    _smoked_since: datetime | None = None

    def forget(self) -> None:
        """Drop what was seen and the questions under way."""
        if self._round is not None:
            self._round.cancel()
        if self._smoking is not None:
            self._smoking.cancel()
        self._found, self._round, self._since, self._smoking = None, None, None, None
        self._restarts.clear()

    async def look(
        self, arm: ObservedArm | None, instances: int, *, seconds: float = 0.0, since: datetime | None = None
    ) -> Probed | None:
        """Take in the answers of the last round and begin another when it is time."""
        if arm is None or (self._found is not None and _identity(self._found) != _of(arm)):
            self.forget()
        if arm is None:
            return None
        if self._found is None:
            identity = (arm.release_digest, arm.effective_digest)
            self._found = Probed(release=identity[0], effective=identity[1], smokes=self.smoke is not None)
        self._take_in()
        self._smoke_once(arm, seconds, since)
        now = self.clock.monotonic()
        if self._round is None and not self._found.error and now - self._asked_at >= PROBE_SECONDS:
            self._begin(arm, instances, now)
            await asyncio.sleep(0)  # an answer that is there at once is taken in at the next look
        return self._found

    def _begin(self, arm: ObservedArm, instances: int, now: float) -> None:
        if self._since is not None and now - self._asked_at > LONGEST_PAUSE:
            self._since = None
        self._asked_at = now
        self._round = asyncio.create_task(self._ask_all(arm, instances))

    def _smoke_once(self, arm: ObservedArm, seconds: float, since: datetime | None) -> None:
        found = self._found
        assert found is not None
        if self.smoke is None or not found.asked or found.error:
            return
        if self._smoking is None:
            self._smoking, self._smoked_since = asyncio.create_task(_smoked(self.smoke, arm, seconds)), since
        elif found.smoke is None and self._smoking.done():
            ended = self._smoking
            broken = _broken(arm, "it was cut short") if ended.cancelled() else ended.result()
            self._found = replace(found, smoke=broken)
        elif found.smoke is not None and found.smoke.outcome in _OPEN and since != self._smoked_since:
            self._smoking, self._found = None, replace(found, smoke=None)

    async def _ask_all(self, arm: ObservedArm, instances: int) -> str:
        ready = arm.ready()
        if len(ready) < instances:
            return f"{len(ready)} of {instances} instances are ready"
        restarted = [one.id for one in ready if one.restarts > self._restarts.setdefault(one.id, one.restarts)]
        if restarted:
            return f"{restarted[0]} has restarted"
        answers = await asyncio.gather(*(self.ask(arm, one) for one in ready))
        return next((answer for answer in answers if answer), "")

    def _take_in(self) -> None:
        if self._round is None or not self._round.done():
            return
        ended, self._round = self._round, None
        assert self._found is not None
        error = "its probe was cut short" if ended.cancelled() else ended.result()
        if error:
            self._found = replace(self._found, error=error, seconds=0.0)
            return
        if self._since is None:
            self._since = self._asked_at
        self._found = replace(self._found, asked=self._found.asked + 1, seconds=self._asked_at - self._since)


async def _smoked(smoke: Smoker, arm: ObservedArm, seconds: float) -> Smoked:
    """What a smoke found; a defect of it must not end the loop, nor count for the release."""
    try:
        return await smoke(arm, seconds=seconds)
    except Exception as error:
        log.exception("the smoke of %s broke", arm.release_digest)
        return _broken(arm, f"{type(error).__name__}: {error}")


def _broken(arm: ObservedArm, why: str) -> Smoked:
    return Smoked(
        release=arm.release_digest,
        effective=arm.effective_digest,
        outcome=SmokeOutcome.ERROR,
        text=f"the smoke cannot be run: {why}",
    )


def _identity(probed: Probed) -> tuple[str, str]:
    return probed.release, probed.effective


def _of(arm: ObservedArm) -> tuple[str, str]:
    return arm.release_digest, arm.effective_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalQuestion:
    """Asks a local instance at the ready path of its own release, and compares the digests it names.

    Implements :data:`Ask`.
    """

    records: RecordFolder = field(repr=False)
    host: str = "127.0.0.1"

    async def __call__(self, arm: ObservedArm, instance: ObservedInstance) -> str:
        """Why the answer is wrong, or an empty string."""
        records = await asyncio.to_thread(self.records.read_all)
        record = next((one for one in records if one.id == instance.id), None)
        if record is None:
            return f"{instance.id} is not on record"
        path = record.service.ready
        try:
            answer = await fetch(self.host, record.port, path, timeout=_PROBE_TIMEOUT)
        except ProbeError as error:
            return f"{instance.id}: {error}"
        said = judge(answer, path=path, release=arm.release_digest, effective=arm.effective_digest)
        return "" if said.ready else f"{instance.id}: {said.detail}"
