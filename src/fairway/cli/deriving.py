"""How commands make a derived release: say what it is, run the checks it lacks, cut it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fairway.cli.output import say

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.pipeline.port import RunReport
    from fairway.recovery.deriving import Prepared
    from fairway.release.values import SignedRelease


def make_derived(
    workspace: Workspace, base: SignedRelease, swaps: Sequence[tuple[str, SignedRelease]], *, run: bool
) -> SignedRelease | None:
    """A derived release, cut and recorded; ``None`` when its checks did not pass, which has been said.

    Args:
        workspace: The open project.
        base: What it is derived from.
        swaps: ``(component, release it is taken from)``.
        run: Whether to run checks that are missing; otherwise it is refused.

    Raises:
        RefusedError: ``derived_unproven`` without ``run``; and as :func:`fairway.recovery.deriving.prepare`.
    """
    from fairway.cli.verbs import actor_of
    from fairway.recovery.deriving import cut_derived, look_again, prepare

    prepared = prepare(workspace, base, swaps, now=workspace.clock.now())
    for line in told(prepared):
        say(line)
    if prepared.lacks and run:
        report = _checked(workspace, prepared)
        prepared = look_again(workspace, prepared, now=workspace.clock.now())
        if prepared.lacks:
            say(_failed(report, prepared))
            return None
    return cut_derived(workspace, prepared, publisher=actor_of(workspace.project.root), now=workspace.clock.now())


def told(prepared: Prepared) -> list[str]:
    """What a derived release is and what vouches for it, for people."""
    from fairway.units import short

    names = {one.release_digest: one.release_version for one in prepared.donors}
    parts = ", ".join(f"{part.value} of {names[digest]}" for part, digest in prepared.derived.donors.items())
    lines = [f"{prepared.version} is {prepared.base.release_version} with {parts} ({short(prepared.derived.digest)})"]
    for kind, finding in prepared.inherited.items():
        unchanged = ", ".join(finding.figures["unchanged"])
        lines.append(f"  inherited  {kind} of {short(finding.figures['inherited_from'])}: {unchanged} are unchanged")
    if prepared.lacks:
        lines.append(f"  to check   {', '.join(prepared.lacks)}")
    return lines


def derived_wire(release: SignedRelease) -> dict[str, Any]:
    """A derived release as JSON."""
    manifest = release.manifest
    return {
        "release_version": manifest.release_version,
        "release_digest": manifest.release_digest,
        "parent": manifest.parent,
        "donors": {part.value: digest for part, digest in manifest.donors.items()},
        "evidence": {finding.kind: finding.verdict.value for finding in manifest.evidence},
        "inherited": [finding.kind for finding in manifest.evidence if "inherited_from" in finding.figures],
    }


def _checked(workspace: Workspace, prepared: Prepared) -> RunReport:
    import asyncio

    return asyncio.run(_check(workspace, prepared))


async def _check(workspace: Workspace, prepared: Prepared) -> RunReport:
    import asyncio
    import signal

    from fairway.cli.run_display import LiveDisplay, PlainDisplay
    from fairway.cli.verbs import actor_of
    from fairway.recovery.deriving import check
    from fairway.stages.delivery import Wiring

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with LiveDisplay() if sys.stderr.isatty() else PlainDisplay(say) as display:
        report = await check(
            workspace,
            prepared,
            Wiring(
                clock=workspace.clock,
                actor=actor_of(workspace.project.root),
                open_ledger=lambda: workspace.ledger,
                open_store=lambda: workspace.store,
                listeners=[display],
                stop=stop,
                begun=lambda run_id, nodes: display.begin(run_id, [node.id for node in nodes]),
            ),
        )
    if stop.is_set():
        raise KeyboardInterrupt
    return report


def _failed(report: RunReport, prepared: Prepared) -> str:
    said = [f"  {one.stage}: {one.summary}" for one in report.results if one.status.value in ("failed", "error")]
    lacks = "; ".join(f"{kind}: {why}" for kind, why in prepared.lacks.items())
    return "\n".join([f"{prepared.version} was not released: {lacks}", *said])
