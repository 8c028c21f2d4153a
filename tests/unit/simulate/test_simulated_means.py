"""A policy with gates on means is simulated with agents that report what these look at."""

from __future__ import annotations

from fairway.rollout.config import RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.simulate.rollout import Ending, ModelledRun
from fairway.simulate.traffic import ArmModel, ModelledTraffic

WELL = ArmModel(failure=0.001)


def ended(**gates: object) -> ModelledRun:
    section = {"gates": gates, "steps": ["10%", "50%", "100%"], "dwell": "1m", "cap": "1h", "soak": "1m"}
    plan = compile_plan(RolloutSection.model_validate(section))
    run = ModelledRun(traffic=ModelledTraffic(seed=3, units_per_block=120, stable=WELL, candidate=WELL), plan=plan)
    run.start()
    for _ in range(240):
        if run.over:
            break
        run.block()
    return run


def test_a_healthy_release_is_promoted_under_gates_on_means_that_must_pass() -> None:
    must = {"margins": ["+50%", "+20%"], "must_pass": True}
    run = ended(cost_mean=must, tokens_mean=must, feedback_mean="10pt")
    assert run.course().ending is Ending.PROMOTED
    arm = next(arm for block in run.blocks for arm in block.arms.values())
    assert set(arm.values) >= {"cost", "tokens", "score"}


def test_without_such_gates_nothing_is_modelled_for_them() -> None:
    run = ended()
    assert all(not arm.values for block in run.blocks for arm in block.arms.values())
