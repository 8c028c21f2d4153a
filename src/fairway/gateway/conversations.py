"""Where each conversation began, in one small file that all workers map and that outlives a restart.

Clients that send a conversation id but keep no cookie would move when the split grows past their bucket. This table
remembers the release of every unit the hash assigned: 8-way associative, 28 bytes an entry, bounded by its size. When
all eight places of a unit are taken by conversations still running, the one that expires first is forgotten (it then
follows its bucket). No locks: an entry carries a check value, so that one torn by two writers reads as absent.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from pathlib import Path

from fairway.traffic.pin import Pin
from fairway.units import UnitHash

log = logging.getLogger("fairway.gateway.worker")

WAYS = 8
_ENTRY = struct.Struct("<QIII")  # release tag, expiry, salt tag, check
_EMPTY = bytes(8)
_UNITS = 8 * WAYS  # bytes of a group that hold its units' hashes; their entries follow
_GROUP = _UNITS + WAYS * _ENTRY.size
DEFAULT_GROUPS = 1 << 16
"""524,288 conversations in 14.7 MB of disk; pages never touched take no memory."""


class ConversationMemory:
    """The mapped table."""

    def __init__(self, path: Path, *, groups: int = DEFAULT_GROUPS) -> None:
        """Map the file, making it (mode 600) when it is missing or of another size.

        When the disk has no room for it, conversations are remembered by this worker alone, as long as it lives.

        Args:
            path: In the gateway's state folder.
            groups: A power of two; eight conversations fit in each.
        """
        self._groups = groups
        self._absent = b""
        size = groups * _GROUP
        self.shared = True
        """Whether other workers, and the next one, see it too."""
        try:
            self._map = _mapped(path, size)
        except OSError as error:
            log.error("conversations are remembered by each worker for itself: %s", error)
            self.shared = False
            self._map = mmap.mmap(-1, size)

    def recall(self, unit: UnitHash, now: float) -> Pin | None:
        """Where the unit began; ``None`` when unknown or expired."""
        known = self.find(bytes.fromhex(unit), now)
        if known is None:
            return None
        release, expires, salt = known
        return Pin(release=release, salt=salt, hashed=True, expires=expires, unit=0)

    def find(self, raw: bytes, now: float) -> tuple[int, int, int] | None:
        """The same for the eight bytes of a unit's hash: release tag, expiry and salt tag."""
        number = int.from_bytes(raw, "little")
        offset = (number % self._groups) * _GROUP
        if self._map.find(raw, offset, offset + _UNITS) < 0 or (way := self._way(raw, offset)) < 0:
            self._absent = raw
            return None
        place = offset + _UNITS + way * _ENTRY.size
        release, expires, salt, check = _ENTRY.unpack_from(self._map, place)
        if expires <= now or check != _check(number, release, expires, salt):
            return None
        return release, expires, salt

    def remember(self, unit: UnitHash, *, release: int, salt: int, expires: int) -> None:
        """Note where a unit began; replaces what was known of it."""
        self.note(bytes.fromhex(unit), release, salt, expires)

    def note(self, raw: bytes, release: int, salt: int, expires: int) -> None:
        """The same for the eight bytes of a unit's hash; cheaper for the very object just not found."""
        number = int.from_bytes(raw, "little")
        offset = (number % self._groups) * _GROUP
        way = -1 if raw is self._absent else self._way(raw, offset)
        self._absent = b""
        if way < 0:
            way = self._way(_EMPTY, offset)
        if way < 0:
            way = min(range(WAYS), key=lambda index: self._expiry(offset, index))
        place = offset + _UNITS + way * _ENTRY.size
        _ENTRY.pack_into(self._map, place, release, expires, salt, _check(number, release, expires, salt))
        at = offset + way * 8
        self._map[at : at + 8] = raw

    def _way(self, raw: bytes, offset: int) -> int:
        """Which of a group's eight places holds ``raw``; -1 when none does."""
        at = self._map.find(raw, offset, offset + _UNITS)
        while at >= 0 and (at - offset) % 8:
            at = self._map.find(raw, at + 1, offset + _UNITS)
        return -1 if at < 0 else (at - offset) // 8

    def close(self) -> None:
        """Unmap."""
        self._map.close()

    def _expiry(self, offset: int, way: int) -> int:
        return int(_ENTRY.unpack_from(self._map, offset + _UNITS + way * _ENTRY.size)[1])


def open_memory(path: Path) -> ConversationMemory | None:
    """What is remembered there, to look at; ``None`` when nothing is, and then nothing is made."""
    try:
        if path.stat().st_size != DEFAULT_GROUPS * _GROUP:
            return None
    except OSError:
        return None
    return ConversationMemory(path)


def _mapped(path: Path, size: int) -> mmap.mmap:
    """The file in memory, with all its room on the disk: to write into a hole of a full disk would end the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, 0)
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _check(unit: int, release: int, expires: int, salt: int) -> int:
    mixed = unit ^ release ^ (expires * 0x9E3779B97F4A7C15) ^ salt
    return (mixed ^ (mixed >> 32)) & 0xFFFFFFFF
