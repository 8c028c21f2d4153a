"""Lines of many writers in one file: whole or not there, and never waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from select import PIPE_BUF

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.gateway import log_file
from fairway.gateway.log_file import LogFile, taken


def settled(file: LogFile, lines: int) -> None:
    """Wait until so many lines are written or dropped."""
    until = time.monotonic() + 10
    while file.written + file.dropped < lines and time.monotonic() < until:
        time.sleep(0.002)
    assert file.written + file.dropped == lines


def put(file: LogFile, text: bytes) -> None:
    """Lines, and a look at once."""
    file.lines.extend(text.splitlines(keepends=True))
    file.look()


_WRITER = """
import sys
from fairway.gateway.log_file import LogFile
file = LogFile(sys.argv[1])
for batch in range(200):
    lines = (b"%d-%d-%d %b\\n" % (int(sys.argv[2]), batch, n, b"x" * (n * 7 % 90)) for n in range(20))
    file.lines.append(b"".join(lines))
    file.look()
file.close(within=20)
assert file.written == 200
"""


def test_batches_of_many_processes_stand_whole_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(number)]) for number in range(3)]
    assert [process.wait(timeout=60) for process in writers] == [0, 0, 0]
    lines = [line.split(b" ")[0].split(b"-") for line in path.read_bytes().splitlines()]
    assert len(lines) == 12_000
    for at in range(0, len(lines), 20):
        batch = lines[at : at + 20]
        assert len({(writer, number) for writer, number, _ in batch}) == 1, "no batch is within another"
        assert [int(n) for *_, n in batch] == list(range(20))


_WRITER_OF_LINES = """
import sys
from fairway.gateway.log_file import LogFile
file = LogFile(sys.argv[1])
for number in range(4_000):
    file.lines.append(b"%d-%d %b\\n" % (int(sys.argv[2]), number, b"x" * (number * 7 % 900)))
    if number % 50 == 0:
        file.look()
