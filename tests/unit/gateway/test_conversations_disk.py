"""The map of conversations never costs a worker its life."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fairway.gateway.conversations import ConversationMemory
from fairway.traffic.bucket import unit_hash

UNIT = unit_hash("c")


def test_its_room_on_the_disk_is_taken_at_once_because_a_hole_could_not_be_filled_later(tmp_path: Path) -> None:
    path = tmp_path / "map"
    with path.open("wb") as sparse:  # as an earlier version made it
        sparse.truncate(64 * 8 * 28)
    memory = ConversationMemory(path, groups=64)
    assert memory.shared
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    memory.remember(UNIT, release=1, salt=2, expires=100)
    memory.close()
    again = ConversationMemory(path, groups=64)
    found = again.recall(UNIT, 50.0)
    assert found is not None
    assert (found.release, found.salt) == (1, 2)
    again.close()


def test_without_room_on_the_disk_a_worker_remembers_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    memory = ConversationMemory(tmp_path / "map", groups=64)
    assert not memory.shared
    memory.remember(UNIT, release=1, salt=2, expires=100)
    assert memory.recall(UNIT, 50.0) is not None
    memory.close()
