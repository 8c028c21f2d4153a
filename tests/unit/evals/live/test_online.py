"""Live replies, scored, through the real gate: a worse arm is seen, and missing scores are never good ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from fairway.controller.scores import ScoreJoin
from fairway.errors import PermanentError, ProjectFileError
from fairway.evals.assertions.measuring import Measurers
from fairway.evals.live.config import OnlineSection
from fairway.evals.live.kept import KeptLines
from fairway.evals.live.online import DailyCap, OnlineScorer
from fairway.evals.live.plan import online_assertions
from fairway.evals.live.turns import LiveTurn
from fairway.evals.running.spend import PriceError, SpendError
from fairway.evals.values import Assertion, AssertionResult, Found, Reply
from fairway.observe.fold import ArmBlock, Block
from fairway.observe.port import ScoresSeen
from fairway.observe.sources.scores import ScoreFiles
from fairway.testing.modelled_traffic import MODELLED_CANDIDATE, MODELLED_STABLE, ArmModel, ModelledTraffic
from fairway.traffic.fence import Fence
from fairway.traffic.sampling import SCORES, STATUS, Sampling, sample_hash
from fairway.traffic.table import Role
from fairway.units import Parts, Verdict
from fairway.verdict.panel import Panel
from fairway.verdict.values import GateKind, GateSpec
from fairway.yaml_file import parse_yaml

PLAIN = ArmModel(spread=0, failure=0)
WARM = 12
POLITE = (Assertion(type="icontains", value="sorry", negated=True),)
GATE = GateSpec(
    name="score",
    kind=GateKind.SCORE_MEAN,
    margin=0.05,
    alpha_fail=0.04 / 3,
    alpha_pass=0.05,
    stages=4,
    minimum_units=100,
)
TURN = LiveTurn(
    request="r", unit="u", release=MODELLED_STABLE, version="1", role="stable", at=0.0, t0=0.0, verdict="ok", reason="",
    message="hello", reply=Reply(text="fine"),
)  # fmt: skip


class Judge:
    """Grades as it is told; counts its calls."""

    def __init__(self, says: Callable[[str], AssertionResult]) -> None:
        self.says = says
        self.calls = 0

    async def measure(self, assertion, observed, *, repeat):
        self.calls += 1
        return self.says(observed.text)


def graded(score: float | None, found: Found = Found.HELD) -> AssertionResult:
    return AssertionResult(type="llm-rubric", found=found, score=score)


@cache
def traffic(*, blocks: int = 60, seed: int = 1) -> list[Block]:
    made = ModelledTraffic(seed=seed, units_per_block=60, stable=PLAIN, candidate=PLAIN, turns=2, heavy_users=5)
    warm = [made.next_block(split=0.0) for _ in range(WARM)]
    return [*warm, *(made.next_block(split=0.5) for _ in range(blocks))]


def turns_of(blocks: Iterable[Block], rude: dict[str, float], *, share: int = 50_000, seed: int = 1) -> list[LiveTurn]:
    """One turn of each sampled unit and block; so many of each release's replies say sorry."""
    generator = random.Random(seed)
    below = Sampling(share=Parts(share)).below
    return [
        replace(
            TURN,
            request=f"{block.t0}-{unit}",
            unit=unit,
            release=release,
            t0=block.t0,
            reply=Reply(text="so sorry" if generator.random() < rude[release] else "fine"),
        )
        for block in blocks
        for release, arm in sorted(block.arms.items())
        for unit in arm.active
        if sample_hash(unit.encode()) < below
    ]


async def scored_into(folder: Path, turns: list[LiveTurn], scorer: OnlineScorer) -> None:
    kept = KeptLines(folder / SCORES, most_bytes=64 << 20)
    for turn in turns:
        kept.add((await scorer.score(turn)).to_json())
    (folder / STATUS).write_text('{"at": 1e12, "oldest": null}')


def verdicts(folder: Path, blocks: list[Block], gate: GateSpec = GATE) -> tuple[list[Block], Verdict]:
    """What the gate of the real panel says in the end, of blocks the controller has joined with their scores."""
    join = ScoreJoin(source=ScoreFiles(folder), wait=20.0)
    panel = Panel(candidate=MODELLED_CANDIDATE, stable=MODELLED_STABLE, since=WARM * 10.0)
    read = []
    for block in blocks:
        joined = join.join((block,), block.t0 + 40.0)
        read += joined
        for one in joined:
            panel.take(one)
    (finding,) = panel.judge((gate,), step_from=WARM * 10.0)
    return read, finding.verdict


