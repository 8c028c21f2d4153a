"""Gates on means: how often they err, what they see, and what changes no verdict."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pytest

from fairway.observe.fold import ArmBlock, Block
from fairway.stats.intervals import clopper_pearson
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic, drift
from fairway.testing.modelled_values import ModelledValues, ValueModel, rescaled
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import UnitHash, Verdict
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.means import MeanState, cap_of, log_e_fail_mean, log_e_pass_mean
from fairway.verdict.panel import Panel
from fairway.verdict.tally import GateState
from fairway.verdict.values import MEAN_KINDS, GateFinding, GateKind, GateSpec

ALPHA_FAIL, ALPHA_PASS = 0.04 / 3, 0.05
WARM = 12
ROLLOUTS = 30
"""So few because ``python -m benchmarks.means`` has hundreds; each has four gates."""
RATIOS, POINTS = (GateKind.COST_MEAN, GateKind.TOKENS_MEAN), (GateKind.SCORE_MEAN, GateKind.FEEDBACK_MEAN)
PLAIN = ArmModel(spread=0, failure=0)


def gate(kind: GateKind, margin: float, **changes: object) -> GateSpec:
    spec = GateSpec(name=kind.value, kind=kind, margin=margin, alpha_fail=ALPHA_FAIL, alpha_pass=ALPHA_PASS, stages=4)
    return replace(spec, **changes)  # type: ignore[arg-type]


def log_e_values(spec: GateSpec, state: GateState) -> tuple[float, float]:
    assert isinstance(state, MeanState)
    return log_e_fail_mean(spec, state), log_e_pass_mean(state)


def gates(ratio: float, points: float, **changes: object) -> tuple[GateSpec, ...]:
    return tuple(gate(kind, ratio if kind in RATIOS else points, **changes) for kind in (*RATIOS, *POINTS))


def ladder(index: int) -> float:
    return (0.05, 0.1, 0.3, 0.5)[min(3, index // 10)]


def course(
    seed: int,
    candidate: ValueModel,
    *,
    units: float = 17,
    blocks: int = 40,
    split: Callable[[int], float] = ladder,
    **values: object,
) -> list[Block]:
    """A rollout with all at once: sticky heavy users, conversations that grow dearer with age, a growing split."""
    traffic = ModelledTraffic(
        seed=seed, units_per_block=units, stable=PLAIN, candidate=PLAIN, turns=3, heavy_users=max(5, int(units))
    )
    said = ModelledValues(seed=seed + 1000, candidate=candidate, aging=0.3, **values)  # type: ignore[arg-type]
    warm = [said.of(traffic.next_block(split=0.0)) for _ in range(WARM)]
    return [*warm, *(said.of(traffic.next_block(split=split(index))) for index in range(blocks))]


def panel() -> Panel:
    return Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=WARM * 10.0)


def looks(specs: Sequence[GateSpec], blocks: Sequence[Block]) -> list[tuple[GateFinding, ...]]:
    """What each gate says after each block, through the real panel."""
    judged = panel()
    found = []
    for block in blocks:
        judged.take(block)
        if block.t0 >= WARM * 10.0:
            found.append(judged.judge(specs, step_from=WARM * 10.0))
    return found


def last(spec: GateSpec, blocks: Sequence[Block]) -> GateFinding:
    return looks([spec], blocks)[-1][0]


# --- error rates -------------------------------------------------------------------------------------------------


def rates(specs: Sequence[GateSpec], courses: Iterable[Sequence[Block]]) -> Counter[Verdict]:
    """How many of the gates' rollouts ever said each verdict."""
    hits: Counter[Verdict] = Counter()
    for blocks in courses:
        hits.update(v for _, v in {(found.gate, found.verdict) for look in looks(specs, blocks) for found in look})
    return hits


def bounded(record: Callable[[str, object], None], name: str, hits: int, of: int) -> float:
    low, high = clopper_pearson(hits, of)
    text = f"{hits}/{of}, 95% interval {low:.4f}-{high:.4f}"
    record(name, text)
    print(f"\n{name}: {text}", end="")
    return high


