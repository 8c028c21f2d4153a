"""What the ledger knows of a release that a request names, verified."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.controller.policy import Planner, planner_of
from fairway.controller.profile import Profile, changes_between, profile_of
from fairway.errors import FairwayError, NotFoundError
from fairway.project.load import Project, load_project
from fairway.release.asks_less import asks_less
from fairway.release.derive import never_stable
from fairway.release.ladder import Rung, not_passed, rungs_below
from fairway.release.materialise import materialise, verify_release
from fairway.release.port import ContentStore, ReleaseStore
from fairway.release.required import Required, lacking
from fairway.release.trust import TrustedKeys
from fairway.release.values import Manifest, SignedRelease
from fairway.rollout.choose import choose
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Plan, RouteState
from fairway.stages.registry import required_for_production
from fairway.units import AgentName, Digest, RouteId

VERIFIED_SECONDS = 30.0
"""How long a verified release is not read again; an arm is verified anew when it starts."""
REFUSED_SECONDS = 5.0
"""The same for one that did not verify: somebody mends it and asks again."""
PREPARE_SECONDS = 1.0
"""How long a decision may wait for a release to be verified."""

_URGENT = frozenset({Verb.ABORT, Verb.ROLLBACK})
_NEED_FACTS = frozenset({Verb.START, Verb.APPROVE, Verb.RETRY, Verb.ROLLBACK})

_Key = tuple[Digest, str, frozenset[tuple[str, bytes]], str]
"""What a verification depends on: release, envelope, keys that are trusted, environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """What reading a whole release gave, and when; ``refusal``: why it does not verify."""

    at: float
    refusal: str = ""
    planner: Planner | None = None
    required: Required | None = None
    rungs: tuple[Rung, ...] = ()
    profile: Profile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stable:
    """What is read of a stable release: what it is made of, its policy, and the evidence it needed."""

    profile: Profile
    planner: Planner
    required: Required
    rungs: tuple[Rung, ...]


