"""Records around a rollback, SLA snapshots, the database and derived releases, on a real ledger and real commands."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairway.bootstrap import Workspace
from fairway.bundle.files import scan
from fairway.cli.main import cli
from fairway.clock import SystemClock
from fairway.errors import FairwayError, RefusedError
from fairway.incident.procedure import Entry, Step
from fairway.incident.sla_records import SlaSource, archived, monthly, take_snapshot
from fairway.incident.sla_records import as_evidence as snapshot_evidence
from fairway.ledger import open_ledger
from fairway.ledger.records import DeploymentRecord, DeploymentStatus
from fairway.observe.fold import ArmBlock, Block
from fairway.project.load import load_project
from fairway.recovery.database import acts, back_up, backup_to_restore, restore
from fairway.recovery.deriving import cut_derived, prepare
from fairway.recovery.record import find_procedure, write_entry
from fairway.recovery.recorder import WAIT_FOR_TRACES, Recorder
from fairway.recovery.rehearsing import as_evidence, rehearse
from fairway.release.store import FileContentStore
from fairway.release.tree import TreeFile, component_digests, release_digest, tree_blob
from fairway.release.trust import local_key, signed
from fairway.release.values import Component, Evidence, Manifest, SignedRelease
from fairway.rollout.port import JournalEntry
from fairway.rollout.values import ArmRef, Phase, RouteState, Strategy
from fairway.rollout.wire import state_to_wire
from fairway.stages.packaging import effective_digests
from fairway.testing.rollout_cases import canary_plan, rollout_state
from fairway.testing.virtual_clock import VirtualClock
from fairway.traffic.fence import Fence
from fairway.traffic.table import Role
from fairway.units import Digest, Verdict
from fairway.verdict.sla import SlaPolicy, SlaStatus

PROJECT = """\
version: 1
agent: {name: shop}
service: {command: "python app.py"}
evals: {suites: []}
rollback:
  notify: [sh, tell.sh]
  notify_timeout: 5s
  database:
    backup: [sh, -c, "echo saved; echo backup-7"]
    restore: [sh, -c, "echo {backup} > restored"]
pipeline:
  stages:
    unit_test: {enabled: false, reason: no tests yet}
    prompt_regression: {enabled: false, reason: no prompts}
    smoke_test: {enabled: false, reason: nothing to ask}
