"""Why a controller does not stay alive under a ``fairway up`` that runs. Reads only; what it reads may be old.

With a full disk ``run/up.json`` is not written any more, so what it says of a child is believed only while the process
it names runs.
"""

from __future__ import annotations

import shutil

from fairway.state_dir import StateDir
from fairway.supervise.info import ChildInfo, ChildState, UpInfo, running
from fairway.targets.local.log import tail

FULL_BYTES = 4 * 1024 * 1024
"""With less than this the ledger cannot write its next page and its log."""
_LOOKED_AT_LINES = 8
_FULL = ("disk_full", "disk is full", "No space left on device")


def controller_trouble(state: StateDir) -> str:
    """Why no controller is there although ``fairway up`` runs, in words; empty when there is nothing to say."""
    info = running(state)
    return "" if info is None else child_trouble(state, info, "controller")


def child_trouble(state: StateDir, info: UpInfo, name: str) -> str:
    """Why a child of a running ``fairway up`` does not stay alive; empty when it does, or only starts."""
    child = info.children.get(name)
    if child is None or not _has_ended(child):
        return ""
    full = _full_disk(state, name)
    if full:
        return f"the {name} keeps ending: {full}; free some space, then it goes on by itself"
    why = child.detail.splitlines()[0] if child.detail else f"see {state.logs / name}.log"
    return f"the {name} {'keeps ending' if child.state is ChildState.CRASH_LOOP else 'has ended'}: {why}"


def _has_ended(child: ChildInfo) -> bool:
    if child.state in (ChildState.CRASH_LOOP, ChildState.BACKING_OFF):
        return True
    return child.state is ChildState.SERVING and not child.alive()


def _full_disk(state: StateDir, name: str) -> str:
    """That the disk is full, when it is: by what is free now, or by the last words of the child."""
    free = shutil.disk_usage(state.root).free
    said = tail(state.logs / f"{name}.log", lines=_LOOKED_AT_LINES)
    if free >= FULL_BYTES and not any(word in said for word in _FULL):
        return ""
    return f"the disk is full ({free // 1024} KiB free at {state.root})"
