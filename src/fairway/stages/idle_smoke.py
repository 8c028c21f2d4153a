"""The smoke of a blue-green rollout: the idle colour is asked what the smoke stage asks, before anybody meets it.

Implements :class:`fairway.controller.probing.Smoker`. It talks to the instances that will serve, with the models and
tools they will serve with. What it found is kept as evidence about the release, kind :data:`IDLE_SMOKE`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from fairway import __version__
from fairway.bundle.files import Bundle, scan
from fairway.clock import Clock
from fairway.errors import FairwayError
from fairway.evals.subjects.arm import HttpAgent, chat_mapping
from fairway.project.load import Project, load_project
from fairway.release.port import ReleaseStore
from fairway.release.values import Evidence
from fairway.rollout.evidence import Smoked, SmokeOutcome
from fairway.stages.config import SmokeTestSection
from fairway.stages.smoke_cases import TAG, play, smoke_suites
from fairway.targets.local.probe import ProbeError, fetch
from fairway.targets.local.records import InstanceRecord, RecordFolder
from fairway.targets.port import ObservedArm
from fairway.units import AgentName, Digest, EnvironmentName, RouteId, Verdict

IDLE_SMOKE = "idle_smoke"
"""Kind of its evidence."""

_PROBE_SECONDS = 2.0
_VERDICTS = {
    SmokeOutcome.PASSED: Verdict.PASS,
    SmokeOutcome.FAILED: Verdict.FAIL,
    SmokeOutcome.ERROR: Verdict.ERROR,
    SmokeOutcome.TIMEOUT: Verdict.ERROR,
    SmokeOutcome.NONE_DECLARED: Verdict.NO_DATA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What was found, before it is put on record; ``instrument``: digest of the suites it was found with."""

    outcome: SmokeOutcome
    text: str
    cases: int = 0
    instrument: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSmoke:
    """Asks local instances.

    Attributes:
        route: Whose instances.
        root: The project whose repository has the released commits, and so their suites.
        releases: Where the release, and what was found about it, is kept.
        records: Where instances listen, and with which files they run.
        shortest: Seconds it has at least: a policy that looks for a moment only does not hurry a model.
    """

    route: RouteId
    root: Path
    releases: ReleaseStore
    records: RecordFolder = field(repr=False)
    clock: Clock
    shortest: float = 10.0

    async def __call__(self, arm: ObservedArm, *, seconds: float) -> Smoked:
        """Run it once, within ``seconds``; what goes wrong is the result, not an error."""
        seconds, began = max(seconds, self.shortest), self.clock.monotonic()
        try:
            async with asyncio.timeout(seconds):
                said = await self._smoke(arm, seconds)
        except TimeoutError:
            said = _Said(outcome=SmokeOutcome.TIMEOUT, text=f"the smoke was not over within {seconds:g} s")
        except (FairwayError, OSError) as error:
            told = error.message if isinstance(error, FairwayError) else str(error)
            said = _Said(outcome=SmokeOutcome.ERROR, text=f"the smoke cannot be run: {told}")
        found = Smoked(
            release=arm.release_digest,
            effective=arm.effective_digest,
            outcome=said.outcome,
            text=said.text,
            cases=said.cases,
            seconds=round(self.clock.monotonic() - began, 3),
        )
        return await self._recorded(found, said)

    async def _smoke(self, arm: ObservedArm, seconds: float) -> _Said:
        ready = {instance.id for instance in arm.ready()}
        known = await asyncio.to_thread(self.records.read_all)
        instances = [record for record in known if record.id in ready]
        if len(instances) < len(ready) or not instances:
            return _Said(outcome=SmokeOutcome.ERROR, text="the smoke cannot be run: an instance is not on record")
        project = await asyncio.to_thread(load_project, instances[0].placement.tree)
        says = await self._greets(instances, project, seconds)
        if isinstance(says, str):
            return _Said(outcome=SmokeOutcome.FAILED, text=says)
        bundle = await asyncio.to_thread(self._commit, arm)
        suites = smoke_suites([file.path for file in bundle.files], bundle.read, project.evals.suites)
        if suites:
            found = await play(
                f"http://{instances[0].endpoint}", project, suites, clock=self.clock, seconds=seconds,
                run_id=f"smoke-{uuid4().hex[:12]}",
            )  # fmt: skip
            outcome = {Verdict.PASS: SmokeOutcome.PASSED, Verdict.FAIL: SmokeOutcome.FAILED}.get(found.verdict)
            return _Said(
                outcome=outcome or SmokeOutcome.ERROR, text=found.text, cases=found.cases, instrument=bundle.instrument
            )
        if says:
            text = f"every instance is healthy and answered a message; no case is tagged {TAG}"
            return _Said(outcome=SmokeOutcome.PASSED, text=text)
        text = f"no case is tagged {TAG} and no service.chat declared: only that it is healthy and ready is known"
        return _Said(outcome=SmokeOutcome.NONE_DECLARED, text=text)

    async def _greets(self, instances: Sequence[InstanceRecord], project: Project, seconds: float) -> bool | str:
        """Whether every instance was said one thing to and answered; what is wrong with the first that is not well.

        One that does not answer within half of the time is not well; that the whole takes too long says nothing.
        """
        settings = project.stage_config("smoke_test", SmokeTestSection)
        chat = settings.chat if settings.chat is not None else project.document.has(("service", "chat"))
        asked = [self._asks(one, project, chat=chat, seconds=seconds / 2) for one in instances]
        problems = [problem for problem in await asyncio.gather(*asked) if problem]
        return problems[0] if problems else chat

    async def _asks(self, instance: InstanceRecord, project: Project, *, chat: bool, seconds: float) -> str:
        if problem := await _unhealthy(instance, project.service.health):
            return f"{instance.id}: {problem}"
        if not chat:
            return ""
        mapping = chat_mapping(project.evals, path=project.service.chat)
        url, where = f"http://{instance.endpoint}", f"{instance.id}: {project.service.chat}"
        try:
            async with HttpAgent(url, mapping, clock=self.clock, timeout_seconds=seconds) as agent:
                reply = await agent.ask("Hello", thread=f"smoke-{uuid4().hex[:12]}")
        except FairwayError as error:
            return f"{where}: {error.message}"
        return "" if reply.text.strip() else f"{where}: it answered nothing"

    def _commit(self, arm: ObservedArm) -> Bundle:
        """The released commit, with its suites.

        Raises:
            NotFoundError: When git does not know it here.
        """
        manifest = self.releases.find_release(AgentName(self.route.agent), arm.release_digest).manifest
        return scan(self.root, rev=manifest.commit_sha)

    async def _recorded(self, found: Smoked, said: _Said) -> Smoked:
        """The same, once it is on record; what cannot be kept cannot be relied on."""
        evidence = Evidence(
            kind=IDLE_SMOKE,
            release=found.release,
            verdict=_VERDICTS[found.outcome],
            produced_by=f"fairway {__version__}",
            at=self.clock.now(),
            effective=found.effective,
            instrument=said.instrument,
            environment=EnvironmentName(self.route.environment),
            figures={
                "outcome": found.outcome.value, "text": found.text, "cases": found.cases, "seconds": found.seconds,
            },
        )  # fmt: skip
        try:
            self.releases.add_evidence((evidence,))
        except FairwayError as error:
            text = f"what the smoke found could not be recorded: {error.message}"
            return Smoked(release=found.release, effective=found.effective, outcome=SmokeOutcome.ERROR, text=text)
        return found


async def _unhealthy(instance: InstanceRecord, path: str) -> str:
    host, _, port = instance.endpoint.rpartition(":")
    try:
        answer = await fetch(host, int(port), path, timeout=_PROBE_SECONDS)
    except ProbeError as error:
        return f"{path}: {error}"
    return "" if answer.status == 200 else f"{path} answers {answer.status}"
