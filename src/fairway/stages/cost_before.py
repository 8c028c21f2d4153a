"""What requests took in the last release: the candidate's prompts against the baseline's, counted alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairway.bundle.files import Bundle, scan
from fairway.errors import FairwayError
from fairway.evals.values import Suite
from fairway.project.load import load_project
from fairway.release.history import commit_version, nearest_release
from fairway.stages.prompt_cost import PromptLoad, prompt_loads
from fairway.stages.tree import write_tree

_UNKNOWN = "unknown"


def against_last_release(
    bundle: Bundle, loads: Sequence[PromptLoad], suites: Sequence[Suite], folder: Path, *, calls: int
) -> dict[str, Any]:
    """Tokens and cost of a request of each prompt, in the last release and now, by environment.

    Args:
        bundle: What is examined.
        loads: Of it.
        suites: Of it; both sides are counted with its largest input.
        folder: Not there yet; gets the last release's files.
        calls: Model calls of a request.

    Returns:
        JSON. ``{"outcome": "unknown", "reason": …}`` where there is no release before, or it cannot be read: nothing
        is judged by this.
    """
    try:
        before = _loads_before(bundle, suites, folder)
    except (FairwayError, OSError) as error:
        why = error.message if isinstance(error, FairwayError) else str(error)
        return {"outcome": _UNKNOWN, "reason": f"the last release cannot be counted: {why}"}
    if before is None:
        return {"outcome": _UNKNOWN, "reason": "there is no release before this one"}
    version, past = before
    old = {(load.name, environment): load for load in past for environment in load.environments}
    new = {(load.name, environment): load for load in loads for environment in load.environments}
    return {
        "outcome": "known",
        "release": version,
        "prompts": [
            {"prompt": name, "environment": environment, **_change(old.get(key), new.get(key), calls)}
            for key in sorted(old.keys() | new.keys())
            for name, environment in [key]
        ],
    }


def _loads_before(bundle: Bundle, suites: Sequence[Suite], folder: Path) -> tuple[str, tuple[PromptLoad, ...]] | None:
    if bundle.commit_sha is None:
        return None
    # a clean commit may itself be the release under examination: look behind it
    start = bundle.commit_sha if bundle.dirty else f"{bundle.commit_sha}~1"
    commit = nearest_release(bundle.root, start)
    if commit is None:
        return None
    write_tree(scan(bundle.root, rev=commit), folder, instrument=False)
    return str(commit_version(bundle.root, commit)), prompt_loads(load_project(folder), suites).loads


def _change(before: PromptLoad | None, now: PromptLoad | None, calls: int) -> dict[str, Any]:
    return {
        "request_tokens": [None if load is None else load.request_tokens for load in (before, now)],
        "usd_per_request_at_most": [_cost(load, calls) for load in (before, now)],
    }


def _cost(load: PromptLoad | None, calls: int) -> str | None:
    """USD; ``unknown`` without a price, ``None`` where there is no such prompt."""
    if load is None:
        return None
    cost = load.cost_at_most(calls)
    return _UNKNOWN if cost is None else str(cost)
