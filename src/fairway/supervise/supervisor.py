"""Keeps the processes of a project running, and ends them in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fairway.clock import Clock, SystemClock
from fairway.state_dir import StateDir
from fairway.supervise.child import Child, ChildSpec
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, read_info, write_info
from fairway.targets.local.process import GroupProcess, ProcessIdentity, find_marked, identify, is_running
from fairway.targets.local.restarts import RestartPolicy
from fairway.targets.local.target import stop_left_behind

_HURRIED_GRACE_SECONDS = 1.0
_ARM_GRACE_SECONDS = 5.0

EAGER = RestartPolicy(first=0.2, ceiling=5.0)
"""Without its gateway a project serves nothing, so even a crash loop is tried again soon."""


class Supervisor:
    """Runs the children of one project.

    Args:
        state: Of the project.
        specs: In the order they are started; they are ended in the order of ``end_order``.
        end_order: Names, first to end first: the gateway before the controller, so that nothing goes to what stops.
        info: What to write into ``run/up.json``, without children.
        report: Called after every change of a child, for people.
        clock: Time.
        policy: When a child is started again.
    """

    def __init__(
        self,
        *,
        state: StateDir,
        specs: Sequence[ChildSpec],
        end_order: Sequence[str],
        info: UpInfo,
        report: Callable[[ChildInfo], None],
        clock: Clock | None = None,
        policy: RestartPolicy | None = None,
    ) -> None:
        self._state = state
        self._clock = clock or SystemClock()
        self._end_order = tuple(end_order)
        self._report = report
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._info = info
        self._children = {
            spec.name: Child(
                spec,
                marker=f"{marker_prefix(state)}{spec.name}",
                clock=self._clock,
                policy=policy or EAGER,
                changed=self._changed,
            )
            for spec in specs
        }

    @property
    def info(self) -> UpInfo:
        """What is known now."""
        return self._info

    def stop(self) -> None:
        """Drain and end everything; asked a second time, faster."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    @property
    def hurried(self) -> bool:
        """Whether it was asked to stop more than once."""
        return self._hurry.is_set()

    async def run(self) -> None:
        """Take over what an earlier supervisor left, keep everything running, and end it in order after :meth:`stop`.

        Cancelled, it leaves the children running.
        """
        await self._take_over()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(child.run()) for child in self._children.values()]
            stopping = tasks.create_task(self._stop.wait())
            await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
            await self._end()
        self._state.pid_file("up").unlink(missing_ok=True)

    async def _take_over(self) -> None:
        """Adopt or replace the children of a supervisor that was killed."""
        before = read_info(self._state)
        left = dict(before.children) if before is not None else {}
        marked = find_marked(marker_prefix(self._state))
        unsure = {name: replace(one, state=ChildState.STARTING) for name, one in left.items() if one.alive()}
        self._info = replace(self._info, children=unsure)
        self._publish()
        for name, child in self._children.items():
            seen = marked.pop(child.marker, [])
            await child.take_over(_left_process(name, left.get(name), seen))
        orphans = [
            GroupProcess.adopt(identity, marker=marker) for marker, found in marked.items() for identity in found
        ]
        await asyncio.gather(*(orphan.stop(grace=_ARM_GRACE_SECONDS, clock=self._clock) for orphan in orphans))

    async def _end(self) -> None:
        """End the children in order, then any arm whose controller was not there to do it."""
        for name in self._end_order:
            if name in self._children:
                await self._end_child(self._children[name])
        grace = _HURRIED_GRACE_SECONDS if self.hurried else _ARM_GRACE_SECONDS
        await stop_left_behind(self._state, grace=grace, clock=self._clock)

    async def _end_child(self, child: Child) -> None:
        """End one child; when hurried in the middle, kill it after a second."""
        ending = asyncio.create_task(child.end(grace=_HURRIED_GRACE_SECONDS if self.hurried else None))
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait([ending, hurry], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                await asyncio.wait([ending], timeout=_HURRIED_GRACE_SECONDS)
                child.kill()
            await ending
        finally:
            hurry.cancel()

    def _changed(self, child: ChildInfo) -> None:
        """Tell others and people."""
        self._info = replace(self._info, children={**self._info.children, child.name: child})
        self._publish()
        self._report(child)

    def _publish(self) -> None:
        """Write ``run/up.json``."""
        try:
            write_info(self._state, self._info)
        except OSError:
            # A full disk must not end what serves; the next supervisor finds the children by their marker.
            pass


def marker_prefix(state: StateDir) -> str:
    """How the markers of a project's own processes begin."""
    return f"{state.root.resolve()}#up#"


def _left_process(name: str, recorded: ChildInfo | None, marked: list[ProcessIdentity]) -> ChildInfo | None:
    """What is left of a child: the recorded process, else one that was started but not yet recorded."""
    if recorded is not None and recorded.process is not None and is_running(recorded.process):
        return recorded
    if not marked:
        return None
    from_marker = recorded or ChildInfo.unknown(name)
    return replace(from_marker, process=marked[0], fingerprint="started by a supervisor that was killed")


def describe_self(*, project: Path, url: str, admin_url: str, mock_url: str | None, started_at: float) -> UpInfo:
    """This process as ``run/up.json`` shows it."""
    me = identify(os.getpid())
    assert me is not None
    return UpInfo(process=me, project=project, url=url, admin_url=admin_url, mock_url=mock_url, started_at=started_at)
