"""What ``fairway doctor`` looks at for a bad day: whether going back would work, and flags that should go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from fairway.bootstrap import SERVING_ENVIRONMENT, Workspace
from fairway.clock import SystemClock
from fairway.ledger import open_ledger
from fairway.project.load import Project
from fairway.recovery.options import way_back
from fairway.release.store import FileContentStore
from fairway.supervise.examined import Check, fail, ok, warn
from fairway.units import Verdict

_REHEARSE = "fairway rollback --rehearse"


def look_at_the_way_back(project: Project) -> Iterator[Check]:
    """Whether there is a release to go back to, whether it is whole, and whether that was rehearsed."""
    if not project.state.ledger.exists():
        return
    with open_ledger(project.state.ledger) as ledger:
        workspace = Workspace(
            project=project, ledger=ledger, store=FileContentStore(project.state.blobs), clock=SystemClock()
        )
        way = way_back(workspace)
    if way.leaves is None:
        return  # nothing serves yet
    if way.to is None:
        yield ok("rollback", f"{way.leaves.release_version} is the first release in {SERVING_ENVIRONMENT}")
        return
    version = way.to.release_version
    if not way.intact:
        yield fail("rollback", f"{version} cannot be gone back to: {way.problem}", "fairway release verify says more")
    elif way.rehearsal is None or way.rehearsal.verdict is not Verdict.PASS:
        why = "never rehearsed" if way.rehearsal is None else way.rehearsal.reason
        yield warn("rollback", f"back to {version}: {why}", _REHEARSE)
    else:
        yield ok("rollback", f"back to {version}: {way.rehearsal.reason}")


def look_at_flags(project: Project) -> Iterator[Check]:
    """Flags whose day has passed."""
    today = datetime.now(UTC).date()
    old = [spec.name for spec in project.flag_specs() if spec.expired(today)]
    if old:
        yield warn("flags", f"expired: {', '.join(old)}", "take them out of the code, then out of fairway.yaml")
