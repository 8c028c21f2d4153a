"""Rehearsing a rollback: everything it does but moving traffic.

The release that would be gone back to is verified, its files are written, one instance of it is started as it would be,
reports its digests, answers its smoke test and is stopped. How long that took is what a rollback would take.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fairway import __version__
from fairway.bootstrap import Workspace
from fairway.clock import Clock
from fairway.controller.arm_files import ReleaseArmFiles
from fairway.errors import FairwayError
from fairway.evals.subjects.arm import HttpAgent, chat_mapping
from fairway.incident.rehearsal import REHEARSAL
from fairway.project.load import Project, load_project
from fairway.release.trust import trusted_keys
from fairway.release.values import Evidence, Manifest
from fairway.stages.config import SmokeTestSection
from fairway.stages.mock_model import mock_model
from fairway.targets.local.ephemeral import Served, ServeSpec, serving
from fairway.targets.local.probe import Answer, ProbeError, fetch
from fairway.targets.local.service import Placement
from fairway.targets.port import ArmSpec
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict

_PROBE_SECONDS = 2.0
_CHAT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How a rehearsal went.

    Attributes:
        verdict: PASS or FAIL.
        seconds: From the decision to the last answer of the smoke test.
        ready_after: Of these, until the instance was ready and had reported its digests; ``None``: it never was.
        attested_by: ``arm`` when it reported its digests itself; ``""``: it did not get so far.
        said: Whether it was said one thing to and answered.
        problem: What went wrong; empty when nothing did.
    """

    release: Manifest
    verdict: Verdict
    seconds: float
    ready_after: float | None = None
    attested_by: str = ""
    said: bool = False
    problem: str = ""
    hint: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value."""
        return {
            "release_version": self.release.release_version,
            "release_digest": self.release.release_digest,
            "verdict": self.verdict.value,
            "seconds": round(self.seconds, 3),
            "ready_after": None if self.ready_after is None else round(self.ready_after, 3),
            "attested_by": self.attested_by,
            "said_one_thing": self.said,
            "problem": self.problem,
        }


async def rehearse(workspace: Workspace, manifest: Manifest, *, mock_url: str | None = None) -> Rehearsal:
    """Rehearse going back to a release; what goes wrong is the result, not an error.

    Args:
        workspace: The open project.
        manifest: Of the release.
        mock_url: A mock model server that runs already; otherwise one is started where the environment needs it.
    """
    began = workspace.clock.monotonic()
    try:
        async with _started(workspace, manifest, mock_url) as started:
            served, ready_after = started.served, started.ready_after
            began = workspace.clock.monotonic() - ready_after  # a mock model is no part of a rollback
            problem, said = await _smoke(served, started.project, workspace.clock)
            seconds = workspace.clock.monotonic() - began
    except FairwayError as error:
        return Rehearsal(
            release=manifest,
            verdict=Verdict.FAIL,
            seconds=workspace.clock.monotonic() - began,
            problem=error.message,
            hint=error.hint,
        )
    return Rehearsal(
        release=manifest,
        verdict=Verdict.FAIL if problem else Verdict.PASS,
        seconds=seconds,
        ready_after=ready_after,
        attested_by=served.attested_by.value,
        said=said,
        problem=problem,
    )


def as_evidence(done: Rehearsal, workspace: Workspace, *, at: datetime) -> Evidence:
    """A rehearsal as evidence about the release; it counts for as long as ``rollback.rehearsed_within`` says."""
    environment = workspace.route.environment
    return Evidence(
        kind=REHEARSAL,
        release=done.release.release_digest,
        verdict=done.verdict,
        produced_by=f"fairway {__version__}",
        at=at,
        effective=done.release.effective.get(environment),
        environment=environment,
        figures=done.to_wire(),
        expires=at + timedelta(seconds=workspace.project.rollback.rehearsed_within),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """One instance; ``ready_after``: seconds to verify the release, write its files and become ready."""

    served: Served
    project: Project
    ready_after: float


@asynccontextmanager
async def _started(workspace: Workspace, manifest: Manifest, mock_url: str | None) -> AsyncIterator[_Started]:
    """One instance of the release, ready and attested, as the target would start it; gone at the end."""
    route = workspace.route
    root = workspace.state.root / "rehearsals"
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{manifest.release_version}-", dir=root))
    files = ReleaseArmFiles(
        releases=workspace.ledger, store=workspace.store, trusted=partial(trusted_keys, workspace.state.keys)
    )
    effective = manifest.effective.get(route.environment, Digest(""))
    spec = ArmSpec(role=Role.BASELINE, release_digest=manifest.release_digest, effective_digest=effective, replicas=1)
    try:
        began = workspace.clock.monotonic()
        prepared = await files.prepare(route, spec, folder)
        written = workspace.clock.monotonic() - began
        project = load_project(prepared.tree)
        async with AsyncExitStack() as stack:
            variables: dict[str, str] = {}
            if project.overlay(route.environment).uses_mock_models:
                if mock_url is None:
                    scenario = workspace.project.root / workspace.project.llm.mock.scenario
                    mock = mock_model(scenario, folder=folder, environment=dict(os.environ), clock=workspace.clock)
                    mock_url = await stack.enter_async_context(mock)
                variables["FAIRWAY_MOCK_LLM_URL"] = mock_url
            served = await stack.enter_async_context(
                serving(
                    ServeSpec(
                        placement=Placement(
                            environment=route.environment,
                            release=manifest.release_digest,
                            effective=effective,
                            release_version=manifest.release_version,
                            tree=prepared.tree,
                            bundle=prepared.bundle,
                        ),
                        service=prepared.service,
                        log=folder / "service.log",
                        variables=variables,
                    ),
                    clock=workspace.clock,
                )
            )
            yield _Started(served=served, project=project, ready_after=written + served.ready_after)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _smoke(served: Served, project: Project, clock: Clock) -> tuple[str, bool]:
    """What is wrong, or an empty text; and whether it answered a message."""
    service = project.service
    for path in (service.health, service.ready):
        problem = await _asks(served, path)
        if problem:
            return problem, False
    settings = project.stage_config("smoke_test", SmokeTestSection)
    wanted = settings.chat if settings.chat is not None else project.document.has(("service", "chat"))
    if not wanted:
        return "", False
    mapping = chat_mapping(project.evals, path=service.chat)
    try:
        async with HttpAgent(served.url, mapping, clock=clock, timeout_seconds=_CHAT_SECONDS) as agent:
            reply = await agent.ask("Hello", thread="rehearsal")
    except FairwayError as error:
        return f"{service.chat}: {error.message}", False
    return ("", True) if reply.text.strip() else (f"{service.chat}: it answered nothing", False)


async def _asks(served: Served, path: str) -> str:
    try:
        answer: Answer = await fetch(served.host, served.port, path, timeout=_PROBE_SECONDS)
    except ProbeError as error:
        return f"{path}: {error}"
    return "" if answer.status == 200 else f"{path} answers {answer.status}"