def run(
    folder: Path, rude: dict[str, float], scorer: OnlineScorer, *, blocks: int = 40, gate: GateSpec = GATE
) -> Verdict:
    made = traffic(blocks=blocks)
    asyncio.run(scored_into(folder, turns_of(made[WARM:], rude), scorer))
    return verdicts(folder, made, gate)[1]


def test_a_worse_arm_is_seen_by_the_gate_on_scores(tmp_path):
    rude = {MODELLED_STABLE: 0.05, MODELLED_CANDIDATE: 0.4}
    assert run(tmp_path, rude, OnlineScorer(POLITE, None)) is Verdict.FAIL


def test_an_arm_that_is_no_worse_passes_once_there_is_enough_to_show_it(tmp_path):
    rude = {MODELLED_STABLE: 0.05, MODELLED_CANDIDATE: 0.05}
    wider = replace(GATE, margin=0.15)
    assert run(tmp_path, rude, OnlineScorer(POLITE, None), gate=wider) is Verdict.PASS


def test_a_judge_sees_a_worse_arm_as_well(tmp_path):
    judge = Judge(lambda text: graded(0.4 if "sorry" in text else 1.0))
    rude = {MODELLED_STABLE: 0.05, MODELLED_CANDIDATE: 0.5}
    assert run(tmp_path, rude, OnlineScorer((), "It is friendly.", measuring=judge)) is Verdict.FAIL
    assert judge.calls > 500


@pytest.mark.parametrize(
    "says",
    [
        lambda _: graded(None, Found.INVALID),
        lambda _: graded(None, Found.ERROR),
        lambda _: (_ for _ in ()).throw(PermanentError("no key", code="x")),
        lambda _: 1 / 0,
    ],
    ids=["invalid", "error", "refused", "a defect"],
)
def test_a_broken_judge_gives_no_data_and_never_a_pass(tmp_path, says):
    rude = {MODELLED_STABLE: 0.0, MODELLED_CANDIDATE: 0.0}
    scorer = OnlineScorer((), "It is friendly.", measuring=Judge(says))
    assert run(tmp_path, rude, scorer, blocks=8) is Verdict.NO_DATA


def test_a_judge_that_is_down_leaves_no_scores_also_of_replies_that_are_wrong_without_it(tmp_path):
    rude = {MODELLED_STABLE: 0.5, MODELLED_CANDIDATE: 0.5}
    scorer = OnlineScorer(POLITE, "It is friendly.", measuring=Judge(lambda _: graded(None, Found.ERROR)))
    assert run(tmp_path, rude, scorer, gate=replace(GATE, margin=0.15)) is Verdict.NO_DATA


@pytest.mark.parametrize("text", ["fine", "sorry", " "])
@pytest.mark.parametrize("found", [Found.ERROR, Found.INVALID, Found.UNKNOWN])
def test_a_reply_is_scored_whole_or_not_at_all(text, found):
    judge = Judge(lambda _: graded(None, found))
    rubric = Assertion(type="llm-rubric", value="x")
    for scorer in (
        OnlineScorer(POLITE, "It is friendly.", measuring=judge),
        OnlineScorer(
            (Assertion(type="assert-set", members=(*POLITE, rubric)),), None, measuring=Measurers(judge=judge)
        ),
    ):
        scored = asyncio.run(scorer.score(replace(TURN, reply=Reply(text=text))))
        assert scored.score_micros is None, scored
        assert scored.why


def test_a_set_that_asks_its_judge_only_now_and_then_is_refused_with_its_place():
    written = "evals: {online: {assert: [{assert-set: [{icontains: x}, {llm-rubric: y}]}]}}"
    document = parse_yaml(written.encode(), file="fairway.yaml")
    section = OnlineSection.model_validate(document.value["evals"]["online"])
    with pytest.raises(ProjectFileError, match=r"evals\.online\.assert\[0\].*wrong replies had no score"):
        online_assertions(document, section, judge=True)


