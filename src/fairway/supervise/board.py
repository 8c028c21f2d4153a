"""What people see of a running ``fairway up``: children, arms, and what just happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairway.state_dir import StateDir
from fairway.supervise.info import ChildInfo, ChildState
from fairway.targets.local.records import InstanceRecord, RecordFolder
from fairway.targets.port import InstanceState
from fairway.units import short

_EVENTS_SHOWN = 8
_GOOD = (ChildState.SERVING.value, InstanceState.READY.value)
_BAD = (ChildState.CRASH_LOOP.value, InstanceState.CRASH_LOOP.value, InstanceState.NEVER_READY.value)


def child_line(child: ChildInfo) -> str:
    """One child in one line (and the last lines of its log when it failed)."""
    where = f" at {child.url}" if child.url and child.state is ChildState.SERVING else ""
    pid = f" (pid {child.process.pid})" if child.process is not None else ""
    why = f": {child.detail}" if child.detail else ""
    return f"{child.name:<10}  {child.state.value}{where}{pid}{why}"


def arm_line(record: InstanceRecord) -> str:
    """One instance of an arm in one line."""
    placement = record.placement
    name = f"{placement.environment} {placement.release_version} ({short(placement.release)})"
    quiet = record.state in (InstanceState.READY, InstanceState.STARTING)
    why = f": {record.detail}" if record.detail and not quiet else ""
    return f"{'arm':<10}  {name} {record.state.value} at {record.endpoint}{why}"


class LineBoard:
    """A line for every change of state, for logs and programs.

    Args:
        state: Of the project.
        write: Takes one line.
    """

    def __init__(self, state: StateDir, *, write: Callable[[str], None]) -> None:
        self._records = RecordFolder(state.arms / "instances")
        self._write = write
        self._children: dict[str, ChildInfo] = {}
        self._arms: dict[str, InstanceRecord] = {}

    def __enter__(self) -> LineBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def line(self, text: str) -> None:
        """Say something; nobody listening any more is no reason to stop serving."""
        with suppress(OSError):
            self._write(text)

    def child(self, child: ChildInfo) -> None:
        """Show a change of a child."""
        before = self._children.get(child.name)
        self._children[child.name] = child
        is_new = before is None or (before.state, before.restarts) != (child.state, child.restarts)
        if is_new and child.state is not ChildState.STARTING:
            self.line(child_line(child))

    def arms(self) -> None:
        """Look at the arms and show what changed."""
        now = {record.id: record for record in self._records.read_all()}
        for name, record in now.items():
            before = self._arms.get(name)
            if before is None or (before.state, before.endpoint) != (record.state, record.endpoint):
                self.line(arm_line(record))
        for name in self._arms.keys() - now.keys():
            self.line(f"{'arm':<10}  {name} ended")
        self._arms = now


class LiveBoard(LineBoard):
    """A table that is redrawn in place, with the last events below it, for terminals."""

    def __init__(self, state: StateDir, *, console: Console | None = None) -> None:
        super().__init__(state, write=self._event)
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._live = Live(console=console or Console(stderr=True), refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveBoard:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._live.update(self._drawn())
            self._live.stop()

    def child(self, child: ChildInfo) -> None:
        """Show a change of a child."""
        super().child(child)
        self._draw()

    def arms(self) -> None:
        """Look at the arms and redraw."""
        super().arms()
        self._draw()

    def _event(self, text: str) -> None:
        """Keep an event; what has scrolled away is in the logs."""
        if not self._live.is_started:
            self._live.console.print(text, markup=False, highlight=False)
            return
        self._events.append(text)
        self._draw()

    def _draw(self) -> None:
        """Show what is now; a terminal that was closed shows nothing."""
        with suppress(OSError):
            self._live.update(self._drawn())

    def _drawn(self) -> Group:
        """The table and the last events."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("", "state", "where", "pid", "restarts"):
            table.add_column(title)
        for child in self._children.values():
            pid = str(child.process.pid) if child.process else ""
            table.add_row(child.name, _coloured(child.state.value), child.url or "", pid, str(child.restarts))
        for record in self._arms.values():
            placement = record.placement
            name = f"{placement.environment} {placement.release_version}"
            pid = str(record.process.pid) if record.process else ""
            table.add_row(name, _coloured(record.state.value), record.endpoint, pid, str(record.restarts))
        return Group(table, Text("\n".join(self._events), style="dim"))


def _coloured(state: str) -> Text:
    """A state in the colour of how good it is."""
    return Text(state, style="green" if state in _GOOD else "red" if state in _BAD else "yellow")
