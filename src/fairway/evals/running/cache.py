"""Answers that need not be asked for again, by the content of the question: one SQLite file."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fairway.clock import Clock, SystemClock
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply
from fairway.evals.wire import WireError, decode, encode

_VERSION = 1
"""Of the key and of the entries: a change of either makes every older entry a miss."""
_WAITING = 200
_WAITING_SECONDS = 0.5
"""Entries kept in memory, and how long at most, before they are written in one transaction."""
_DAY = 86_400.0
_SCHEMA = """
create table if not exists answers (
  key blob primary key,
  created real not null,
  check_sum integer not null,
  answer blob not null
)
"""


def content_key(identity: Mapping[str, Any], request: Mapping[str, Any], index: int) -> bytes:
    """SHA-256 of everything an answer depends on, and of which repeat it is: repeats never share an entry.

    The JSON is compact with sorted keys; two writings of one number (``1``, ``1.0``) are two keys, which costs a miss
    and no more.
    """
    text = json.dumps([_VERSION, identity, request, index], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def question_key(info: SubjectInfo, question: Question, *, twin: int = 0) -> bytes | None:
    """Key of a question to a subject; ``None``: the subject's identity is not known, so nothing of it is kept.

    The case's name is part of the request: two cases with the same words are asked twice, so that the answer of one
    never stands in for the other, whichever comes first. The conversation's thread is not: it differs from run to run.

    Args:
        info: Who is asked.
        question: What.
        twin: How many sides before this one are the same subject: compared with itself, each side has its own answers.
    """
    if info.identity is None:
        return None
    request = {
        "case": [question.suite, question.case_id],
        "turns": question.turns,
        "replies": [[reply.text, encode(reply.tools)] for reply in question.replies],
        "variables": question.variables,
        "twin": twin,
    }
    return content_key(info.identity, request, question.index)


class CallCache:
    """Answers by key. Nothing in it is ever needed: what cannot be read, is too old or was altered is a miss.

    Errors are never kept, since only answers are put in. Writes wait in memory and go to disk together: a process that
    is killed loses some of them, which costs calls in other runs only (a run's own answers are in its journal).
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        max_bytes: int = 512 * 1024 * 1024,
        max_age_seconds: float = 30 * _DAY,
    ) -> None:
        """Open or make a cache.

        Args:
            path: The file; its folder is made. One that is no cache is put aside (``.broken``).
            clock: For the age of entries.
            max_bytes: Of all answers together; the oldest are dropped when the cache is closed.
            max_age_seconds: An older answer is a miss.
        """
        self._clock = clock or SystemClock()
        self._path = path
        self._max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._flushed_at = time.monotonic()
        self._waiting: dict[bytes, tuple[float, int, bytes]] = {}
        self._db: sqlite3.Connection | None = self._open()
        self.hits = self.misses = 0

    def __enter__(self) -> CallCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except sqlite3.Error:
            try:
                self._path.replace(self._path.with_name(self._path.name + ".broken"))
                return self._connect()
            except (sqlite3.Error, OSError):
                return None
        except OSError:
            return None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=2.0, isolation_level=None)
        try:
            db.execute("pragma journal_mode=wal")
            db.execute("pragma synchronous=off")  # losing it to a power cut costs calls, never a result
            db.execute(_SCHEMA)
            db.execute("select created, check_sum, answer from answers limit 1").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def get(self, key: bytes) -> Any:
        """The answer's JSON value; ``None``: a miss."""
        row: tuple[Any, ...] | None = self._waiting.get(key)
        if row is None and self._db is not None:
            try:
                row = self._db.execute(
                    "select created, check_sum, answer from answers where key = ?", (key,)
                ).fetchone()
            except sqlite3.Error:
                row = None
        value = self._read(key, row)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def _read(self, key: bytes, row: tuple[Any, ...] | None) -> Any:
        if row is None:
            return None
        created, check_sum, answer = row
        if not isinstance(created, float) or not isinstance(answer, bytes) or zlib.crc32(key + answer) != check_sum:
            return None
        age = self._clock.now().timestamp() - created
        if age < -_DAY or age > self._max_age:
            return None
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            return None

    def put(self, key: bytes, value: Any) -> None:
        """Keep an answer's JSON value (not ``null``)."""
        answer = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._waiting[key] = (self._clock.now().timestamp(), zlib.crc32(key + answer), answer)
        if len(self._waiting) >= _WAITING or time.monotonic() - self._flushed_at >= _WAITING_SECONDS:
            self.flush()

    def reply(self, key: bytes) -> Reply | None:
        """A subject's reply; ``None``: a miss."""
        value = self.get(key)
        if value is None:
            return None
        try:
            return decode(Reply, value)
        except WireError:
            return None

    def keep_reply(self, key: bytes, reply: Reply) -> None:
        """Keep a subject's reply, without how long it took: from a cache it takes no time that means anything."""
        value = encode(reply)
        value.pop("latency_seconds", None)
        self.put(key, value)

    def flush(self) -> None:
        """Write what waits; a disk that is full or a file that is locked loses it, silently: it is only a cache."""
        self._flushed_at = time.monotonic()
        rows = [(key, *row) for key, row in self._waiting.items()]
        self._waiting.clear()
        if not rows or self._db is None:
            return
        try:
            self._db.execute("begin immediate")
            self._db.executemany("insert or replace into answers values (?, ?, ?, ?)", rows)
            self._db.execute("commit")
        except sqlite3.Error:
            try:
                self._db.execute("rollback")
            except sqlite3.Error:
                pass

    def close(self) -> None:
        """Write what waits, and drop what is too old or too much."""
        self.flush()
        if self._db is None:
            return
        try:
            self._shrink(self._db)
        except sqlite3.Error:
            pass
        self._db.close()
        self._db = None

    def _shrink(self, db: sqlite3.Connection) -> None:
        # pages, not the file's size: what is in the write-ahead log counts, and asking costs nothing
        pages, size = db.execute("pragma page_count").fetchone()[0], db.execute("pragma page_size").fetchone()[0]
        if pages * size <= self._max_bytes:
            return
        oldest = self._clock.now().timestamp() - self._max_age
        db.execute("delete from answers where created < ?", (oldest,))
        total = db.execute("select coalesce(sum(length(answer)), 0) from answers").fetchone()[0]
        if total <= self._max_bytes:
            return
        spare = total - self._max_bytes
        dropped: list[tuple[bytes]] = []
        for key, size in db.execute("select key, length(answer) from answers order by created"):
            if spare <= 0:
                break
            dropped.append((key,))
            spare -= size
        db.executemany("delete from answers where key = ?", dropped)
        db.execute("vacuum")