file.close(within=20)
assert file.written == 4_000
"""


def test_lines_of_many_processes_are_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    command = [sys.executable, "-c", _WRITER_OF_LINES, str(path)]
    writers = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [process.wait(timeout=60) for process in writers] == [0, 0, 0]
    order: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for line in path.read_bytes().splitlines():
        name, rest = line.split(b" ")
        writer, number = map(int, name.split(b"-"))
        order[writer].append(number)
        assert rest == b"x" * (number * 7 % 900)
    assert all(numbers == list(range(4_000)) for numbers in order.values())


def test_a_full_disk_takes_no_part_of_a_batch_and_what_it_did_not_take_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    file = LogFile(str(path))
    put(file, b"one\ntwo\n")
    settled(file, 2)
    write = os.write
    monkeypatch.setattr(log_file.os, "write", lambda fd, data: _full(write, fd, data))
    put(file, b"three\nfour\n" * 10)
    settled(file, 22)
    monkeypatch.setattr(log_file.os, "write", write)
    assert path.read_bytes() == b"one\ntwo\n"
    assert (file.written, file.dropped) == (2, 20)
    assert "No space" in file.error
    put(file, b"five\n")
    settled(file, 23)
    file.close()
    assert path.read_bytes() == b"one\ntwo\nfive\n"
    assert file.error == ""


def _full(write, fd: int, data: bytes) -> int:  # type: ignore[no-untyped-def]
    """A disk that has room for seven bytes more."""
    if len(data) < 20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return int(write(fd, bytes(data[:100])))


def test_writers_take_turns_so_that_one_can_take_back_what_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    file = LogFile(str(path))
    put(file, b"one\n")
    settled(file, 1)
    with path.open("rb") as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        put(file, b"two\n")
        time.sleep(0.1)
        assert path.read_bytes() == b"one\n"
        fcntl.flock(another, fcntl.LOCK_UN)
    settled(file, 2)
    file.close()
    assert path.read_bytes() == b"one\ntwo\n"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 3 * PIPE_BUF), min_size=1, max_size=30))
def test_a_pipe_gets_whole_lines_in_parts_it_keeps_together(lengths: list[int]) -> None:
    lines = [b"x" * length + b"\n" for length in lengths]
    parts = log_file._parts(b"".join(lines))
    assert b"".join(parts) == b"".join(lines)
    for part in parts:
        assert part.endswith(b"\n")
        assert len(part) <= PIPE_BUF or part.count(b"\n") == 1


def test_the_half_line_of_a_killed_writer_is_ended_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"whole\nhal")
    file = LogFile(str(path))
    put(file, b"next\n")
    settled(file, 1)
    file.close()
    assert path.read_bytes() == b"whole\nhal\nnext\n"


@pytest.mark.parametrize("told", [True, False], ids=["told", "by itself"])
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    monkeypatch.setattr(log_file, "LOOK_SECONDS", 1e9 if told else 0.0)
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    file = LogFile(str(path))
    put(file, b"before\n")
    settled(file, 1)
    path.rename(old)
    if told:
        put(file, b"still the old one\n")
        settled(file, 2)
        file.reopen()
    put(file, b"after\n")
    settled(file, 3 if told else 2)
    file.close()
    assert path.read_bytes() == b"after\n"
    assert old.read_bytes() == (b"before\nstill the old one\n" if told else b"before\n")


def test_a_reader_that_stopped_holds_nobody_up_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    write, sizes = os.write, list[int]()
    monkeypatch.setattr(log_file.os, "write", lambda fd, data: sizes.append(len(data)) or write(fd, data))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path), max_waiting=200)
    begun = time.monotonic()
    for number in range(2_000):
        put(file, b"%06d %b\n" % (number, b"x" * 992))
    assert time.monotonic() - begun < 5, "nobody waits for the reader"
    assert len(file.lines) <= 200
    assert file.dropped >= 1_500
    got = bytearray()
    until = time.monotonic() + 10
    while file.written + file.dropped < 2_000 and time.monotonic() < until:
        try:
            got += os.read(reader, 65_536)
        except BlockingIOError:
            time.sleep(0.001)
    file.close()
    while part := os.read(reader, 65_536):
        got += part
    os.close(reader)
    lines = bytes(got).splitlines()
    assert len(lines) == file.written
    assert all(len(line) == 999 for line in lines), "no line is cut"
    assert max(sizes) <= PIPE_BUF, "what another writer cannot come between"


def test_lines_that_are_dropped_while_others_are_taken_end_nothing() -> None:
    class Racing(deque[bytes]):
        def popleft(self) -> bytes:
            if len(self) == 2:
                self.pop()  # who looks has too many, just now
            return super().popleft()

    lines = Racing(b"%d\n" % number for number in range(5))
    assert taken(lines, 10) == [b"0\n", b"1\n", b"2\n", b"3\n"]
    assert not lines


def test_a_file_that_cannot_be_opened_costs_lines_and_no_thread_dies(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "missing" / "access.log"))
    put(file, b"lost\n")
    settled(file, 1)
    assert (file.dropped, file.written) == (1, 0)
    (tmp_path / "missing").mkdir()
    put(file, b"kept\n")
    settled(file, 2)
    file.close()
    assert (tmp_path / "missing" / "access.log").read_bytes() == b"kept\n"


def test_what_is_written_is_kept_no_longer(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "access.log"))
    text = bytes(bytearray(b"x" * 1000 + b"\n"))
    alone = sys.getrefcount(text)
    put(file, text)
    settled(file, 1)
    until = time.monotonic() + 10
    while sys.getrefcount(text) > alone and time.monotonic() < until:
        time.sleep(0.01)
    assert sys.getrefcount(text) == alone
    file.close()


def test_nothing_is_started_before_there_is_a_line(tmp_path: Path) -> None:
    before = threading.active_count()
    file = LogFile(str(tmp_path / "access.log"))
    file.close()
    assert threading.active_count() == before
    assert not (tmp_path / "access.log").exists()
