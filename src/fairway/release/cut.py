"""Cutting a release: a pure decision whether what was found is enough, and the manifest when it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fairway.errors import RefusedError
from fairway.release.required import Required, lacking, newest_evidence, waiver_of
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.versions import Version
from fairway.units import AgentName, Digest, EnvironmentName, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a release would be made of; the fields are those of :class:`fairway.release.values.Manifest`."""

    agent: AgentName
    commit_sha: str
    components: Mapping[Component, Digest]
    release_digest: Digest
    effective: Mapping[EnvironmentName, Digest]
    tree: Digest
    prompts: Mapping[str, Mapping[str, str]]
    tools: tuple[str, ...]
    models: Mapping[str, str]
    publisher: str
    authors: tuple[str, ...] = ()
    parent: Digest | None = None
    state_schema: str = "1"
    reads: tuple[str, ...] = ("1",)
    donors: Mapping[Component, Digest] = field(default_factory=dict)


def cut(draft: Draft, *, version: Version, evidence: Iterable[Evidence], required: Required, now: datetime) -> Manifest:
    """The manifest of a release.

    Args:
        draft: What it is made of.
        version: What it is called.
        evidence: Everything known; what is bound to other content is ignored.
        required: Kinds that must have been found to PASS, and those the release switches off.
        now: When it is cut, which also decides what has expired.

    Returns:
        With the newest finding of every kind that is bound to this content, and of every kind that is switched off the
        reason, in the order of their kinds.

    Raises:
        RefusedError: ``dirty_tree`` for uncommitted content; ``missing_evidence``, naming every kind that is missing or
            did not pass, and what was found instead.
    """
    if draft.release_digest.startswith("dev:") or any(
        digest.startswith("dev:") for digest in draft.components.values()
    ):
        raise dirty_tree()
    found = tuple(evidence)
    lacks = lacking(required, found, release=draft.release_digest, effective=draft.effective, now=now)
    if lacks:
        raise RefusedError(
            f"{short(draft.release_digest)} cannot be released as {version}: "
            + "; ".join(f"{kind}: {why}" for kind, why in lacks.items()),
            code="missing_evidence",
            hint="run the checks on this very content: fairway run",
        )
    kept = newest_evidence(found, release=draft.release_digest, effective=draft.effective, now=now)
    kept |= {
        kind: waiver_of(kind, reason, release=draft.release_digest, produced_by="fairway.yaml", at=now)
        for kind, reason in required.off.items()
    }
    return Manifest(
        agent=draft.agent,
        release_version=str(version),
        tag=version.tag,
        commit_sha=draft.commit_sha,
        components=dict(draft.components),
        release_digest=draft.release_digest,
        effective=dict(draft.effective),
        tree=draft.tree,
        prompts=dict(draft.prompts),
        tools=draft.tools,
        models=dict(draft.models),
        created_at=now,
        publisher=draft.publisher,
        authors=draft.authors,
        evidence=tuple(kept[kind] for kind in sorted(kept)),
        parent=draft.parent,
        state_schema=draft.state_schema,
        reads=draft.reads,
        donors=dict(draft.donors),
    )


def dirty_tree(changes: Iterable[str] = ()) -> RefusedError:
    """Uncommitted content cannot be released: nobody could say later what it was."""
    named = list(changes)
    shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return RefusedError(
        f"there are uncommitted changes{f' in {shown}' if shown else ''}; only a commit can be released",
        code="dirty_tree",
        hint="commit or undo them: git status",
    )


def no_commit(*, in_repository: bool) -> RefusedError:
    """A release is of a commit, and there is none."""
    if in_repository:
        return RefusedError(
            "a release is of a git commit, and git holds none of this project yet",
            code="nothing_committed",
            hint="git add -A && git commit -m first, then run it again",
        )
    return RefusedError(
        "a release needs a git repository, and this folder is in none",
        code="no_repository",
        hint="git init && git add -A && git commit -m first, then run it again",
    )
