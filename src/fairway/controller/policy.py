"""The policy a rollout follows: that of the release it rolls out, as it was committed, signed and approved."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from fairway.project.load import Project, load_project
from fairway.release.materialise import materialise
from fairway.release.port import ContentStore
from fairway.release.values import Manifest
from fairway.rollout.choose import Choice
from fairway.rollout.config import AUTO, RolloutSection
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What a plan is compiled from.

    Attributes:
        policy: The ``rollout`` section.
        replicas, approval: What the environment says where the policy does not.
    """

    policy: RolloutSection
    replicas: int
    approval: bool

    @property
    def automatic(self) -> bool:
        """Whether the strategy depends on what changed."""
        return self.policy.strategy == AUTO

    def plan(self, choice: Choice | None = None) -> Plan:
        """The plan; ``choice`` is what ``auto`` chose, ``None`` when what changed has not been looked at."""
        return compile_plan(self.policy, replicas=self.replicas, approval=self.approval, choice=choice)


def planner_of(project: Project, environment: str) -> Planner:
    """What a plan of this project's files is compiled from in an environment."""
    return Planner(
        policy=project.rollout,
        replicas=project.environment(environment).replicas,
        approval=project.approval_required(environment),
    )


def plan_of(project: Project, environment: str) -> Plan:
    """The plan a rollout of this project's files would follow in an environment; what changed is not looked at."""
    return planner_of(project, environment).plan()


def released_plan(manifest: Manifest, store: ContentStore, environment: str) -> Plan:
    """The plan of a release, from its own ``fairway.yaml``: what is edited later changes no rollout of it.

    Raises:
        FairwayError: When the release's files cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="fairway-policy-") as folder:
        return plan_of(load_project(materialise(manifest.tree, store, Path(folder))), environment)
