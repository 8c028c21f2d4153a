"""Making a derived release: put together, checked on its own content, cut, signed and recorded."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fairway.bootstrap import Workspace
from fairway.bundle.files import EXECUTABLE, SYMLINK, scan
from fairway.errors import FairwayError, NotFoundError, PermanentError, RefusedError, UserError
from fairway.pipeline.port import RunReport
from fairway.project.load import Project, load_project
from fairway.release.cut import Draft, cut
from fairway.release.derive import Derived, Swap, derive, derived_version, inherited
from fairway.release.materialise import materialise, verify_release
from fairway.release.required import Required, lacking
from fairway.release.tree import read_tree, tree_blob
from fairway.release.trust import local_key, signed, trusted_keys
from fairway.release.values import Component, Evidence, Manifest, SignedRelease
from fairway.release.versions import Version
from fairway.stages.delivery import Wiring, deliver
from fairway.stages.options import RunOptions
from fairway.stages.packaging import effective_digests, released_parts
from fairway.stages.registry import required_for_production
from fairway.state_dir import StateDir
from fairway.units import Digest, EnvironmentName, short

_SHARED_CACHES = ("stages", "envs")
"""Caches by content, which a derived release shares with the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A derived release before it is cut.

    Attributes:
        base: What it is derived from.
        donors: The releases components are taken from.
        version: What it will be called.
        tree: Digest of the list of its files, which are in the content store.
        project: It as a project, read from its own files.
        required: What production asks for, by its own ``fairway.yaml``.
        effective: What it resolves to by environment.
        instrument: Digest of the suites and tests it is examined with, those of the base's commit; ``None`` where git
            does not know that commit.
        inherited: Evidence that still holds, by kind.
        lacks: What is still missing, and why.
    """

    base: Manifest
    donors: tuple[Manifest, ...]
    derived: Derived
    version: Version
    tree: Digest
    project: Project
    required: Required
    effective: Mapping[EnvironmentName, Digest]
    instrument: Digest | None
    inherited: Mapping[str, Evidence]
    lacks: Mapping[str, str]


def prepare(
    workspace: Workspace, base: SignedRelease, swaps: Iterable[tuple[str, SignedRelease]], *, now: datetime
) -> Prepared:
    """Put a derived release together and say what vouches for it; nothing is cut.

    Args:
        workspace: The open project.
        base: What it is derived from.
        swaps: ``(component, release it is taken from)``.
        now: Decides what evidence has expired.

    Raises:
        RefusedError: When one of the releases does not verify, nothing would change (``derive_unchanged``), or the
            files do not go together.
        UserError: ``bad_component``, ``derive_twice``; or a mistake in the files as they stand together.
    """
    trusted = trusted_keys(workspace.state.keys)
    whole = verify_release(base, workspace.store, trusted)
    wanted = [
        Swap(component=_component(name), donor=verify_release(one, workspace.store, trusted)) for name, one in swaps
    ]
    donors = {swap.donor.release_digest: swap.donor for swap in wanted}
    derived = derive(
        whole,
        read_tree(workspace.store.get(whole.tree)),
        wanted,
        {digest: read_tree(workspace.store.get(donor.tree)) for digest, donor in donors.items()},
    )
    taken = [one.manifest.release_version for one in workspace.ledger.list_releases(whole.agent)]
    tree = workspace.store.put(tree_blob(derived.files))
    project = load_project(materialise(tree, workspace.store, _folder(workspace) / "trees"))
    project = replace(project, state=workspace.state)
    prepared = Prepared(
        base=whole,
        donors=tuple(donors.values()),
        derived=derived,
        version=derived_version(Version.parse(whole.release_version), taken),
        tree=tree,
        project=project,
        required=required_for_production(project),
        effective=_resolved(project, derived, whole, donors.values()),
        instrument=_instrument(workspace, whole),
        inherited={},
        lacks={},
    )
    return look_again(workspace, prepared, now=now)


def look_again(workspace: Workspace, prepared: Prepared, *, now: datetime) -> Prepared:
    """The same with the evidence as it is now."""
    kept: dict[str, Evidence] = {}
    for one in (*prepared.donors, prepared.base):
        known = (*one.evidence, *workspace.ledger.list_evidence(one.release_digest))
        kept |= inherited(prepared.required, known, of=one, derived=prepared.derived, instrument=prepared.instrument)
    own = workspace.ledger.list_evidence(prepared.derived.digest)
    lacks = lacking(
        prepared.required,
        (*kept.values(), *own),
        release=prepared.derived.digest,
        effective=prepared.effective,
        now=now,
    )
    return replace(prepared, inherited=kept, lacks=lacks)


def cut_derived(workspace: Workspace, prepared: Prepared, *, publisher: str, now: datetime) -> SignedRelease:
    """Cut, sign and record it.

    Raises:
        RefusedError: ``derived_unproven`` when evidence is missing, with what to run.
    """
    if prepared.lacks:
        named = "; ".join(f"{kind}: {why}" for kind, why in prepared.lacks.items())
        raise RefusedError(
            f"{prepared.version} is not proven ({named})",
            code="derived_unproven",
            hint="leave --no-run out: the checks run on exactly this content",
        )
    derived = prepared.derived
    parts = released_parts(prepared.project)
    draft = Draft(
        agent=prepared.base.agent,
        commit_sha=prepared.base.commit_sha,
        components=derived.components,
        release_digest=derived.digest,
        effective=prepared.effective,
        tree=prepared.tree,
        prompts=parts.prompts,
        tools=parts.tools,
        models=parts.models,
        publisher=publisher,
        authors=derived.authors,
        parent=derived.parent,
        state_schema=derived.state_schema,
        reads=derived.reads,
        donors=derived.donors,
    )
    workspace.ledger.add_evidence(list(prepared.inherited.values()))
    evidence = workspace.ledger.list_evidence(derived.digest)
    manifest = cut(draft, version=prepared.version, evidence=evidence, required=prepared.required, now=now)
    release = signed(manifest, local_key(workspace.state.keys))
    workspace.ledger.add_release(release)
    shutil.rmtree(prepared.project.root, ignore_errors=True)
    return release


async def check(workspace: Workspace, prepared: Prepared, wiring: Wiring) -> RunReport:
    """Run the pipeline on exactly the derived content, up to staging; what it finds is in the ledger.

    The instrument - suites, tests - is that of the base's commit. The content is written to a folder with a git
    repository of its own, because a check is of a commit; that its digest is the derived release's is checked first.

    Raises:
        NotFoundError: When git does not know the base's commit here.
        PermanentError: When what was written has another digest (``derive_mismatch``).
    """
    folder = _folder(workspace) / prepared.derived.digest.removeprefix("sha256:")[:16]
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "project"
    await asyncio.to_thread(_write, workspace, prepared, root)
    found = await asyncio.to_thread(scan, root)
    if found.digest != prepared.derived.digest:
        raise PermanentError(
            f"the folder of {prepared.version} has digest {short(found.digest)}, not {short(prepared.derived.digest)}",
            code="derive_mismatch",
            hint="does .gitattributes change files on their way in? release them as they are stored",
        )
    project = replace(load_project(root), state=_state(workspace, folder))
    report = await deliver(project, RunOptions(), wiring)
    if report.verdict == "passed":
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _resolved(
    project: Project, derived: Derived, base: Manifest, donors: Iterable[Manifest]
) -> Mapping[EnvironmentName, Digest]:
    """What it resolves to by environment.

    Raises:
        RefusedError: ``derive_disagrees`` when its parts do not go together: one names what another does not have.
    """
    try:
        return effective_digests(project, derived.digest)
    except (NotFoundError, RefusedError) as error:
        others = [
            f"{part.value} of {donor.release_version} (--only {part.value})"
            for donor in donors
            for part in (Component.POLICIES, Component.MODELS, Component.PROMPTS, Component.TOOLS)
            if part not in derived.donors and donor.components[part] != base.components[part]
        ]
        raise RefusedError(
            f"these parts do not go together: {error.message}",
            code="derive_disagrees",
            hint=f"take what names it from there too: {others[0]}" if others else error.hint,
        ) from error


def _instrument(workspace: Workspace, base: Manifest) -> Digest | None:
    """Of the base's commit, as :func:`check` writes it; unknown where that commit cannot be read here."""
    try:
        return scan(workspace.project.root, rev=base.commit_sha).instrument
    except FairwayError:
        return None


