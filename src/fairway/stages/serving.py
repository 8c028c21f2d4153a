"""The project's service, running for as long as a stage needs it: the examined content, never the working tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fairway.stages.agent_content import AgentContent, Workplace, checked_out_content, started
from fairway.stages.context import COPIES, DeliveryContext
from fairway.stages.ready_service import ReadyService


@asynccontextmanager
async def serving(context: DeliveryContext, environment: str) -> AsyncIterator[ReadyService]:
    """Start the project's service as it would run in an environment, and stop it (and its mock model) at the end.

    Args:
        context: Of the stage that needs it.
        environment: Whose configuration: ``dev``, ``test``, ``staging`` …

    Raises:
        UserError: As :func:`fairway.stages.agent_content.started`.
    """
    content = await asyncio.to_thread(examined_content, context)
    async with started(content, environment, await workplace(context, content, context.workdir)) as ready:
        yield ready


def examined_content(context: DeliveryContext) -> AgentContent:
    """What the run examines, in a folder of the stage's own.

    Raises:
        FairwayError: The files cannot be read.
    """
    return checked_out_content(
        context.bundle,
        agent=context.project.name,
        version=context.delivery.shown_version,
        folder=context.workdir / COPIES[1],
    )


async def workplace(context: DeliveryContext, content: AgentContent, folder: Path) -> Workplace:
    """Where a stage starts an agent: with the examined content's scenario for the mock model, whichever agent it is.

    Args:
        context: Of the stage.
        content: What is examined.
        folder: For the config bundle and the logs.
    """
    return Workplace(
        folder=folder,
        environment=context.environment(),
        scenario=(await context.tree()) / content.project.llm.mock.scenario,
        clock=context.clock,
        progress=context.progress,
    )
