"""Arms as supervised process groups on this machine."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fairway.clock import Clock, SystemClock
from fairway.errors import ConflictError
from fairway.state_dir import StateDir
from fairway.targets.local.fences import FenceFile
from fairway.targets.local.instance import Instance, PortPool, Timing
from fairway.targets.local.process import GroupProcess, ProcessIdentity, find_marked, is_running
from fairway.targets.local.records import Goal, InstanceRecord, RecordFolder
from fairway.targets.local.restarts import RestartPolicy
from fairway.targets.local.service import LocalService, Placement
from fairway.targets.port import ArmSpec, InstanceState, ObservedArm
from fairway.traffic.fence import Fence
from fairway.units import Digest, RouteId, short

_LOCK_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedArm:
    """An arm's files on disk.

    Attributes:
        tree: The release's files: where it is started.
        bundle: Its config bundle for the environment.
        service: How this release is started: its own section, so that an older one is started the way it was.
    """

    release_version: str
    service: LocalService
    tree: Path
    bundle: Path


class ArmFiles(Protocol):
    """Where the files of a release come from."""

    async def prepare(self, route: RouteId, spec: ArmSpec, folder: Path) -> PreparedArm:
        """Verify a release and write its files and its config bundle for the environment below ``folder``.

        The folder is the arm's own, empty before and removed after it.

        Raises:
            RefusedError: When the signature, the evidence or a file does not verify.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _ArmKey:
    """The identity of an arm."""

    route: RouteId
    release: Digest
    effective: Digest

    @property
    def folder(self) -> str:
        """A name for its folder and its instances: environment, release, configuration."""
        release, effective = (
            digest.replace("sha256:", "").replace(":", "-") for digest in (self.release, self.effective)
        )
        return f"{self.route.environment}-{release[:12]}-{effective[:8]}"


