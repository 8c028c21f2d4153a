from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.clock import SystemClock
from fairway.evals.running.cache import CallCache, content_key, question_key
from fairway.evals.trials import Question, SubjectInfo
from fairway.evals.values import Reply, ToolCall

KNOWN = SubjectInfo(kind="openai", name="m", identity={"model": "m"})
ASKED = Question(suite="s", case_id="c", turns=("hello",), thread="t")
REPLY = Reply(text="hi \ud83d", tools=(ToolCall(name="f", arguments={"x": [1, None]}),), tokens_in=3, cost_micros=9)


class Calendar(SystemClock):
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 20, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def key(question: Question = ASKED, info: SubjectInfo = KNOWN) -> bytes:
    found = question_key(info, question)
    assert found is not None
    return found


def test_an_answer_is_there_for_the_next_run_with_everything_but_how_long_it_took(tmp_path):
    with CallCache(tmp_path / "cache.db") as cache:
        assert cache.reply(key()) is None
        cache.keep_reply(key(), replace(REPLY, text="hi", latency_seconds=3.0))
        assert cache.reply(key()) is not None
    with CallCache(tmp_path / "cache.db") as cache:
        assert cache.reply(key()) == replace(REPLY, text="hi")
        assert (cache.hits, cache.misses) == (1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"turns": ("hallo",)},
        {"turns": ("hello", "again")},
        {"index": 1},
        {"variables": {"x": 1}},
        {"case_id": "d"},
        {"suite": "t"},
        {"replies": (Reply(text="x"),)},
    ],
)
def test_whatever_an_answer_depends_on_makes_another_entry(change):
    assert key(replace(ASKED, **change)) != key()
    assert key(ASKED, replace(KNOWN, identity={"model": "n"})) != key()


def test_the_conversation_id_does_not_because_it_differs_from_run_to_run():
    assert key(replace(ASKED, thread="other")) == key()


def test_nothing_is_kept_of_somebody_whose_version_nobody_knows():
    assert question_key(replace(KNOWN, identity=None), ASKED) is None


@given(st.lists(st.integers(0, 5), min_size=2, max_size=2, unique=True))
def test_repeats_never_read_each_others_entry(indexes):
    first, second = (content_key({"a": 1}, {"b": 2}, index) for index in indexes)
    assert first != second


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=4))
def test_the_key_does_not_depend_on_the_order_of_names(identity):
    assert content_key(identity, {}, 0) == content_key(dict(reversed(identity.items())), {}, 0)


def test_an_answer_that_is_too_old_or_from_the_future_is_a_miss(tmp_path):
    clock = Calendar()
    with CallCache(tmp_path / "c.db", clock=clock, max_age_seconds=3600) as cache:
        cache.put(b"k", {"a": 1})
        cache.flush()
        clock.at += timedelta(minutes=59)
        assert cache.get(b"k") == {"a": 1}
        clock.at += timedelta(minutes=2)
        assert cache.get(b"k") is None
        clock.at -= timedelta(days=3)
        assert cache.get(b"k") is None


@pytest.mark.parametrize("damage", ["answer = x'7b7d'", "check_sum = 1", "answer = 'text'", "created = 'never'"])
def test_an_entry_that_was_altered_is_a_miss(tmp_path, damage):
    path = tmp_path / "c.db"
    with CallCache(path) as cache:
        cache.keep_reply(key(), Reply(text="hi"))
    with sqlite3.connect(path) as db:
        db.execute(f"update answers set {damage}")
    db.close()
    with CallCache(path) as cache:
        assert cache.reply(key()) is None


def test_an_entry_of_another_shape_is_a_miss(tmp_path):
    with CallCache(tmp_path / "c.db") as cache:
        cache.put(key(), {"words": "hi"})
        assert cache.reply(key()) is None


def test_a_file_that_is_no_cache_is_put_aside_and_a_place_that_cannot_be_written_does_no_harm(tmp_path):
    path = tmp_path / "c.db"
    path.write_bytes(b"not a database at all" * 100)
    with CallCache(path) as cache:
        cache.put(b"k", 1)
        cache.flush()
        assert cache.get(b"k") == 1
    assert (tmp_path / "c.db.broken").is_file()
    (tmp_path / "file").write_text("")
    with CallCache(tmp_path / "file" / "c.db") as cache:
        cache.put(b"k", 1)
        cache.flush()
        assert cache.get(b"k") is None


def test_the_oldest_answers_are_dropped_when_there_is_too_much(tmp_path):
    clock = Calendar()
    path = tmp_path / "c.db"
    with CallCache(path, clock=clock, max_bytes=50_000) as cache:
        for number in range(100):
            clock.at += timedelta(seconds=1)
            cache.put(b"%d" % number, "x" * 1000)
    with CallCache(path, clock=clock, max_bytes=50_000) as cache:
        kept = [number for number in range(100) if cache.get(b"%d" % number) is not None]
    assert kept == list(range(kept[0], 100))
    assert 40 <= len(kept) <= 50


def test_two_processes_may_use_one_cache(tmp_path):
    with CallCache(tmp_path / "c.db") as first, CallCache(tmp_path / "c.db") as second:
        first.put(b"a", 1)
        second.put(b"b", 2)
        first.flush()
        second.flush()
        assert (first.get(b"b"), second.get(b"a")) == (2, 1)
