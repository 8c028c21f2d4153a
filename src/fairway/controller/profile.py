"""What a release is made of, as far as ``strategy: auto`` looks at it, and what differs between two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairway.bundle.components import Component
from fairway.bundle.tools import Risk
from fairway.canonical import sha256_digest, value_digest
from fairway.errors import UserError
from fairway.project.load import Project
from fairway.release.values import Manifest
from fairway.release.versions import Version
from fairway.rollout.choose import Changes
from fairway.units import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One release in one environment.

    Attributes:
        components: Digest of each component.
        behaviour: Digest of what is resolved for the environment - models, prompts, tools, settings, variables - and of
            the ``policies`` folder: everything of the policies that changes what the agent says and does.
        tools: Risk of each enabled tool.
        state_schema: Conversation state it writes.
        breaking: It declares that it should not serve beside the one before.
    """

    version: str
    components: Mapping[Component, Digest]
    behaviour: Digest
    tools: Mapping[str, Risk]
    state_schema: str
    breaking: bool


def profile_of(project: Project, environment: str, manifest: Manifest) -> Profile:
    """The profile of a release, from its files.

    Args:
        project: Read from the release's own tree.
        environment: For which.
        manifest: Of the release.
    """
    return Profile(
        version=manifest.release_version,
        components=manifest.components,
        behaviour=value_digest(
            {"overlay": project.overlay(environment).behaviour(), "policies": _policies(project.root / "policies")}
        ),
        tools={name: tool.risk_level() for name, tool in project.tools.tools.items() if tool.enabled},
        state_schema=manifest.state_schema,
        breaking=project.rollout.breaking,
    )


def _policies(folder: Path) -> dict[str, Digest]:
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return {path.relative_to(folder).as_posix(): sha256_digest(path.read_bytes()) for path in files}


def changes_between(stable: Profile, candidate: Profile) -> Changes:
    """What a candidate changes, as the choice of a strategy looks at it."""
    components = {one for one in Component if stable.components.get(one) != candidate.components.get(one)}
    beneath = Component.POLICIES in components and stable.behaviour == candidate.behaviour
    if beneath:
        components.discard(Component.POLICIES)
    return Changes(
        components=frozenset(components),
        infrastructure=beneath,
        breaking=_breaks(stable, candidate),
        risky_tools=tuple(
            name
            for name, risk in sorted(candidate.tools.items())
            if risk.rank >= Risk.HIGH.rank and (name not in stable.tools or stable.tools[name].rank < risk.rank)
        ),
    )


def _breaks(stable: Profile, candidate: Profile) -> str:
    if candidate.breaking:
        return "rollout.breaking is declared"
    if candidate.state_schema != stable.state_schema:
        return f"conversation state {candidate.state_schema!r} instead of {stable.state_schema!r}"
    before, after = _major(stable.version), _major(candidate.version)
    if before is not None and after is not None and after != before:
        return f"major version {after} instead of {before}"
    return ""


def _major(version: str) -> int | None:
    try:
        return Version.parse(version).major
    except UserError:
        return None
