from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import NotFoundError, UserError
from fairway.evals.suites.select import Selection, parse_shard, select_cases, shard_of
from fairway.evals.values import Case, Suite


def case(name: str, *, tags: tuple[str, ...] = (), family: str | None = None) -> Case:
    return Case(id=name, name=f"Case {name}", turns=(f"say {name}",), tags=tags, family=family)


def suite(name: str, *cases: Case) -> Suite:
    return Suite(name=name, file=f"{name}.yaml", cases=cases)


SUITES = (
    suite("refunds", case("a", tags=("money", "smoke")), case("b", tags=("money",)), case("c")),
    suite("chat", case("a"), case("hello", tags=("smoke", "slow"))),
)


def ids(suites: tuple[Suite, ...]) -> list[str]:
    return [f"{one.name}/{each.id}" for one in suites for each in one.cases]


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection(), ["refunds/a", "refunds/b", "refunds/c", "chat/a", "chat/hello"]),
        (Selection(suites=("ch*",)), ["chat/a", "chat/hello"]),
        (Selection(cases=("a",)), ["refunds/a", "chat/a"]),
        (Selection(cases=("refunds/a", "hel*")), ["refunds/a", "chat/hello"]),
        (Selection(tags=("smoke",)), ["refunds/a", "chat/hello"]),
        (Selection(tags=("smoke", "!slow")), ["refunds/a"]),
        (Selection(tags=("!money",)), ["refunds/c", "chat/a", "chat/hello"]),
        (Selection(text="SAY HEL"), ["chat/hello"]),
        (Selection(suites=("refunds",), tags=("money",), text="case b"), ["refunds/b"]),
        (Selection(sample=0), []),
    ],
)
def test_each_part_of_a_selection_narrows_the_cases(selection, left):
    assert ids(select_cases(SUITES, selection)) == left


def test_a_case_whose_id_looks_like_a_glob_is_found_by_its_name():
    odd = suite("s", case("x[1]"), case("x1"))
    assert ids(select_cases((odd,), Selection(cases=("x[1]",)))) == ["s/x[1]", "s/x1"]


@pytest.mark.parametrize("selection", [Selection(cases=("helo",)), Selection(suites=("refund",))])
def test_a_name_that_selects_nothing_is_an_error_that_names_the_nearest(selection):
    with pytest.raises(NotFoundError, match=r"did you mean '(hello|refunds)'"):
        select_cases(SUITES, selection)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UserError, match="not a shard"):
        parse_shard(text)


names = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30, unique=True)


@settings(deadline=None)
@given(names, st.integers(1, 9))
def test_the_shards_together_hold_every_case_once(cases, parts):
    whole = suite("s", *(case(name) for name in cases))
    found = [ids(select_cases((whole,), Selection(shard=(part, parts)))) for part in range(1, parts + 1)]
    assert sorted(name for part in found for name in part) == sorted(f"s/{name}" for name in cases)


@settings(deadline=None)
@given(names, st.integers(1, 9), st.integers(0, 100))
def test_a_case_that_is_added_or_removed_moves_no_other_to_another_shard_and_one_at_most_in_a_sample(
    cases, parts, seed
):
    *rest, extra = cases
    before, after = suite("s", *map(case, rest)), suite("s", case(extra), *map(case, rest))
    for part in range(1, parts + 1):
        selection = Selection(shard=(part, parts))
        left = [name for name in ids(select_cases((after,), selection)) if name != f"s/{extra}"]
        assert left == ids(select_cases((before,), selection))
    sample = Selection(sample=3, seed=seed)
    gone = set(ids(select_cases((before,), sample))) - set(ids(select_cases((after,), sample)))
    assert len(gone) <= 1


@settings(deadline=None)
@given(names, st.integers(1, 9))
def test_a_family_is_never_split_over_shards(cases, parts):
    family = [replace(case(name), family="one") for name in cases]
    assert len({shard_of("s", each, parts) for each in family}) == 1


def test_shards_are_of_like_size():
    sizes = [0] * 8
    for index in range(4000):
        sizes[shard_of("s", case(f"case-{index}"), 8) - 1] += 1
    assert min(sizes) > 400
    assert max(sizes) < 600


@settings(deadline=None)
@given(names, st.integers(0, 40), st.integers(0, 5))
def test_a_sample_has_its_size_keeps_the_order_and_repeats_for_its_seed(cases, size, seed):
    whole = suite("s", *(case(name) for name in cases))
    drawn = ids(select_cases((whole,), Selection(sample=size, seed=seed)))
    assert len(drawn) == min(size, len(cases))
    assert drawn == [f"s/{name}" for name in cases if f"s/{name}" in drawn]
    assert drawn == ids(select_cases((whole,), Selection(sample=size, seed=seed)))


def test_another_seed_draws_another_sample():
    whole = suite("s", *(case(str(index)) for index in range(100)))
    assert len({tuple(ids(select_cases((whole,), Selection(sample=5, seed=seed)))) for seed in range(5)}) == 5
