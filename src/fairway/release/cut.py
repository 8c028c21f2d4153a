"""Cutting a release: a pure decision whether what was found is enough, and the manifest when it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fairway.errors import RefusedError
from fairway.release.values import Component, Evidence, Manifest
from fairway.release.versions import Version
from fairway.units import AgentName, Digest, EnvironmentName, Verdict, short


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


def cut(
    draft: Draft, *, version: Version, evidence: Iterable[Evidence], required: Iterable[str], now: datetime
) -> Manifest:
    """The manifest of a release.

    Args:
        draft: What it is made of.
        version: What it is called.
        evidence: Everything known; what is bound to other content is ignored.
        required: Kinds that must have been found to PASS.
        now: When it is cut, which also decides what has expired.

    Returns:
        With the newest finding of every kind that is bound to this content, in the order of their kinds.

    Raises:
        RefusedError: ``dirty_tree`` for uncommitted content; ``missing_evidence``, naming every kind that is missing or
            did not pass, and what was found instead.
    """
    if draft.release_digest.startswith("dev:") or any(
        digest.startswith("dev:") for digest in draft.components.values()
    ):
        raise dirty_tree()
    newest = newest_evidence(draft, evidence, now)
    lacking = {kind: why for kind in dict.fromkeys(required) if (why := _lacking(newest.get(kind), now)) is not None}
    if lacking:
        raise RefusedError(
            f"{short(draft.release_digest)} cannot be released as {version}: "
            + "; ".join(f"{kind}: {why}" for kind, why in lacking.items()),
            code="missing_evidence",
            hint="run the checks on this very content: fairway run",
        )
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
        evidence=tuple(newest[kind] for kind in sorted(newest)),
        parent=draft.parent,
        state_schema=draft.state_schema,
        reads=draft.reads,
    )


def newest_evidence(draft: Draft, evidence: Iterable[Evidence], now: datetime) -> dict[str, Evidence]:
    """The newest finding of each kind bound to this content: an old PASS does not outlive a newer FAIL.

    A finding that names an effective configuration counts only when the release resolves to it; one from the future
    does not count. Of two at the same instant the later in the list is the newer.
    """
    newest: dict[str, Evidence] = {}
    for finding in evidence:
        if finding.release != draft.release_digest or finding.at > now or not _is_effective_here(draft, finding):
            continue
        if finding.kind not in newest or finding.at >= newest[finding.kind].at:
            newest[finding.kind] = finding
    return newest


def dirty_tree(changes: Iterable[str] = ()) -> RefusedError:
    """Uncommitted content cannot be released: nobody could say later what it was."""
    named = list(changes)
    shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return RefusedError(
        f"there are uncommitted changes{f' in {shown}' if shown else ''}; only a commit can be released",
        code="dirty_tree",
        hint="commit or undo them: git status",
    )


def _is_effective_here(draft: Draft, finding: Evidence) -> bool:
    if finding.effective is None:
        return True
    if finding.environment is None:
        return finding.effective in draft.effective.values()
    return draft.effective.get(finding.environment) == finding.effective


def _lacking(finding: Evidence | None, now: datetime) -> str | None:
    """Why a required finding does not count; ``None`` when it does. Only PASS does."""
    if finding is None:
        return "nothing was found on this content"
    if finding.verdict is not Verdict.PASS:
        return finding.verdict.value
    if finding.expires is not None and finding.expires <= now:
        return f"PASS expired at {finding.expires:%Y-%m-%d %H:%M} UTC"
    return None
