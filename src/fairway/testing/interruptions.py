"""A seeded fault injector: kills the process under test before or after any operation it does to the world."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any

EFFECTS = frozenset({"acquire_lease", "release_lease", "journal", "add_blocks", "apply", "ensure", "drain", "stop"})
"""Methods of the ports that change something outside the process."""

WEIGHTS = {"acquire_lease": 0.1, "add_blocks": 0.1, "drain": 4.0, "ensure": 2.0}
"""How much more often than others a point is chosen: what every tick does less, what happens once a rollout more."""


class Killed(BaseException):
    """The process ended here, as by ``kill -9``: no handler may run, so it is not an ``Exception``."""


class FaultInjector:
    """Decides at each point whether the process is killed there.

    Args:
        seed: Of the schedule; the same seed kills at the same points.
        probability: Of a kill at each point.
        budget: Kills at most, so that a schedule ends.
    """

    def __init__(self, seed: int, *, probability: float, budget: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self._probability = probability
        self.budget = budget
        self.killed_at: list[str] = []
        self.visited: set[str] = set()
        self.pauses = 0
        self.paused_at: list[str] = []
        self._going: list[asyncio.Event] = []

    def point(self, name: str, *, weight: float = 1.0) -> None:
        """A place where the process may be killed, ``weight`` times as likely as others.

        Raises:
            Killed: When the schedule says so.
        """
        self.visited.add(name)
        if self.budget > 0 and self._random.random() < self._probability * weight:
            self.budget -= 1
            self.killed_at.append(name)
            raise Killed(name)

    async def rest(self, name: str) -> None:
        """A place where the process may be stopped, as by ``kill -STOP``, until :meth:`go_on`.

        Only before what it does to the world asynchronously: there the world can have moved on when it wakes.
        """
        if self.pauses > 0 and self._random.random() < self._probability:
            self.pauses -= 1
            self.paused_at.append(name)
            going = asyncio.Event()
            self._going.append(going)
            await going.wait()

    def go_on(self) -> None:
        """Wake every process that rests: it does what it was about to do."""
        for going in self._going:
            going.set()
        self._going.clear()

    @property
    def resting(self) -> int:
        """How many processes rest."""
        return len(self._going)

    def wrap(self, role: str, port: Any) -> Any:
        """The same object with a point before and after each method that changes the world.

        A kill between two reads is the same as one before the next write.
        """
        return _Interrupted(self, role, port)


class _Interrupted:
    """Passes everything on, through the injector."""

    def __init__(self, injector: FaultInjector, role: str, port: Any) -> None:
        self._injector = injector
        self._role = role
        self._port = port

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if not callable(value) or name not in EFFECTS:
            return value
        if inspect.iscoroutinefunction(value):
            return self._interrupted_later(name, value)
        return self._interrupted(name, value)

    def _interrupted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def through(*arguments: Any, **named: Any) -> Any:
            self._injector.point(f"before {self._role}.{name}", weight=WEIGHTS.get(name, 1.0))
            result = call(*arguments, **named)
            self._injector.point(f"after {self._role}.{name}", weight=WEIGHTS.get(name, 1.0))
            return result

        return through

    def _interrupted_later(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def through(*arguments: Any, **named: Any) -> Any:
            await self._injector.rest(f"before {self._role}.{name}")
            self._injector.point(f"before {self._role}.{name}", weight=WEIGHTS.get(name, 1.0))
            result = await call(*arguments, **named)
            self._injector.point(f"after {self._role}.{name}", weight=WEIGHTS.get(name, 1.0))
            return result

        return through