@dataclass(slots=True, kw_only=True)
class ReleaseFactsLookup:
    """Implements :data:`fairway.controller.engine.FactsOf`: the release's signature, files, policy and evidence.

    Reading a whole release takes as long as its files are large, so :meth:`prepare` does it in a thread, ahead of the
    decision; the call itself then only looks at the evidence. Without it the call reads the release itself.
    """

    releases: ReleaseStore
    store: ContentStore
    trusted: Callable[[], TrustedKeys]
    clock: Clock = field(default_factory=SystemClock)
    _verified: dict[_Key, _Verified] = field(default_factory=dict)
    _running: dict[_Key, asyncio.Task[None]] = field(default_factory=dict)
    _stables: dict[tuple[Digest, str], _Stable] = field(default_factory=dict)

    async def prepare(
        self, requests: Collection[Request], state: RouteState, *, seconds: float = PREPARE_SECONDS
    ) -> frozenset[str]:
        """Verify the releases that pending requests name, in threads, for at most ``seconds``.

        Nothing is waited for while a person wants traffic moved back.

        Returns:
            Ids of requests whose release is still being read: leave them for a later tick. What a later abort has
            overtaken is not among them: it is answered without being looked at.
        """
        wanted: dict[str, _Key] = {}
        for request in requests:
            signed = self._find(request) if request.verb in _NEED_FACTS else None
            key = None if signed is None else self._key(signed, request)
            if signed is None or key is None or self._known(key) is not None:
                continue
            wanted[request.id] = key
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._verify_apart(key, signed, state))
        urgent = any(request.verb in _URGENT for request in requests)
        tasks = [self._running[key] for key in wanted.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=0 if urgent else seconds)
        order = [request.id for request in requests]
        last_abort = max((place for place, one in enumerate(requests) if one.verb is Verb.ABORT), default=-1)
        withdrawn = {str(request.args.get("request")) for request in requests if request.verb is Verb.WITHDRAW}
        unread = (n for n, key in wanted.items() if key in self._running and n not in withdrawn)
        return frozenset(n for n in unread if order.index(n) > last_abort)

    def __call__(self, request: Request, state: RouteState) -> ReleaseFacts | None:
        """Facts about the release of a request; ``None`` when the ledger has none."""
        signed = self._find(request)
        if signed is None:
            return None
        manifest = signed.manifest
        arm = ArmRef(
            release=manifest.release_digest,
            effective=manifest.effective.get(request.route.environment, Digest("")),
            version=manifest.release_version,
        )
        authors = tuple(dict.fromkeys((*manifest.authors, manifest.publisher)))
        try:
            key = self._key(signed, request)
            verified = self._known(key)
            if verified is None and key in self._running:
                return ReleaseFacts(arm=arm, refusal="it is still being verified; ask again", authors=authors)
            if verified is None:
                verified = self._verified[key] = self._verify(key, signed)
            refusal = verified.refusal or self._cannot_follow(manifest, verified, request, state)
        except FairwayError as error:
            return ReleaseFacts(arm=arm, refusal=error.message, authors=authors)
        stable = self._stable(request.route, state.stable.release) if state.stable is not None else None
        plan = _plan(verified, stable, state)
        if plan is not None:
            arm = replace(arm, replicas=plan.replicas)
        never = None
        if request.verb is Verb.ROLLBACK:
            never = parts_never_stable(self.releases, request.route.agent, manifest, state)
        return ReleaseFacts(
            arm=arm,
            refusal=refusal,
            authors=authors,
            plan=plan,
            never_stable=never,
            compared=state.stable is not None,
            stable_plan=_plan_by_stable(verified, stable),
            asks_less=_less_evidence(verified, stable),
            unknown=self._unknown(request, state),
        )

    def _unknown(self, request: Request, state: RouteState) -> str:
        """What is not known of stable, so that nobody can say whether a release may serve beside it."""
        if state.stable is None or self._manifest(request.route, state.stable.release) is not None:
            return ""
        return (
            f"the release that is stable, {state.stable.version}, is not in this ledger: whether it could go on with"
            " conversations of the new one is not known"
        )

    def _manifest(self, route: RouteId, release: Digest) -> Manifest | None:
        try:
            return self.releases.find_release(route.agent, release).manifest
        except NotFoundError:
            return None

    def _stable(self, route: RouteId, release: Digest) -> _Stable | None:
        """What a stable release is made of; ``None`` when it cannot be read. It never changes, so it is read once."""
        key = (release, route.environment)
        if key not in self._stables:
            try:
                manifest = self.releases.find_release(route.agent, release).manifest
                with tempfile.TemporaryDirectory(prefix="fairway-stable-") as folder:
                    project = load_project(materialise(manifest.tree, self.store, Path(folder)))
                    required = required_for_production(project)
                    self._stables[key] = _Stable(
                        profile=profile_of(project, route.environment, manifest),
                        planner=planner_of(project, route.environment),
                        required=required,
                        rungs=_rungs(project, route.environment, required),
                    )
            except (FairwayError, OSError):
                return None
        return self._stables[key]

    def _find(self, request: Request) -> SignedRelease | None:
        try:
            return self.releases.find_release(request.route.agent, str(request.args.get("release", "")))
        except NotFoundError:
            return None

    def _key(self, signed: SignedRelease, request: Request) -> _Key:
        trusted = frozenset(self.trusted().items())
        return signed.manifest.release_digest, signed.envelope, trusted, request.route.environment

    def _known(self, key: _Key) -> _Verified | None:
        found = self._verified.get(key)
        if found is None:
            return None
        limit = REFUSED_SECONDS if found.refusal else VERIFIED_SECONDS
        return found if self.clock.monotonic() - found.at < limit else None

    async def _verify_apart(self, key: _Key, signed: SignedRelease, state: RouteState) -> None:
        try:
            verified = self._verified[key] = await asyncio.to_thread(self._verify, key, signed)
            if state.stable is not None and verified.planner is not None:
                await asyncio.to_thread(self._stable, state.route, state.stable.release)
        finally:
            self._running.pop(key, None)

    def _verify(self, key: _Key, signed: SignedRelease) -> _Verified:
        """Read the whole release: its signature, every file, and what its own ``fairway.yaml`` asks for."""
        _, _, trusted, environment = key
        try:
            manifest = verify_release(signed, self.store, dict(trusted))
            with tempfile.TemporaryDirectory(prefix="fairway-policy-") as folder:
                project = load_project(materialise(manifest.tree, self.store, Path(folder)))
                planner = planner_of(project, environment)
                required = required_for_production(project)
                return _Verified(
                    at=self.clock.monotonic(),
                    planner=planner,
                    required=required,
                    rungs=_rungs(project, environment, required),
                    profile=profile_of(project, environment, manifest),
                )
        except FairwayError as error:
            return _Verified(at=self.clock.monotonic(), refusal=error.message)
        except OSError as error:
            return _Verified(at=self.clock.monotonic(), refusal=f"it cannot be read: {error.strerror}")

    def _cannot_follow(self, manifest: Manifest, verified: _Verified, request: Request, state: RouteState) -> str:
        """Why the release may not serve beside stable here, or an empty string."""
        if request.route.environment not in manifest.effective:
            return f"release {manifest.release_version} has no configuration for {request.route.environment}"
        missing = self._missing_evidence(manifest, verified, state)
        if missing:
            return missing
        if state.stable is None:
            return ""
        stable = self._manifest(request.route, state.stable.release)
        if stable is None:
            return ""  # a person may start it all the same: ReleaseFacts.unknown
        if manifest.state_schema not in stable.reads:
            return (
                f"it writes conversation state {manifest.state_schema!r}, which stable {stable.release_version} cannot"
                f" read (it reads {', '.join(stable.reads)}): a rollback would lose conversations"
            )
        return ""

    def _missing_evidence(self, manifest: Manifest, verified: _Verified, state: RouteState) -> str:
        """What nobody found about the release, or found wanting; a former stable of this route may always come back.

        Looked at anew each time: evidence expires, and a newer finding counts.
        """
        former = {arm.release for arm in (state.stable, *state.history) if arm is not None}
        if manifest.release_digest in former:
            return ""
        if verified.required is None:
            return f"what release {manifest.release_version} needs to be deployed is not known"
        evidence = (*manifest.evidence, *self.releases.list_evidence(manifest.release_digest))
        release, effective, now = manifest.release_digest, manifest.effective, self.clock.now()
        again = _take_it(manifest)
        lacks = lacking(verified.required, evidence, release=release, effective=effective, now=now)
        if lacks:
            return f"release {manifest.release_version} lacks evidence ({_named(lacks)}); {again}"
        for rung in verified.rungs:
            lacks = not_passed(rung, evidence, release=release, effective=effective, now=now)
            if lacks:
                where = f"release {manifest.release_version} has not passed {rung.environment}"
                return f"{where} ({_named(lacks)}); {again}"
        return ""


