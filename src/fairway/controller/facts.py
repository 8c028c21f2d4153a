"""What the ledger knows of a release that a request names, verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fairway.controller.policy import released_plan
from fairway.errors import FairwayError, NotFoundError
from fairway.release.materialise import verify_release
from fairway.release.port import ContentStore, ReleaseStore
from fairway.release.trust import TrustedKeys
from fairway.release.values import Manifest
from fairway.rollout.requests import Request
from fairway.rollout.values import ArmRef, Plan, ReleaseFacts, RouteState
from fairway.units import Digest


@dataclass(slots=True, kw_only=True)
class ReleaseFactsLookup:
    """Implements :data:`fairway.controller.engine.FactsOf`: finds the release, verifies signature and every blob."""

    releases: ReleaseStore
    store: ContentStore
    trusted: Callable[[], TrustedKeys]
    _plans: dict[Digest, Plan] = field(default_factory=dict)

    def __call__(self, request: Request, state: RouteState) -> ReleaseFacts | None:
        """Facts about the release of a request; ``None`` when the ledger has none."""
        try:
            signed = self.releases.find_release(request.route.agent, str(request.args.get("release", "")))
        except NotFoundError:
            return None
        manifest = signed.manifest
        arm = ArmRef(
            release=manifest.release_digest,
            effective=manifest.effective.get(request.route.environment, Digest("")),
            version=manifest.release_version,
        )
        authors = tuple(dict.fromkeys((*manifest.authors, manifest.publisher)))
        try:
            verify_release(signed, self.store, self.trusted())
            plan = self._plan(manifest, request.route.environment)
        except FairwayError as error:
            return ReleaseFacts(arm=arm, refusal=error.message, authors=authors)
        return ReleaseFacts(
            arm=replace(arm, replicas=plan.replicas),
            refusal=self._cannot_follow(manifest, request, state),
            authors=authors,
            plan=plan,
        )

    def _plan(self, manifest: Manifest, environment: str) -> Plan:
        if manifest.release_digest not in self._plans:
            self._plans[manifest.release_digest] = released_plan(manifest, self.store, environment)
        return self._plans[manifest.release_digest]

    def _cannot_follow(self, manifest: Manifest, request: Request, state: RouteState) -> str:
        """Why the release may not serve beside stable here, or an empty string."""
        if request.route.environment not in manifest.effective:
            return f"release {manifest.release_version} has no configuration for {request.route.environment}"
        if state.stable is None:
            return ""
        try:
            stable = self.releases.find_release(request.route.agent, state.stable.release).manifest
        except NotFoundError:
            return ""
        if manifest.state_schema not in stable.reads:
            return (
                f"it writes conversation state {manifest.state_schema!r}, which stable {stable.release_version} cannot"
                f" read (it reads {', '.join(stable.reads)}): a rollback would lose conversations"
            )
        return ""
