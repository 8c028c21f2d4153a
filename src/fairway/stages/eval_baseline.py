"""What a release is compared with: the one that is stable, asked in turn with it, or the run somebody blessed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from fairway.errors import NotFoundError, RefusedError
from fairway.evals.config import BaselineKind
from fairway.evals.history.baseline import blessed
from fairway.evals.history.folders import EvalHistory, read_run, results_digest
from fairway.evals.trials import EvalRun, Subject
from fairway.project.load import Project
from fairway.release.port import ContentStore
from fairway.release.trust import trusted_keys
from fairway.release.values import SignedRelease
from fairway.rollout.wire import state_from_wire
from fairway.stages.agent_content import AgentContent, released_content, started
from fairway.stages.blessed import LedgerBaselines
from fairway.stages.context import DeliveryContext, Ledger
from fairway.stages.eval_subjects import agent_subject
from fairway.stages.examining import Examination
from fairway.stages.serving import examined_content, workplace
from fairway.units import Digest

_SERVING = "production"
_FIRST = "nothing was compared: there is no other release yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a candidate is compared with.

    Attributes:
        subject: Asked in turn with it; ``None``: nobody.
        stored: The kept run instead; ``None``: none.
        name: As the evidence shows it; ``None``: nothing.
        missing: Why nothing is compared although the project asks for it; ``None``: something is, or nothing is asked.
    """

    subject: Subject | None = None
    stored: EvalRun | None = None
    name: str | None = None
    missing: str | None = None

    @property
    def compares(self) -> bool:
        """Whether there is a baseline."""
        return self.subject is not None or self.stored is not None


async def compared_with(context: DeliveryContext, examined: Examination, stack: AsyncExitStack) -> Compared:
    """Find what the project compares with, and start it where it has to be asked.

    Raises:
        FairwayError: The stable release does not verify or does not start, or nobody blessed a run for the suites and
            judges of today: where a comparison was asked for and cannot be, nothing vouches for the release.
    """
    match examined.evals.compare.baseline:
        case BaselineKind.NONE:
            return Compared()
        case BaselineKind.BLESSED:
            return await asyncio.to_thread(_blessed, context, examined)
        case BaselineKind.STABLE:
            return await _stable(context, examined, stack)


def _blessed(context: DeliveryContext, examined: Examination) -> Compared:
    store = LedgerBaselines(context.ledger)
    found = blessed(
        store, agent=context.project.name, environment=examined.environment, instrument=examined.instrument()
    )
    if found is None:
        raise NotFoundError(
            "nobody blessed a run measured by today's suites and judges",
            code="eval_no_baseline",
            hint="check out what is good, then: fairway eval run, fairway eval bless latest --reason …",
        )
    folder = EvalHistory(context.state.evals).folder(found.run_id)
    if results_digest(folder) != found.results:
        raise RefusedError(
            f"the results of {found.run_id} are not those that {found.actor} blessed", code="eval_baseline_changed"
        )
    return Compared(stored=read_run(folder), name=f"{found.subject}, blessed by {found.actor}")


async def _stable(context: DeliveryContext, examined: Examination, stack: AsyncExitStack) -> Compared:
    folder = context.workdir / "stable"
    content = await asyncio.to_thread(
        stable_content, context.project, context.ledger, context.store, but=context.release, folder=folder / "release"
    )
    if content is None:
        return Compared(missing=_FIRST)
    context.progress(f"starting {content.version} beside it")
    place = await workplace(context, await asyncio.to_thread(examined_content, context), folder)
    served = await stack.enter_async_context(started(content, examined.environment, place))
    subject = await agent_subject(served, content.project.evals, stack, version=content.version)
    return Compared(subject=subject, name=content.version)


def stable_release(project: Project, ledger: Ledger, *, but: Digest) -> SignedRelease | None:
    """The release a candidate is compared with: the one stable in production, else the last one made.

    Args:
        project: Whose releases.
        ledger: Where they are on record.
        but: The candidate's own digest: nothing is compared with itself.

    Returns:
        ``None``: there is no other release yet.
    """
    head = ledger.head(project.route(_SERVING))
    state = None if head.state is None else state_from_wire(head.state)
    if state is not None and state.stable is not None and state.stable.release != but:
        try:
            return ledger.find_release(project.name, state.stable.release)
        except NotFoundError:
            pass  # it was recorded elsewhere: the last one known here
    releases = ledger.list_releases(project.name)
    return next((one for one in releases if one.manifest.release_digest != but), None)


def stable_content(
    project: Project, ledger: Ledger, store: ContentStore, *, but: Digest, folder: Path
) -> AgentContent | None:
    """The files of :func:`stable_release`, verified and written below a folder; ``None``: there is none.

    Raises:
        RefusedError: It does not verify.
    """
    signed = stable_release(project, ledger, but=but)
    if signed is None:
        return None
    return released_content(signed, store=store, trusted=trusted_keys(project.state.keys), folder=folder)


def baseline_key(context: DeliveryContext) -> str | None:
    """What the comparison depends on besides the content: the digest of stable, or of the blessed results.

    ``None``: nothing is compared.
    """
    kind = context.project.evals.compare.baseline
    if kind is BaselineKind.NONE:
        return None
    if kind is BaselineKind.STABLE:
        signed = stable_release(context.project, context.ledger, but=context.release)
        return "no release" if signed is None else signed.manifest.release_digest
    known = LedgerBaselines(context.ledger).all()
    mine = [one.results for one in known if one.agent == context.project.name]
    return mine[-1] if mine else "nobody blessed"
