"""Who an evaluation asks: the examined agent, and what is stable beside it, each started as an environment runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from fairway.clock import Clock
from fairway.errors import NotFoundError
from fairway.evals.config import EvalsSection
from fairway.evals.trials import Subject, SubjectInfo
from fairway.project.load import Project
from fairway.release.port import ContentStore
from fairway.release.trust import trusted_keys
from fairway.release.values import SignedRelease
from fairway.rollout.wire import state_from_wire
from fairway.stages.agent_content import AgentContent, Workplace, released_content, started
from fairway.stages.context import Ledger
from fairway.stages.ready_service import ReadyService
from fairway.units import Digest

_SERVING = "production"


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
            pass
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
