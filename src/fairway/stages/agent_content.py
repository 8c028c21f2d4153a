"""An agent's files, started as one environment would run them: what is checked out, or a release of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.files import Bundle
from fairway.bundle.overlay import Overlay, effective_digest, effective_value
from fairway.clock import Clock
from fairway.project.load import Project, load_project
from fairway.release.materialise import materialise, verify_release
from fairway.release.port import ContentStore
from fairway.release.tree import read_tree
from fairway.release.trust import TrustedKeys
from fairway.release.values import SignedRelease
from fairway.stages.mock_model import mock_model
from fairway.stages.ready_service import ReadyService
from fairway.stages.tree import write_tree
from fairway.targets.config import ServiceSection
from fairway.targets.local.ephemeral import ServeSpec
from fairway.targets.local.ephemeral import serving as serving_arm
from fairway.targets.local.service import LocalService, Placement
from fairway.units import AgentName, Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContent:
    """The files of an agent, ready to be started.

    Attributes:
        tree: The files a service gets: no suites, no tests.
        project: Read from them, so that an older release is started the way it was.
        paths: Of the files.
        read: Content of one.
        version: As reports show it.
    """

    tree: Path
    project: Project
    paths: tuple[str, ...]
    read: Callable[[str], bytes]
    agent: AgentName
    release: Digest
    version: str

    def effective(self, environment: str) -> Digest:
        """Digest of the release with the resolved configuration of an environment.

        Raises:
            FairwayError: The environment cannot be resolved.
        """
        return effective_digest(self.release, self.project.overlay(environment))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where an agent is started.

    Attributes:
        folder: For its config bundle and its logs.
        environment: Variables for commands of the project, with the interpreter's ``PATH``.
        scenario: Of the mock model; the examination's own, whichever release is started.
        progress: Told what goes on.
    """

    folder: Path
    environment: Mapping[str, str]
    scenario: Path
    clock: Clock
    progress: Callable[[str], None]


def checked_out_content(bundle: Bundle, *, agent: AgentName, version: str, folder: Path) -> AgentContent:
    """What is checked out, written to a folder of its own.

    Args:
        bundle: What is examined.
        agent: Whose files.
        version: As reports show it.
        folder: Gets the files, unless they are there already.

    Raises:
        FairwayError: The files cannot be read, or are no project.
    """
    if not folder.exists():
        write_tree(bundle, folder, instrument=False)
    return AgentContent(
        tree=folder,
        project=load_project(folder),
        paths=tuple(file.path for file in bundle.files),
        read=bundle.read,
        agent=agent,
        release=bundle.digest,
        version=version,
    )


def released_content(signed: SignedRelease, *, store: ContentStore, trusted: TrustedKeys, folder: Path) -> AgentContent:
    """A release of the store, verified.

    Raises:
        RefusedError: It does not verify.
        NotFoundError: A blob of it is missing.
    """
    manifest = verify_release(signed, store, trusted)
    tree = materialise(manifest.tree, store, folder)
    files = {file.path: file.digest for file in read_tree(store.get(manifest.tree))}
    return AgentContent(
        tree=tree,
        project=load_project(tree),
        paths=tuple(files),
        read=lambda path: store.get(files[path]),
        agent=AgentName(manifest.agent),
        release=manifest.release_digest,
        version=manifest.release_version,
    )


@asynccontextmanager
async def started(content: AgentContent, environment: str, place: Workplace) -> AsyncIterator[ReadyService]:
    """Start an agent as an environment would run it, and stop it (and its mock model) at the end of the block.

    Raises:
        UserError: When it never became ready or ended before (``service_never_ready``, ``service_exited``; the hint
            holds the end of its log), or when the configuration of that environment cannot be resolved.
    """
    overlay = content.project.overlay(environment)
    effective = effective_digest(content.release, overlay)
    place.folder.mkdir(parents=True, exist_ok=True)
    bundle = await asyncio.to_thread(_write_bundle, content, overlay, effective, place.folder)
    log = place.folder / f"service-{overlay.environment}.log"
    async with AsyncExitStack() as stack:
        mock: str | None = None
        variables = {"PATH": place.environment["PATH"]}
        if overlay.uses_mock_models:
            place.progress("starting the mock model")
            mock = await stack.enter_async_context(
                mock_model(place.scenario, folder=place.folder, environment=place.environment, clock=place.clock)
            )
            variables["FAIRWAY_MOCK_LLM_URL"] = mock
        place.progress(f"starting the service as in {overlay.environment}")
        spec = ServeSpec(
            placement=Placement(
                environment=overlay.environment,
                release=content.release,
                effective=effective,
                release_version=content.version,
                tree=content.tree,
                bundle=bundle,
            ),
            service=_local_service(content.project.service, overlay),
            log=log,
            variables=variables,
        )
        served = await stack.enter_async_context(serving_arm(spec, clock=place.clock))
        place.progress(f"the service is ready at {served.url}")
        yield ReadyService(
            url=served.url,
            environment=overlay.environment,
            release=content.release,
            effective=effective,
            bundle=bundle,
            tree=content.tree,
            attested_by=served.attested_by.value,
            ready_after=served.ready_after,
            mock_llm_url=mock,
            log=log,
            service=content.project.service,
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


def _write_bundle(content: AgentContent, overlay: Overlay, effective: Digest, parent: Path) -> Path:
    """The config bundle of the environment."""
    folder = parent / f"bundle-{overlay.environment}"
    value = effective_value(
        overlay,
        agent=content.agent,
        release=content.release,
        release_version=content.version,
        effective=effective,
    )
    write_config_bundle(folder, content.paths, content.read, value)
    return folder
