"""``fairway release``: cut releases by hand, look at them, compare them, prove them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option, say

if TYPE_CHECKING:
    from fairway.ledger import SqlLedger
    from fairway.project.load import Project
    from fairway.release.diff import ReleaseDiff
    from fairway.release.store import FileContentStore
    from fairway.release.trust import TrustedKeys
    from fairway.release.values import Evidence, Manifest, SignedRelease

EPILOG = """\b
Examples:
  fairway release create v1.2.0
  fairway release diff 1.1.0 1.2.0

\b
A release is named by version (1.2.0, v1.2.0), by digest or its first 8 digits, or by commit.
"""


@click.group(name="release", cls=Listing, epilog=EPILOG)
def command() -> None:
    """Releases: immutable, signed, and bound to what was found about them."""


@dataclass(frozen=True, slots=True)
class _Place:
    project: Project
    ledger: SqlLedger
    store: FileContentStore

    def find(self, reference: str) -> SignedRelease:
        return self.ledger.find_release(self.project.name, reference)


@contextmanager
def _open(project_dir: str | None) -> Iterator[_Place]:
    from fairway.ledger import open_ledger
    from fairway.project.load import load_project
    from fairway.release.store import FileContentStore

    project = load_project(Path(project_dir) if project_dir else None)
    with open_ledger(project.state.ledger) as ledger:
        yield _Place(project, ledger, FileContentStore(project.state.blobs))


@command.command("create", epilog="Example: fairway release create v1.2.0")
@click.argument("version", required=False)
@output_option
@project_option
def create(version: str | None, output: str, project_dir: str | None) -> None:
    """Cut, sign and record a release of the current commit.

    VERSION is by default the commit's tag, else a development version. The evidence of every check must be
    there, taken on this very content: `fairway run` on the clean commit takes it. Production also asks for
    what smoke_test and e2e_test find; what is still missing for that is said, and a deployment is refused
    until it is there.
    """
    from datetime import UTC, datetime

    from fairway.release.required import lacking
    from fairway.stages.packaging import package
    from fairway.stages.registry import required_for_production, required_for_release

    with _open(project_dir) as place:
        now = datetime.now(UTC)
        release = package(
            place.project,
            place.ledger,
            place.store,
            version=version,
            evidence_required=required_for_release(place.project),
            now=now,
        )
        manifest = release.manifest
        missing = lacking(
            required_for_production(place.project),
            place.ledger.list_evidence(manifest.release_digest),
            release=manifest.release_digest,
            effective=manifest.effective,
            now=now,
        )
    say(f"recorded {manifest.release_version}; tag the commit with: git tag {manifest.tag}")
    if missing:
        named = "; ".join(f"{kind}: {why}" for kind, why in missing.items())
        say(f"not yet for production ({named}); fairway run takes it")
    emit(_summary(manifest), output=output, text=lambda: _line(manifest))


@command.command("derive", epilog="Example: fairway release derive --from 1.2.0 --only prompts=1.1.0")
@click.option("--from", "base", required=True, metavar="RELEASE", help="What it is derived from.")
@click.option(
    "--only",
    "swaps",
    multiple=True,
    required=True,
    metavar="COMPONENT=RELEASE",
    help="Take prompts, models, tools, policies or code from another release; may be given several times.",
)
@click.option("--run/--no-run", default=True, show_default=True, help="Run the checks that are missing, or refuse.")
@output_option
@project_option
def derive(base: str, swaps: tuple[str, ...], run: bool, output: str, project_dir: str | None) -> int:
    """Make a release of another one with some components of a third: version -rN, parents recorded, signed.

    Evidence is taken over only where everything it is about is unchanged, and is named; all other checks run on
    exactly this content. Exits 1 when one of them says no. Roll it out as any release: fairway rollout start.
    """
    from fairway.bootstrap import open_workspace
    from fairway.cli.deriving import derived_wire, make_derived
    from fairway.errors import UserError

    workspace = open_workspace(project_dir)
    try:
        named = []
        for swap in swaps:
            component, equals, reference = swap.partition("=")
            if not equals or not reference:
                raise UserError(f"--only {swap}: from which release?", code="bad_option", hint="--only prompts=1.1.0")
            named.append((component, workspace.ledger.find_release(workspace.project.name, reference)))
        whole = workspace.ledger.find_release(workspace.project.name, base)
        made = make_derived(workspace, whole, named, run=run)
    finally:
        workspace.close()
    if made is None:
        return 1
    emit(derived_wire(made), output=output, text=lambda: _line(made.manifest))
    return 0


@command.command("list", epilog="Example: fairway release list -o json")
@output_option
@project_option
def list_releases(output: str, project_dir: str | None) -> None:
    """Every release of the agent, newest first, and where it stands.

    stable: serves; rolling_out; blocked: rolled back until a person lifts it; former: was stable; released: never
    served.
    """
    from dataclasses import asdict

    from fairway.release.metadata import release_metadata

    with _open(project_dir) as place:
        found = [release.manifest for release in place.ledger.list_releases(place.project.name)]
        routes = [route for route in place.ledger.routes() if route.agent == place.project.name]
        states = [place.ledger.head(route).state or {} for route in routes]
    rows = list(zip(found, release_metadata(found, states), strict=True))
    emit(
        [{**_summary(one), **asdict(more), "created_at": one.created_at.isoformat()} for one, more in rows],
        output=output,
        text=lambda: "\n".join(f"{_line(one)}  {more.status}" for one, more in rows) or "no release yet: fairway run",
    )


@command.command("show", epilog="Example: fairway release show 1.2.0")
@click.argument("reference")
@click.option("--envelope", is_flag=True, help="Print the DSSE envelope: the signed manifest, as others verify it.")
@output_option
@project_option
def show(reference: str, envelope: bool, output: str, project_dir: str | None) -> None:
    """Everything about one release, with its evidence."""
    from fairway.release.wire import manifest_to_wire

    with _open(project_dir) as place:
        release = place.find(reference)
        mix = _mix(place, release.manifest) if release.manifest.donors else {}
    if envelope:
        click.echo(release.envelope)
        return
    wire = manifest_to_wire(release.manifest) | ({"mix": mix} if mix else {})
    emit(wire, output=output, text=lambda: _details(release.manifest) + _mix_text(mix))


def _mix(place: _Place, manifest: Manifest) -> dict[str, str]:
    """How far a release of former parts has proved itself as a whole, by environment."""
    from fairway.rollout.mixes import standing_of
    from fairway.rollout.values import RouteState
    from fairway.rollout.wire import state_from_wire
    from fairway.units import RouteId

    found = {}
    for environment in manifest.effective:
        route = RouteId(agent=manifest.agent, environment=environment)
        wire = place.ledger.head(route).state
        state = RouteState(route=route) if wire is None else state_from_wire(wire)
        found[str(environment)] = standing_of(state, manifest.release_digest).value
    return {where: standing for where, standing in found.items() if where == "production" or standing != "never_served"}


def _mix_text(mix: dict[str, str]) -> str:
    said = {
        "never_served": "UNVERIFIED: a mix of former parts that never served as a whole",
        "unverified": "UNVERIFIED: a mix of former parts, no soak has proved it as a whole yet",
        "verified": "verified: it has served as a whole, through a soak of its own",
    }
    return "".join(f"\n  in {where:<13} {said[standing]}" for where, standing in mix.items())


@command.command("diff", epilog="Example: fairway release diff 1.1.0 1.2.0")
@click.argument("before")
@click.argument("after")
@output_option
@project_option
def diff(before: str, after: str, output: str, project_dir: str | None) -> None:
    """What differs between two releases, component by component."""
    from dataclasses import asdict

    from fairway.release.diff import diff as compare
    from fairway.release.tree import read_tree

    with _open(project_dir) as place:
        one, other = place.find(before).manifest, place.find(after).manifest
        found = compare(one, other, read_tree(place.store.get(one.tree)), read_tree(place.store.get(other.tree)))
    emit(asdict(found), output=output, text=lambda: _diff_text(found))


@command.command("verify", epilog="Example: fairway release verify 1.2.0")
@click.argument("reference", required=False)
@output_option
@project_option
def verify(reference: str | None, output: str, project_dir: str | None) -> int:
    """Prove releases as every deploy does: signature, signer, digests from the files, every file.

    Without REFERENCE, all of them. Exits 1 when one does not verify.
    """
    from fairway.release.trust import trusted_keys

    with _open(project_dir) as place:
        trusted = trusted_keys(place.project.state.keys)
        known = place.ledger.list_releases(place.project.name) if reference is None else (place.find(reference),)
        results = [_verdict(release, place.store, trusted) for release in known]
    emit(
        results,
        output=output,
        text=lambda: (
            "\n".join(
                f"{result['release_version']:<24} {'verified' if result['ok'] else 'REFUSED: ' + result['message']}"
                for result in results
            )
            or "no release yet: fairway run"
        ),
    )
    return 0 if all(result["ok"] for result in results) else 1


def _verdict(release: SignedRelease, store: FileContentStore, trusted: TrustedKeys) -> dict[str, Any]:
    from fairway.errors import FairwayError
    from fairway.release.materialise import verify_release

    named = {"release_version": release.manifest.release_version, "release_digest": release.manifest.release_digest}
    try:
        verify_release(release, store, trusted)
    except FairwayError as error:
        return {**named, "ok": False, "code": error.code, "message": error.message, "hint": error.hint}
    return {**named, "ok": True, "code": "", "message": "", "hint": None}


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "release_version": manifest.release_version,
        "tag": manifest.tag,
        "release_digest": manifest.release_digest,
        "commit_sha": manifest.commit_sha,
        "created_at": manifest.created_at.isoformat(),
        "publisher": manifest.publisher,
        "evidence": {evidence.kind: evidence.verdict.value for evidence in manifest.evidence},
    }


def _line(manifest: Manifest) -> str:
    from fairway.units import short

    return (
        f"{manifest.release_version:<24} {short(manifest.release_digest)}  {manifest.commit_sha[:10]}"
        f"  {manifest.created_at:%Y-%m-%d %H:%M}  {manifest.publisher}"
    )


def _details(manifest: Manifest) -> str:
    lines = [
        f"{manifest.agent} {manifest.release_version} (tag {manifest.tag})",
        f"  digest     {manifest.release_digest}",
        f"  commit     {manifest.commit_sha}",
        f"  created    {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC by {manifest.publisher}",
        f"  authors    {', '.join(manifest.authors) or '-'}",
    ]
    if manifest.parent is not None:
        lines.append(f"  parent     {manifest.parent}")
    lines += [f"  {part.value + ' of':<10} {digest}" for part, digest in manifest.donors.items()]
    lines += [f"  {component.value:<10} {digest}" for component, digest in manifest.components.items()]
    lines += [f"  in {name:<13} {digest[:15]}" for name, digest in manifest.effective.items()]
    lines += [f"  prompt {name} {entry.get('version', '?')}" for name, entry in manifest.prompts.items()]
    lines += [f"  model {alias} = {model}" for alias, model in manifest.models.items()]
    lines += [f"  tool {name}" for name in manifest.tools]
    lines += [_finding(evidence) for evidence in manifest.evidence]
    return "\n".join(lines)


def _finding(evidence: Evidence) -> str:
    from fairway.release.derive import INHERITED
    from fairway.release.required import DISABLED, SKIPPED
    from fairway.units import short

    if INHERITED in evidence.figures:
        return f"  inherited    {evidence.kind}: {evidence.verdict.value} on {short(evidence.figures[INHERITED])}"
    for figure, said in ((DISABLED, "off"), (SKIPPED, "skipped")):
        if isinstance(evidence.figures.get(figure), str):  # a count of skipped tests is no reason
            return f"  {said:<12} {evidence.kind}: {evidence.figures[figure]}"
    return f"  {evidence.verdict.value:<12} {evidence.kind} by {evidence.produced_by}, {evidence.at:%Y-%m-%d %H:%M}"


def _diff_text(found: ReleaseDiff) -> str:
    if found.identical:
        return f"{found.before} and {found.after} have the same content"
    lines = []
    for part in found.components:
        if part.changed:
            lines.append(part.component.value)
            lines += [f"  + {path}" for path in part.added]
            lines += [f"  - {path}" for path in part.removed]
            lines += [f"  ~ {path}" for path in part.modified]
    for what, changes in (("prompt", found.prompts), ("model", found.models), ("tool", found.tools)):
        lines += [f"{what} {change.name}: {change.before or '-'} -> {change.after or '-'}" for change in changes]
    if found.environments:
        lines.append("changes in " + ", ".join(change.name for change in found.environments))
    return "\n".join(lines)