@pytest.mark.slow
def test_the_same_release_twice_is_not_failed_at_no_margin_at_all(
    record_property: Callable[[str, object], None],
) -> None:
    courses = (course(seed, ValueModel(), weather=drift(3, 16)) for seed in range(ROLLOUTS))
    hits = rates(gates(1.0, 0.001), courses)
    assert bounded(record_property, "false FAIL of means", hits[Verdict.FAIL], 4 * ROLLOUTS) <= ALPHA_FAIL + 0.02
    assert hits[Verdict.INCONCLUSIVE] == 4 * ROLLOUTS


@pytest.mark.slow
def test_a_release_at_its_margin_is_rarely_passed_and_rarely_failed(
    record_property: Callable[[str, object], None],
) -> None:
    at_margin = ValueModel(cost=0.012, tokens=1080, score=0.75, feedback=0.65)
    hits = rates(gates(1.2, 0.05), (course(seed, at_margin) for seed in range(ROLLOUTS)))
    passed, failed = hits[Verdict.PASS], hits[Verdict.FAIL]
    assert bounded(record_property, "false PASS of means at the margin", passed, 4 * ROLLOUTS) <= ALPHA_PASS + 0.03
    assert bounded(record_property, "false FAIL of means at the margin", failed, 4 * ROLLOUTS) <= ALPHA_FAIL + 0.03


WORSE = pytest.mark.parametrize(
    ("kind", "margin", "candidate", "blocks"),
    [
        (GateKind.COST_MEAN, 1.1, ValueModel(cost=0.02), 12),
        (GateKind.TOKENS_MEAN, 1.1, ValueModel(tokens=1800), 12),
        (GateKind.SCORE_MEAN, 0.05, ValueModel(score=0.6), 16),
        (GateKind.FEEDBACK_MEAN, 0.05, ValueModel(feedback=0.2, rated=0.5), 30),
    ],
    ids=["cost-doubled", "tokens-doubled", "score-20-points-lower", "feedback-50-points-lower"],
)


@WORSE
def test_what_is_much_worse_is_failed_at_five_percent_within_minutes(
    kind: GateKind, margin: float, candidate: ValueModel, blocks: int
) -> None:
    caught = 0
    for seed in range(4):
        seen = course(seed, candidate, units=120, blocks=blocks, split=lambda _: 0.05)
        finding = last(gate(kind, 2.0 if kind in RATIOS else 0.1, fail_margin=margin), seen)
        caught += finding.verdict is Verdict.FAIL
        assert finding.verdict is not Verdict.PASS
    assert caught >= 3


@pytest.mark.parametrize(("ratio", "points"), [(1.5, 0.1)])
def test_a_release_as_good_as_stable_passes(ratio: float, points: float) -> None:
    found = looks(gates(ratio, points), course(1, ValueModel(), units=120, blocks=40))[-1]
    assert {finding.verdict for finding in found} == {Verdict.PASS}


def test_a_fault_that_begins_late_is_failed_before_it_weighs_on_all_that_went_before() -> None:
    spec = gate(GateKind.COST_MEAN, 2.0, fail_margin=1.1)
    seen = course(3, ValueModel(cost=0.03), units=60, blocks=40, onset=WARM + 30)
    assert [look[0].verdict for look in looks([spec], seen)][29] is Verdict.PASS
    finding = last(spec, seen)
    assert finding.verdict is Verdict.FAIL
    alone = last(replace(spec, stages=1), seen)
    assert alone.log_e_fail < finding.log_e_fail


def test_the_expectation_at_the_margin_is_one_whatever_is_drawn() -> None:
    """Brute force through the gate: a pair a block, the candidate's values M times stable's, half beyond the cap."""
    spec = gate(GateKind.COST_MEAN, 1.5, cap=2.0, minimum_units=1, stages=1)
    mean_fail = mean_pass = 0.0
    draws = list(itertools.product((1.0, 3.0), repeat=6))
    for drawn in draws:
        state = start(spec)
        for index in range(3):
            ours, theirs = {"c": 1.5 * drawn[2 * index]}, {"a": drawn[2 * index + 1]}
            state = observe(spec, state, dollars(index, ours, theirs), candidate=CANDIDATE, stable=STABLE)
        to_fail, to_pass = log_e_values(spec, state)
        mean_fail += math.exp(to_fail) / len(draws)
        mean_pass += math.exp(to_pass) / len(draws)
    assert (mean_fail, mean_pass) == (pytest.approx(1), pytest.approx(1))


