"""The release: cut, stored by content and signed - once, whoever asks again."""

from __future__ import annotations

import asyncio

from fairway.errors import ConflictError, NotFoundError, RefusedError
from fairway.pipeline.port import StageOutcome, StageStatus
from fairway.release.tree import check_link, check_path
from fairway.release.values import SignedRelease
from fairway.stages.context import DeliveryContext
from fairway.stages.packaging import package
from fairway.stages.registry import required_for_release
from fairway.units import short


class BuildImage:
    """Records what the stages before found, then cuts a release that all of it vouches for.

    A development run only checks that a release could be made of these files; nothing is published.
    """

    id = "build_image"
    title = "Package"
    after = ("unit_test", "prompt_regression", "tool_integration", "security_scan", "cost_gate")

    def cache_key(self, context: DeliveryContext) -> str | None:
        """The registry's."""
        return context.opening.node.key(context)

    async def run(self, context: DeliveryContext) -> StageOutcome:
        """Cut it, or find it."""
        if context.delivery.release_version is None:
            return await asyncio.to_thread(_check_files, context)
        earlier = _find(context, context.delivery.release_version)
        try:
            release = await asyncio.to_thread(_cut, context)
        except (RefusedError, ConflictError) as error:
            details = {"code": error.code, "hint": error.hint}
            return StageOutcome(status=StageStatus.FAILED, summary=error.message, details=details)
        context.delivery.packaged = release
        return _outcome(release, again=earlier == release)


def _cut(context: DeliveryContext) -> SignedRelease:
    delivery = context.delivery
    context.progress("recording the evidence")
    delivery.record_evidence()
    context.progress(f"cutting {delivery.release_version}")
    return package(
        context.project,
        context.ledger,
        context.store,
        version=delivery.release_version,
        evidence_required=required_for_release(context.project),
        now=context.clock.now(),
        publisher=delivery.actor,
        bundle=context.bundle,
    )


def _find(context: DeliveryContext, version: str) -> SignedRelease | None:
    try:
        return context.ledger.find_release(context.project.name, version)
    except NotFoundError:
        return None


def _outcome(release: SignedRelease, *, again: bool) -> StageOutcome:
    manifest = release.manifest
    named = f"{manifest.release_version} ({short(manifest.release_digest)})"
    return StageOutcome(
        status=StageStatus.CACHED if again else StageStatus.PASSED,
        summary=f"{named} is released already" if again else f"released {named}, signed",
        details={
            "release": manifest.release_digest,
            "release_version": manifest.release_version,
            "tag": manifest.tag,
            "commit_sha": manifest.commit_sha,
            "components": {component.value: digest for component, digest in manifest.components.items()},
            "evidence": [one.kind for one in manifest.evidence],
        },
    )


def _check_files(context: DeliveryContext) -> StageOutcome:
    """Whether the files could be a release; what is wrong raises."""
    size = 0
    files = context.bundle.release_files()
    for file, content in context.bundle.contents():
        check_path(file.path)
        if file.mode == "120000":
            check_link(file.path, content.decode("utf-8", "surrogateescape"))
        size += len(content)
    return StageOutcome(
        status=StageStatus.PASSED,
        summary=f"{len(files)} files, {size / 1024:.0f} KiB; a development build is not released",
        details={"files": len(files), "bytes": size, "release": context.release},
    )