def test_a_wrong_reply_has_the_judges_grade_as_well():
    scorer = OnlineScorer(POLITE, "It is friendly.", measuring=Judge(lambda _: graded(0.2)))
    assert asyncio.run(scorer.score(replace(TURN, reply=Reply(text="sorry")))).score_micros == 100_000


def test_a_judge_that_breaks_on_the_candidates_replies_alone_is_an_error_of_the_instrument(tmp_path):
    judge = Judge(lambda text: graded(None, Found.INVALID) if "sorry" in text else graded(1.0))
    rude = {MODELLED_STABLE: 0.0, MODELLED_CANDIDATE: 0.9}
    assert run(tmp_path, rude, OnlineScorer((), "It is friendly.", measuring=judge)) is Verdict.ERROR


def test_nobody_who_scores_is_no_data(tmp_path):
    assert verdicts(tmp_path, traffic(blocks=8))[1] is Verdict.NO_DATA


def test_without_a_judge_a_rubric_gives_no_score():
    scored = asyncio.run(OnlineScorer((), "It is friendly.").score(TURN))
    assert scored.score_micros is None
    assert "no judge" in scored.why


@pytest.mark.parametrize(
    ("reply", "score"), [(Reply(text="fine"), 1_000_000), (Reply(text="sorry"), 0), (None, None), (Reply(text=" "), 0)]
)
def test_a_reply_has_the_score_its_case_would_have_and_no_reply_has_none(reply, score):
    scored = asyncio.run(OnlineScorer(POLITE, None).score(replace(TURN, reply=reply)))
    assert scored.score_micros == score


async def test_a_judge_that_hangs_is_missing_data():
    class Hangs(Judge):
        async def measure(self, assertion, observed, *, repeat):
            await asyncio.sleep(60)

    scorer = OnlineScorer((), "x", measuring=Hangs(lambda _: graded(1.0)), timeout=0.05)
    assert (await scorer.score(TURN)).why == "scoring took longer than 0.05 s"


async def test_the_cap_of_a_day_stops_scoring_and_the_next_day_begins_anew():
    now = [datetime(2026, 11, 20, 23, 0, tzinfo=UTC)]
    cap = DailyCap(100, lambda: now[0])

    class Paid(Judge):
        async def measure(self, assertion, observed, *, repeat):
            reservation = await cap.reserve(40)
            cap.settle(reservation, 40)
            return graded(1.0)

    scorer = OnlineScorer((), "x", measuring=Paid(lambda _: graded(1.0)))
    said = [(await scorer.score(TURN)) for _ in range(3)]
    assert [one.score_micros for one in said] == [1_000_000, 1_000_000, None]
    assert "no room" in said[2].why
    with pytest.raises(SpendError):
        await cap.reserve(40)
    now[0] += timedelta(hours=2)
    assert (await scorer.score(TURN)).score_micros == 1_000_000


async def test_what_was_spent_today_counts_for_the_next_process_and_not_for_the_next_day(tmp_path):
    now = [datetime(2026, 11, 20, 12, tzinfo=UTC)]
    kept = tmp_path / "spent.json"

    def cap() -> DailyCap:
        return DailyCap(100, lambda: now[0], kept=kept)

    first = cap()
    first.settle(await first.reserve(60), 60)
    with pytest.raises(SpendError):
        await cap().reserve(60)
    now[0] += timedelta(days=1)
    await cap().reserve(60)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"day": "2026-11-20"}', '{"day": "2026-11-20", "spent_micros": -1}']
)
async def test_an_unreadable_sum_of_today_is_unknown_and_lets_nothing_be_spent(tmp_path, content):
    (tmp_path / "spent.json").write_text(content)
    cap = DailyCap(100, lambda: datetime(2026, 11, 20, 12, tzinfo=UTC), kept=tmp_path / "spent.json")
    with pytest.raises(PriceError):
        await cap.reserve(1)


# --- joining --------------------------------------------------------------------------------------------------------


def block(t0: float, **arms: tuple[str, ...]) -> Block:
    return Block(
        t0=t0,
        seconds=10.0,
        fence=Fence(term=1, seq=1),
        arms={
            release: ArmBlock(
                role=Role.STABLE, active=units, values={"score": {units[0]: (5, 1)}, "cost": {units[0]: (9, 1)}}
            )
            for release, units in arms.items()
        },
    )