# --- who counts, and as what -------------------------------------------------------------------------------------

STABLE, CANDIDATE = MODELLED_STABLE, MODELLED_CANDIDATE


def unit(name: str, index: int) -> UnitHash:
    return UnitHash(f"{name}{index:012x}".ljust(16, "0"))


def said_by(role: Role, active: Mapping[UnitHash, float | None], kind: str) -> ArmBlock:
    values = {u: (round(value * 1e6), 1) for u, value in active.items() if value is not None}
    return ArmBlock(
        role=role, assigned=len(active), finished=len(active), reported=len(active), active=tuple(sorted(active)),
        values={kind: values} if values else {},
    )  # fmt: skip


def block(
    index: int, ours: Mapping[UnitHash, float | None], theirs: Mapping[UnitHash, float | None], *, kind: str = "cost"
) -> Block:
    arms = {STABLE: said_by(Role.STABLE, theirs, kind), CANDIDATE: said_by(Role.CANDIDATE, ours, kind)}
    arms = {release: arm for release, arm in arms.items() if arm.active}
    return Block(t0=10.0 * index, seconds=10.0, fence=Fence(term=1, seq=1), arms=arms, split=50_000)


def dollars(index: int, ours: Mapping[str, float], theirs: Mapping[str, float]) -> Block:
    """New units of both arms, named by block."""
    return block(index, {unit(n, index): v for n, v in ours.items()}, {unit(n, index): v for n, v in theirs.items()})


def many(
    index: int, ours: float | None, theirs: float | None, *, count: int = 10, stable: int = 30, kind: str = "cost"
) -> Block:
    return block(
        index,
        {unit("c", 1000 * index + i): ours for i in range(count)},
        {unit("a", 1000 * index + i): theirs for i in range(stable)},
        kind=kind,
    )


def folded(spec: GateSpec, blocks: Sequence[Block], since: float | None = None) -> MeanState:
    state = start(spec, since=since)
    for one in blocks:
        state = observe(spec, state, one, candidate=CANDIDATE, stable=STABLE)
    assert isinstance(state, MeanState)
    return state


COST = gate(GateKind.COST_MEAN, 1.2, cap=1.0, stages=1)


def test_a_conversation_counts_once_however_often_it_costs() -> None:
    once = [many(0, 0.5, 0.2)]
    again = [replace(once[0], t0=10.0 * index) for index in range(1, 30)]
    first, after = folded(COST, once), folded(COST, [*once, *again])
    assert log_e_values(COST, after) == log_e_values(COST, first)
    assert (after.ours.count, after.theirs.count) == (10, 30)
    assert find(COST, after).verdict is Verdict.NO_DATA


def test_its_value_is_its_mean_over_the_first_block_in_which_it_has_one() -> None:
    quiet = block(0, {unit("c", 1): None}, {unit("a", 1): None})
    heard = block(1, {unit("c", 1): 0.4}, {unit("a", 1): 0.2})
    several = replace(heard.arms[CANDIDATE], values={"cost": {unit("c", 1): (1_200_000, 3)}})
    one = folded(COST, [quiet, heard])
    three = folded(COST, [quiet, replace(heard, arms={**heard.arms, CANDIDATE: several})])
    assert one.ours.mean == three.ours.mean == pytest.approx(0.4)
    assert one.to_fail == three.to_fail
    assert one.to_fail.count == 1


