"""The rules of the gates, one at a time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fairway.observe.blocks import bin_of
from fairway.observe.fold import ArmBlock, Block
from fairway.stats.intervals import rate_lower, rate_upper
from fairway.stats.logrank import ERRORS, Direction, log_e_value, with_events
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, UnitHash, Verdict
from fairway.verdict.findings import find
from fairway.verdict.gates import observe, start
from fairway.verdict.needed import clean_units_needed
from fairway.verdict.panel import Panel
from fairway.verdict.tally import GateState
from fairway.verdict.values import GateFinding, GateKind, GateSpec

STABLE = Digest("sha256:" + "a" * 64)
CANDIDATE = Digest("sha256:" + "c" * 64)
FAILURES = GateSpec(name="failures", kind=GateKind.FAILURES, margin=0.05, alpha_fail=1 / 75, alpha_pass=0.05)
LATENCY = GateSpec(name="p95", kind=GateKind.LATENCY_P95, margin=1.1, alpha_fail=1 / 75, alpha_pass=0.05)
SUCCESS = GateSpec(name="success", kind=GateKind.SUCCESS, margin=0.995, alpha_fail=1 / 75, alpha_pass=0.05)
EVERY = pytest.mark.parametrize("spec", [FAILURES, LATENCY, SUCCESS], ids=lambda spec: spec.name)


def names(prefix: str, first: int, count: int) -> tuple[UnitHash, ...]:
    return tuple(UnitHash(f"{prefix}{i:015x}") for i in range(first, first + count))


def arm(
    units: tuple[UnitHash, ...],
    *,
    failed: int = 0,
    slow: int = 0,
    unknown: int = 0,
    unfinished: int = 0,
    role: Role = Role.STABLE,
    ms: float = 300,
) -> ArmBlock:
    """One request a unit; the first ``failed`` failed, the first ``slow`` were slow, the last ``unknown`` unknown."""
    return ArmBlock(
        role=role,
        assigned=len(units) + unfinished,
        finished=len(units),
        failed=failed + unfinished,
        unknown=unknown,
        unfinished=unfinished,
        latency_ms={bin_of(ms): len(units)},
        active=units,
        failed_units=units[:failed],
        slow_units=units[:slow],
        unknown_units=units[len(units) - unknown :],
    )


def block(t0: float, candidate: ArmBlock | None, stable: ArmBlock | None, **changes: object) -> Block:
    arms = {}
    if stable is not None:
        arms[STABLE] = stable
    if candidate is not None:
        arms[CANDIDATE] = replace(candidate, role=Role.CANDIDATE)
    made = Block(t0=t0, seconds=10.0, fence=Fence(term=1, seq=1), arms=arms)
    return replace(made, **changes)  # type: ignore[arg-type]


def steady(count: int, *, candidate: int = 5, stable: int = 45, first: int = 0, **of_candidate: int) -> list[Block]:
    """Blocks of new units; what is said of the candidate holds in each of them."""
    return [
        block(
            10.0 * i,
            arm(names("c", candidate * i, candidate), **of_candidate),
            arm(names("a", stable * i, stable)),
        )
        for i in range(first, first + count)
    ]


def folded(spec: GateSpec, blocks: list[Block], state: GateState | None = None) -> GateState:
    state = start(spec) if state is None else state
    for item in blocks:
        state = observe(spec, state, item, candidate=CANDIDATE, stable=STABLE)
    return state


def found(spec: GateSpec, blocks: list[Block]) -> GateFinding:
    return find(spec, folded(spec, blocks))


@EVERY
def test_no_block_at_all_is_no_data(spec: GateSpec) -> None:
    finding = find(spec, start(spec))
    assert finding.verdict is Verdict.NO_DATA
    assert (finding.log_e_fail, finding.log_e_pass) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert finding.estimate_candidate is None


@EVERY
def test_below_the_minimum_of_units_nothing_is_said(spec: GateSpec) -> None:
    awful = steady(3, candidate=6, failed=6, slow=6)
    assert found(spec, awful).verdict is Verdict.NO_DATA
    assert found(replace(spec, minimum_units=18), awful).verdict is Verdict.FAIL


@EVERY
def test_zero_evidence_never_passes(spec: GateSpec) -> None:
    for minimum in (0, 1):
        eager = replace(spec, minimum_units=minimum)
        empty = [block(10.0 * i, None, arm(names("a", i * 9, 9))) for i in range(200)]
        nobody = [block(10.0 * i, arm(()), arm(())) for i in range(200)]
        for blocks in ([], empty, nobody):
            assert found(eager, blocks).verdict is Verdict.NO_DATA


def test_a_latency_gate_without_slow_units_stays_undecided() -> None:
    assert found(LATENCY, steady(300)).verdict is Verdict.INCONCLUSIVE


def test_sixty_clean_units_pass_a_margin_of_five_points() -> None:
    assert clean_units_needed(FAILURES) == 60
    settled = FAILURES.settle_blocks
    assert found(FAILURES, steady(11 + settled)).verdict is Verdict.INCONCLUSIVE
    finding = found(FAILURES, steady(12 + settled))
    assert finding.verdict is Verdict.PASS
    assert finding.reason.startswith(
        "0 of 75 candidate conversations failed against 0 of 675 on stable (e-value 21 ≥ 20)"
    )


def test_a_candidate_that_fails_is_found_with_the_evidence_in_the_sentence() -> None:
    finding = found(FAILURES, steady(6, failed=2))
    assert finding.verdict is Verdict.FAIL
    assert finding.log_e_fail >= math.log(75)
    assert finding.reason.startswith("10 of 25 candidate conversations failed against 0 of 225 on stable (e-value ")
    assert finding.reason.endswith("≥ 75)")


def test_fail_is_latched_and_wins_over_what_comes_later() -> None:
    bad = folded(FAILURES, steady(6, failed=2))
    healed = folded(FAILURES, steady(400, first=6), bad)
    assert find(FAILURES, healed).verdict is Verdict.FAIL
    assert find(FAILURES, healed).log_e_pass >= math.log(20)
    assert find(FAILURES, healed).reason == find(FAILURES, bad).reason


def test_pass_is_latched_until_fail_takes_over() -> None:
    good = folded(FAILURES, steady(16))
    assert find(FAILURES, good).verdict is Verdict.PASS
    shaky = folded(FAILURES, steady(1, first=16, failed=2), good)
    assert find(FAILURES, shaky).log_e_pass < math.log(20)
    assert find(FAILURES, shaky).verdict is Verdict.PASS
    assert find(FAILURES, folded(FAILURES, steady(60, first=17, failed=3), shaky)).verdict is Verdict.FAIL


@EVERY
def test_gap_blocks_and_mixed_blocks_are_left_out_for_both_arms(spec: GateSpec) -> None:
    for spoilt in ({"gap": True}, {"fence": None}):
        blocks = [replace(item, **spoilt) for item in steady(50, failed=5, slow=5)]  # type: ignore[arg-type]
        state = folded(spec, blocks)
        assert (state.skipped, state.blocks, state.candidate.count, state.stable.count) == (50, 0, 0, 0)
        assert find(spec, state).verdict is Verdict.NO_DATA


@EVERY
def test_a_block_that_was_seen_changes_nothing(spec: GateSpec) -> None:
    blocks = steady(8, failed=1, slow=1)
    state = folded(spec, blocks)
    assert folded(spec, [blocks[3], blocks[7], blocks[7]], state) == state
    assert folded(spec, [item for item in blocks for _ in range(3)]) == state


def test_a_unit_counts_once_for_its_first_bad_event() -> None:
    same = [block(10.0 * i, arm(names("c", 0, 25), failed=3), arm(names("a", 0, 200))) for i in range(40)]
    state, once = folded(FAILURES, same), folded(FAILURES, same[:1])
    assert (state.candidate.bad, state.candidate.count, len(state.evidence.spent)) == (3, 25, 3)
    assert state.evidence.fail_ratios == once.evidence.fail_ratios


def test_the_weight_is_the_share_of_units_at_risk_and_not_of_requests() -> None:
    calm = block(0, arm(names("c", 0, 10)), arm(names("a", 0, 90)))
    event = block(10, arm(names("c", 0, 10), slow=1), arm(names("a", 0, 90)))
    loud = replace(event, arms={r: replace(a, assigned=a.assigned * 50) for r, a in event.arms.items()})
    one = folded(LATENCY, [calm, event])
    assert one.evidence.fail_ratios == folded(LATENCY, [calm, loud]).evidence.fail_ratios
    step = math.log(1 + 0.1 * (math.exp(0.05) - 1))
    assert one.evidence.fail_ratios[0] == pytest.approx(0.05 - step)


def test_the_margin_in_points_becomes_a_ratio_by_the_bounds_of_the_blocks_before() -> None:
    spec = replace(FAILURES, settle_blocks=0)
    before = [
        block(10.0 * i, arm(names("c", 100 * i, 100)), arm(names("a", 400 * i, 400), failed=20)) for i in range(1, 6)
    ]
    state = folded(spec, before)
    lower = rate_lower(100, 2000, spec.alpha_fail / 10)
    upper = rate_upper(100, 2000, spec.alpha_pass / 10)
    assert lower > spec.margin / 4
    after = folded(spec, [block(60.0, arm(names("d", 0, 50), failed=2), arm(names("e", 0, 150), failed=3))], state)
    events = {"candidate": 2, "stable": 3, "weight": 0.25}
    failing = with_events(state.evidence.fail_ratios, ERRORS, Direction.WORSE, margin=1 + 0.05 / lower, **events)
    passing = with_events(state.evidence.pass_ratios, ERRORS, Direction.BETTER, margin=1 + 0.05 / upper, **events)
    assert after.evidence.fail_ratios == pytest.approx(failing)
    assert after.evidence.pass_ratios == pytest.approx(passing)


def test_near_zero_failures_of_stable_an_excess_must_also_be_seen_absolutely() -> None:
    # Stable never fails, the candidate in 4 % of its units: T1 alone would call that far beyond any ratio.
    blocks = [block(10.0 * i, arm(names("c", 50 * i, 50), failed=2), arm(names("a", 150 * i, 150))) for i in range(40)]
    finding = found(FAILURES, blocks)
    assert finding.verdict is not Verdict.FAIL
    assert log_e_value(folded(FAILURES, blocks).evidence.fail_ratios, ERRORS) > math.log(75)


def test_units_of_different_age_are_not_compared() -> None:
    # Every slow unit is old; the candidate has young units only. By age nothing can be said.
    old = names("a", 0, 50)
    blocks = [block(0, None, arm(old))]
    for i in range(1, 40):
        young_c, young_s = names("c", 5 * i, 5), names("b", 5 * i, 5)
        stable = replace(arm(old[i : i + 1] + young_s + old[i + 1 :], slow=1))
        blocks.append(block(10.0 * i, arm(young_c), stable))
    assert found(LATENCY, blocks).log_e_pass == pytest.approx(0, abs=1e-12)


def test_blocks_before_since_only_teach_ages() -> None:
    warm = start(FAILURES, since=60.0)
    state = folded(FAILURES, steady(6, failed=5), warm)
    assert (state.blocks, state.candidate.count, state.candidate.bad) == (0, 0, 0)
    assert len(state.ages.seen) == 300
    assert folded(FAILURES, steady(1, first=6), state).blocks == 1


def test_a_block_without_both_arms_says_nothing_to_a_comparison_and_counts_for_an_absolute_gate() -> None:
    alone = [block(10.0 * i, arm(names("c", 5 * i, 5), failed=2, slow=2), None) for i in range(20)]
    assert found(FAILURES, alone).verdict is Verdict.NO_DATA
    assert found(LATENCY, alone).verdict is Verdict.NO_DATA
    assert found(SUCCESS, alone).verdict is Verdict.FAIL


def test_without_a_stable_release_a_comparison_has_no_data() -> None:
    state = start(FAILURES)
    for item in steady(60):
        state = observe(FAILURES, state, item, candidate=CANDIDATE, stable=None)
    assert find(FAILURES, state).verdict is Verdict.NO_DATA


def test_success_needs_723_clean_units() -> None:
    settled = SUCCESS.settle_blocks * 5
    blocks = steady(160)
    assert found(SUCCESS, blocks[: (720 + settled) // 5]).verdict is Verdict.INCONCLUSIVE
    assert found(SUCCESS, blocks[: (725 + settled) // 5]).verdict is Verdict.PASS


def test_success_fails_and_says_when_stable_fails_too() -> None:
    alone = found(SUCCESS, steady(30, failed=1))
    assert (alone.verdict, alone.stable_fails_too) == (Verdict.FAIL, False)
    outage = [
        replace(b, arms={r: replace(a, failed_units=a.active[:2]) for r, a in b.arms.items()}) for b in steady(30)
    ]
    both = found(SUCCESS, outage)
    assert (both.verdict, both.stable_fails_too) == (Verdict.FAIL, True)


def test_an_outage_at_a_large_split_is_seen_as_shared_in_spite_of_stables_long_calm_past() -> None:
    calm = steady(200, candidate=0, stable=100)  # 20,000 stable units before
    struck = [
        block(2000.0 + 10 * i, arm(names("c", 1000 * i, 20), failed=2), arm(names("b", 1000 * i, 20), failed=2))
        for i in range(8)
    ]
    finding = found(SUCCESS, calm + struck)
    assert finding.bad_stable / finding.units_stable < 0.005
    assert (finding.verdict, finding.worse_than_stable, finding.damning) == (Verdict.FAIL, False, False)
    assert "not shown to be worse than stable" in finding.reason
    panel = Panel(candidate=CANDIDATE, stable=STABLE, since=0.0)
    for item in calm + struck:
        panel.take(item)
    (told,) = panel.judge([SUCCESS], step_from=0.0)
    assert told.stable_fails_too, "stable's calm past hides its outage from the totals, not from the last blocks"


def test_a_limit_speaks_against_a_candidate_that_breaks_it_while_stable_keeps_it() -> None:
    calm = steady(50, candidate=5, stable=100)
    bad = [
        block(500.0 + 10 * i, arm(names("c", 1000 + 5 * i, 5), failed=1), arm(names("b", 9000 + 100 * i, 100)))
        for i in range(12)
    ]
    finding = found(SUCCESS, calm + bad)
    assert (finding.verdict, finding.worse_than_stable, finding.damning) == (Verdict.FAIL, True, True)


def test_a_worse_candidate_is_told_from_a_stable_that_breaks_the_limit_by_habit() -> None:
    habit = [
        block(10.0 * i, arm(names("c", 5 * i, 5), failed=1), arm(names("b", 95 * i, 95), failed=1)) for i in range(40)
    ]
    finding = found(SUCCESS, habit)
    assert finding.stable_fails_too or finding.bad_stable / finding.units_stable > 0.005
    assert finding.damning, finding.reason


def test_where_nothing_serves_beside_it_a_broken_limit_is_enough() -> None:
    alone = replace(SUCCESS, alone=True)
    finding = found(alone, steady(30, failed=1))
    assert (finding.verdict, finding.worse_than_stable, finding.damning) == (Verdict.FAIL, None, True)


def test_one_unlucky_conversation_of_the_last_few_on_the_former_stable_excuses_nothing() -> None:
    alone = replace(SUCCESS, alone=True)
    soak = [
        block(10.0 * i, arm(names("c", 100 * i, 100), failed=3), arm(names("b", 0, 2), failed=int(i == 1)))
        for i in range(6)
    ]
    panel = Panel(candidate=CANDIDATE, stable=STABLE, since=0.0, alone=True)
    for item in soak:
        panel.take(item)
    (told,) = panel.judge([SUCCESS], step_from=0.0)
    assert (told.verdict, told.stable_fails_too, told.damning) == (Verdict.FAIL, False, True)
    assert found(alone, soak).damning


def test_too_many_unknown_outcomes_are_an_error_and_never_a_success() -> None:
    for spec in (FAILURES, SUCCESS):
        finding = found(spec, steady(400, unknown=1))
        assert finding.verdict is Verdict.ERROR
        assert "400 of the candidate's 2000 requests (20.0%) is unknown" in finding.reason
        assert finding.units_candidate == 1600
    assert found(LATENCY, steady(50, unknown=1)).verdict is Verdict.INCONCLUSIVE


def test_one_lost_answer_among_few_is_no_broken_instrument_and_no_success_either() -> None:
    for spec in (FAILURES, SUCCESS):
        doubtful = found(spec, [*steady(15), *steady(1, unknown=1, first=15)])
        assert doubtful.verdict is Verdict.NO_DATA, doubtful.reason
        assert "may be chance" in doubtful.reason
        assert found(spec, [*steady(15), *steady(8, unknown=4, first=15)]).verdict is Verdict.ERROR


def test_failures_are_found_among_unknown_outcomes() -> None:
    assert found(FAILURES, steady(20, unknown=1, failed=3)).verdict is Verdict.FAIL


def test_requests_without_an_end_count_against_health_and_are_no_proof_of_harm() -> None:
    whole = folded(FAILURES, steady(16))
    lossy = folded(FAILURES, steady(16, unfinished=1))
    assert find(FAILURES, whole).verdict is Verdict.PASS
    assert find(FAILURES, lossy).verdict is Verdict.INCONCLUSIVE
    assert lossy.evidence.fail_ratios == whole.evidence.fail_ratios
    assert found(SUCCESS, steady(200, unfinished=1)).verdict is Verdict.INCONCLUSIVE


def test_a_unit_counts_as_good_only_after_it_settled() -> None:
    at_once = replace(FAILURES, settle_blocks=0)
    assert found(at_once, steady(12)).verdict is Verdict.PASS
    assert found(FAILURES, steady(12)).verdict is Verdict.INCONCLUSIVE


def test_estimates_are_rates_and_p95_in_milliseconds() -> None:
    blocks = steady(30, failed=1, slow=1)
    failures, latency, success = (found(spec, blocks) for spec in (FAILURES, LATENCY, SUCCESS))
    assert (failures.estimate_candidate, failures.estimate_stable) == (0.2, 0.0)
    assert latency.estimate_candidate == pytest.approx(300, rel=0.005)
    assert (success.estimate_candidate, success.estimate_stable) == (0.8, 1.0)


def test_a_candidate_exactly_at_its_limit_is_told_nothing_it_cannot_know() -> None:
    spec = replace(SUCCESS, margin=0.8)
    assert found(spec, steady(20, failed=1)).units_needed is None


@pytest.mark.parametrize("margin", [0.0, 1e-12, 0.999, 1.0])
@pytest.mark.parametrize("kind", [GateKind.FAILURES, GateKind.SUCCESS])
def test_margins_at_the_ends_of_the_scale_are_no_crash(kind: GateKind, margin: float) -> None:
    spec = GateSpec(name="g", kind=kind, margin=margin, alpha_fail=0.01, alpha_pass=0.05)
    for blocks in (steady(30), steady(30, failed=1), steady(30, failed=5)):
        assert found(spec, blocks).verdict in Verdict


def test_what_is_still_needed_is_said_and_shrinks() -> None:
    some, more = found(FAILURES, steady(6)), found(FAILURES, steady(10))
    assert some.units_needed is not None
    assert more.units_needed is not None
    assert (some.units_needed, more.units_needed) == (60 - 30, 60 - 50)
    assert some.reason.endswith("needs about 30 more candidate conversations")
    assert found(SUCCESS, steady(10)).units_needed == 723 - 50
    # far beyond the margin it will not pass
    assert found(replace(FAILURES, alpha_fail=1e-9), steady(6, failed=2)).units_needed is None


def test_a_candidate_worse_than_the_fail_margin_fails_under_a_wide_step_margin_too():
    verdicts = {}
    for fail_margin in (None, 0.05):
        spec = replace(FAILURES, margin=0.2, fail_margin=fail_margin)
        state = start(spec)
        for number in range(60):
            arms = {
                CANDIDATE: arm(names("c", number, 1), failed=number % 5 == 0, role=Role.CANDIDATE),
                STABLE: arm(names("a", number * 19, 19)),
            }
            block = Block(t0=float(number), seconds=1.0, fence=Fence(term=1, seq=1), arms=arms)
            state = observe(spec, state, block, candidate=CANDIDATE, stable=STABLE)
        verdicts[fail_margin] = find(spec, state).verdict
    assert verdicts == {0.05: Verdict.FAIL, None: Verdict.INCONCLUSIVE}


def test_what_is_still_needed_counts_down_and_ends_with_waiting_for_the_newest_to_settle() -> None:
    blocks = [block(10.0 * i, arm(names("c", 200 * i, 200)), arm(names("b", 200 * i, 200))) for i in range(6)]
    told = [found(FAILURES, blocks[:count]) for count in range(1, 6)]
    assert [finding.units_needed for finding in told[:3]] == [0, 0, 0]
    assert "the 200 newest of them count as good once they have settled" in told[0].reason
    assert told[4].verdict is Verdict.PASS
    slow = [found(FAILURES, steady(count)).units_needed for count in range(4, 12)]
    assert slow == sorted(slow, reverse=True), slow
    assert slow[0] - slow[-1] == 35, slow
