"""How a run is shown while it goes: live on a terminal, a line an event otherwise; always on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from fairway.pipeline.port import StageResult
from fairway.pipeline.reports.terminal import stage_line


class RunDisplay(Protocol):
    """A listener that is told the stages first."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, run_id: str, stages: Sequence[str]) -> None:
        """The run begins."""
        ...

    def say(self, text: str) -> None:
        """Something beyond the stages."""
        ...

    def stage_started(self, stage: str) -> None:
        """A stage runs."""
        ...

    def stage_progressed(self, stage: str, text: str) -> None:
        """A stage says what it does."""
        ...

    def stage_finished(self, result: StageResult) -> None:
        """A stage ended."""
        ...


class PlainDisplay:
    """One line an event; a stage from the cache is only in the summary."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._started: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, run_id: str, stages: Sequence[str]) -> None:
        """Nothing: the summary names the run."""

    def say(self, text: str) -> None:
        """A line."""
        self._write(text)

    def stage_started(self, stage: str) -> None:
        """A line."""
        self._started.add(stage)
        self._write(f"> {stage}")

    def stage_progressed(self, stage: str, text: str) -> None:
        """A line."""
        self._write(f"  {stage}: {text}")

    def stage_finished(self, result: StageResult) -> None:
        """A line, if it ran."""
        if result.stage in self._started:
            self._write(stage_line(result))


class LiveDisplay:
    """A table that changes in place; started only when a stage really runs, so that a cached run is instant."""

    def __init__(self) -> None:
        self._stages: list[str] = []
        self._results: dict[str, StageResult] = {}
        self._running: dict[str, tuple[float, str]] = {}
        self._live: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, run_id: str, stages: Sequence[str]) -> None:
        """Know the stages."""
        self._stages = list(stages)

    def say(self, text: str) -> None:
        """A line above the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)

    def stage_started(self, stage: str) -> None:
        """Start the table at the first."""
        self._running[stage] = (time.monotonic(), "")
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8, transient=True)
            self._live.start()

    def stage_progressed(self, stage: str, text: str) -> None:
        """Show its last word."""
        if stage in self._running:
            self._running[stage] = (self._running[stage][0], text)

    def stage_finished(self, result: StageResult) -> None:
        """Show how it ended."""
        self._running.pop(result.stage, None)
        self._results[result.stage] = result

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        styles = {"passed": "green", "cached": "cyan", "failed": "bold red", "error": "bold magenta", "skipped": "dim"}
        table = Table.grid(padding=(0, 2))
        for stage in self._stages:
            result = self._results.get(stage)
            if result is not None:
                style = styles.get(result.status.value, "yellow")
                seconds = f"{result.duration_seconds:.1f}s" if result.duration_seconds else ""
                table.add_row(Text(stage), Text(result.status.value, style=style), seconds, _shown(result.summary))
            elif stage in self._running:
                began, text = self._running[stage]
                table.add_row(
                    Text(stage), Text("running", style="bold blue"), f"{time.monotonic() - began:.0f}s", _shown(text)
                )
            else:
                table.add_row(Text(stage, style="dim"), Text("waiting", style="dim"), "", "")
        return table


def _shown(text: str) -> Any:
    from rich.text import Text

    one_line = "".join(char if char.isprintable() else " " for char in text)
    return Text(one_line, overflow="ellipsis", no_wrap=True)
