"""What the demo tells: plain lines with the seconds since it began, and on a terminal a live line below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

_STYLES = {"chapter": "bold", "good": "green", "bad": "red", "note": "dim"}


class Timeline:
    """Prints lines on stderr, so that ``-o json`` keeps stdout for the result.

    Args:
        live: Makes the live line, asked a few times a second; unused where there is no terminal.
    """

    def __init__(self, live: Callable[[], str]) -> None:
        self._began = time.monotonic()
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: Text(f"  {live()}", style="cyan", overflow="ellipsis", no_wrap=True),
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> Timeline:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def chapter(self, text: str) -> None:
        """Begin a part of the story."""
        self._console.print()
        self._line(text, "chapter")

    def say(self, text: str, mark: str = "") -> None:
        """One line; ``mark``: good, bad, note or nothing."""
        self._line(text, mark)

    def _line(self, text: str, mark: str) -> None:
        style = _STYLES.get(mark, "")
        body = f"[{style}]{escape(text)}[/]" if style else escape(text)
        self._console.print(f"[dim]{self.seconds:6.1f}s[/]  {body}")
