"""The controller as a process: its loop, the local target beside it, and how both end.

SIGTERM is a person's stop: arms are drained and ended. When the supervisor is gone without a word (``kill -9``) the
process ends by itself and the arms go on serving, for the next controller to adopt.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import uvloop

from fairway.bootstrap import ControllerParts, build_controller, open_workspace
from fairway.controller.engine import LEASE_SECONDS, POLL_SECONDS, STANDBY_SECONDS
from fairway.controller.fleet import Fleet
from fairway.controller.gateway_decisions import ASK_SECONDS
from fairway.controller.live_view import LiveView
from fairway.errors import FairwayError, PermanentError
from fairway.recovery.recorder import Recording
from fairway.sources.asking import HttpAsker
from fairway.supervise.leash import leash_cut

log = logging.getLogger("fairway.controller")


def main() -> None:
    """Run until told to stop.

    Exit codes: 0 stopped as asked, 2 the project is wrong, 3 the ledger or a socket cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m fairway.controller", description=__doc__)
    parser.add_argument("--project", type=Path, default=None, help="folder of the project")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # each question of a custom gate would be a line
    try:
        uvloop.run(serve(arguments.project))
    except FairwayError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


async def serve(project_dir: Path | None) -> None:
    """Control the project's route until SIGTERM, SIGINT or the end of the supervisor."""
    stop = _Stop()
    workspace = open_workspace(project_dir)
    try:
        parts = build_controller(workspace, asker=HttpAsker())
        parts.controller.show = LiveView(workspace.state, workspace.route).show
        if not await _stand_by(parts, stop):
            return
        await _serve_tables(parts)
        try:
            with Recording(workspace):
                await _run(parts, stop)
        finally:
            await parts.router.close()
    finally:
        workspace.close()


class _Stop:
    """What SIGTERM and SIGINT ask for, from the first moment on: to end, and the second one to hurry."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask)

    def _ask(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()


async def _stand_by(parts: ControllerParts, stop: _Stop) -> bool:
    """Wait until no other controller has the route; only then touch its socket and its arms.

    Returns:
        Whether it has the route now; ``False``: it was asked to end before.
    """
    controller = parts.controller
    said = False
    while controller.ledger.acquire_lease(controller.route, controller.holder, seconds=LEASE_SECONDS) is None:
        if not said:
            log.info("%s: another controller has it; standing by", controller.route)
            said = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.asked.wait(), STANDBY_SECONDS)
            return False
    return True


async def _serve_tables(parts: ControllerParts) -> None:
    try:
        await parts.router.start()
    except OSError as error:
        raise PermanentError(
            f"the controller's socket cannot be bound: {error.strerror or error}",
            code="controller_socket",
            hint="is another controller of this project still running? fairway doctor tells",
        ) from error


async def _run(parts: ControllerParts, stop: _Stop) -> None:
    asked = stop.asked
    driving = asyncio.create_task(parts.target.run())
    stopped = asyncio.create_task(asked.wait())
    cut = asyncio.create_task(leash_cut())
    fleet = Fleet(
        controllers=[parts.controller], clock=parts.controller.clock, pass_seconds=POLL_SECONDS, soon=POLL_SECONDS
    )
    ticking = asyncio.create_task(fleet.run(lambda: asked.is_set() or cut.done()))
    recording = asyncio.create_task(_record_decisions(parts))
    try:
        await asyncio.wait({driving, stopped, cut, ticking}, return_when=asyncio.FIRST_COMPLETED)
        if driving.done():
            driving.result()  # raises why the target cannot be driven
        if ticking.done() and not (asked.is_set() or cut.done()):
            ticking.result()
        if asked.is_set():
            await _shut_down(parts, stop.hurried)
    finally:
        for task in (ticking, driving, stopped, cut, recording):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(ticking, driving, stopped, cut, recording, return_exceptions=True)
        if parts.controller.lease is not None:
            parts.controller.ledger.release_lease(parts.controller.lease)


async def _record_decisions(parts: ControllerParts) -> None:
    """Put on record what the gateway decides by itself, as long as this controller leads."""
    while True:
        if parts.controller.lease is not None:
            await parts.decisions.record_safely()
        await asyncio.sleep(ASK_SECONDS)


async def _shut_down(parts: ControllerParts, hurried: asyncio.Event) -> None:
    """Drain every arm; a second signal cuts it short."""
    ending = asyncio.create_task(parts.target.shutdown())
    impatient = asyncio.create_task(hurried.wait())
    await asyncio.wait({ending, impatient}, return_when=asyncio.FIRST_COMPLETED)
    if hurried.is_set():
        parts.target.hurry()
    await ending
    impatient.cancel()