def test_only_units_alike_in_age_are_compared() -> None:
    # A unit from before the count began, another from its beginning, and new ones.
    before = block(0, {}, {unit("a", 9): None, unit("a", 8): None})
    first = block(1, {unit("c", 1): None}, {unit("a", 1): None, unit("a", 9): None})
    later = block(
        9,
        {unit("c", 1): 0.9, unit("c", 2): 0.2},
        {unit("a", 1): 0.9, unit("a", 2): 0.2, unit("a", 8): 5.0, unit("a", 9): 5.0},
    )
    state = folded(COST, [before, first, later], since=10.0)
    assert (state.ours.count, state.theirs.count) == (2, 2)
    assert state.to_fail.total == pytest.approx((0.9 - 0.2) * 0 + (0.9 / 1.2 - 0.9) + (0.2 / 1.2 - 0.2))
    alone = block(9, {unit("c", 1): 0.9}, {unit("a", 2): 0.2})
    assert folded(COST, [before, first, alone], since=10.0).to_fail.count == 0


def test_each_candidate_unit_has_stable_units_of_its_own_in_the_order_of_hashes() -> None:
    ours = {unit("c", i): 0.3 for i in range(2)}
    theirs = {unit("a", i): value for i, value in enumerate((0.1, 0.2, 0.3, 0.6, 0.9))}
    state = folded(COST, [block(0, ours, theirs)])
    assert state.to_fail.count == 2
    differences = 0.3 / 1.2 - 0.15, 0.3 / 1.2 - 0.45
    assert state.to_fail.total == pytest.approx(sum(differences))
    assert state.to_fail.squares == pytest.approx(sum(d * d for d in differences))


def test_whoever_is_on_both_arms_says_nothing_of_either() -> None:
    both = unit("b", 0)
    state = folded(COST, [block(0, {both: 0.9, unit("c", 0): 0.1}, {both: 0.1, unit("a", 0): 0.1})])
    assert (state.ours.count, state.ours.mean, state.theirs.count) == (1, pytest.approx(0.1), 1)


def test_gaps_and_blocks_in_which_the_table_changed_count_for_nobody() -> None:
    bad = many(0, 0.9, 0.1)
    for left_out in (replace(bad, gap=True), replace(bad, fence=None)):
        assert folded(COST, [left_out]).ours.count == 0


# --- the cap -----------------------------------------------------------------------------------------------------


def test_without_a_cap_stables_p99_is_taken_before_anything_is_counted() -> None:
    spec = replace(COST, cap=None)
    rng = random.Random(4)
    costs = [rng.lognormvariate(0, 1) for _ in range(160)]
    blocks = [
        block(i, {unit("c", i): 1.0}, {unit("a", 40 * i + j): costs[40 * i + j] for j in range(40)}) for i in range(4)
    ]
    early = folded(spec, blocks[:2])
    assert (early.cap.value, early.ours.count) == (None, 0)
    assert "80 conversations of stable reported cost, its P99 needs 100" in find(spec, early).reason
    known = folded(spec, blocks[:3])
    assert known.cap.value == pytest.approx(sorted(costs[:120])[118], rel=1e-5)
    assert known.ours.count == 0  # the block that made it known was not counted
    assert folded(spec, blocks).ours.count == 1


def test_where_stable_is_free_a_ratio_needs_a_cap_and_the_gate_says_so() -> None:
    spec = replace(COST, cap=None)
    free = [many(index, 0.5, 0.0) for index in range(6)]
    finding = find(spec, folded(spec, free))
    assert finding.verdict is Verdict.NO_DATA
    assert finding.reason == (
        "cost of stable is 0 in all of 100 conversations, of which no ratio can be taken; give it a cap"
    )
    assert find(COST, folded(COST, free)).verdict is Verdict.FAIL
    assert folded(spec, [*free, many(6, 0.5, 0.1)]).cap.value == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("values", "cap"), [([0.0] * 100, None), ([0.0] * 99 + [3.0], 3.0), ([*range(1, 101)], 99), ([2.0], 2.0)]
)
def test_a_cap_is_the_nearest_rank_and_never_nothing(values: list[float], cap: float | None) -> None:
    assert cap_of(values) == cap