def _plan(verified: _Verified, stable: _Stable | None, state: RouteState) -> Plan | None:
    """The plan of the release's own policy; under ``auto`` by what it changes of the present stable."""
    if verified.planner is None:
        return None
    if not verified.planner.automatic or state.stable is None:
        return verified.planner.plan()
    return _chosen(verified.planner, verified, stable)


def _plan_by_stable(verified: _Verified, stable: _Stable | None) -> Plan | None:
    """What the policy of the present stable would make of a rollout of the release; ``None``: not known."""
    return None if stable is None else _chosen(stable.planner, verified, stable)


def _less_evidence(verified: _Verified, stable: _Stable | None) -> tuple[str, ...]:
    if stable is None or verified.required is None:
        return ()
    return asks_less(stable.required, verified.required, rungs=stable.rungs, rungs_after=verified.rungs)


def _rungs(project: Project, environment: str, required: Required) -> tuple[Rung, ...]:
    return rungs_below(project.environments, project.environment(environment).name, required)


def _chosen(planner: Planner, verified: _Verified, stable: _Stable | None) -> Plan:
    if not planner.automatic:
        return planner.plan()
    known = stable is not None and verified.profile is not None
    changes = changes_between(stable.profile, verified.profile) if known and stable and verified.profile else None
    return planner.plan(choose(changes, heeded=planner.policy.shadow.heeded))


def parts_never_stable(
    releases: ReleaseStore, agent: AgentName, manifest: Manifest, state: RouteState | None
) -> tuple[str, ...]:
    """Components of a release that were in no release that was stable on a route and is not blocked there.

    Args:
        releases: What is known of former stables.
        agent: Whose they are.
        manifest: Of the release.
        state: Of the route; ``None``: nothing has ever served there.
    """
    former = []
    for arm in () if state is None else (state.stable, *state.history):
        if arm is None or state is None or arm.release in state.blocked:
            continue
        try:
            former.append(releases.find_release(agent, arm.release).manifest)
        except NotFoundError:
            continue  # released on another machine: what is not known here has not stood
    return tuple(part.value for part in never_stable(manifest.components, former))


def _take_it(manifest: Manifest) -> str:
    """How to take evidence of a release in this ledger, while the folder of the running project stays as it is."""
    folder = f"../{manifest.agent}-{manifest.release_version}"
    return (
        f"take it on its commit: git worktree add {folder} {manifest.commit_sha[:12]};"
        f' ln -s "$PWD/.fairway" {folder}/; cd {folder}; fairway run'
    )


def _named(lacks: Mapping[str, str]) -> str:
    return "; ".join(f"{what}: {why}" for what, why in lacks.items())
