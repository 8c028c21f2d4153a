"""The project's service, running for as long as a stage needs it: the examined content, never the working tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.overlay import Overlay, effective_digest, effective_value
from fairway.project.load import Project, load_project
from fairway.stages.context import DeliveryContext
from fairway.stages.mock_model import mock_model
from fairway.stages.ready_service import ReadyService
from fairway.targets.config import ServiceSection
from fairway.targets.local.ephemeral import ServeSpec
from fairway.targets.local.ephemeral import serving as serving_arm
from fairway.targets.local.service import LocalService, Placement
from fairway.units import Digest

_MOCK_START_SECONDS = 20.0
_POLL_SECONDS = 0.02


@asynccontextmanager
async def serving(context: DeliveryContext, environment: str) -> AsyncIterator[ReadyService]:
    """Start the project's service as it would run in an environment, and stop it (and its mock model) at the end.

    Args:
        context: Of the stage that needs it.
        environment: Whose configuration: ``dev``, ``test``, ``staging`` …

    Raises:
        UserError: When it never became ready or ended before (``service_never_ready``, ``service_exited``; the hint
            holds the end of its log), or when the configuration of that environment cannot be resolved.
    """
    tree = await context.tree(instrument=False)
    project = await asyncio.to_thread(load_project, tree)
    overlay = project.overlay(environment)
    effective = effective_digest(context.release, overlay)
    bundle = await asyncio.to_thread(_write_bundle, context, overlay, effective)
    log = context.workdir / f"service-{overlay.environment}.log"
    async with AsyncExitStack() as stack:
        mock: str | None = None
        variables = {"PATH": context.environment()["PATH"]}
        if overlay.uses_mock_models:
            context.progress("starting the mock model")
            mock = await stack.enter_async_context(_mock_model(context, project))
            variables["FAIRWAY_MOCK_LLM_URL"] = mock
        context.progress(f"starting the service as in {overlay.environment}")
        served = await stack.enter_async_context(
            serving_arm(
                ServeSpec(
                    placement=Placement(
                        environment=overlay.environment,
                        release=context.release,
                        effective=effective,
                        release_version=context.delivery.shown_version,
                        tree=tree,
                        bundle=bundle,
                    ),
                    service=_local_service(project.service, overlay),
                    log=log,
                    variables=variables,
                ),
                clock=context.clock,
            )
        )
        context.progress(f"the service is ready at {served.url}")
        yield ReadyService(
            url=served.url,
            environment=overlay.environment,
            release=context.release,
            effective=effective,
            bundle=bundle,
            tree=tree,
            attested_by=served.attested_by.value,
            ready_after=served.ready_after,
            mock_llm_url=mock,
            log=log,
            service=project.service,
            served=served,
        )


def _local_service(service: ServiceSection, overlay: Overlay) -> LocalService:
    return LocalService(
        command=tuple(service.command),
        ready=service.ready,
        health=service.health,
        ready_timeout=service.ready_timeout,
        drain=service.drain,
        environment={**service.environment, **overlay.variables},
    )


def _write_bundle(context: DeliveryContext, overlay: Overlay, effective: Digest) -> Path:
    """The config bundle of the environment, from the examined content."""
    folder = context.workdir / f"bundle-{overlay.environment}"
    contents = {file.path: content for file, content in context.bundle.contents()}
    value = effective_value(
        overlay,
        agent=context.project.name,
        release=context.release,
        release_version=context.delivery.shown_version,
        effective=effective,
    )
    write_config_bundle(folder, contents, lambda path: contents[path], value)
    return folder


@asynccontextmanager
async def _mock_model(context: DeliveryContext, project: Project) -> AsyncIterator[str]:
    """Fairway's mock model server on the scenario of the examined content; gives its ``…/v1`` URL.

    Raises:
        UserError: When it does not start (``code="mock_llm"``).
    """
    scenario = (await context.tree()) / project.llm.mock.scenario
    environment = context.environment()
    async with mock_model(scenario, folder=context.workdir, environment=environment, clock=context.clock) as url:
        yield url
