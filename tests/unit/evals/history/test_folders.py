from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fairway.errors import NotFoundError, PermanentError
from fairway.evals.history.baseline import why_not_blessed
from fairway.evals.history.baseline_file import BaselineFile
from fairway.evals.history.folders import HEADER, EvalHistory, RunHeader, read_run, write_run
from fairway.evals.trials import JudgeHealth, SubjectInfo

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
CONTENT = "sha256:" + "d" * 64


def header(number: int, **more) -> RunHeader:
    at = START + timedelta(seconds=number)
    values = {"run_id": f"{at:%Y%m%d-%H%M%S}-{99 - number:06x}", "created_at": at, "ended": True}
    return RunHeader(**{**values, **more})


def history(tmp_path, *headers: RunHeader) -> EvalHistory:
    made = EvalHistory(tmp_path / "evals")
    for one in headers:
        made.begin(one)
    return made


def test_a_header_and_a_run_are_read_back_as_they_were(tmp_path, make_run):
    full = header(
        1, agent="shop", asked={"cache": None}, plan=(("s", "a"),), shard=(1, 2), reasons=("x",), spent_micros=None
    )
    kept = history(tmp_path, full)
    assert kept.header(full.run_id) == full
    run = make_run({"a": "PF", "b": "E?"})
    write_run(kept.folder(full.run_id), run)
    assert read_run(kept.folder(full.run_id)) == run


def test_earlier_attempts_are_those_on_the_same_content_that_came_to_an_end(tmp_path):
    others = {1: {}, 2: {"ended": False}, 3: {"attempt_of": None}, 4: {"shard": (1, 2)}, 5: {}}
    runs = {number: header(number, **{"attempt_of": CONTENT, **more}) for number, more in others.items()}
    kept = history(tmp_path, *runs.values())
    found = kept.attempts(CONTENT, but=runs[5].run_id)
    assert found == (runs[1].run_id,)
    assert kept.attempts(None, but="") == ()


def test_of_attempts_that_read_the_same_from_the_cache_the_first_stands_for_all(tmp_path):
    asked = header(1, attempt_of=CONTENT)
    same = [header(number, attempt_of=CONTENT, repeats="sha256:" + "7" * 64) for number in (2, 3, 4)]
    other = header(5, attempt_of=CONTENT, repeats="sha256:" + "8" * 64)
    kept = history(tmp_path, asked, *same, other)
    assert kept.attempts(CONTENT, but="") == (asked.run_id, same[0].run_id, other.run_id)
    assert kept.attempts(CONTENT, but=same[0].run_id) == (asked.run_id, same[1].run_id, other.run_id)
    again = kept.attempts(CONTENT, but="", repeats=same[0].repeats)
    assert again == (asked.run_id, other.run_id), "the attempt at hand stands for them"


def test_two_attempts_within_one_second_are_both_there(tmp_path):
    first = header(1, attempt_of=CONTENT)
    second = replace(
        first, run_id=first.run_id[:-6] + "000000", created_at=first.created_at + timedelta(microseconds=1)
    )
    kept = history(tmp_path, first, second)
    assert kept.attempts(CONTENT, but=second.run_id) == (first.run_id,)
    assert kept.find("latest").name == second.run_id


def test_no_name_names_no_run_and_a_damaged_one_is_not_the_latest(tmp_path):
    kept = history(tmp_path, header(1))
    with pytest.raises(NotFoundError, match="no evaluation ''"):
        kept.find("")
    (kept.folder(header(1).run_id) / HEADER).write_text("{")
    with pytest.raises(NotFoundError, match="no evaluation yet"):
        kept.find("latest")


def test_an_attempt_that_began_later_counts_when_an_older_one_is_gone_on_with(tmp_path):
    kept = history(tmp_path, header(1, attempt_of=CONTENT), header(2, attempt_of=CONTENT))
    assert kept.attempts(CONTENT, but=header(1).run_id) == (header(2).run_id,)


def test_an_attempt_that_cannot_be_read_is_not_left_out(tmp_path):
    kept = history(tmp_path, header(1, attempt_of=CONTENT))
    (kept.folder(header(1).run_id) / HEADER).write_text("{")
    with pytest.raises(PermanentError, match="cannot be read"):
        kept.attempts(CONTENT, but="")


def test_old_runs_go_but_for_blessed_ones_and_attempts_on_content_that_is_kept(tmp_path):
    runs = [header(number, attempt_of=CONTENT if number in (0, 9) else None) for number in range(10)]
    kept = history(tmp_path, *runs)
    gone = kept.prune(keep=3, blessed=[runs[4].run_id])
    assert sorted(kept.ids()) == sorted(runs[number].run_id for number in (0, 4, 7, 8, 9))
    assert len(gone) == 5


def test_a_run_is_found_by_the_beginning_of_its_id_when_only_one_begins_so(tmp_path):
    runs = [header(number) for number in range(3)]
    kept = history(tmp_path, *runs)
    assert kept.find(runs[1].run_id[:-3]).name == runs[1].run_id
    with pytest.raises(NotFoundError, match="3 evaluations begin"):
        kept.find("20261120")
    with pytest.raises(NotFoundError, match="no evaluation"):
        kept.find("x")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"complete": False}, "not complete"),
        ({"shard": (1, 2)}, "part 1 of 2"),
        ({"attempt_of": None}, "nobody knows which version"),
        ({"subject": SubjectInfo(kind="arm", name="x", release="dev:sha256:" + "a" * 64)}, "uncommitted"),
        ({"judge": JudgeHealth(items=1, sensitivity=None, specificity=None, problem="it drifted")}, "it drifted"),
    ],
)
def test_what_speaks_against_a_baseline_is_named(make_run, change, says):
    assert why_not_blessed(make_run({"a": "PF"})) == ()
    (against,) = why_not_blessed(make_run({"a": "PF"}, **change))
    assert says in against


def test_a_run_with_an_undecided_case_is_no_baseline(make_run):
    assert why_not_blessed(make_run({"a": "P", "b": "E"})) == ("1 of its 2 trials could not be decided",)


def test_a_damaged_record_of_baselines_is_never_read_as_none(tmp_path):
    path = tmp_path / "baselines.jsonl"
    assert BaselineFile(path).all() == ()
    path.write_text('{"agent": "x"}\n')
    with pytest.raises(PermanentError, match=r"baselines.jsonl:1"):
        BaselineFile(path).all()
