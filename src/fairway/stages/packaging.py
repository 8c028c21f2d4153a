"""From a commit to a signed release: what the packaging stage and ``fairway release create`` both do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fairway.bundle.files import Bundle, scan
from fairway.bundle.git import is_inside_repository
from fairway.bundle.overlay import Overlay, effective_digest
from fairway.canonical import sha256_digest
from fairway.errors import NotFoundError, PermanentError, RefusedError, UserError
from fairway.project.load import Project
from fairway.release.cut import Draft, cut, dirty_tree, no_commit
from fairway.release.history import authors_since, commit_version, identity, nearest_release, tagged_commit
from fairway.release.port import ContentStore, ReleaseStore
from fairway.release.required import Required
from fairway.release.tree import TreeFile, check_link, read_tree, tree_blob
from fairway.release.trust import local_key, signed
from fairway.release.values import SignedRelease
from fairway.release.versions import Version
from fairway.rollout.port import RolloutLedger
from fairway.units import Digest, EnvironmentName

PRODUCTION = EnvironmentName("production")


class Ledger(RolloutLedger, ReleaseStore, Protocol):
    """What packaging reads and writes: evidence and releases, and which release is stable."""


def package(
    project: Project,
    ledger: Ledger,
    store: ContentStore,
    *,
    version: str | None,
    evidence_required: Required,
    now: datetime,
    publisher: str | None = None,
    bundle: Bundle | None = None,
) -> SignedRelease:
    """Cut, store, sign and record the release of a project's commit.

    Nothing is recorded unless everything is in the content store. The same version of the same content again gives the
    release that is there.

    Args:
        project: Whose commit.
        ledger: Holds the evidence and gets the release.
        store: Gets every file.
        version: What to call it; ``None``: by the commit's tag, else its development version.
        evidence_required: Kinds of evidence that must be PASS on this very content, and those that are switched off.
        now: When.
        publisher: Who; by default git's ``user.email``, else the operating system's user.
        bundle: What was examined; by default the project's files as they are now.

    Raises:
        RefusedError: ``no_repository``, ``nothing_committed``, ``dirty_tree``, ``missing_evidence``, ``tag_elsewhere``
            when git's tag of that name is on another commit, or a floating model or prompt where none is allowed.
        UserError: ``bad_version``; ``submodule``.
        ConflictError: ``version_taken``.
        PermanentError: ``disk_full``.
    """
    bundle = scan(project.root) if bundle is None else bundle
    if bundle.commit_sha is None:
        raise no_commit(in_repository=is_inside_repository(project.root))
    if bundle.dirty:
        raise dirty_tree(bundle.changes)
    called = _version(project, bundle.commit_sha, version)
    files = _files(bundle)
    existing = _existing(project, ledger, called)
    if existing is not None and existing.manifest.release_digest == bundle.digest:
        _store_files(bundle, files, store)  # a blob may have been lost since
        return existing
    draft = _draft(project, bundle, files, ledger, publisher or identity(project.root))
    manifest = cut(
        draft, version=called, evidence=ledger.list_evidence(bundle.digest), required=evidence_required, now=now
    )
    _store_files(bundle, files, store)
    release = signed(manifest, local_key(project.state.keys))
    ledger.add_release(release)
    return release


def effective_digests(project: Project, release: Digest) -> dict[EnvironmentName, Digest]:
    """What a release resolves to in every environment of the project.

    Raises:
        RefusedError: For a floating model or prompt outside dev.
        NotFoundError: When an environment names a prompt version or model that is not there.
    """
    return {name: effective_digest(release, project.overlay(name)) for name in project.environments}


def _version(project: Project, commit: str, version: str | None) -> Version:
    if version is None:
        return commit_version(project.root, commit)
    called = Version.parse(version)
    tagged = tagged_commit(project.root, called)
    if tagged is not None and tagged != commit:
        raise RefusedError(
            f"tag {called.tag} is on commit {tagged[:12]}, not on {commit[:12]}",
            code="tag_elsewhere",
            hint="check that commit out, or choose the next version",
        )
    return called


def _existing(project: Project, ledger: ReleaseStore, version: Version) -> SignedRelease | None:
    try:
        found = ledger.find_release(project.name, str(version))
    except NotFoundError:
        return None
    return found if found.manifest.release_version == str(version) else None


def _files(bundle: Bundle) -> tuple[TreeFile, ...]:
    return tuple(
        TreeFile(path=file.path, mode=file.mode, digest=file.digest, component=file.component)
        for file in bundle.release_files()
        if file.component is not None
    )


def _store_files(bundle: Bundle, files: tuple[TreeFile, ...], store: ContentStore) -> None:
    tree = tree_blob(files)
    read_tree(tree)  # refused here rather than when somebody deploys it
    links = {file.path for file in files if file.mode == "120000"}
    for file, content in bundle.contents():
        if file.path in links:
            check_link(file.path, content.decode("utf-8", "surrogateescape"))
        if store.put(content) != file.digest:
            raise PermanentError(f"{file.path} changed while it was read", code="changed_while_read")
    store.put(tree)


def _draft(project: Project, bundle: Bundle, files: tuple[TreeFile, ...], ledger: Ledger, publisher: str) -> Draft:
    assert bundle.commit_sha is not None
    parts = released_parts(project)
    return Draft(
        agent=project.name,
        commit_sha=bundle.commit_sha,
        components=bundle.components,
        release_digest=bundle.digest,
        effective=effective_digests(project, bundle.digest),
        tree=sha256_digest(tree_blob(files)),
        prompts=parts.prompts,
        tools=parts.tools,
        models=parts.models,
        publisher=publisher,
        authors=authors_since(project.root, bundle.commit_sha, _previous_commit(project, ledger, bundle.commit_sha)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedParts:
    """What a manifest says for people; the fields are those of :class:`fairway.release.values.Manifest`."""

    prompts: Mapping[str, Mapping[str, str]]
    tools: tuple[str, ...]
    models: Mapping[str, str]


def released_parts(project: Project) -> ReleasedParts:
    """Prompts, tools and models as they are in production."""
    overlay = project.overlay(PRODUCTION)
    return ReleasedParts(
        prompts=_prompts(overlay),
        tools=tuple(sorted(overlay.tools)),
        models={alias: f"{model.provider}/{model.model}" for alias, model in sorted(overlay.models.items())},
    )


def _prompts(overlay: Overlay) -> Mapping[str, Mapping[str, str]]:
    return {
        name: {"version": prompt.version, "sha256": prompt.sha256.removeprefix("sha256:")}
        for name, prompt in sorted(overlay.prompts.items())
    }


def _previous_commit(project: Project, ledger: Ledger, commit: str) -> str | None:
    """Where "since the last release" begins: what production serves, else the last release, else git's last tag.

    What production serves comes first, so that the author of a release that never went live stays an author.
    """
    state = ledger.head(project.route(PRODUCTION)).state
    stable = (state or {}).get("stable")
    if isinstance(stable, Mapping):
        try:
            return ledger.find_release(project.name, str(stable.get("release", ""))).manifest.commit_sha
        except NotFoundError:
            pass  # released on another machine: go by what this one knows
    for release in ledger.list_releases(project.name):
        if release.manifest.commit_sha != commit:
            return release.manifest.commit_sha
    try:
        return nearest_release(project.root, f"{commit}^")
    except UserError:
        return None  # the first commit
