"""What ``fairway doctor`` says of settings that change nothing, and of prompts an environment names in vain."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.project.load import Project
from fairway.project.without_effect import missing_prompts, without_effect
from fairway.supervise.examined import Check, fail, ok, warn


def look_at_settings(project: Project) -> Iterator[Check]:
    """Each by file and line."""
    missing = [error for name in project.environments for error in missing_prompts(project, name)]
    idle = without_effect(project)
    for error in missing:
        yield fail("settings", f"{error.file}:{error.line}: {error.key}: {error.message}", error.hint)
    for one in idle:
        yield warn("settings", str(one), one.hint)
    if not missing and not idle:
        yield ok("settings", "each of the rollout has an effect")
