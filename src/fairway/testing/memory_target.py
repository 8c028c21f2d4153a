"""A target in memory: arms that behave as a script says, on the clock they are given.

It keeps the promises of the port - idempotent verbs that return at once, states that follow in time - so what passes
against it passes against real processes::

    target = MemoryTarget(clock)
    target.script(candidate, Behaviour(ready_after=2.0, crashes_at=(30.0,)))
    await target.ensure(route, spec)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fairway.clock import Clock, SystemClock
from fairway.errors import RefusedError, TransientError
from fairway.targets.port import ArmSpec, AttestedBy, InstanceState, ObservedArm, ObservedInstance, newest_fence
from fairway.traffic.fence import Fence
from fairway.units import Digest, RouteId, short

_FIRST_PORT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How instances of a release behave; seconds count from the start of the instance.

    Attributes:
        ready_after: When it becomes ready; ``None``: never.
        never_ready_after: When an instance that is not ready is reported as NEVER_READY.
        crashes_at: When its process ends; it is ready again ``back_off`` and ``ready_after`` later.
        back_off: How long it is BACKING_OFF after a crash.
        loops_at: From then on it is in CRASH_LOOP; ``None``: never.
        drains_in: How long DRAINING takes.
        reports: The digest it reads back; ``None``: its own. Another one keeps it from being ready.
        attested_by: Who says which release it is.
        refused: ``ensure`` raises RefusedError, as for a bad signature.
    """

    ready_after: float | None = 0.0
    never_ready_after: float = 60.0
    crashes_at: tuple[float, ...] = ()
    back_off: float = 0.5
    loops_at: float | None = None
    drains_in: float = 0.0
    reports: Digest | None = None
    attested_by: AttestedBy = AttestedBy.ARM
    refused: bool = False


@dataclass(slots=True, kw_only=True)
class _Instance:
    """One instance: when it began and when it was asked to end."""

    id: str
    endpoint: str
    started: float
    killed_at: list[float] = field(default_factory=list)
    draining_since: float | None = None


@dataclass(slots=True, kw_only=True)
class _Arm:
    """The instances of one arm."""

    release: Digest
    effective: Digest
    instances: list[_Instance] = field(default_factory=list)