def test_one_runaway_request_decides_nothing() -> None:
    spec = replace(COST, cap=None, margin=1.5)
    calm_course = [many(index, 0.1 + index % 3 / 100, 0.1 + index % 4 / 100) for index in range(30)]
    raw = calm_course[20].arms[CANDIDATE].values["cost"]
    runaway = {**raw, next(iter(raw)): (90_000_000_000, 1)}
    arm = replace(calm_course[20].arms[CANDIDATE], values={"cost": runaway})
    struck = [*calm_course]
    struck[20] = replace(struck[20], arms={**struck[20].arms, CANDIDATE: arm})
    assert find(spec, folded(spec, struck)).verdict is Verdict.PASS


# --- what is not said --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(MEAN_KINDS))
def test_no_block_and_no_value_is_no_data_and_says_so(kind: GateKind) -> None:
    spec = gate(kind, 1.1 if kind in RATIOS else 0.05, minimum_units=0)
    assert find(spec, start(spec)).verdict is Verdict.NO_DATA
    silent = [many(index, None, None) for index in range(50)]
    finding = find(spec, folded(spec, silent))
    assert finding.verdict is Verdict.NO_DATA
    assert (
        finding.reason
        == f"neither release reports {kind.removesuffix('_mean')} in its outcome, so this cannot be measured"
    )
    assert (finding.units_needed, finding.estimate_candidate) == (None, None)


def test_a_candidate_that_stopped_saying_what_it_costs_is_an_error_and_named() -> None:
    blocks = [many(index, None, 0.2, count=4, stable=4) for index in range(12)]
    finding = find(COST, folded(COST, blocks))
    assert finding.verdict is Verdict.ERROR
    assert finding.reason == (
        "0 of the candidate's 48 conversations reported cost, 48 of 48 on stable;"
        " what is not reported cannot be compared"
    )


@pytest.mark.parametrize("says", [0.1, 0.3])
def test_a_candidate_that_says_what_is_cheap_alone_does_not_pass(says: float) -> None:
    seen = course(5, ValueModel(says=says, cost=0.001), units=60, blocks=40)
    verdicts = [look[0].verdict for look in looks([gate(GateKind.COST_MEAN, 2.0, minimum_units=40)], seen)]
    assert verdicts[-1] is Verdict.ERROR


@pytest.mark.parametrize("says", [1.0, 0.8, 0.3])
def test_a_release_that_says_as_much_as_stable_is_no_error_however_little_that_is(says: float) -> None:
    model = ValueModel(says=says, rated=0.05)
    for seed in range(2):
        found = looks(gates(1.5, 0.1), course(seed, model, stable=model))
        assert not {f.verdict for look in found for f in look} & {Verdict.ERROR}


def test_stable_that_says_nothing_lets_nothing_pass() -> None:
    finding = find(COST, folded(COST, [many(index, 0.01, None) for index in range(50)]))
    assert finding.verdict is Verdict.NO_DATA
    assert "0 of 1,500 on stable; at least 20 of each are needed" in finding.reason


def test_what_a_gate_still_needs_counts_those_who_come_without_a_value() -> None:
    spec = gate(GateKind.FEEDBACK_MEAN, 0.05, minimum_units=20)
    quarter = []
    for index in range(4):
        ours = {unit("c", 100 * index + i): 1.0 if i % 4 == 0 else None for i in range(12)}
        theirs = {unit("a", 100 * index + i): 1.0 if i % 4 == 0 else None for i in range(24)}
        quarter.append(block(index, ours, theirs, kind="feedback"))
    finding = find(spec, folded(spec, quarter))
    assert (finding.verdict, finding.units_candidate) == (Verdict.NO_DATA, 12)
    assert finding.units_needed == 8 * 4
    assert finding.reason == (
        "12 of the candidate's 48 conversations reported feedback, 24 of 96 on stable; at least 20 of each are needed"
    )


# --- laws --------------------------------------------------------------------------------------------------------


def said(findings: Sequence[GateFinding]) -> list[tuple[object, ...]]:
    return [(f.gate, f.verdict, f.units_candidate, f.units_stable, f.log_e_fail, f.log_e_pass) for f in findings]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("cost", [0.01, 0.016], ids=["as stable", "dearer"])
