"""Plays an evaluation from the command line: sets up what is asked, tells how it goes, survives Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import importlib
import shutil
import signal
import sys
import time
from contextlib import AsyncExitStack, redirect_stdout, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from fairway.cli.eval.bare import bare_playing
from fairway.clock import SystemClock
from fairway.errors import ConflictError
from fairway.evals.history.folders import HEADER, RunHeader, new_run_id, read_header
from fairway.evals.playing_out import Playing, play_out
from fairway.evals.running.journal import refuse_busy
from fairway.evals.trials import Trial

if TYPE_CHECKING:
    from fairway.cli.eval.asked import Asked
    from fairway.cli.eval.place import EvalPlace
    from fairway.evals.evaluation import Evaluation

_INTERRUPTED = 130
_FIRST_CALLS_SECONDS = 0.02
"""What loading waits for, so that the first calls are out before it takes the processor."""


def play(place: EvalPlace, asked: Asked, *, resumed: str | None) -> Evaluation:
    """Play an evaluation, or go on with one.

    Args:
        place: Where.
        asked: What.
        resumed: The run to go on with; ``None``: a new one.

    Raises:
        FairwayError: Something asked for cannot be.
        SystemExit: 130, after Ctrl-C: what was done is kept.
    """
    header = _header(place, asked, resumed)
    # what a function under test prints is no part of the result
    with redirect_stdout(sys.stderr):
        return asyncio.run(_play(place, asked, header))


def _header(place: EvalPlace, asked: Asked, resumed: str | None) -> RunHeader:
    if resumed is not None:
        folder = place.history.folder(resumed)
        refuse_busy(folder)
        return read_header(folder)
    now = datetime.now(UTC)
    return RunHeader(run_id=new_run_id(now), created_at=now, asked=asked.to_json())


async def _play(place: EvalPlace, asked: Asked, header: RunHeader) -> Evaluation:
    progress = Progress()
    stopping = _Stopping()
    async with AsyncExitStack() as stack:
        try:
            if place.in_project:
                from fairway.cli.eval.in_project import project_playing

                header, playing = await project_playing(place, asked, header, stack, progress.say)
            else:
                header, playing = await bare_playing(place, asked, header, stack)
            _announce(place, playing, header, progress)
            gc.freeze()  # what is there now stays: it need not be looked at again
            gc.enable()
            return await _evaluated(place, header, playing, progress)
        except asyncio.CancelledError:
            if not stopping.asked:
                raise
        finally:
            stopping.close()
            progress.end()
    if (place.history.folder(header.run_id) / HEADER).is_file():
        done = f"{progress.done} of {progress.total} trials are kept"
        click.echo(f"stopped: {done}; go on with: fairway eval run --resume {header.run_id}", err=True)
    else:
        shutil.rmtree(place.history.folder(header.run_id), ignore_errors=True)
        click.echo("stopped before anything was asked", err=True)
    raise SystemExit(_INTERRUPTED)


async def _evaluated(place: EvalPlace, header: RunHeader, playing: Playing, progress: Progress) -> Evaluation:
    """Play and conclude; the gate is loaded while the first answers are on their way."""
    if playing.policy.adaptive or playing.health is not None:
        from fairway.evals.evaluation import evaluate

        return await evaluate(place.history, header, playing, clock=SystemClock(), on_trial=progress.trial)
    folder = place.history.begin(header)
    loading = asyncio.ensure_future(asyncio.to_thread(_load_gate))
    outcome = await play_out(folder, playing, clock=SystemClock(), on_trial=progress.trial)
    await loading
    from fairway.evals.evaluation import concluded

    return concluded(place.history, header, playing, outcome)


def _load_gate() -> None:
    time.sleep(_FIRST_CALLS_SECONDS)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # answers that arrive meanwhile are read at once
    for name in ("fairway.evals.evaluation", "fairway.cli.eval.reporting", "fairway.evals.reports.terminal"):
        importlib.import_module(name)
    sys.setswitchinterval(usual)


class _Stopping:
    """Ctrl-C and SIGTERM cancel the task that made this, from its first line on: what it started is stopped with it."""

    def __init__(self) -> None:
        self.asked = False
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        self.asked = True
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """From now on nothing is cancelled: what was started is being stopped."""
        task, self._task = self._task, None
        while task is not None and task.cancelling():
            task.uncancel()


def _announce(place: EvalPlace, playing: Playing, header: RunHeader, progress: Progress) -> None:
    """Say what is about to happen, where nobody would guess it."""
    if playing.candidate.info.identity is None and playing.candidate.info.release is None:
        progress.say("nobody knows which version answers there: this run cannot add to earlier ones, nor be blessed")
        return
    for one in place.history.headers():
        about = (one.instrument, one.sides, one.shard)
        if one.ended or one.run_id == header.run_id or about != (header.instrument, header.sides, header.shard):
            continue
        with suppress(ConflictError):  # it is being played in this moment
            refuse_busy(place.history.folder(one.run_id))
            progress.say(
                f"{one.run_id} on the same content was cut short, and what it found does not count unless it goes on: "
                f"fairway eval run --resume {one.run_id}"
            )


class Progress:
    """One line on a terminal's stderr; elsewhere only remarks."""

    def __init__(self) -> None:
        """Look where stderr goes."""
        self._live = sys.stderr.isatty()
        self.done = self.total = 0
        self._troubled = 0
        self._shown = 0.0

    def say(self, text: str) -> None:
        """A remark; on a terminal in the place of the line."""
        if self._live:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif not text.startswith(("starting", "the service is ready")):
            click.echo(text, err=True)

    def trial(self, side: str, trial: Trial, done: int, total: int) -> None:
        """One more trial ended."""
        self.done, self.total = done, total
        self._troubled += trial.trouble is not None
        if self._live and (done == total or done - self._shown >= max(1, total // 200)):
            self._shown = done
            troubled = f", {self._troubled} could not be asked" if self._troubled else ""
            click.echo(f"\r\x1b[K{done} of {total} trials{troubled}", nl=False, err=True)

    def end(self) -> None:
        """Leave the terminal clean."""
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)
