"""What ``fairway doctor`` looks at about people: who may do what, and whether a quorum can be met at all."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.bootstrap import SERVING_ENVIRONMENT
from fairway.controller.live_view import read_live_view
from fairway.controller.people import unlike
from fairway.project.load import Project
from fairway.rollout.people import People
from fairway.rollout.people_config import ApprovalSection
from fairway.rollout.roles import MATRIX, Right
from fairway.supervise.examined import Check, fail, ok, warn


def look_at_people(project: Project) -> Iterator[Check]:
    """Who is listed, and whether enough of them may approve."""
    people = project.people.to_people()
    view = read_live_view(project.state, project.route(SERVING_ENVIRONMENT))
    told = "" if view is None else unlike(str(view.get("people", "")), people)
    if told:
        yield warn("people", told, f"see {project.state.logs / 'controller'}.log, then fairway up again")
    if not people.listed:
        yield ok("people", "nobody is listed in people.roles: every local user has every role")
        return
    asks = project.rollout.approval or ApprovalSection(required=project.approval_required(SERVING_ENVIRONMENT))
    able = approvers(project, people, asks)
    if asks.required and len(able) < asks.quorum:
        yield fail(
            "people",
            f"an approval needs {asks.quorum} people and {len(able)} may give one: no release is ever exposed",
            "list more people in people.roles, or lower rollout.approval.quorum",
        )
        return
    counts = ", ".join(f"{role.value} {len(names)}" for role, names in people.roles.items())
    yield ok("people", f"{counts}; an abort is open to everybody")


def approvers(project: Project, people: People, asks: ApprovalSection) -> frozenset[str]:
    """Whose approval may count in the environment that serves, by name in lower case."""
    kind = project.environment(SERVING_ENVIRONMENT).kind
    roles = asks.roles or tuple(MATRIX[kind][Right.APPROVE])
    return frozenset(name.casefold() for role in roles for name in people.roles.get(role, ()))
