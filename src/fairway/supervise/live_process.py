"""What listens to samples of live traffic, as a process: ``python -m fairway.supervise.live_process --project …``.

Ends on SIGTERM, SIGINT, and when the supervisor is gone. Gateways never notice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.costs.prices import price_table
from fairway.errors import FairwayError, NotFoundError
from fairway.evals.assertions.measuring import Measurers
from fairway.evals.live.config import OnlineSection
from fairway.evals.live.online import SPENT, DailyCap, OnlineScorer
from fairway.evals.live.plan import online_assertions
from fairway.evals.live.redaction import Redactor, Shape
from fairway.evals.live.service import LiveService, LiveSettings
from fairway.evals.subjects.mapping import chat_mapping
from fairway.project.load import Project, load_project
from fairway.stages.judge_panel import plan_judges, seat_judges
from fairway.supervise.leash import leash_cut
from fairway.traffic.config import CaptureSection
from fairway.traffic.sampling import SOCKET
from fairway.units import EnvironmentName

log = logging.getLogger("fairway.live")

MOCK_VARIABLE = "FAIRWAY_MOCK_LLM_URL"
ENVIRONMENT = EnvironmentName("production")
_TRIES = 3


def main() -> None:
    """Run until told to stop.

    Exit codes: 0 stopped as asked, 2 the project is wrong, 3 the socket cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m fairway.supervise.live_process", description=__doc__)
    parser.add_argument("--project", type=Path, default=None, help="folder of the project")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(arguments.project))
    except FairwayError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


async def serve(project_dir: Path | None) -> None:
    """Listen to samples of the project's gateway until told to stop.

    Raises:
        NotFoundError: The project captures nothing.
    """
    project = load_project(project_dir)
    capture = project.gateway.capture
    if capture is None:
        raise NotFoundError("this project captures nothing", code="nothing_captured", hint="set gateway.capture")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        online = project.evals.online
        scorer = None if online is None else await scorer_of(project, online, stack, clock=clock)
        service = LiveService(settings_of(project, capture), now=lambda: clock.now().timestamp(), scorer=scorer)
        cut = asyncio.create_task(_until_cut(stop))
        try:
            await service.run(stop)
        finally:
            cut.cancel()


async def _until_cut(stop: asyncio.Event) -> None:
    await leash_cut()
    stop.set()


def settings_of(project: Project, capture: CaptureSection) -> LiveSettings:
    """What the listener of a project is told."""
    own = [Shape(one.name, re.compile(one.pattern)) for one in capture.redact]
    online = project.evals.online
    return LiveSettings(
        state=project.state.root,
        socket=project.state.socket(SOCKET),
        mapping=chat_mapping(project.evals, path=project.service.chat),
        redactor=Redactor(own=own),
        keep_bytes=capture.keep,
        concurrency=1 if online is None else online.concurrency,
    )


async def scorer_of(project: Project, online: OnlineSection, stack: AsyncExitStack, *, clock: Clock) -> OnlineScorer:
    """Who scores sampled replies: the suite's assertions and the project's judge, below a cap for each day.

    Both arms' replies go to the same models: those of production as the project says now, not as either release does.

    Raises:
        FairwayError: A judge that cannot be asked, an assertion that could never give a score.
    """
    judge = project.evals.judge
    assertions = online_assertions(project.document, online, judge=judge is not None and judge.enabled)
    plan = plan_judges(project, project.overlay(ENVIRONMENT), lambda name: _read(project.root, name))
    panel = None
    if plan is not None:
        panel = await seat_judges(
            plan,
            stack,
            clock=clock,
            state=project.state,
            prices=price_table(project.models, project.costs.prices),
            mock_url=os.environ.get(MOCK_VARIABLE),
            concurrency=online.concurrency,
            spend=DailyCap(round(online.spend * 1_000_000), clock.now, kept=project.state.root / SPENT),
        )
    timeout = 60.0 if judge is None else judge.timeout * _TRIES
    return OnlineScorer(assertions, online.rubric, measuring=Measurers(judge=panel), timeout=timeout)


def _read(root: Path, name: str) -> bytes | None:
    path = root / name
    return path.read_bytes() if path.is_file() else None


if __name__ == "__main__":
    main()
