"""``strategy: auto`` over real releases: the plan follows what the candidate changes of the present stable."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from fairway.controller.facts import ReleaseFactsLookup
from fairway.release.required import CHECKS
from fairway.release.store import FileContentStore
from fairway.release.trust import trusted_keys
from fairway.release.values import Evidence, Manifest
from fairway.rollout.deciding import ReleaseFacts
from fairway.rollout.guarding import NOT_KNOWN, loosened, plan_to_follow
from fairway.rollout.requests import Request, Verb
from fairway.rollout.values import ArmRef, Plan, RouteState, Strategy
from fairway.stages.approval_gate import possible_plans
from fairway.stages.packaging import package
from fairway.stages.registry import required_for_release
from fairway.testing.virtual_clock import EPOCH, VirtualClock
from fairway.units import Verdict

MODELS = "version: 1\nmodels: {main: {provider: mock, model: m1}}\nroles: {orchestrator: main}\n"
TOOLS = "version: 1\ntools: {search: {action: search}}\n"
FILES = {"server.py": "x = 1\n", "models.yaml": MODELS, "tools.yaml": TOOLS}
AUTO = "smoke_test: {}\nrollout: {strategy: auto"


class History:
    """Releases of one project, one after the other, and the lookup of a controller over them."""

    def __init__(self, bench) -> None:  # type: ignore[no-untyped-def]
        self.bench = bench
        bench.clock = VirtualClock()

    def release(self, version: str, files: dict[str, str], settings: str = AUTO + "}") -> Manifest:
        """Commit, find everything a release needs, and cut it."""
        self.bench.commit({**FILES, **files}, settings=settings)
        delivery = self.bench.delivery(version=version)
        digest = delivery.bundle.digest
        self.bench.ledger.add_evidence(
            Evidence(kind=kind, release=digest, verdict=Verdict.PASS, produced_by="t", at=EPOCH) for kind in CHECKS
        )
        self.project = delivery.project
        return package(
            delivery.project, self.bench.ledger, delivery.store, version=version,
            evidence_required=required_for_release(delivery.project), now=EPOCH, publisher="ada",
        ).manifest  # fmt: skip

    def plan(self, stable: Manifest | None, candidate: Manifest) -> Plan:
        """What a rollout of the candidate would follow now."""
        route = self.project.route("production")
        arm = None
        if stable is not None:
            arm = ArmRef(
                release=stable.release_digest,
                effective=stable.effective[route.environment],
                version=stable.release_version,
            )
        facts = self.facts(arm, candidate)
        assert facts.plan is not None, facts.refusal
        return facts.plan

    def facts(self, arm: ArmRef | None, candidate: Manifest) -> ReleaseFacts:
        """What a controller knows when a rollout of the candidate is asked for."""
        route = self.project.route("production")
        lookup = ReleaseFactsLookup(
            releases=self.bench.ledger,
            store=FileContentStore(self.project.state.blobs),
            trusted=partial(trusted_keys, self.project.state.keys),
            clock=self.bench.clock,
        )
        args = {"release": candidate.release_digest}
        asked = Request(id="r", route=route, verb=Verb.START, actor="ada", at=EPOCH, args=args)
        facts = lookup(asked, RouteState(route=route, stable=arm))
        assert facts is not None
        return facts


@pytest.mark.parametrize(
    ("version", "files", "settings", "strategy", "why"),
    [
        ("1.1.0", {"server.py": "x = 2\n"}, AUTO + "}", Strategy.ROLLING, "only code changed"),
        ("1.1.0", {"models.yaml": MODELS.replace("m1", "m2")}, AUTO + "}", Strategy.CANARY, "models"),
        ("1.1.0", {}, AUTO + ", dwell: 5m}", Strategy.ROLLING, "only infrastructure changed"),
        ("1.1.0", {"policies/rules.md": "Be kind.\n"}, AUTO + "}", Strategy.CANARY, "policies"),
        ("2.0.0", {"server.py": "x = 2\n"}, AUTO + "}", Strategy.BLUE_GREEN, "major version 2 instead of 1"),
        ("1.1.0", {"server.py": "x = 2\n"}, AUTO + ", breaking: true}", Strategy.BLUE_GREEN, "declared"),
        (
            "1.1.0",
            {"tools.yaml": TOOLS.replace("}}", "}, refund: {action: transfer_funds}}")},
            AUTO + ", shadow: {heeded: true}}",
            Strategy.SHADOW,
            "refund",
        ),
        (
            "1.1.0",
            {"tools.yaml": TOOLS.replace("}}", "}, refund: {action: transfer_funds}}")},
            AUTO + "}",
            Strategy.CANARY,
            "a person approves it",
        ),
    ],
    ids=["code", "model", "infrastructure", "policy", "major", "declared", "tool", "tool, not heeded"],
)
def test_the_plan_follows_what_changed_since_the_present_stable(bench, version, files, settings, strategy, why) -> None:
    history = History(bench)
    stable = history.release("1.0.0", {})
    candidate = history.release(version, files, settings)
    plan = history.plan(stable, candidate)
    assert plan.strategy is strategy
    assert why in plan.why


@pytest.mark.parametrize("heeded", ["true", "false"])
def test_the_gate_counts_an_approval_of_the_plan_that_a_new_risky_tool_gets(bench, heeded) -> None:
    history = History(bench)
    settings = f"{AUTO}, approval: required, shadow: {{heeded: {heeded}}}}}"
    stable = history.release("1.0.0", {}, settings)
    risky = TOOLS.replace("}}", "}, refund: {action: transfer_funds}}")
    plan = history.plan(stable, history.release("1.1.0", {"tools.yaml": risky}, settings))
    assert plan.policy_digest in {one.policy_digest for one in possible_plans(history.project, "production")}


def test_the_gate_asks_for_no_approval_that_only_the_rollout_may_come_to_need(bench) -> None:
    history = History(bench)
    history.release("1.0.0", {}, AUTO + ", approval: none}")
    assert not any(plan.approval for plan in possible_plans(history.project, "production"))


def test_against_another_stable_the_same_release_is_another_plan_that_no_earlier_approval_covers(bench) -> None:
    history = History(bench)
    first = history.release("1.0.0", {})
    second = history.release("1.1.0", {"models.yaml": MODELS.replace("m1", "m2")})
    third = history.release("1.2.0", {"models.yaml": MODELS.replace("m1", "m2"), "server.py": "x = 2\n"})
    one, other = history.plan(first, third), history.plan(second, third)
    assert (one.strategy, other.strategy) == (Strategy.CANARY, Strategy.ROLLING)
    assert one.policy_digest != other.policy_digest


def test_what_cannot_be_compared_is_a_canary(bench) -> None:
    history = History(bench)
    candidate = history.release("1.0.0", {})
    assert history.plan(None, candidate).strategy is Strategy.CANARY


def _arm(history: History, manifest: Manifest, **changes: object) -> ArmRef:
    effective = manifest.effective[history.project.route("production").environment]
    return replace(
        ArmRef(release=manifest.release_digest, effective=effective, version=manifest.release_version), **changes
    )


LAX = "smoke_test: {}\nrollout: {approval: none, alpha_pass: 0.2, steps: [50%, 100%], gates: {success: {minimum: 50%}}}"


def test_a_release_is_compared_by_the_policy_that_serves_not_by_the_one_it_brings(bench) -> None:
    history = History(bench)
    stable = history.release("1.0.0", {}, "smoke_test: {}\nrollout: {approval: {quorum: 2, steps: [first, 100%]}}")
    candidate = history.release("1.1.0", {"server.py": "x = 2\n"}, LAX)
    facts = history.facts(_arm(history, stable), candidate)
    assert facts.plan is not None
    assert not facts.plan.approval
    state = RouteState(route=history.project.route("production"), stable=_arm(history, stable))
    guarded = plan_to_follow(facts, facts.plan, state)
    assert (guarded.approval, guarded.quorum.count, guarded.steps[-1].approval) == (True, 2, True)
    words = "; ".join(guarded.loosens)
    for told in ("first exposure", "steps: 1 before 100%", "gate success: 50%", "in 0.2 instead of 0.05", "approval:"):
        assert told in words


def test_a_release_that_switches_its_checks_off_asks_for_less_than_the_one_that_serves(bench) -> None:
    history = History(bench)
    stable = history.release("1.0.0", {}, "smoke_test: {}\nrollout: {}")
    off = "smoke_test: {enabled: false, reason: in a hurry}\nrollout: {}"
    facts = history.facts(_arm(history, stable), history.release("1.1.0", {"server.py": "x = 2\n"}, off))
    assert facts.plan is not None
    words = loosened(facts, facts.plan)
    assert words == ("evidence: smoke_test is not needed (switched off: in a hurry)",)
    back = history.facts(_arm(history, stable), stable)
    assert back.plan is not None
    assert loosened(back, back.plan) == ()


def test_the_same_policy_under_auto_loosens_nothing_whatever_changed(bench) -> None:
    history = History(bench)
    stable = history.release("1.0.0", {})
    candidate = history.release("2.0.0", {"server.py": "x = 2\n"})
    facts = history.facts(_arm(history, stable), candidate)
    assert facts.plan is not None
    assert facts.plan.strategy is Strategy.BLUE_GREEN
    assert (facts.compared, loosened(facts, facts.plan)) == (True, ())


def test_a_stable_release_this_ledger_does_not_know_is_named_and_its_policy_counts_as_stricter(bench) -> None:
    history = History(bench)
    known = history.release("1.0.0", {})
    candidate = history.release("1.1.0", {"server.py": "x = 2\n"})
    facts = history.facts(_arm(history, known, release="sha256:" + "7" * 64), candidate)
    assert "1.0.0, is not in this ledger" in facts.unknown
    assert facts.plan is not None
    assert facts.plan.approval, "auto cannot know what changed"
    assert loosened(facts, facts.plan) == (NOT_KNOWN,)


def test_a_first_release_has_nothing_to_be_compared_with(bench) -> None:
    history = History(bench)
    facts = history.facts(None, history.release("1.0.0", {}, LAX))
    assert facts.plan is not None
    assert (facts.compared, facts.unknown, loosened(facts, facts.plan)) == (False, "", ())
