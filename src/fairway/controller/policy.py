"""The policy a rollout follows: that of the release it rolls out, as it was committed, signed and approved."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fairway.project.load import Project, load_project
from fairway.release.materialise import materialise
from fairway.release.port import ContentStore
from fairway.release.values import Manifest
from fairway.rollout.plan import compile_plan
from fairway.rollout.values import Plan


def plan_of(project: Project, environment: str) -> Plan:
    """The plan a rollout of this project's files would follow in an environment."""
    return compile_plan(
        project.rollout,
        replicas=project.environment(environment).replicas,
        approval=project.approval_required(environment),
    )


def released_plan(manifest: Manifest, store: ContentStore, environment: str) -> Plan:
    """The plan of a release, from its own ``fairway.yaml``: what is edited later changes no rollout of it.

    Raises:
        FairwayError: When the release's files cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="fairway-policy-") as folder:
        return plan_of(load_project(materialise(manifest.tree, store, Path(folder))), environment)
