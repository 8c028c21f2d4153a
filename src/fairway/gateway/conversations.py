"""Where each conversation began, in one small file that all workers map and that outlives a restart.

Clients that send a conversation id but keep no cookie would move when the split grows past their bucket. This table
remembers the release of every unit the hash assigned: 8-way associative, 8 bytes an entry and a group a cache line,
bounded by its size. When all eight places of a unit are taken by conversations still running, the one that expires
first is forgotten (it then follows its bucket).

An entry is 16 bits of the unit's hash beside those that choose its group, when it expires in steps of four seconds, and
which *kind* it is of: a hash of release and salt, of which there are few, written out once each in the file's header.
There are no locks. The kind is mixed with the rest of its entry and with all of the unit's hash, so that an entry torn
by two writers, or another unit's with the same 16 bits, names a kind that does not exist, and reads as absent; so does
a place in the header that two writers wrote at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import struct
from hashlib import blake2b
from pathlib import Path

from fairway.traffic.pin import Pin
from fairway.units import UnitHash

log = logging.getLogger("fairway.gateway.worker")

WAYS = 8
_TAG = 2
_ENTRY = struct.Struct("<IH")  # kind, mixed, in 24 bits, and expiry in the other 24
_UNIT = struct.Struct("<Q")
_EMPTY = bytes(_TAG)
_ONE = b"\1\0"
_NONE_ABSENT = (b"", 0, 0, b"")
_TAGS = _TAG * WAYS  # bytes of a group that hold its units' hashes; their entries follow
_GROUP = _TAGS + WAYS * _ENTRY.size
DEFAULT_GROUPS = 1 << 16
"""524,288 conversations in 4.2 MB of disk; pages never touched take no memory."""

STEP_SECONDS = 4
"""An expiry is kept to so many seconds: a conversation may stay for up to three longer. It is told apart from others up
to 388 days before and after."""

_MAGIC = b"fairway conversations 3\n"
_HEADER = 1 << 16
_KIND = struct.Struct("<QI")  # release tag, salt tag
_KINDS_AT = 4096
_KINDS = (_HEADER - _KINDS_AT) // 16
_PROBES = 8
_MIX = 0x9E3779B97F4A7C15
_BITS = 0xFFFFFF


class ConversationMemory:
    """The mapped table."""

    def __init__(self, path: Path, *, groups: int = DEFAULT_GROUPS) -> None:
        """Map the file, making it (mode 600) when it is missing or of another format.

        When the disk has no room for it, conversations are remembered by this worker alone, as long as it lives.

        Args:
            path: In the gateway's state folder.
            groups: A power of two; eight conversations fit in each.
        """
        self._groups = groups
        self._absent = _NONE_ABSENT
        self._pairs: dict[int, tuple[int, int]] = {}
        self._kinds: dict[tuple[int, int], int] = {}
        size = _HEADER + groups * _GROUP
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
        (number,) = _UNIT.unpack(raw)
        offset = _HEADER + (number % self._groups) * _GROUP
        tag = raw[6:]
        if tag == _EMPTY:
            tag = _ONE
        entries = offset + _TAGS
        at = self._map.find(tag, offset, entries)
        while at >= 0:
            if not (at - offset) % _TAG:
                known = self._read_entry(entries + (at - offset) // _TAG * _ENTRY.size, number, now)
                if known is not None:
                    return known if known[1] > now else None
            at = self._map.find(tag, at + 1, entries)
        self._absent = raw, number, offset, tag
        return None

    def _read_entry(self, at: int, number: int, now: float) -> tuple[int, int, int] | None:
        """What an entry of this tag says of a unit; ``None`` when it is torn, or another unit's."""
        low, high = _ENTRY.unpack_from(self._map, at)
        steps = low >> 24 | high << 8
        kind = (low ^ _mixed(number, steps)) & _BITS
        pair = self._pairs.get(kind) or self._pair(kind)
        return None if pair is None else (pair[0], _time_of(steps, now), pair[1])

    def remember(self, unit: UnitHash, *, release: int, salt: int, expires: int) -> None:
        """Note where a unit began; replaces what was known of it."""
        self.note(bytes.fromhex(unit), release, salt, expires)

    def note(self, raw: bytes, release: int, salt: int, expires: int) -> None:
        """The same for the eight bytes of a unit's hash; cheaper for the very object just not found."""
        kind = self._kinds.get((release, salt)) or self._introduce(release, salt)
        if not kind:
            return
        absent, number, offset, tag = self._absent
        way = -1
        if raw is not absent:
            (number,) = _UNIT.unpack(raw)
            offset = _HEADER + (number % self._groups) * _GROUP
            tag = raw[6:]
            if tag == _EMPTY:
                tag = _ONE
            way = self._way_of(number, tag, offset)
        self._absent = _NONE_ABSENT
        if way < 0:
            way = self._way(_EMPTY, offset)
        if way < 0:
            way = min(range(WAYS), key=lambda index: self._steps(offset, index))
        steps = -(-expires // STEP_SECONDS) & _BITS
        mixed = (kind ^ _mixed(number, steps)) & _BITS
        _ENTRY.pack_into(self._map, offset + _TAGS + way * _ENTRY.size, mixed | (steps & 0xFF) << 24, steps >> 8)
        at = offset + way * _TAG
        self._map[at : at + _TAG] = tag

    def _way(self, tag: bytes, offset: int, first: int = 0) -> int:
        """Which of a group's eight places, from the first on, holds ``tag``; -1 when none does."""
        at = self._map.find(tag, offset + first * _TAG, offset + _TAGS)
        while at >= 0 and (at - offset) % _TAG:
            at = self._map.find(tag, at + 1, offset + _TAGS)
        return -1 if at < 0 else (at - offset) // _TAG

    def _way_of(self, number: int, tag: bytes, offset: int) -> int:
        """Which of a group's places is a unit's own; -1 when none is."""
        way = self._way(tag, offset)
        while way >= 0 and self._read_entry(offset + _TAGS + way * _ENTRY.size, number, 0.0) is None:
            way = self._way(tag, offset, way + 1)
        return way

    def _steps(self, offset: int, way: int) -> int:
        low, high = _ENTRY.unpack_from(self._map, offset + _TAGS + way * _ENTRY.size)
        return int(low >> 24 | high << 8)

    # --- kinds -------------------------------------------------------------------------------------------------

    def _introduce(self, release: int, salt: int) -> int:
        """The kind of entries of a release and a salt, written out where others find it.

        Two of them may be of one kind, once in millions: the second is none then, 0, and is not remembered.
        """
        kind = kind_of(release, salt)
        if len(self._kinds) > _KINDS:
            self._kinds.clear()
        places = _places(kind)
        known = [self._read(place) for place in places]
        if any(pair != (0, 0) and pair != (release, salt) and kind_of(*pair) == kind for pair in known):
            return 0
        self._kinds[release, salt] = kind
        if (release, salt) in known:
            return kind
        free = next((place for place in places if self._read(place) == (0, 0)), places[release % _PROBES])
        _KIND.pack_into(self._map, free, release, salt)
        return kind

    def _pair(self, kind: int) -> tuple[int, int] | None:
        """Release and salt of a kind; ``None`` when there is none."""
        for place in _places(kind):
            pair = self._read(place)
            if pair != (0, 0) and kind_of(*pair) == kind:
                if len(self._pairs) > _KINDS:
                    self._pairs.clear()
                self._pairs[kind] = pair
                return pair
        return None

    def _read(self, place: int) -> tuple[int, int]:
        release, salt = _KIND.unpack_from(self._map, place)
        return release, salt

    def close(self) -> None:
        """Unmap."""
        self._map.close()


def kind_of(release: int, salt: int) -> int:
    """What stands for release and salt in an entry: 24 bits, never 0."""
    return int.from_bytes(blake2b(_KIND.pack(release, salt), digest_size=3).digest(), "little") or 1


def _mixed(number: int, steps: int) -> int:
    """What the kind of a unit's entry is mixed with: of the unit's whole hash, and of when it expires."""
    return (number ^ steps << 24) * _MIX >> 40


def _time_of(steps: int, now: float) -> int:
    """The epoch second nearest to now that is kept as so many steps."""
    today = int(now) // STEP_SECONDS
    ahead = (steps - today + (_BITS + 1) // 2 & _BITS) - (_BITS + 1) // 2
    return (today + ahead) * STEP_SECONDS


def _places(kind: int) -> list[int]:
    """Where in the header a kind may be written out."""
    return [_KINDS_AT + (kind + probe) % _KINDS * 16 for probe in range(_PROBES)]


def open_memory(path: Path) -> ConversationMemory | None:
    """What is remembered there, to look at; ``None`` when nothing is, and then nothing is made."""
    try:
        with path.open("rb") as file:
            if not _is_ours(file.fileno(), _HEADER + DEFAULT_GROUPS * _GROUP):
                return None
    except OSError:
        return None
    return ConversationMemory(path)


def _mapped(path: Path, size: int) -> mmap.mmap:
    """The file in memory, with all its room on the disk: to write into a hole of a full disk would end the process.

    One of another format is replaced, not cut: workers of another version may have it mapped still. Workers that start
    together wait for the one that makes it.
    """
    making = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(making, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError), path.open("rb+") as known:
            if _is_ours(known.fileno(), size):
                return mmap.mmap(known.fileno(), size)
        return _made(path, size)
    finally:
        os.close(making)


def _is_ours(descriptor: int, size: int) -> bool:
    return os.fstat(descriptor).st_size == size and os.pread(descriptor, len(_MAGIC), 0) == _MAGIC


def _made(path: Path, size: int) -> mmap.mmap:
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, _MAGIC, 0)
        fresh.replace(path)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
        fresh.unlink(missing_ok=True)