"""
APP = "print('hello')\n"


@dataclass
class Place:
    """A project with its ledger, and a journal to write in."""

    workspace: Workspace
    clock: VirtualClock
    seq: int = 0
    state: RouteState | None = None
    commit_sha: str = "ab" * 20
    _t0: float = field(default=0.0)

    def release(self, version: str, **files: str) -> Manifest:
        """Cut a release by hand: what vouches for it does not matter here."""
        contents = {"fairway.yaml": PROJECT, "app.py": APP} | {
            name.replace("__", "/").replace("_txt", ".txt").replace("_py", ".py"): text for name, text in files.items()
        }
        parts = {"fairway.yaml": Component.POLICIES, "models.yaml": Component.MODELS}
        listed = [
            TreeFile(
                path=path,
                mode="100644",
                digest=self.workspace.store.put(text.encode()),
                component=parts.get(path, Component.POLICIES if path.startswith("policies/") else Component.CODE),
            )
            for path, text in contents.items()
        ]
        components = component_digests(listed)
        digest = release_digest(components)
        manifest = Manifest(
            agent=self.workspace.project.name,
            release_version=version,
            tag=f"v{version}",
            commit_sha=self.commit_sha,
            components=components,
            release_digest=digest,
            effective=effective_digests(self.workspace.project, digest),
            tree=self.workspace.store.put(tree_blob(listed)),
            prompts={},
            tools=(),
            models={},
            created_at=self.clock.now(),
            publisher="ada@example.org",
        )
        self.workspace.ledger.add_release(signed(manifest, local_key(self.workspace.state.keys)))
        return manifest

    def signed(self, manifest: Manifest) -> SignedRelease:
        return self.workspace.ledger.find_release(manifest.agent, manifest.release_digest)

    def arm(self, manifest: Manifest) -> ArmRef:
        effective = manifest.effective[self.workspace.route.environment]
        return ArmRef(release=manifest.release_digest, effective=effective, version=manifest.release_version)

    def journal(self, state: RouteState, kind: str, code: str, reason: str = "because") -> None:
        ledger, route = self.workspace.ledger, self.workspace.route
        lease = ledger.acquire_lease(route, "test", seconds=3600)
        assert lease is not None
        self.seq += 1
        ledger.journal(
            JournalEntry(
                route=route,
                fence=Fence(term=lease.term, seq=self.seq),
                at=self.clock.now(),
                kind=kind,
                code=code,
                reason=reason,
                actor="controller",
                state=state_to_wire(state),
                decision={},
            ),
            lease,
        )
        self.state = state

    def serve(self, seconds: int = 60, **failed: int) -> None:
        """Blocks of ten requests a second for each release named by its version, with so many failures a block."""
        for _ in range(seconds // 10):
            arms = {}
            for name, count in failed.items():
                manifest = self.workspace.ledger.find_release(self.workspace.project.name, name[1:].replace("_", "."))
                arms[manifest.manifest.release_digest] = ArmBlock(
                    role=Role.STABLE,
                    assigned=100,
                    finished=100,
                    failed=count,
                    latency_ms={100: 100},
                    sums={"tokens_in": 5.0},
                    exemplars=tuple(
                        {"request": f"q-{n}", "status": "500", "reason": "status_500"} for n in range(min(count, 20))
                    ),
                )
            t0 = self.clock.now().timestamp() // 10 * 10
            block = Block(t0=t0, seconds=10, fence=Fence(term=1, seq=1), arms=arms)
            self.workspace.ledger.add_blocks(self.workspace.route, [block.to_wire()])
            self.clock.advance(10)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "fairway.yaml").write_text(PROJECT)
    (root / "app.py").write_text(APP)
    (root / "tell.sh").write_text("cat > told.json\n")
    project = load_project(root)
    clock = VirtualClock()
    with open_ledger(project.state.ledger, clock=clock) as ledger:
        store = FileContentStore(project.state.blobs)
        yield Place(workspace=Workspace(project=project, ledger=ledger, store=store, clock=clock), clock=clock)


def bad_release(place: Place, **files: str) -> tuple[RouteState, Manifest, Manifest]:
    """Stable serves, a candidate that differs in ``files`` has taken traffic and failed; its rollback begins."""
    good, bad = place.release("1.0.0"), place.release("1.1.0", **(files or {"policies__answer_txt": "no"}))
    rollout = rollout_state(
        Phase.STEPPING,
        plan=canary_plan(),
        candidate=place.arm(bad),
        stable=place.arm(good),
        started_at=place.clock.now(),
        phase_at=place.clock.now(),
        counted_from=place.clock.now().timestamp(),
    )
    state = RouteState(route=place.workspace.route, stable=place.arm(good), rollout=rollout)
    place.journal(state, "start", "started")
    place.serve(60, v1_0_0=0, v1_1_0=30)
    going = replace(
        state, rollout=replace(rollout, phase=Phase.ROLLING_BACK, cause="gate_failed", cause_text="failures failed")
    )
    place.journal(going, "roll_back", "gate_failed")
    return going, good, bad


def back(place: Place, state: RouteState) -> None:
    assert state.rollout is not None
    ended = replace(
        state,
        rollout=replace(state.rollout, phase=Phase.ROLLED_BACK),
        blocked=(state.rollout.candidate.release,),
    )
    place.clock.advance(1)
    place.journal(ended, "finish", "rolled_back")


def steps(place: Place) -> dict[str, dict]:
    known = find_procedure(place.workspace, None)
    return {} if known is None else {entry.step.value: dict(entry.details) for entry in known.entries}


# -- the procedure --


async def test_a_rollback_is_recorded_step_by_step_and_nothing_before_it_is_known(place: Place) -> None:
    state, _, _ = bad_release(place)
    recorder = Recorder(place.workspace)
    await recorder.tick()
    known = steps(place)
    assert list(known) == ["detect", "locate", "choose", "notify"]
    assert known["detect"]["situation"] == "error_burst"
    assert (known["locate"]["named"], known["choose"]["kind"]) == ("policies", "traffic")
    back(place, state)
    await recorder.tick()
    assert "verify" not in steps(place), "no request since: nobody knows that it helped"
    place.serve(30, v1_0_0=0)
    await recorder.tick()
    known = steps(place)
    assert known["roll_back"]["seconds"] == 1.0
    assert (known["verify"]["verdict"], known["mark"]["version"]) == ("PASS", "1.1.0")
    told = json.loads((place.workspace.project.root / "told.json").read_text())
    assert (told["from"], told["to"], told["suspect"]) == ("1.1.0", "1.0.0", "policies")


class KilledError(Exception):
    """As if the process had been killed."""


class Killable(Recorder):
    """Ends after one step was written."""

    def _write(self, case, step, details) -> None:  # type: ignore[no-untyped-def]
        Recorder._write(self, case, step, details)
        raise KilledError


async def test_a_recorder_killed_after_any_step_is_finished_by_the_next_and_repeats_nothing(place: Place) -> None:
    state, _, _ = bad_release(place)
    back(place, state)
    place.serve(30, v1_0_0=0)
    killed = 0
    for _ in range(12):
        try:
            await Killable(place.workspace).tick()
        except KilledError:
            killed += 1
    known = find_procedure(place.workspace, None)
    assert known is not None
    done = [entry.step for entry in known.entries]
    assert sorted(done) == sorted(set(Step) - {Step.CLOSE}), "each once"
    assert killed == 7


async def test_a_hook_that_fails_is_recorded_and_blocks_nothing(place: Place) -> None:
    (place.workspace.project.root / "tell.sh").write_text("echo no such channel >&2; exit 7\n")
    state, _, _ = bad_release(place)
    back(place, state)
    place.serve(30, v1_0_0=0)
    await Recorder(place.workspace).tick()
    known = steps(place)
    assert known["notify"] == {"told": False, "why": "exit code 7", "last_words": "no such channel"}
    assert "mark" in known


async def test_with_two_changes_and_nobody_proven_the_suspect_is_unknown(place: Place) -> None:
    bad_release(place, policies__answer_txt="no", other_py="x = 1")
    await Recorder(place.workspace).tick()
    located = steps(place)["locate"]
    assert (located["named"], located["changed"]) == ("unknown", ["code", "policies"])
    assert located["groups"][0]["examples"]


async def test_without_described_failures_locating_waits_and_then_says_so(place: Place) -> None:
    good, bad = place.release("1.0.0"), place.release("1.1.0", other_py="x = 1")
    rollout = rollout_state(
        Phase.ROLLING_BACK,
        candidate=place.arm(bad),
        stable=place.arm(good),
        cause="candidate_crashed",
        cause_text="it crashed",
        counted_from=1.0,
    )
    state = RouteState(route=place.workspace.route, stable=place.arm(good), rollout=rollout)
    place.journal(state, "roll_back", "candidate_crashed")
    back(place, state)
    recorder = Recorder(place.workspace)
    await recorder.tick()
    assert "locate" not in steps(place)
    place.clock.advance(WAIT_FOR_TRACES.total_seconds())
    await recorder.tick()
    assert steps(place)["locate"]["named"] == "unknown"
    assert steps(place)["detect"]["situation"] == "probe_failed"


async def test_a_person_going_back_to_a_former_release_is_recorded_too(place: Place) -> None:
    former, stable = place.release("1.0.0"), place.release("1.1.0", policies__answer_txt="meh")
    place.serve(60, v1_1_0=30)
    rollout = rollout_state(
        Phase.PREPARING,
        plan=replace(canary_plan(), strategy=Strategy.DIRECT, steps=()),
        candidate=place.arm(former),
        stable=place.arm(stable),
        going_back=True,
    )
    state = RouteState(
        route=place.workspace.route, stable=place.arm(stable), history=(place.arm(former),), rollout=rollout
    )
    place.journal(state, "roll_back", "rollback_requested", "ada rolls back to 1.0.0: wrong answers")
    soaking = replace(state, stable=place.arm(former), rollout=replace(rollout, phase=Phase.SOAKING))
    place.journal(soaking, "advance", "promoted")
    deployed = DeploymentRecord(
        id="d-1",
        agent=stable.agent,
        environment=place.workspace.route.environment,
        namespace="production",
        release=stable.release_digest,
        image_tag="1.1.0",
        status=DeploymentStatus.SUCCEEDED,
        operator="ada",
        started_at=place.clock.now(),
        ended_at=place.clock.now(),
    )
    place.workspace.ledger.record_deployment(deployed)
    recorder = Recorder(place.workspace)
    await recorder.tick()
    known = steps(place)
    assert (known["detect"]["from"], known["detect"]["to"]) == ("1.1.0", "1.0.0")
    assert known["detect"]["situation"] == "person_asked"
    assert known["choose"]["kind"] == "configuration", "it did not run any more"
    assert "roll_back" in known
    place.serve(30, v1_0_0=0)
    await recorder.tick()
    assert "mark" in steps(place)
    (record,) = place.workspace.ledger.list_deployments(stable.agent)
    assert record.status is DeploymentStatus.ROLLED_BACK


async def test_a_superseded_rollout_is_nobodys_failure(place: Place) -> None:
    good, bad = place.release("1.0.0"), place.release("1.1.0", other_py="x = 1")
    rollout = rollout_state(
        Phase.ROLLING_BACK, candidate=place.arm(bad), stable=place.arm(good), cause="superseded", cause_text="newer"
    )
    place.journal(
        RouteState(route=place.workspace.route, stable=place.arm(good), rollout=rollout), "roll_back", "superseded"
    )
    await Recorder(place.workspace).tick()
    assert steps(place) == {}


# -- SLA --


async def test_snapshots_are_archived_when_due_and_make_the_month(place: Place) -> None:
    manifest = place.release("1.0.0")
    state = RouteState(route=place.workspace.route, stable=place.arm(manifest))
    place.journal(state, "advance", "promoted")
    recorder = Recorder(place.workspace)

    async def look() -> list[SlaStatus]:
        place.clock.advance(60)
        await recorder.tick()
        return [one.status for one in archived(place.workspace.ledger, manifest.release_digest)]

    assert await look() == [], "it has not had a request yet"
    place.serve(600, v1_0_0=0)
    assert await look() == []
    place.serve(600, v1_0_0=0)
    assert await look() == [SlaStatus.WATCHING], "within half an hour of going live"
    assert await look() == [SlaStatus.WATCHING], "nothing has changed"
    place.serve(3600, v1_0_0=0)
    assert await look() == [SlaStatus.WATCHING, SlaStatus.VERIFIED]
    report = monthly(place.workspace.ledger, manifest.agent, f"{place.clock.now():%Y-%m}")
    assert [(one.version, one.status) for one in report.snapshots] == [("1.0.0", SlaStatus.VERIFIED)]
    assert report.to_wire()["success_rate"] == 1.0
    assert monthly(place.workspace.ledger, manifest.agent, "1999-12").to_wire()["success_rate"] is None
    with pytest.raises(FairwayError, match="not a month"):
        monthly(place.workspace.ledger, manifest.agent, "2026-13")


async def test_a_release_that_was_rolled_back_is_archived_as_that(place: Place) -> None:
    state, _, bad = bad_release(place)
    back(place, state)
    await Recorder(place.workspace).tick()
    (taken,) = archived(place.workspace.ledger, bad.release_digest)
    assert (taken.status, taken.success_rate) == (SlaStatus.ROLLBACKED, 0.7)


@pytest.mark.parametrize("unverified", [True, False])
def test_a_mix_that_no_soak_has_proved_is_never_verified_by_its_figures(place: Place, unverified: bool) -> None:
    mix = place.release("1.0.0")
    stable = replace(place.arm(mix), unverified=unverified)
    place.journal(RouteState(route=place.workspace.route, stable=stable), "finish", "soak_skipped")
    place.serve(60, v1_0_0=0)
    policy = SlaPolicy(clean_seconds=60.0, callback_fail_rate=None)
    source = SlaSource(ledger=place.workspace.ledger, route=place.workspace.route, policy=policy)
    taken = take_snapshot(source, mix, now=place.clock.now())
    assert taken.status is (SlaStatus.WATCHING if unverified else SlaStatus.VERIFIED), taken.reason


def test_the_history_is_that_of_earlier_releases(place: Place) -> None:
    first = place.release("1.0.0")
    place.serve(60, v1_0_0=0)
    source = SlaSource(ledger=place.workspace.ledger, route=place.workspace.route, policy=SlaPolicy())
    taken = take_snapshot(source, first, now=place.clock.now())
    slow = replace(taken, p95_latency_ms=(taken.p95_latency_ms or 0.0) / 2)
    place.workspace.ledger.add_evidence(
        [snapshot_evidence(slow, first, place.workspace.route, at=place.clock.now(), produced_by="test")]
    )
    place.clock.advance(60)
    second = place.release("1.1.0", other_py="x = 1")
    place.serve(60, v1_1_0=0)
    later = take_snapshot(source, second, now=place.clock.now())
    assert (later.status, later.action) == (SlaStatus.BLOCKED, "roll_back"), later.reason


def test_the_report_is_the_nine_keys_and_further_figures_stand_beside_them(place: Place) -> None:
    place.release("1.0.0")
    place.serve(60, v1_0_0=3)
    place.workspace.close()
    words = ["sla", "report", "--version", "1.0.0", "--project", str(place.workspace.project.root)]
    alone, beside = (
        json.loads(CliRunner().invoke(cli, [*words, *more, "-o", "json"], catch_exceptions=False).stdout)
        for more in ((), ("--figures",))
    )
    assert len(alone) == 9
    assert beside["snapshot"] == alone
    assert beside["figures"]["cost_per_request_usd"] is None
    assert "outcomes" in beside["figures"]["unknown"]["cost_per_request_usd"]
    text = CliRunner().invoke(cli, [*words, "--figures"], catch_exceptions=False).stdout
    assert "requests_per_minute" in text
    assert "unknown: its agent says nothing of it" in text


# -- the database --


async def test_a_backup_and_a_restore_are_done_once_and_recorded(place: Place) -> None:
    root = place.workspace.project.root
    saved = await back_up(place.workspace, actor="ada", reason="before 1.1.0")
    assert (saved.good, saved.backup) == (True, "backup-7")
    assert backup_to_restore(place.workspace, None) == "backup-7"
    done = await restore(place.workspace, "backup-7", actor="ada", reason="lost orders")
    assert done.good
    assert (root / "restored").read_text() == "backup-7\n"
    assert [(one.verb, one.good, one.actor) for one in acts(place.workspace)] == [
        ("backup", True, "ada"),
        ("restore", True, "ada"),
    ]


async def test_after_an_act_without_an_end_a_person_has_to_look(place: Place) -> None:
    wire = {"id": "x", "verb": "restore", "reason": "r", "backup": "b", "code": None, "ended": False}
    place.workspace.ledger.append_audit("database", "restore", "ada", wire, place.clock.now())
    with pytest.raises(RefusedError) as refused:
        await back_up(place.workspace, actor="ada", reason="again")
    assert refused.value.code == "database_unknown"
    assert (await back_up(place.workspace, actor="ada", reason="looked", again=True)).good
    assert (await back_up(place.workspace, actor="ada", reason="and again")).good


async def test_without_declared_commands_the_database_is_left_alone(place: Place) -> None:
    (place.workspace.project.root / "fairway.yaml").write_text(
        "version: 1\nagent: {name: shop}\nservice: {command: x}\n"
    )
    bare = replace(place.workspace, project=load_project(place.workspace.project.root))
    with pytest.raises(RefusedError) as refused:
        await back_up(bare, actor="ada", reason="x")
    assert refused.value.code == "no_database_commands"
    assert acts(bare) == ()


# -- derived releases --


def test_a_derived_release_is_refused_until_its_own_content_is_proven(place: Place) -> None:
    old, new = place.release("1.0.0"), place.release("1.1.0", app_py="print(2)\n", policies__answer_txt="brief")
    prepared = prepare(place.workspace, place.signed(new), [("code", place.signed(old))], now=place.clock.now())
    assert str(prepared.version) == "1.1.0-r1"
    assert set(prepared.lacks) >= {"static_analysis", "security_scan"}
    with pytest.raises(RefusedError) as refused:
        cut_derived(place.workspace, prepared, publisher="ada", now=place.clock.now())
    assert refused.value.code == "derived_unproven"
    place.workspace.ledger.add_evidence(
        Evidence(
            kind=kind, release=prepared.derived.digest, verdict=Verdict.PASS, produced_by="t", at=place.clock.now()
        )
        for kind in prepared.required.kinds
    )
    again = prepare(place.workspace, place.signed(new), [("code", place.signed(old))], now=place.clock.now())
    made = cut_derived(place.workspace, again, publisher="ada", now=place.clock.now()).manifest
    assert (made.parent, made.donors) == (new.release_digest, {Component.CODE: old.release_digest})
    assert place.workspace.ledger.find_release(made.agent, "1.1.0-r1").manifest == made
    shown = CliRunner().invoke(cli, ["release", "show", "1.1.0-r1", "--project", str(place.workspace.project.root)])
    assert "UNVERIFIED: a mix of former parts that never served as a whole" in shown.output
    third = prepare(place.workspace, place.signed(new), [("code", place.signed(old))], now=place.clock.now())
    assert str(third.version) == "1.1.0-r2"


def test_what_taking_one_component_back_would_take_and_risk_can_be_asked_and_nothing_is_cut(place: Place) -> None:
    old, new = place.release("1.0.0"), place.release("1.1.0", app_py="print(2)\n", policies__answer_txt="brief")
    place.journal(
        RouteState(route=place.workspace.route, stable=place.arm(new), history=(place.arm(old),)), "finish", "done"
    )
    asked = ["rollback", "--only", "code", "--dry-run", "--project", str(place.workspace.project.root)]
    told = json.loads(CliRunner().invoke(cli, [*asked, "-o", "json"], catch_exceptions=False).stdout)
    assert (told["from"], told["to"], told["parts"]) == ("1.1.0", "1.1.0-r1", {"code": "1.0.0"})
    assert (told["kind"], told["seconds"], told["risk"]) == ("component", [60.0, 300.0], "medium")
    assert (told["direct"], told["never_stable"]) == (True, [])
    assert set(told["to_check"]) >= {"static_analysis", "security_scan"}
    text = CliRunner().invoke(cli, asked, catch_exceptions=False).stdout
    assert "kind       component: 1-5 min, risk medium" in text
    by_steps = CliRunner().invoke(cli, [*asked, "--plan", "policy"], catch_exceptions=False).stdout
    assert "way        by the policy's steps: as asked" in by_steps
    assert len(place.workspace.ledger.list_releases(new.agent)) == 2
    assert place.workspace.ledger.pending(place.workspace.route) == ()
    whole = [*asked, "--only", "policies", "-o", "json"]
    assert json.loads(CliRunner().invoke(cli, whole, catch_exceptions=False).stdout)["to"] == "1.0.0"


def test_a_rollback_that_left_nothing_is_listed_as_that(place: Place) -> None:
    told = {"at": "2026-01-01T00:00:00", "from": "1.0.0", "to": None, "reason": "wrong", "situation": "person_asked"}
    write_entry(
        place.workspace,
        Entry(incident="1.0.0-x", step=Step.DETECT, at=place.clock.now(), actor="ada", details=told),
    )
    listed = CliRunner().invoke(cli, ["rollback", "list", "--project", str(place.workspace.project.root)])
    assert "1.0.0 -> no release" in listed.stdout
    assert "None" not in listed.stdout


def committed(root: Path, suite: str) -> str:
    """A commit with this suite; its id."""
    (root / "evals").mkdir(exist_ok=True)
    (root / "evals/cases.yaml").write_text(suite)
    name = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    for arguments in (["init", "-q"], ["add", "evals"], [*name, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return told.stdout.strip()


def test_what_the_prompts_cost_is_inherited_only_with_the_suites_it_was_measured_with(place: Place) -> None:
    root = place.workspace.project.root
    before = committed(root, "cases: [short]\n")
    place.commit_sha = committed(root, "cases: [one that is much longer]\n")
    after = committed(root, "cases: [what is worked on now]\n")
    old, new = place.release("1.0.0"), place.release("1.1.0", app_py="print(2)\n")

    def inherited_when_made_with(instrument: Digest | None) -> set[str]:
        place.clock.advance(1)
        finding = Evidence(
            kind="cost_gate", release=new.release_digest, verdict=Verdict.PASS, produced_by="t", at=place.clock.now(),
            instrument=instrument,
        )  # fmt: skip
        place.workspace.ledger.add_evidence([finding])
        swaps = [("code", place.signed(old))]
        prepared = prepare(place.workspace, place.signed(new), swaps, now=place.clock.now())
        assert ("cost_gate" in prepared.lacks) is ("cost_gate" not in prepared.inherited)
        return set(prepared.inherited)

    assert inherited_when_made_with(None) == set()
    assert inherited_when_made_with(scan(root, rev=before).instrument) == set()
    assert inherited_when_made_with(scan(root, rev=after).instrument) == set()
    same = scan(root, rev=place.commit_sha).instrument
    assert inherited_when_made_with(same) == {"cost_gate"}
    shutil.rmtree(root / ".git")  # nobody can tell what the suites of that commit were
    assert inherited_when_made_with(same) == set()
    assert inherited_when_made_with(None) == set()


def test_parts_that_do_not_go_together_are_refused_with_what_to_take_as_well(place: Place) -> None:
    naming = PROJECT + "environments: {production: {models: {main: big}}}\n"
    models = "version: 1\nmodels: {big: {provider: mock, model: m-1}}\nroles: {main: big}\n"
    old = place.release("1.0.0")
    new = place.release("1.1.0", **{"fairway.yaml": naming, "models.yaml": models})
    with pytest.raises(FairwayError) as refused:
        prepare(place.workspace, place.signed(new), [("models", place.signed(old))], now=place.clock.now())
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(("component", "code"), [("weather", "bad_component"), ("code", "derive_unchanged")])
def test_what_cannot_be_derived_says_why(place: Place, component: str, code: str) -> None:
    old, new = place.release("1.0.0"), place.release("1.1.0", policies__answer_txt="brief")
    with pytest.raises(FairwayError) as refused:
        prepare(place.workspace, place.signed(new), [(component, place.signed(old))], now=place.clock.now())
    assert refused.value.code == code


# -- rehearsing --


async def test_a_release_that_would_not_start_fails_its_rehearsal(place: Place) -> None:
    broken = place.release("1.0.0", app_py="raise SystemExit(3)\n")
    real = replace(place.workspace, clock=SystemClock())
    done = await rehearse(real, broken)
    assert (done.verdict, done.ready_after) == (Verdict.FAIL, None)
    assert "before it was ready" in done.problem
    found = as_evidence(done, place.workspace, at=place.clock.now())
    assert (found.verdict, found.expires) == (Verdict.FAIL, place.clock.now() + timedelta(days=7))
    assert list((place.workspace.state.root / "rehearsals").iterdir()) == [], "nothing is left behind"


async def test_an_altered_release_fails_its_rehearsal_before_anything_starts(place: Place) -> None:
    manifest = place.release("1.0.0")
    blob = place.workspace.store.path(manifest.tree)
    blob.chmod(0o644)
    blob.write_bytes(b"[]")
    done = await rehearse(place.workspace, manifest)
    assert done.verdict is Verdict.FAIL
    assert "damaged" in done.problem
