from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import UserError
from fairway.pipeline.dag import Graph, build_graph, next_moves, restorable, select

DIAMOND = {"prepare": (), "lint": ("prepare",), "unit": ("prepare",), "package": ("lint", "unit"), "ship": ("package",)}


def test_the_order_follows_after_and_keeps_the_declared_order_otherwise() -> None:
    assert build_graph({"b": ("a",), "c": (), "a": ()}).order == ("c", "a", "b")


def test_an_unknown_after_names_the_stage_and_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        build_graph({"prepare": (), "lint": ("prepar",)})
    assert caught.value.code == "unknown_stage"
    assert "'prepar'" in caught.value.message
    assert "'lint'" in caught.value.message
    assert caught.value.hint == "did you mean 'prepare'?"


@pytest.mark.parametrize(
    ("after", "circle"),
    [
        pytest.param({"a": ("a",)}, "a → a", id="itself"),
        pytest.param({"x": (), "a": ("x", "b"), "b": ("a",)}, None, id="two"),
        pytest.param({"d": ("c",), "a": ("c",), "b": ("a",), "c": ("b",)}, None, id="behind a tail"),
    ],
)
def test_a_circle_is_refused_with_its_names(after: dict[str, tuple[str, ...]], circle: str | None) -> None:
    with pytest.raises(UserError) as caught:
        build_graph(after)
    assert caught.value.code == "pipeline_cycle"
    names = caught.value.message.removeprefix("stages wait for each other: ").split(" → ")
    assert names[0] == names[-1]
    for earlier, later in pairwise(names):
        assert earlier in after[later]
    if circle:
        assert " → ".join(names) == circle


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, set(DIAMOND), id="everything"),
        pytest.param({"start": "unit"}, {"unit", "package", "ship"}, id="from"),
        pytest.param({"stop": "unit"}, {"prepare", "unit"}, id="to"),
        pytest.param({"start": "unit", "stop": "package"}, {"unit", "package"}, id="from to"),
        pytest.param({"only": ("lint", "ship")}, {"lint", "ship"}, id="only"),
        pytest.param({"only": ("lint", "ship"), "stop": "package"}, {"lint"}, id="only and to"),
    ],
)
def test_selection(arguments: dict[str, object], expected: set[str]) -> None:
    assert select(build_graph(DIAMOND), **arguments) == expected  # type: ignore[arg-type]


def test_a_selected_stage_brings_the_service_it_uses() -> None:
    graph = build_graph(
        {"deploy": (), "smoke": ("deploy",), "e2e": ("smoke",)}, uses={"e2e": ("deploy",)}, holding=["deploy"]
    )
    assert select(graph, only=["e2e"]) == {"e2e", "deploy"}


def test_an_empty_selection_is_refused() -> None:
    with pytest.raises(UserError, match="no stage lies between 'ship' and 'lint'"):
        select(build_graph(DIAMOND), start="ship", stop="lint")


def test_an_unknown_selection_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        select(build_graph(DIAMOND), only=["packag"])
    assert caught.value.hint == "did you mean 'package'?"


def test_a_holder_is_pointless_when_its_users_are() -> None:
    graph = build_graph(
        {"lint": (), "deploy": (), "smoke": ("deploy", "lint")}, uses={"smoke": ("deploy",)}, holding=["deploy"]
    )
    moves = next_moves(graph, graph.order, opened=(), closed={"lint": "lint"}, busy=())
    assert moves.start == ()
    assert dict(moves.skip) == {"smoke": "lint", "deploy": "lint"}


@pytest.mark.parametrize(
    ("hits", "kept"),
    [
        pytest.param({"deploy", "smoke", "e2e"}, {"deploy", "smoke", "e2e"}, id="every user is cached"),
        pytest.param({"deploy", "smoke"}, {"smoke"}, id="one user has to run"),
        pytest.param({"deploy"}, set(), id="nobody is cached"),
    ],
)
def test_a_held_service_is_not_started_when_every_user_is_cached(hits: set[str], kept: set[str]) -> None:
    graph = build_graph(
        {"deploy": (), "smoke": ("deploy",), "e2e": ("smoke",)},
        uses={"smoke": ("deploy",), "e2e": ("deploy",)},
        holding=["deploy"],
    )
    assert restorable(graph, graph.order, hits) == kept


@dataclass(frozen=True)
class Case:
    graph: Graph
    selected: frozenset[str]
    bad: frozenset[str]
    picks: tuple[int, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, 12))
    names = [f"s{index}" for index in range(count)]
    after = {
        name: tuple(sorted(draw(st.sets(st.sampled_from(names[:index]), max_size=3)))) if index else ()
        for index, name in enumerate(names)
    }
    shuffled = draw(st.permutations(names))
    graph = build_graph({name: after[name] for name in shuffled})
    return Case(
        graph=graph,
        selected=frozenset(draw(st.sets(st.sampled_from(names), min_size=1))),
        bad=frozenset(draw(st.sets(st.sampled_from(names)))),
        picks=tuple(draw(st.lists(st.integers(0, 11), min_size=60, max_size=60))),
    )


@given(cases())
def test_no_stage_starts_before_what_it_needs_and_a_failure_stops_only_what_depends_on_it(case: Case) -> None:
    graph, selected = case.graph, case.selected
    opened: set[str] = set()
    closed: dict[str, str] = {}
    busy: list[str] = []
    ran: set[str] = set()
    for pick in case.picks:
        moves = next_moves(graph, selected, opened=opened, closed=closed, busy=busy)
        closed.update(moves.skip)
        for stage in moves.start:
            assert stage in selected
            assert stage not in ran
            assert all(needed in opened for needed in graph.after[stage] if needed in selected)
            ran.add(stage)
            busy.append(stage)
        if not busy:
            break
        stage = busy.pop(pick % len(busy))  # any order of finishing
        if stage in case.bad:
            closed[stage] = stage
        else:
            opened.add(stage)
    assert not busy
    assert opened | set(closed) == selected
    # The oracle: a stage runs exactly when nothing selected upstream of it, through selected stages, is bad.
    runs: dict[str, bool] = {}
    for stage in graph.order:
        if stage in selected:
            runs[stage] = all(runs[n] and n not in case.bad for n in graph.after[stage] if n in selected)
    assert ran == {stage for stage, it_runs in runs.items() if it_runs}
    for stage, cause in closed.items():
        assert cause in case.bad
        assert stage == cause or cause in graph.ancestors([stage])


@given(cases())
def test_the_order_is_topological(case: Case) -> None:
    seen: set[str] = set()
    for stage in case.graph.order:
        assert seen.issuperset(case.graph.after[stage])
        seen.add(stage)
