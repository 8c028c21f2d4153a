"""The project's service, running for as long as a stage needs it: the examined content, never the working tree."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.overlay import Overlay, effective_digest, effective_value
from fairway.clock import Clock
from fairway.errors import UserError
from fairway.project.load import Project, load_project
from fairway.stages.context import DeliveryContext
from fairway.stages.process import running
from fairway.targets.config import ServiceSection
from fairway.targets.local.ephemeral import Served, ServeSpec
from fairway.targets.local.ephemeral import serving as serving_arm
from fairway.targets.local.log import tail
from fairway.targets.local.service import LocalService, Placement
from fairway.units import Digest, EnvironmentName

_MOCK_START_SECONDS = 20.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A service that is ready.

    Attributes:
        url: ``http://127.0.0.1:<port>``, without a trailing slash.
        release: What it serves.
        effective: Digest of the release with the environment's resolved configuration.
        bundle: The folder it found in ``FAIRWAY_BUNDLE``.
        tree: Its working directory: the materialised files of the release.
        attested_by: ``arm`` when it reported its digests at its ready path, else ``supervisor``.
        ready_after: Seconds it took to become ready.
        mock_llm_url: ``…/v1`` of the mock model server it talks to; ``None`` when the environment uses none.
        log: What the service wrote.
        service: How it was started and where it is asked (``chat``, ``health``, ``ready``).
        served: The process behind it.
    """

    url: str
    environment: EnvironmentName
    release: Digest
    effective: Digest
    bundle: Path
    tree: Path
    attested_by: str
    ready_after: float
    mock_llm_url: str | None
    log: Path
    service: ServiceSection
    served: Served


@asynccontextmanager
async def serving(context: DeliveryContext, environment: str) -> AsyncIterator[Serving]:
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
        yield Serving(
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


@asynccontextmanager
async def mock_model(
    scenario: Path, *, folder: Path, environment: Mapping[str, str], clock: Clock
) -> AsyncIterator[str]:
    """Fairway's mock model server for the length of a block; gives its ``…/v1`` URL.

    Args:
        scenario: What it says to what.
        folder: Where it runs and leaves its log, ``mock-llm.log``.
        environment: All its variables.
        clock: Time.

    Raises:
        UserError: When it does not start (``code="mock_llm"``).
    """
    log = folder / "mock-llm.log"
    command = (sys.executable, "-m", "fairway", "mock-llm", "--scenario", str(scenario), "--port", "0", "-o", "json")
    async with running(command, cwd=folder, environment=environment, output=log, clock=clock) as mock:
        deadline = clock.monotonic() + _MOCK_START_SECONDS
        while (url := _mock_url(log)) is None:
            if mock.poll() is not None or clock.monotonic() > deadline:
                raise UserError(
                    "the mock model server did not start",
                    code="mock_llm",
                    hint=f"check {scenario}: fairway mock-llm --check\n{tail(log)}",
                )
            await clock.sleep(_POLL_SECONDS)
        yield url if url.endswith("/v1") else f"{url}/v1"


def _mock_url(log: Path) -> str | None:
    """What the server says first, once it has said it whole."""
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and isinstance(said.get("url"), str):
            return str(said["url"]).rstrip("/")
    return None