class LocalTarget:
    """Runs arms as process groups on loopback; implements :class:`fairway.targets.port.Target`.

    ``run()`` drives it and must be running for anything to happen; the verbs only say what is wanted. One target at a
    time supervises a state folder. When ``run()`` is cancelled or its process dies the arms go on; the next target
    adopts them. :meth:`shutdown` is how they end.

    Args:
        state: Where trees, records and logs are kept.
        files: Where a release's files come from.
        clock: Time.
        timing: How often instances are looked at.
        policy: When they are started again.
        lock_wait: Seconds to wait for a target that is just ending.
    """

    def __init__(
        self,
        *,
        state: StateDir,
        files: ArmFiles,
        clock: Clock | None = None,
        timing: Timing | None = None,
        policy: RestartPolicy | None = None,
        lock_wait: float = 10.0,
    ) -> None:
        self._state = state
        self._files = files
        self._clock = clock or SystemClock()
        self._timing = timing or Timing()
        self._policy = policy or RestartPolicy()
        self._lock_wait = lock_wait
        self._records = RecordFolder(state.arms / "instances")
        self._fences = FenceFile(state.arms / "fences.json")
        self._ports = PortPool()
        self._arms: dict[_ArmKey, list[Instance]] = {}
        self._locks: dict[_ArmKey, asyncio.Lock] = {}
        self._new: asyncio.Queue[tuple[_ArmKey, Instance]] = asyncio.Queue()
        self._opening = asyncio.Lock()
        self._lock_file: int | None = None

    # -- the port -----------------------------------------------------------------------------------------------------

    async def follow(self, route: RouteId, fence: Fence) -> Fence:
        """From now on refuse whoever has an older fence, also after a restart; the newest it has heard of.

        Raises:
            ConflictError: When another process supervises this state folder.
        """
        await self._open()
        return self._fences.follow(route, fence)

    async def ensure(self, route: RouteId, spec: ArmSpec, *, fence: Fence | None = None) -> None:
        """Start what is missing of an arm, drain what is too many; returns before anything is ready.

        Raises:
            RefusedError: When the release's signature or files do not verify; nothing was started.
            ConflictError: When another process supervises this state folder, or a newer fence was heard of.
        """
        await self._open()
        self._fences.take(route, fence)
        key = _ArmKey(route=route, release=spec.release_digest, effective=spec.effective_digest)
        async with self._lock_of(key):
            serving = [instance for instance in self._arms.get(key, ()) if instance.goal is Goal.SERVE]
            for instance in serving[spec.replicas :]:
                instance.ask(Goal.DRAIN)
            missing = spec.replicas - len(serving)
            if missing > 0:
                placement, service = await self._prepared(key, spec)
                for _ in range(missing):
                    self._add(key, placement, service)

    async def observe(self, route: RouteId) -> tuple[ObservedArm, ...]:
        """Every arm of the route that has not ended. Reads memory only, after the first call."""
        await self._open()
        arms = []
        for key, instances in self._arms.items():
            living = tuple(one.observed() for one in instances if one.record.state is not InstanceState.STOPPED)
            if key.route == route and living:
                arms.append(ObservedArm(release_digest=key.release, effective_digest=key.effective, instances=living))
        return tuple(arms)

    async def drain(
        self, route: RouteId, release: Digest, effective: Digest | None = None, *, fence: Fence | None = None
    ) -> None:
        """End every instance of the release once its clients have gone, at the latest after its grace.

        Raises:
            ConflictError: When another process supervises this state folder, or a newer fence was heard of.
        """
        await self._open()
        self._fences.take(route, fence)
        self._ask(route, release, Goal.DRAIN, effective)

    async def stop(self, route: RouteId, release: Digest) -> None:
        """End every instance of the release now."""
        await self._open()
        self._ask(route, release, Goal.STOP)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Supervise until cancelled; then the arms live on, for the next target to adopt.

        Raises:
            ConflictError: When another process supervises this state folder.
        """
        await self._open()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    key, instance = await self._new.get()
                    tasks.create_task(self._live(key, instance))
        finally:
            self.close()

    async def shutdown(self) -> None:
        """Drain every arm of every route and wait until all have ended; needs ``run()`` beside it."""
        await self._open()
        for instances in self._arms.values():
            for instance in instances:
                instance.ask(Goal.DRAIN)
        while any(self._arms.values()):
            await self._clock.sleep(self._timing.poll)

    def hurry(self) -> None:
        """Cut short what drains: everything that is ending ends now."""
        for instances in self._arms.values():
            for instance in instances:
                if instance.goal is not Goal.SERVE:
                    instance.ask(Goal.STOP)

    def close(self) -> None:
        """Give up supervision so that another target can take over; arms live on. ``run()`` does it at its end."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        self._arms.clear()

    async def _live(self, key: _ArmKey, instance: Instance) -> None:
        """One instance's life, and what is left to do after it."""
        await instance.run()
        async with self._lock_of(key):
            left = [one for one in self._arms.get(key, []) if one is not instance]
            self._arms[key] = left
            if not left:
                await asyncio.to_thread(shutil.rmtree, self._state.arms / key.folder, ignore_errors=True)
                del self._arms[key]

    # -- arms ---------------------------------------------------------------------------------------------------------

    def _ask(self, route: RouteId, release: Digest, goal: Goal, effective: Digest | None = None) -> None:
        """Ask every instance of a release for less, or those in one configuration."""
        for key, instances in self._arms.items():
            if key.route == route and key.release == release and effective in (None, key.effective):
                for instance in instances:
                    instance.ask(goal)

    def _lock_of(self, key: _ArmKey) -> asyncio.Lock:
        """Keeps two changes to one arm apart."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def _prepared(self, key: _ArmKey, spec: ArmSpec) -> tuple[Placement, LocalService]:
        """The arm's files on disk: those it runs on, or freshly written and verified."""
        for instance in self._arms.get(key, ()):
            return instance.record.placement, instance.record.service
        folder = self._state.arms / key.folder
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        try:
            arm = await self._files.prepare(key.route, spec, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        placement = Placement(
            environment=key.route.environment,
            release=key.release,
            effective=key.effective,
            release_version=arm.release_version,
            tree=arm.tree,
            bundle=arm.bundle,
        )
        return placement, arm.service

    def _add(self, key: _ArmKey, placement: Placement, service: LocalService) -> None:
        """Create one more instance under the lowest free number; ``run()`` starts it."""
        instances = self._arms.setdefault(key, [])
        used = {instance.record.id for instance in instances}
        number = next(n for n in range(len(used) + 1) if f"{key.folder}-{n}" not in used)
        record = InstanceRecord(
            id=f"{key.folder}-{number}",
            route=key.route,
            placement=placement,
            service=service,
            port=self._ports.take(),
            log=self._state.logs / f"arm-{key.route.environment}-{short(key.release).replace(':', '-')}-{number}.log",
        )
        self._records.write(record)
        self._enlist(key, self._instance(record))

    def _enlist(self, key: _ArmKey, instance: Instance) -> None:
        """Put an instance under supervision."""
        self._arms.setdefault(key, []).append(instance)
        self._new.put_nowait((key, instance))

    def _instance(self, record: InstanceRecord, process: GroupProcess | None = None) -> Instance:
        """An instance of this target."""
        return Instance(
            record,
            marker=self._marker(record.id),
            records=self._records,
            ports=self._ports,
            clock=self._clock,
            timing=self._timing,
            policy=self._policy,
            process=process,
        )

    # -- taking over --------------------------------------------------------------------------------------------------

    def _marker(self, record_id: str) -> str:
        """What marks the processes of one instance, unique on the machine."""
        return f"{marker_prefix(self._state)}{record_id}"

    async def _open(self) -> None:
        """Become the supervisor of the state folder and adopt what runs; once."""
        async with self._opening:
            if self._lock_file is not None:
                return
            self._state.arms.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock_file = await self._lock()
            try:
                self._adopt()
                everyone = [instance for instances in self._arms.values() for instance in instances]
                await asyncio.gather(*(instance.look() for instance in everyone))
            except BaseException:
                self._arms.clear()
                os.close(lock_file)
                raise
            self._lock_file = lock_file

    async def _lock(self) -> int:
        """The lock on the state folder, which the system takes back when this process dies.

        Raises:
            ConflictError: When another process keeps it.
        """
        descriptor = os.open(self._state.arms / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = self._clock.monotonic() + self._lock_wait
        try:
            while not _locked(descriptor):
                if self._clock.monotonic() >= deadline:
                    raise ConflictError(
                        f"another process supervises the arms in {self._state.arms}",
                        code="target_in_use",
                        hint="stop the other `fairway up` or controller of this project first",
                    )
                await self._clock.sleep(_LOCK_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _adopt(self) -> None:
        """Take over what an earlier supervisor left: recorded instances, and processes it had no time to record."""
        marked = find_marked(marker_prefix(self._state))
        self._records.remove_unreadable()
        for record in self._records.read_all():
            key = _ArmKey(route=record.route, release=record.placement.release, effective=record.placement.effective)
            running = _find_process(record, marked.pop(self._marker(record.id), []))
            process = None if running is None else GroupProcess.adopt(running, marker=self._marker(record.id))
            self._ports.reserve(record.port)
            self._enlist(key, self._instance(record, process))
        _kill(identity for identities in marked.values() for identity in identities)
        folders = {key.folder for key in self._arms}
        for folder in self._state.arms.iterdir():
            if folder.is_dir() and folder.name not in folders and folder != self._records.folder:
                shutil.rmtree(folder, ignore_errors=True)


def _locked(descriptor: int) -> bool:
    """Try to take the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def marker_prefix(state: StateDir) -> str:
    """How the markers of all arms of a project begin."""
    return f"{state.root.resolve()}#arm#"


def _find_process(record: InstanceRecord, marked: list[ProcessIdentity]) -> ProcessIdentity | None:
    """The running process of a record: the recorded one, else one started but not yet recorded."""
    if record.process is not None and is_running(record.process):
        return record.process
    return marked[0] if marked else None


def _kill(identities: Iterable[ProcessIdentity]) -> None:
    """SIGKILL groups that belong to nobody."""
    for identity in identities:
        if is_running(identity):
            try:
                os.killpg(identity.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


async def stop_left_behind(state: StateDir, *, grace: float = 5.0, clock: Clock | None = None) -> int:
    """End every arm of a project without a controller; returns how many there were.

    For when the controller that should have done so is dead.

    Args:
        state: Of the project.
        grace: Seconds between SIGTERM and SIGKILL.
        clock: Time.
    """
    groups = [
        GroupProcess.adopt(identity, marker=marker)
        for marker, identities in find_marked(marker_prefix(state)).items()
        for identity in identities
    ]
    await asyncio.gather(*(group.stop(grace=grace, clock=clock or SystemClock()) for group in groups))
    records = RecordFolder(state.arms / "instances")
    for record in records.read_all():
        records.remove(record.id)
    return len(groups)