class MemoryTarget:
    """Implements :class:`fairway.targets.port.Target` without processes.

    Attributes:
        calls: Every verb in order, as ``(verb, route, release)``; ``observe`` is left out.
        unreachable: While true every verb raises TransientError, as for a machine that does not answer.
    """

    def __init__(self, clock: Clock | None = None, *, default: Behaviour | None = None) -> None:
        self._clock = clock or SystemClock()
        self._default = default or Behaviour()
        self._behaviours: dict[Digest, Behaviour] = {}
        self._arms: dict[tuple[RouteId, Digest, Digest], _Arm] = {}
        self._fences: dict[RouteId, Fence] = {}
        self._started = 0
        self.calls: list[tuple[str, RouteId, Digest]] = []
        self.unreachable = False

    def script(self, release: Digest, behaviour: Behaviour) -> None:
        """Say how instances of a release behave, also those that run."""
        self._behaviours[release] = behaviour

    def crash(self, release: Digest, *, instance: int | None = None) -> None:
        """End the processes of a release now - all, or the one at this position; they come back as scripted."""
        for arm in self._arms.values():
            if arm.release == release:
                chosen = arm.instances if instance is None else arm.instances[instance : instance + 1]
                for one in chosen:
                    one.killed_at.append(self._clock.monotonic() - one.started)

    def draining(self) -> set[str]:
        """Endpoints of instances that were told to end and have not yet."""
        self._forget_ended()
        arms = self._arms.values()
        return {one.endpoint for arm in arms for one in arm.instances if one.draining_since is not None}

    def running(self, route: RouteId) -> dict[Digest, int]:
        """How many instances of each release exist, in whatever state."""
        self._forget_ended()
        counts: dict[Digest, int] = {}
        for (of, release, _), arm in self._arms.items():
            if of == route and arm.instances:
                counts[release] = counts.get(release, 0) + len(arm.instances)
        return counts

    # -- the port -----------------------------------------------------------------------------------------------------

    async def follow(self, route: RouteId, fence: Fence) -> Fence:
        """From now on refuse whoever has an older fence; the newest it has heard of.

        Raises:
            TransientError: While unreachable.
        """
        self._refuse_when_unreachable()
        newest = self._fences[route] = max(fence, self._fences.get(route, fence))
        return newest

    async def ensure(self, route: RouteId, spec: ArmSpec, *, fence: Fence | None = None) -> None:
        """Start what is missing of an arm, drain what is too many.

        Raises:
            RefusedError: When the release is scripted as refused.
            ConflictError: When a newer fence was heard of.
            TransientError: While unreachable.
        """
        self._called("ensure", route, spec.release_digest, fence)
        if self._behaviour(spec.release_digest).refused:
            raise RefusedError(f"release {short(spec.release_digest)} is not signed by a trusted key", code="signature")
        self._forget_ended()
        key = (route, spec.release_digest, spec.effective_digest)
        arm = self._arms.setdefault(key, _Arm(release=spec.release_digest, effective=spec.effective_digest))
        serving = [one for one in arm.instances if one.draining_since is None]
        for one in serving[spec.replicas :]:
            one.draining_since = self._clock.monotonic()
        for _ in range(spec.replicas - len(serving)):
            number = self._started
            self._started += 1
            arm.instances.append(
                _Instance(
                    id=f"{short(spec.release_digest)}-{number}",
                    endpoint=f"127.0.0.1:{_FIRST_PORT + number}",
                    started=self._clock.monotonic(),
                )
            )

    async def observe(self, route: RouteId) -> tuple[ObservedArm, ...]:
        """Every arm of the route that has not ended.

        Raises:
            TransientError: While unreachable.
        """
        self._refuse_when_unreachable()
        self._forget_ended()
        return tuple(
            ObservedArm(
                release_digest=arm.release,
                effective_digest=arm.effective,
                instances=tuple(self._observed(arm.release, one) for one in arm.instances),
            )
            for (of, _, _), arm in self._arms.items()
            if of == route and arm.instances
        )

    async def drain(
        self, route: RouteId, release: Digest, effective: Digest | None = None, *, fence: Fence | None = None
    ) -> None:
        """Take the arm (in every configuration, or in one) out of service; it is gone after its ``drains_in``.

        Raises:
            ConflictError: When a newer fence was heard of.
            TransientError: While unreachable.
        """
        self._called("drain", route, release, fence)
        for one in self._of(route, release, effective):
            if one.draining_since is None:
                one.draining_since = self._clock.monotonic()

    async def stop(self, route: RouteId, release: Digest) -> None:
        """End the arm now.

        Raises:
            TransientError: While unreachable.
        """
        self._called("stop", route, release)
        for (of, of_release, _), arm in self._arms.items():
            if of == route and of_release == release:
                arm.instances.clear()

    # -- what follows from the script ---------------------------------------------------------------------------------

    def _called(self, verb: str, route: RouteId, release: Digest, fence: Fence | None = None) -> None:
        """Note a call; refuse it under a fence that is not the newest."""
        self.calls.append((verb, route, release))
        self._refuse_when_unreachable()
        if fence is not None:
            self._fences[route] = newest_fence(route, self._fences.get(route), fence)

    def _refuse_when_unreachable(self) -> None:
        """Fail as a machine that does not answer."""
        if self.unreachable:
            raise TransientError("the target does not answer", code="target_unreachable", retry_after=1.0)

    def _behaviour(self, release: Digest) -> Behaviour:
        """The script of a release."""
        return self._behaviours.get(release, self._default)

    def _of(self, route: RouteId, release: Digest, effective: Digest | None = None) -> list[_Instance]:
        """Every instance of a release on a route, in every configuration or in one."""
        return [
            one
            for (of, of_release, of_effective), arm in self._arms.items()
            if of == route and of_release == release and effective in (None, of_effective)
            for one in arm.instances
        ]

    def _forget_ended(self) -> None:
        """Drop instances whose drain is over."""
        now = self._clock.monotonic()
        for key, arm in list(self._arms.items()):
            drains_in = self._behaviour(arm.release).drains_in
            arm.instances = [
                one for one in arm.instances if one.draining_since is None or now - one.draining_since < drains_in
            ]
            if not arm.instances:
                del self._arms[key]

    def _observed(self, release: Digest, one: _Instance) -> ObservedInstance:
        """One instance as its script says it is now."""
        script = self._behaviour(release)
        age = self._clock.monotonic() - one.started
        crashes = sorted(at for at in (*script.crashes_at, *one.killed_at) if at <= age)
        seen = ObservedInstance(
            id=one.id,
            endpoint=one.endpoint,
            state=InstanceState.STARTING,
            attested_by=script.attested_by,
            restarts=len(crashes),
        )
        if one.draining_since is not None:
            return replace(seen, state=InstanceState.DRAINING)
        if script.loops_at is not None and age >= script.loops_at:
            return replace(seen, state=InstanceState.CRASH_LOOP, detail="exited with code 1; log: (memory)")
        since = age
        if crashes:
            since = age - crashes[-1] - script.back_off
            if since < 0:
                return replace(seen, state=InstanceState.BACKING_OFF, detail="exited with code 1; log: (memory)")
        return self._started_instance(seen, script, release, since)

    def _started_instance(
        self, seen: ObservedInstance, script: Behaviour, release: Digest, since: float
    ) -> ObservedInstance:
        """An instance whose process has run for ``since`` seconds."""
        mismatch = script.reports is not None and script.reports != release
        reported = script.reports or (release if script.attested_by is AttestedBy.ARM else None)
        if script.ready_after is not None and since >= script.ready_after and not mismatch:
            return replace(seen, state=InstanceState.READY, reported=reported)
        detail = f"serves release {short(script.reports)}" if mismatch and script.reports else "no answer yet"
        if since >= script.never_ready_after:
            return replace(seen, state=InstanceState.NEVER_READY, detail=detail, reported=script.reports)
        return replace(seen, detail=detail, reported=script.reports)
