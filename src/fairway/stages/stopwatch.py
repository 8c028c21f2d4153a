"""How long requests of a rehearsal took: figures for the latency an environment promises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fairway.clock import Clock
from fairway.evals.trials import Question, Subject, SubjectInfo
from fairway.evals.values import Reply

SHARE = 0.95


@dataclass(slots=True)
class Stopwatch:
    """Seconds of each request, failed ones too: a slow failure is slow."""

    clock: Clock
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Time one."""
        started = self.clock.monotonic()
        try:
            yield
        finally:
            self.seconds.append(self.clock.monotonic() - started)

    def figures(self) -> dict[str, object]:
        """``{"requests": n, "latency_p95_ms": …}``; the latter ``None`` without any."""
        return {"requests": len(self.seconds), "latency_p95_ms": p95_ms(self.seconds)}


def p95_ms(seconds: list[float]) -> float | None:
    """The smallest of the values with at least 95 % at or below it (nearest rank), in ms; ``None`` for none.

    Of fewer than twenty it is the largest: few requests promise little, so none of them is forgiven.
    """
    if not seconds:
        return None
    rank = math.ceil(SHARE * len(seconds))
    return round(sorted(seconds)[rank - 1] * 1000, 1)


@dataclass(frozen=True, slots=True)
class Timed:
    """A subject whose turns are timed."""

    subject: Subject
    watch: Stopwatch

    @property
    def info(self) -> SubjectInfo:
        """Who it is."""
        return self.subject.info

    async def ask(self, question: Question) -> Reply:
        """One turn, as the subject answers it."""
        with self.watch.request():
            return await self.subject.ask(question)
