"""``fairway people``: who has which role, and what it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fairway.cli.output import emit, output_option, project_option

if TYPE_CHECKING:
    from fairway.bundle.environment import EnvironmentKind
    from fairway.project.load import Project

EPILOG = """\b
Examples:
  fairway people
  fairway people --environment staging -o json
"""


@click.command(name="people", epilog=EPILOG)
@click.option("--environment", default="production", show_default=True, help="Where: what a role allows depends on it.")
@project_option
@output_option
def command(environment: str, project_dir: str | None, output: str) -> None:
    """Show who has which role, who you are, and which roles may do what in an environment.

    Roles stand in fairway.yaml (people: roles:). With nobody listed every local user has every role.
    A controller takes a changed file over within a second or two and puts it on record:
    fairway audit log --kind people.
    """
    from pathlib import Path

    from fairway.project.load import load_project

    project = load_project(None if project_dir is None else Path(project_dir))
    told = _told(project, project.environment(environment).kind, environment)
    emit(told, output=output, text=lambda: _text(told))


def _told(project: Project, kind: EnvironmentKind, environment: str) -> dict[str, Any]:
    from fairway.bootstrap import SERVING_ENVIRONMENT
    from fairway.cli.verbs import actor_of
    from fairway.controller.live_view import read_live_view
    from fairway.controller.people import people_digest, unlike
    from fairway.rollout.people import Role
    from fairway.rollout.roles import MATRIX, Right, why_not

    people = project.people.to_people()
    actor = actor_of(project.root)
    view = read_live_view(project.state, project.route(SERVING_ENVIRONMENT))
    return {
        "digest": people_digest(people),
        "trouble": "" if view is None else unlike(str(view.get("people", "")), people),
        "listed": people.listed,
        "environment": environment,
        "kind": kind.value,
        "you": {"name": actor, "roles": [role.value for role in people.roles_of(actor)]},
        "roles": {role.value: list(people.roles.get(role, ())) for role in Role},
        "rights": [
            {
                "right": right.value,
                "roles": [role.value for role in Role if role in MATRIX[kind][right]],
                "you": not why_not(actor, right, people=people, kind=kind),
            }
            for right in Right
        ],
    }


def _text(told: dict[str, Any]) -> str:
    you = told["you"]
    lines = [f"you are {you['name']}: {', '.join(you['roles']) if you['roles'] else 'no role'}"]
    if told["trouble"]:
        lines.append(f"BUT {told['trouble']}")
    if not told["listed"]:
        lines.append("nobody is listed in people.roles of fairway.yaml: every local user has every role")
    lines.extend(f"{role:<18} {', '.join(names)}" for role, names in told["roles"].items() if names)
    lines.append(f"in {told['environment']} ({told['kind']}):")
    for one in told["rights"]:
        mark = "you may" if one["you"] else "       "
        lines.append(f"  {one['right'].replace('_', '-'):<13} {mark}  {', '.join(one['roles'])}")
    return "\n".join(lines)
