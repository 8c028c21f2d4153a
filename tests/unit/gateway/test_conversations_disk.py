"""The map of conversations never costs a worker its life."""

from __future__ import annotations

import errno
import mmap
import os
import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.gateway import conversations
from fairway.gateway.conversations import _HEADER, STEP_SECONDS, WAYS, ConversationMemory, kind_of
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


RELEASES = st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**32 - 1))
NOW = 1.8e9
TIMES = st.integers(int(NOW) + 1, int(NOW) + 380 * 86_400)


def kept(expires: int) -> int:
    """A time as the map keeps it."""
    return -(-expires // STEP_SECONDS) * STEP_SECONDS


@given(st.lists(st.tuples(st.binary(min_size=8, max_size=8), RELEASES, TIMES), max_size=40))
def test_what_was_noted_last_of_a_unit_is_found_by_every_worker_unless_it_gave_way(
    tmp_path_factory: pytest.TempPathFactory, notes: list[tuple[bytes, tuple[int, int], int]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "map"
    writer, reader = ConversationMemory(path, groups=64), ConversationMemory(path, groups=64)
    last: dict[bytes, tuple[int, int, int]] = {}
    for raw, (release, salt), expires in notes:
        writer.note(raw, release, salt, expires)
        last[raw] = (release, kept(expires), salt)
    by_group = Counter(raw[0] % 64 for raw in last)
    for raw, known in last.items():
        assert reader.find(raw, NOW) == known or by_group[raw[0] % 64] > WAYS
        assert reader.find(raw, NOW + 381 * 86_400) is None
    writer.close()
    reader.close()


def test_of_nine_in_a_group_the_one_that_ends_first_gives_way(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path / "map", groups=64)
    raws = [bytes((7, 0, 0, 0)) + bytes((number, 1, 1, number)) for number in range(9)]
    for number, raw in enumerate(raws):
        memory.note(raw, 5, 6, int(NOW) + STEP_SECONDS * (100 + (number - 4) ** 2))
    found = [memory.find(raw, NOW) for raw in raws]
    assert [number for number, one in enumerate(found) if one is None] == [4]
    memory.close()


UNITS = st.binary(min_size=7, max_size=7).map(lambda rest: bytes(1) + rest)


@given(first=UNITS, second=UNITS, said=st.tuples(RELEASES, TIMES), says=st.tuples(RELEASES, TIMES))
def test_units_that_share_a_place_and_a_tag_are_told_apart_by_the_rest_of_their_hash(
    first: bytes, second: bytes, said: tuple[tuple[int, int], int], says: tuple[tuple[int, int], int]
) -> None:
    second = second[:6] + first[6:]
    memory = ConversationMemory(Path("/nonexistent/map"), groups=64)
    memory.note(first, *said[0], said[1])
    if first != second:
        assert memory.find(second, NOW) is None
    memory.note(second, *says[0], says[1])
    assert memory.find(second, NOW) == (says[0][0], kept(says[1]), says[0][1])
    if first != second:
        assert memory.find(first, NOW) == (said[0][0], kept(said[1]), said[0][1])
    memory.note(first, *says[0], says[1])
    assert memory.find(first, NOW) == memory.find(second, NOW)
    memory.close()


@given(cut=st.integers(1, 7), first=UNITS, second=UNITS, data=st.data())
def test_an_entry_torn_by_two_writers_reads_as_absent_or_as_one_of_the_two(
    cut: int, first: bytes, second: bytes, data: st.DataObject
) -> None:
    """Whatever part of one entry's bytes is overwritten by another's, no third release is ever read."""
    written, says = [], [data.draw(st.tuples(RELEASES, TIMES)) for _ in range(2)]
    for unit, ((release, salt), expires) in zip((first, second), says, strict=True):
        memory = ConversationMemory(Path("/nonexistent/map"), groups=1)
        memory.note(unit, release, salt, expires)
        written.append(bytes(memory._map))
        memory.close()
    memory = ConversationMemory(Path("/nonexistent/map"), groups=1)
    for (release, salt), _ in says:
        memory._introduce(release, salt)
    entry = [*range(_HEADER, _HEADER + 2), *range(_HEADER + 16, _HEADER + 22)]
    for number, at in enumerate(entry):
        memory._map[at] = written[number < cut][at]
    for unit in (first, second):
        found = memory.find(unit, NOW)
        assert found is None or (found[0], found[2]) in (says[0][0], says[1][0])
    memory.close()


def test_a_release_of_the_same_kind_as_another_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = ConversationMemory(Path("/nonexistent/map"), groups=64)
    monkeypatch.setattr(conversations, "kind_of", lambda *_: 7)
    memory.remember(UNIT, release=1, salt=2, expires=100)
    memory.remember(unit_hash("d"), release=3, salt=2, expires=100)
    found = memory.recall(UNIT, 50.0)
    assert found is not None
    assert found.release == 1
    assert memory.recall(unit_hash("d"), 50.0) is None
    memory.close()


def test_kinds_are_spread_over_their_bits() -> None:
    kinds = {kind_of(number, 1) for number in range(1000)}
    assert len(kinds) > 990
    assert max(kinds) < 2**24
    assert max(kinds) > 2**23


@given(st.integers(0, 2**32), st.integers(-380 * 86_400, 380 * 86_400))
def test_a_time_is_read_as_it_was_kept_within_a_year_of_now(now: int, ahead: int) -> None:
    expires = max(0, now + ahead)
    steps = -(-expires // STEP_SECONDS) & 0xFFFFFF
    assert conversations._time_of(steps, float(now)) == kept(expires)


def test_a_kind_half_written_by_two_workers_reads_as_absent(tmp_path: Path) -> None:
    memory, other = (ConversationMemory(tmp_path / "map", groups=64) for _ in range(2))
    memory.remember(UNIT, release=1, salt=2, expires=100)
    place = bytes(memory._map[:_HEADER]).index(struct.pack("<QI", 1, 2))
    memory._map[place + 1] = 9
    assert other.recall(UNIT, 50.0) is None
    memory.close()
    other.close()


def test_a_file_of_another_version_is_replaced_while_its_workers_go_on_with_theirs(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(bytes(64 * 8 * 28))
    with path.open("rb+") as file, mmap.mmap(file.fileno(), 0) as theirs:
        memory = ConversationMemory(path, groups=64)
        memory.remember(UNIT, release=1, salt=2, expires=100)
        theirs[-1] = 1  # would end this process, were the file cut
        memory.close()
    again = ConversationMemory(path, groups=64)
    assert again.recall(UNIT, 50.0) is not None
    again.close()


def test_more_kinds_than_a_worker_keeps_at_hand_are_still_told_apart(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path / "map", groups=1024)
    units = [unit_hash(f"c-{number}") for number in range(2000)]
    for number, unit in enumerate(units):
        memory.remember(unit, release=number + 1, salt=number, expires=100)
    other = ConversationMemory(tmp_path / "map", groups=1024)
    found = [other.recall(unit, 50.0) for unit in units]
    assert all(pin is None or (pin.release, pin.salt) == (number + 1, number) for number, pin in enumerate(found))
    assert sum(pin is not None for pin in found) > 1900
    memory.close()
    other.close()
