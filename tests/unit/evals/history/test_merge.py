from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RefusedError
from fairway.evals.history.merge import merge_runs
from fairway.evals.trials import JudgeHealth, SubjectInfo

RELEASE = "sha256:" + "a" * 64
EFFECTIVE = "sha256:" + "b" * 64

FOUND = {"a": "PP", "b": "FP", "c": "E?", "d": "P"}


def plan(found) -> list[tuple[str, str]]:
    return [("shop", name) for name in found]


def shards(make, found: dict[str, str], where: dict[str, int], parts: int):
    return [
        make(
            {name: words for name, words in found.items() if where[name] == part},
            shard=(part, parts),
            run_id=f"20261120-095523-00000{part}",
        )
        for part in range(1, parts + 1)
    ]


@given(data=st.data(), parts=st.integers(1, 4))
def test_shards_however_cut_and_ordered_are_the_unsharded_run(make_run, data, parts):
    where = {name: data.draw(st.integers(1, parts)) for name in FOUND}
    given_order = data.draw(st.permutations(shards(make_run, FOUND, where, parts)))
    whole = make_run(FOUND)
    merged = merge_runs(given_order, plan=plan(FOUND), run_id=whole.run_id)
    assert (merged.cases, merged.trials, merged.results) == (whole.cases, whole.trials, whole.results)
    assert replace(merged, created_at=whole.created_at) == whole


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda runs: runs[:1], "shard 2/2 is missing"),
        (lambda runs: [runs[0], runs[0], runs[1]], "shard 1/2 is there more than once"),
        (lambda runs: [runs[0], replace(runs[1], shard=(2, 3))], "parts of 2 and of 3"),
        (lambda runs: [runs[0], replace(runs[1], shard=None)], "is no shard"),
        (lambda runs: [], "nothing to merge"),
        (lambda runs: [runs[0], replace(runs[1], instrument=RELEASE)], "different instruments"),
        (lambda runs: [runs[0], replace(runs[1], attempt_of=EFFECTIVE)], "examined"),
        (lambda runs: [runs[0], replace(runs[1], cases=runs[0].cases)], "in two shards"),
        (lambda runs: [runs[0], replace(runs[1], cases=runs[1].cases[:1])], "shop/d is in no shard"),
    ],
)
def test_what_is_not_the_whole_is_refused(make_run, change, says):
    runs = shards(make_run, FOUND, {"a": 1, "b": 1, "c": 2, "d": 2}, 2)
    with pytest.raises(RefusedError, match=says) as refused:
        merge_runs(change(runs), plan=plan(FOUND), run_id="x")
    assert refused.value.code == "eval_merge"


def test_shards_of_services_nobody_knows_merge_when_they_have_the_same_address(make_run):
    runs = shards(make_run, FOUND, {"a": 1, "b": 1, "c": 2, "d": 2}, 2)
    url = SubjectInfo(kind="url", name="http://x")
    unknown = [replace(run, subject=url, attempt_of=None) for run in runs]
    assert merge_runs(unknown, plan=plan(FOUND), run_id="x").subject == url
    other = replace(unknown[1], subject=replace(url, name="http://y"))
    with pytest.raises(RefusedError, match="examined"):
        merge_runs([unknown[0], other], plan=plan(FOUND), run_id="x")


def test_a_judge_that_may_not_be_used_in_one_shard_may_not_be_used_in_the_whole(make_run):
    runs = shards(make_run, FOUND, {"a": 1, "b": 1, "c": 2, "d": 2}, 2)
    well = JudgeHealth(items=20, sensitivity=1.0, specificity=1.0)
    merged = merge_runs(
        [replace(runs[0], judge=well), replace(runs[1], judge=replace(well, problem="it drifted"))],
        plan=plan(FOUND),
        run_id="x",
    )
    assert merged.judge is not None
    assert merged.judge.problem == "it drifted"


def test_an_unknown_price_or_an_incomplete_shard_makes_the_whole_so(make_run):
    runs = shards(make_run, FOUND, {"a": 1, "b": 1, "c": 2, "d": 2}, 2)
    merged = merge_runs(
        [replace(runs[0], spent_micros=5), replace(runs[1], spent_micros=None, complete=False)],
        plan=plan(FOUND),
        run_id="x",
    )
    assert (merged.spent_micros, merged.complete) == (None, False)