def test_neither_currency_nor_duplicates_nor_a_takeover_change_a_verdict(seed: int, cost: float) -> None:
    specs = gates(1.3, 0.05)
    blocks = course(seed, ValueModel(cost=cost, score=0.74), units=30, blocks=24)
    expected = looks(specs, blocks)
    cents = looks(specs, [rescaled(one, {"cost": 128, "tokens": 4}) for one in blocks])
    for one, other in zip(expected, cents, strict=True):
        assert [f.verdict for f in one] == [f.verdict for f in other]
        assert [f.log_e_fail for f in one] == pytest.approx([f.log_e_fail for f in other], abs=1e-9)
    twice = [again for place, one in enumerate(blocks) for again in (one, blocks[place // 2], one)]
    judged, taken_over = panel(), panel()
    for one in twice:
        judged.take(one)
    for one in blocks:
        taken_over.take(Block.from_wire(one.to_wire()))
    assert said(judged.judge(specs, step_from=120.0)) == said(expected[-1])
    assert said(taken_over.judge(specs, step_from=120.0)) == said(expected[-1])


def test_what_the_arms_are_called_changes_no_verdict() -> None:
    blocks = course(8, ValueModel(cost=0.016), units=30, blocks=24)
    swapped = []
    for one in blocks:
        arms = {STABLE: one.arms.get(CANDIDATE), CANDIDATE: one.arms.get(STABLE)}
        swapped.append(replace(one, arms={release: arm for release, arm in arms.items() if arm is not None}))
    judged = Panel(candidate=STABLE, stable=CANDIDATE, since=WARM * 10.0)
    for one in swapped:
        judged.take(one)
    specs = gates(1.3, 0.05)
    assert said(judged.judge(specs, step_from=120.0)) == said(looks(specs, blocks)[-1])


def test_units_that_changed_places_between_the_arms_change_the_sign_of_each_difference() -> None:
    spec = gate(GateKind.SCORE_MEAN, 0.05, stages=1)
    rng = random.Random(3)
    pairs = [(rng.random(), rng.random()) for _ in range(40)]
    there = [block(i, {unit("c", i): x}, {unit("a", i): y}, kind="score") for i, (x, y) in enumerate(pairs)]
    back = [block(i, {unit("c", i): y}, {unit("a", i): x}, kind="score") for i, (x, y) in enumerate(pairs)]
    assert folded(spec, there).to_fail.total == pytest.approx(-folded(spec, back).to_fail.total)


def test_what_is_worse_than_the_last_margin_fails_at_a_step_that_allows_more_and_what_passed_is_asked_anew() -> None:
    first, final = gate(GateKind.COST_MEAN, 2.0, fail_margin=1.1), gate(GateKind.COST_MEAN, 1.1, fail_margin=1.1)
    blocks = course(2, ValueModel(cost=0.009), units=60, blocks=20)
    judged = panel()
    for one in blocks:
        judged.take(one)
    (at_first,) = judged.judge([first], step_from=120.0)
    (at_last,) = judged.judge([final], step_from=250.0)
    assert at_first.verdict is Verdict.PASS
    assert at_last.verdict is Verdict.INCONCLUSIVE
    assert at_last.log_e_fail == at_first.log_e_fail
    assert at_last.units_candidate == at_first.units_candidate  # the same units, at another margin
    assert "; needs about " in at_last.reason
    dear = course(2, ValueModel(cost=0.015), units=120, blocks=20)
    assert last(first, dear).verdict is Verdict.FAIL


def test_a_fail_tells_both_means_the_margin_and_the_cap() -> None:
    finding = find(COST, folded(COST, [many(index, 0.5, 0.25) for index in range(10)]))
    assert finding.verdict is Verdict.FAIL
    assert finding.reason.startswith(
        "the mean cost of a request is $0.50 in 40 candidate conversations against $0.25 in 120 on stable,"
        " worse by more than +20% when a request of stable counts $1.00 at most (e-value "
    )
    worse = gate(GateKind.SCORE_MEAN, 0.02, stages=1)
    told = find(worse, folded(worse, [many(i, 0.5, 0.8, kind="score") for i in range(10)])).reason
    assert "the mean score of a request is 0.500 in" in told
    assert "worse by more than 2 points (e-value " in told
