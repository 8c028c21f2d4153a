from __future__ import annotations

import json
import random

import pytest

from fairway.errors import ConflictError
from fairway.evals.running.journal import FILE, Journal, read_trials, refuse_busy
from fairway.evals.trials import Trial, Trouble
from fairway.evals.values import AssertionResult, Found, Reply, ToolCall

REPLY = Reply(text="hi\u2028 \ud800", tools=(ToolCall(name="f", arguments={"x": 1.5}),), tokens_in=3)
KEY = ("s", "c", 0)


def trial(index: int = 0, **changes) -> Trial:
    return Trial(suite="s", case_id="c", index=index, replies=(Reply(text=f"r{index}"),), **changes)


def test_what_was_recorded_is_there_again(tmp_path):
    held = AssertionResult(type="llm-rubric", found=Found.HELD, score=1.0, cost_micros=12, detail={"votes": [1]})
    played = trial(measured={2: held}, duration_seconds=0.5, inclusion=0.25, wave=2)
    with Journal(tmp_path) as journal:
        journal.record_reply("candidate", KEY, 0, Reply(text="one"))
        journal.record_measured("candidate", KEY, 2, held)
        journal.record_trial("candidate", played)
        journal.record_trial("baseline", trial(trouble=Trouble.PROVIDER, error="down"))
    with Journal(tmp_path) as journal:
        assert journal.reply("candidate", KEY, 0) == Reply(text="one")
        assert journal.reply("baseline", KEY, 0) is None
        assert journal.measured("candidate", KEY, 2) == held
        assert journal.trial("candidate", KEY) == played
        assert journal.damaged == 0
    found = read_trials(tmp_path)
    assert found["candidate"] == (played,)
    assert found["baseline"][0].trouble is Trouble.PROVIDER


def test_the_last_record_of_a_trial_counts(tmp_path):
    with Journal(tmp_path) as journal:
        journal.record_trial("a", trial(trouble=Trouble.TIMEOUT))
        journal.record_trial("a", trial(1))
        journal.record_trial("a", trial())
    assert read_trials(tmp_path) == {"a": (trial(), trial(1))}


def test_half_a_surrogate_pair_or_a_strange_line_end_breaks_no_line(tmp_path):
    with Journal(tmp_path) as journal:
        journal.record_trial("a", Trial(suite="s", case_id="c", replies=(REPLY,)))
        journal.record_trial("a", trial(1))
    assert len(read_trials(tmp_path)["a"]) == 2


def test_wherever_a_kill_tears_the_file_what_was_whole_before_is_kept(tmp_path):
    with Journal(tmp_path) as journal:
        for index in range(20):
            journal.record_trial("a", trial(index))
    whole = (tmp_path / FILE).read_bytes()
    rng = random.Random(4)
    for cut in [0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(60))]:
        folder = tmp_path / str(cut)
        folder.mkdir(exist_ok=True)
        (folder / FILE).write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        assert len(read_trials(folder).get("a", ())) == lines
        with Journal(folder) as journal:
            assert journal.damaged == 0
            journal.record_trial("a", trial(99))
        found = read_trials(folder)["a"]
        assert [one.index for one in found] == [*range(lines), 99]


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"trial": {}}', '{"trial": {"suite": 1}, "side": "a"}', "\0\0", "{}"]
)
def test_a_line_that_cannot_be_read_is_counted_and_what_it_held_is_asked_again(tmp_path, line):
    with Journal(tmp_path) as journal:
        journal.record_trial("a", trial())
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with Journal(tmp_path) as journal:
        assert journal.damaged == 1
        journal.record_trial("a", trial(1))
    assert len(read_trials(tmp_path)["a"]) == 2


def test_one_process_writes_a_journal_at_a_time(tmp_path):
    with Journal(tmp_path), pytest.raises(ConflictError):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_folder_that_is_being_written_is_refused_before_it_is_touched(tmp_path):
    refuse_busy(tmp_path)
    with Journal(tmp_path), pytest.raises(ConflictError, match="another process"):
        refuse_busy(tmp_path)
    refuse_busy(tmp_path)
    with Journal(tmp_path):
        pass


def test_every_line_is_an_object_of_its_own(tmp_path):
    with Journal(tmp_path) as journal:
        journal.record_trial("a", trial())
    assert json.loads((tmp_path / FILE).read_text()) == {
        "trial": {"suite": "s", "case_id": "c", "replies": [{"text": "r0"}]},
        "side": "a",
    }


def test_a_folder_without_a_journal_has_no_trials(tmp_path):
    assert read_trials(tmp_path) == {}
