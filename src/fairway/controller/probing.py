"""The controller's own questions to an arm that has no traffic yet: is every instance what it should be?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from fairway.clock import Clock
from fairway.rollout.evidence import Probed
from fairway.targets.local.probe import ProbeError, fetch, judge
from fairway.targets.local.records import RecordFolder
from fairway.targets.port import ObservedArm, ObservedInstance

PROBE_SECONDS = 1.0
"""Between two questions to an instance."""
LONGEST_PAUSE = 5.0
"""Seconds without a question after which what was seen before counts no more: nobody was looking."""
_PROBE_TIMEOUT = 2.0

Ask = Callable[[ObservedArm, ObservedInstance], Awaitable[str]]
"""One question to one instance: why its answer is wrong, or an empty string."""


class Prober(Protocol):
    """Asks the instances of an arm, as often as it is called and no more often than it needs to."""

    async def look(self, arm: ObservedArm | None, instances: int) -> Probed | None:
        """What the probes of an arm have found so far; returns at once.

        Args:
            arm: As the target sees it; ``None``: nothing to ask, and what was seen is forgotten.
            instances: How many have to answer.
        """
        ...

    def forget(self) -> None:
        """Begin anew: another controller may have been at work."""
        ...


@dataclass(slots=True, kw_only=True)
class ArmProber:
    """Implements :class:`Prober`: one round of questions a second, beside the loop.

    What was seen is kept in memory only. A controller that takes over begins anew, so that seconds in which nobody
    looked are never counted.
    """

    ask: Ask
    clock: Clock
    _found: Probed | None = None
    _round: asyncio.Task[str] | None = None
    _asked_at: float = float("-inf")
    _since: float | None = None
    _restarts: dict[str, int] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop what was seen and the questions under way."""
        if self._round is not None:
            self._round.cancel()
        self._found, self._round, self._since = None, None, None
        self._restarts.clear()

    async def look(self, arm: ObservedArm | None, instances: int) -> Probed | None:
        """Take in the answers of the last round and begin another when it is time."""
        if arm is None or (self._found is not None and _identity(self._found) != _of(arm)):
            self.forget()
        if arm is None:
            return None
        if self._found is None:
            self._found = Probed(release=arm.release_digest, effective=arm.effective_digest)
        self._take_in()
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
