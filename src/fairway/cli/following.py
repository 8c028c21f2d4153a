"""How a rollout is followed: a screen that keeps up on a terminal, a line an event otherwise, JSON for programs."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.live import Live

    from fairway.rollout.port import JournalEntry

Status = Callable[[], Mapping[str, Any]]

_SAID_EVERY_SECONDS = 5.0
_DRAWN_EVERY_SECONDS = 0.5
_EVENTS_SHOWN = 6


class Lines:
    """A line an event, and now and then what is waited for; with ``json`` an object an event."""

    def __init__(self, output: str, status: Status) -> None:
        """Take the form, and where to ask what is waited for."""
        self._json = output == "json"
        self._status = status
        self._waiting = ""
        self._said_at = time.monotonic()

    def running(self) -> AbstractContextManager[Any]:
        """Nothing to set up."""
        return nullcontext()

    def event(self, event: JournalEntry) -> None:
        """Print one."""
        self._said_at = time.monotonic()
        click.echo(json.dumps(event_wire(event), ensure_ascii=False) if self._json else event_line(event))

    def tick(self) -> None:
        """Say what is waited for when nothing else was said for a while, and it has changed.

        Among objects for programs only what keeps them from ever coming is said, on stderr.
        """
        if time.monotonic() - self._said_at < _SAID_EVERY_SECONDS:
            return
        self._said_at = time.monotonic()
        status = self._status()
        waits = status.get("waits_for") or {}
        text = str(waits.get("text", ""))
        if text and text != self._waiting:
            self._waiting = text
            if status["controller"] is None:
                click.echo(f"{'':10}{status['controller_trouble'] or text}", err=self._json)
            elif not self._json:
                click.echo(f"{'':10}waits for {text.removeprefix('waits for ')}{_person(status)}")


def _person(status: Mapping[str, Any]) -> str:
    """What a person can do, where one is waited for."""
    return f"; next: {' | '.join(status['next'])}" if status["next"] else ""


class Screen:
    """The screen of ``rollout status``, drawn anew as it changes, with the last events below."""

    def __init__(self, status: Status) -> None:
        """Take where to read it."""
        from rich.live import Live

        self._status = status
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._live: Live = Live(auto_refresh=False, transient=False)
        self._drawn_at = 0.0

    def running(self) -> AbstractContextManager[Any]:
        """The terminal, while it is drawn on."""
        return self._live

    def event(self, event: JournalEntry) -> None:
        """Keep one, and draw."""
        self._events.append(event_line(event))
        self._drawn_at = 0.0
        self.tick()

    def tick(self) -> None:
        """Draw what is true now."""
        from rich.text import Text

        from fairway.rollout.describe import describe_status

        if time.monotonic() - self._drawn_at < _DRAWN_EVERY_SECONDS:
            return
        self._drawn_at = time.monotonic()
        self._live.update(Text("\n".join((describe_status(self._status()), "", *self._events))), refresh=True)


def event_wire(event: JournalEntry) -> dict[str, Any]:
    """An event for a program."""
    return {
        "seq": event.fence.seq,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "code": event.code,
        "reason": event.reason,
        "actor": event.actor,
    }


def event_line(event: JournalEntry) -> str:
    """An event for a person; what no gate has passed is marked."""
    by_hand = event.code in ("promoted_by_person", "step_skipped", "soak_skipped")
    refused = event.answers and all(answer.kind.value == "refused" for answer in event.answers)
    kind = "override" if by_hand else "refused" if refused and event.kind == "obey" else event.kind
    return f"{event.at:%H:%M:%S}  {kind:<9} {event.reason}"
