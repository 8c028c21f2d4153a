"""What an evaluation of a project's agent needs to know, read from the examined content only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.bundle.files import Bundle
from fairway.bundle.overlay import Overlay
from fairway.evals.config import EvalsSection
from fairway.evals.gating.policy import EvalPolicy, Rule
from fairway.evals.instrument import instrument_digest
from fairway.evals.playing_out import repeated
from fairway.evals.suites.load import load_suites
from fairway.evals.values import Suite
from fairway.project.load import Project, load_project
from fairway.stages.config import DEFAULT_ENVIRONMENT
from fairway.stages.eval_embeddings import EmbeddingPlan, plan_embeddings
from fairway.stages.judge_panel import JudgePlan, plan_judges
from fairway.units import WHOLE, Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is examined, with what.

    Attributes:
        project: As it was committed.
        environment: Whose configuration the agent runs with.
        suites: What is asked, repeats filled in.
        judges: Who grades, and how; ``None``: no judge is configured.
        scenario: Bytes of the mock model's scenario; ``None``: no mock model.
        embeddings: Who measures ``similar``; ``None``: nobody.
        read: Content of an examined file; ``None`` from it: there is none.
    """

    project: Project
    environment: str
    overlay: Overlay
    suites: tuple[Suite, ...]
    judges: JudgePlan | None
    scenario: bytes | None
    embeddings: EmbeddingPlan | None
    read: Callable[[str], bytes | None]

    @property
    def evals(self) -> EvalsSection:
        """The settings."""
        return self.project.evals

    def instrument(self, suites: Sequence[Suite] | None = None) -> Digest:
        """Digest of what measures, with all suites or with those selected of them."""
        chosen = self.suites if suites is None else suites
        judge = None if self.judges is None else self.judges.settings
        return instrument_digest(
            chosen,
            judge=judge,
            mock_scenario=self.scenario,
            read=self.read,
            embeddings=None if self.embeddings is None else self.embeddings.name,
        )


def examine(
    tree: Path,
    bundle: Bundle,
    *,
    environment: str | None = None,
    suites: Callable[[], tuple[Suite, ...]] | None = None,
    repeat: int | None = None,
) -> Examination:
    """Read what an evaluation needs.

    Args:
        tree: The examined files.
        bundle: The same, with the suites.
        environment: Instead of the project's choice.
        suites: Other suites than the project's.
        repeat: Instead of the project's, for cases that do not say.

    Raises:
        UserError: A suite, the judge or the environment is wrong.
    """
    project = load_project(tree)
    evals = project.evals
    where = environment or evals.environment or DEFAULT_ENVIRONMENT
    overlay = project.overlay(where)
    found = load_suites([file.path for file in bundle.files], bundle.read, evals.suites) if suites is None else suites()
    scenario = project.llm.mock.scenario if overlay.uses_mock_models else None

    def read(path: str) -> bytes | None:
        return bundle.read(path) if bundle.find(path) else None

    return Examination(
        project=project,
        environment=where,
        overlay=overlay,
        suites=repeated(found, repeat or evals.repeat),
        judges=plan_judges(project, overlay, read),
        scenario=read(scenario) if scenario is not None else None,
        embeddings=plan_embeddings(project, overlay),
        read=read,
    )


def policy_of(evals: EvalsSection, *, compared: bool, interleaved: bool = False) -> EvalPolicy:
    """The gate's limits as the project sets them; what cannot be checked is never tolerated.

    Args:
        evals: The settings.
        compared: Whether there is a baseline; without one the simple rule decides.
        interleaved: Whether it is asked in turn with the candidate; only then repeats can be added.
    """
    compare = evals.compare
    return EvalPolicy(
        rule=Rule.COMPARE if compared else Rule.SIMPLE,
        margin=compare.margin,
        max_failed=evals.maximum_failed / WHOLE,
        max_errors=evals.errors / WHOLE,
        max_invalid=evals.errors / WHOLE,
        tool_accuracy=evals.tool_accuracy,
        cost_ratio=compare.cost_ratio,
        token_ratio=compare.token_ratio,
        min_cases=compare.minimum or 1,
        adaptive=compare.adaptive and interleaved,
        max_repeat=compare.max_repeat,
    )
