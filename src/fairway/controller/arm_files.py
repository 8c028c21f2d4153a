"""The files of an arm, from the ledger's release and the content store: verified, then written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fairway.bundle.configuration import write_config_bundle
from fairway.bundle.overlay import effective_digest, effective_value, resolve, with_mocked_tools
from fairway.errors import NotFoundError, RefusedError
from fairway.flags.file import VARIABLE
from fairway.project.load import Project, load_project
from fairway.release.materialise import materialise, verify_release
from fairway.release.port import ContentStore, ReleaseStore
from fairway.release.tree import read_tree
from fairway.release.trust import TrustedKeys
from fairway.release.values import Manifest
from fairway.targets.local.service import LocalService, split_command
from fairway.targets.local.target import PreparedArm
from fairway.targets.port import ArmSpec
from fairway.targets.shadow import SHADOW_VARIABLE, shadow_configuration
from fairway.traffic.table import Role
from fairway.units import EnvironmentName, RouteId, short


def local_service(project: Project, environment: EnvironmentName) -> LocalService:
    """How a project's service is started in an environment, as the local target needs it."""
    service = project.service
    return LocalService(
        command=split_command(service.command),
        ready=service.ready,
        health=service.health,
        ready_timeout=service.ready_timeout,
        drain=service.drain,
        environment={**service.environment, **project.overlay(environment).variables},
    )


def _as_shadow(service: LocalService, secrets: tuple[str, ...]) -> LocalService:
    """The same service told by its environment that its tools are mocked, for agents that do not read the bundle.

    An agent that heeds nothing of it cannot act either where it needs a credential to: of those it has what the project
    lists, which is what its model calls need.
    """
    return replace(service, environment={**service.environment, SHADOW_VARIABLE: "1"}, secrets=secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseArmFiles:
    """Implements :class:`fairway.targets.local.target.ArmFiles`.

    A release is started by its own ``fairway.yaml``, so that an older one is started the way it was.

    Attributes:
        flags: Where the feature flags in force in an environment are; ``None``: nowhere.
    """

    releases: ReleaseStore
    store: ContentStore
    trusted: Callable[[], TrustedKeys]
    flags: Callable[[str], Path] | None = None

    async def prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        """Verify the release and write its tree and its config bundle for the route's environment.

        Raises:
            RefusedError: When the signature, a file or the effective configuration does not verify.
        """
        return await asyncio.to_thread(self._prepare, route, spec, folder)

    def _prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        try:
            signed = self.releases.find_release(route.agent, spec.release_digest)
        except NotFoundError as error:
            raise RefusedError(f"the ledger has no release {short(spec.release_digest)}", code="no_release") from error
        manifest = verify_release(signed, self.store, self.trusted())
        tree = materialise(manifest.tree, self.store, folder)
        project = load_project(tree)
        bundle = folder / "bundle"
        self._write_bundle(project, manifest, route, spec, bundle)
        service = local_service(project, route.environment)
        if self.flags is not None:
            named = {VARIABLE: str(self.flags(route.environment).resolve())}
            service = replace(service, environment={**service.environment, **named})
        return PreparedArm(
            release_version=manifest.release_version,
            service=_as_shadow(service, project.rollout.shadow.environment) if spec.role is Role.SHADOW else service,
            tree=tree,
            bundle=bundle,
        )

    def _write_bundle(self, project: Project, manifest: Manifest, route: RouteId, spec: ArmSpec, bundle: Path) -> None:
        overlay = resolve(project, route.environment)
        effective = effective_digest(manifest.release_digest, overlay)
        if spec.role is Role.SHADOW:
            overlay, effective = with_mocked_tools(overlay), shadow_configuration(effective)
        if effective != spec.effective_digest:
            raise RefusedError(
                f"release {manifest.release_version} resolves to {short(effective)} in {route.environment},"
                f" not to {short(spec.effective_digest)} as was released",
                code="effective_mismatch",
                hint="this version of Fairway resolves environments differently; release again with it",
            )
        files = {file.path: file.digest for file in read_tree(self.store.get(manifest.tree))}
        write_config_bundle(
            bundle,
            files,
            lambda path: self.store.get(files[path]),
            effective_value(
                overlay,
                agent=route.agent,
                release=manifest.release_digest,
                release_version=manifest.release_version,
                effective=effective,
            ),
        )