class Said:
    """A source that says what it is told to."""

    def __init__(self, **scores: dict) -> None:
        self.seen = ScoresSeen(at=0.0, oldest=None, scores={})

    def look(self, *, since: float) -> ScoresSeen:
        return self.seen


def test_a_block_waits_for_its_scores_and_no_longer_than_it_may():
    source = Said()
    join = ScoreJoin(source=source, wait=20.0)
    source.seen = ScoresSeen(at=100.0, oldest=0.0, scores={})
    assert join.join((block(0.0, a=("u1",)), block(10.0, a=("u1",))), 100.0) == ()
    source.seen = ScoresSeen(at=104.0, oldest=10.0, scores={(0.0, "a"): {"u1": (700_000, 1)}})
    (first,) = join.join((), 105.0)
    assert first.t0 == 0.0
    assert first.arms["a"].values["score"] == {"u1": (700_000, 1)}
    source.seen = ScoresSeen(at=119.0, oldest=10.0, scores={})
    assert join.join((), 119.5) == ()
    (second,) = join.join((), 120.0)
    assert "score" not in second.arms["a"].values


def test_nobody_waits_for_who_has_gone_silent():
    source = Said()
    join = ScoreJoin(source=source, wait=20.0)
    assert len(join.join((block(0.0, a=("u1",)),), 100.0)) == 1
    source.seen = ScoresSeen(at=100.0, oldest=0.0, scores={})
    assert join.join((block(10.0, a=("u1",)),), 101.0) == ()
    assert len(join.join((), 105.5)) == 1


def test_a_block_is_not_read_before_its_samples_can_have_arrived():
    source = Said()
    join = ScoreJoin(source=source, wait=20.0)
    source.seen = ScoresSeen(at=99.9, oldest=None, scores={})
    assert join.join((block(0.0, a=("u1",)),), 100.0) == ()
    source.seen = ScoresSeen(at=101.0, oldest=None, scores={})
    assert len(join.join((), 101.2)) == 1


def test_blocks_stay_in_order_when_a_later_one_is_scored_first():
    source = Said()
    join = ScoreJoin(source=source, wait=20.0)
    source.seen = ScoresSeen(at=102.0, oldest=0.0, scores={})
    assert join.join((block(0.0, a=("u1",)), block(10.0, a=("u1",))), 100.0) == ()
    source.seen = ScoresSeen(at=102.0, oldest=None, scores={})
    assert [one.t0 for one in join.join((), 102.0)] == [0.0, 10.0]


def test_scores_an_agent_gives_itself_are_left_out_and_other_values_stay():
    join = ScoreJoin(source=Said(), wait=0.0)
    (joined,) = join.join((block(0.0, a=("u1",)),), 100.0)
    assert dict(joined.arms["a"].values) == {"cost": {"u1": (9, 1)}}


def test_a_unit_that_was_not_assigned_by_the_hash_counts_for_nobody():
    source = Said()
    source.seen = ScoresSeen(at=200.0, oldest=None, scores={(0.0, "a"): {"u1": (1, 1), "other": (2, 1)}})
    (joined,) = ScoreJoin(source=source, wait=20.0).join((block(0.0, a=("u1",)),), 100.0)
    assert joined.arms["a"].values["score"] == {"u1": (1, 1)}


def test_files_are_followed_line_by_line_and_what_is_no_score_is_missing(tmp_path):
    files = ScoreFiles(tmp_path)
    assert files.look(since=0.0) == ScoresSeen(at=0.0, oldest=None, scores={})
    kept = KeptLines(tmp_path / SCORES, most_bytes=1 << 20)
    line = {"t0": 10.0, "release": "a", "unit": "u", "score": 500_000}
    kept.add(line)
    kept.add({**line, "score": None})
    kept.add({**line, "score": 2_000_000})
    kept.add({**line, "score": "1"})
    kept.add({**line, "score": True})
    assert files.look(since=0.0).scores == {(10.0, "a"): {"u": (500_000, 1)}}
    kept.add(line)
    with (tmp_path / SCORES / "1.jsonl").open("ab") as half:
        half.write(b'{"t0": 10.0, "release": "a"')
    assert files.look(since=0.0).scores == {(10.0, "a"): {"u": (1_000_000, 2)}}
    assert files.look(since=20.0).scores == {}
    assert files.look(since=0.0).scores == {(10.0, "a"): {"u": (1_000_000, 2)}}  # blocks are folded again