def _component(name: str) -> Component:
    try:
        return Component(name.strip().lower())
    except ValueError as error:
        parts = ", ".join(part.value for part in Component)
        raise UserError(f"there is no component {name!r}", code="bad_component", hint=f"one of {parts}") from error


def _folder(workspace: Workspace) -> Path:
    return workspace.state.root / "derived"


def _state(workspace: Workspace, folder: Path) -> StateDir:
    """A state of its own that shares what is kept by content: the run is nobody's last run."""
    state = StateDir(folder / "state")
    state.cache.mkdir(parents=True, exist_ok=True)
    for name in _SHARED_CACHES:
        shared = workspace.state.cache / name
        shared.mkdir(parents=True, exist_ok=True)
        (state.cache / name).symlink_to(shared.resolve())
    return state


def _write(workspace: Workspace, prepared: Prepared, root: Path) -> None:
    """The derived files and the base's instrument, committed to a repository of their own."""
    try:
        instrument = scan(workspace.project.root, rev=prepared.base.commit_sha)
    except NotFoundError as error:
        raise NotFoundError(
            f"git does not know commit {prepared.base.commit_sha[:12]} here, whose suites and tests are needed",
            code="no_instrument",
            hint="fetch it, or run this where it was released",
        ) from error
    for file in prepared.derived.files:
        _put(root / file.path, file.mode, workspace.store.get(file.digest))
    for known, content in instrument.contents([file for file in instrument.files if file.component is None]):
        _put(root / known.path, known.mode, content)
    for arguments in (
        ("init", "-q"),
        ("-c", "core.autocrlf=false", "add", "-A", "-f", "."),
        (
            *("-c", "user.name=Fairway", "-c", "user.email=fairway@localhost", "-c", "commit.gpgsign=false"),
            *("commit", "-q", "--no-verify", "-m", f"{prepared.version}"),
        ),
    ):
        _git(root, *arguments)


def _put(path: Path, mode: str, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == SYMLINK:
        path.symlink_to(content.decode("utf-8", "surrogateescape"))
        return
    path.write_bytes(content)
    path.chmod(0o755 if mode == EXECUTABLE else 0o644)


def _git(root: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=False, env=_outside_git()
    )
    if done.returncode != 0:
        raise PermanentError(f"git {arguments[0]}: {done.stderr.strip()}", code="git_failed")


def _outside_git() -> dict[str, str]:
    """The environment without what a hook of git would leave in it: this is another repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
