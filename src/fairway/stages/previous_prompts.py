"""The prompts of the release before this one, to show what a change took away."""

from __future__ import annotations

from pathlib import Path

from fairway.bundle.files import Bundle, scan
from fairway.bundle.overlay import OverlaySource, resolve
from fairway.errors import FairwayError
from fairway.project.load import load_project
from fairway.release.history import nearest_release
from fairway.stages.tree import write_tree


def prompt_texts(project: OverlaySource, environment: str) -> dict[str, str]:
    """Templates of the prompts an environment serves, by name.

    Raises:
        FairwayError: The environment or a prompt cannot be resolved.
    """
    pinned = resolve(project, environment).prompts
    return {name: project.prompts.get(name, pin.version).content.template for name, pin in pinned.items()}


def previous_prompt_texts(bundle: Bundle, environment: str, folder: Path) -> dict[str, str] | None:
    """Templates of the newest release before the examined content; ``None`` when there is none that can be read.

    Args:
        bundle: What is examined.
        environment: Whose prompts.
        folder: Empty or not there; gets that release's files.
    """
    if bundle.commit_sha is None:
        return None
    # a clean commit may itself be the release under examination: look behind it
    start = bundle.commit_sha if bundle.dirty else f"{bundle.commit_sha}~1"
    try:
        commit = nearest_release(bundle.root, start)
        if commit is None:
            return None
        write_tree(scan(bundle.root, rev=commit), folder, instrument=False)
        return prompt_texts(load_project(folder), environment)
    except (FairwayError, OSError):
        return None  # an explanation less; the verdict does not depend on it
