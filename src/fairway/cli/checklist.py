"""``fairway checklist``: what should be so before, during and after a rollout, answered by evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fairway.cli.listing import Listing
from fairway.cli.output import emit, output_option, project_option
from fairway.cli.workspaces import opened

if TYPE_CHECKING:
    from fairway.bootstrap import Workspace
    from fairway.incident.checklists import Item
    from fairway.release.values import Manifest

EPILOG = """\b
Examples:
  fairway checklist before v1.2.0
  fairway checklist during
  fairway checklist after -o json
  fairway checklist confirm docs v1.2.0 --note 'the return policy page is new'
"""


@click.group("checklist", cls=Listing, epilog=EPILOG)
def command() -> None:
    """What should be so before, during and after a rollout: yes, no or unknown, by evidence; unknown is not yes."""


def _phase(name: str, summary: str, default: str) -> click.Command:
    @click.command(name, help=f"{summary}\n\nExits 1 when an item is not answered yes.",
                   epilog=f"Example: fairway checklist {name} v1.2.0")  # fmt: skip
    @click.argument("release", required=False)
    @project_option
    @output_option
    def ask(release: str | None, project_dir: str | None, output: str) -> int:
        from fairway.incident.checklists import ChecklistPhase, all_yes, answer
        from fairway.recovery.gathering import gather_facts

        with opened(project_dir) as workspace:
            manifest = _DEFAULTS[default](workspace) if release is None else _named(workspace, release)
            items = answer(ChecklistPhase(name), gather_facts(workspace, manifest))
        wire = {
            "phase": name,
            "release_version": manifest.release_version,
            "release_digest": manifest.release_digest,
            "all_yes": all_yes(items),
            "items": [item.to_wire() for item in items],
        }
        emit(wire, output=output, text=lambda: _text(name, manifest, items))
        return 0 if all_yes(items) else 1

    return ask


def _text(phase: str, manifest: Manifest, items: tuple[Item, ...]) -> str:
    rows = [f"  {item.answer.value:<8} {item.question:<48} {item.evidence}" for item in items]
    return "\n".join([f"{phase} the rollout of {manifest.release_version}", *rows])


def _named(workspace: Workspace, release: str) -> Manifest:
    return workspace.ledger.find_release(workspace.project.name, release).manifest


def _newest(workspace: Workspace) -> Manifest:
    """The release that was cut last."""
    from fairway.errors import NotFoundError

    known = workspace.ledger.list_releases(workspace.project.name)
    if not known:
        raise NotFoundError("there is no release yet", code="release_not_found", hint="fairway run --version v1.0.0")
    return known[0].manifest


def _rolling(workspace: Workspace) -> Manifest:
    """The candidate of the live rollout."""
    from fairway.errors import NotFoundError
    from fairway.recovery.options import route_state

    state = route_state(workspace)
    if state is None or state.rollout is None or not state.rollout.live:
        raise NotFoundError("no rollout is live", code="no_rollout", hint="name a release")
    return _named(workspace, state.rollout.candidate.release)


def _stable(workspace: Workspace) -> Manifest:
    """What production serves."""
    from fairway.errors import NotFoundError
    from fairway.recovery.options import route_state

    state = route_state(workspace)
    if state is None or state.stable is None:
        raise NotFoundError("nothing serves in production yet", code="no_stable", hint="name a release")
    return _named(workspace, state.stable.release)


_DEFAULTS: dict[str, Callable[[Any], Any]] = {"newest": _newest, "rolling": _rolling, "stable": _stable}

command.add_command(
    _phase("before", "Review, coverage, benchmark, docs, rollback plan; of the newest release.", "newest")
)
command.add_command(_phase("during", "People, indicators, rollback, backup; of the live rollout.", "rolling"))
command.add_command(_phase("after", "Errors, benchmark, feedback, rollback; of what is stable.", "stable"))


@command.command("confirm", epilog="Example: fairway checklist confirm docs v1.2.0 --note 'the new page is out'")
@click.argument("item")
@click.argument("release", required=False)
@click.option("--note", required=True, help="What you know, and how.")
@click.option("--no", "denied", is_flag=True, help="It is not so.")
@project_option
@output_option
def confirm(item: str, release: str | None, note: str, denied: bool, project_dir: str | None, output: str) -> None:
    """Answer ITEM yourself, by default of the newest release; kept as evidence with your name.

    It counts where no tool knows; what a tool found is not overruled.
    """
    from fairway.cli.verbs import actor_of
    from fairway.errors import NotFoundError
    from fairway.incident.checklists import CONFIRMED, item_ids
    from fairway.release.values import Evidence
    from fairway.units import Verdict
    from fairway.validate import suggest

    if item not in item_ids():
        raise NotFoundError(
            f"there is no item {item!r}", code="item_not_found", hint=suggest(item, item_ids(), what="items")
        )
    with opened(project_dir) as workspace:
        manifest = _newest(workspace) if release is None else _named(workspace, release)
        said = Evidence(
            kind=CONFIRMED + item,
            release=manifest.release_digest,
            verdict=Verdict.FAIL if denied else Verdict.PASS,
            produced_by=actor_of(workspace.project.root),
            at=workspace.clock.now(),
            figures={"note": note},
        )
        workspace.ledger.add_evidence([said])
    wire = {"item": item, "release_version": manifest.release_version, "answer": "no" if denied else "yes"}
    emit(wire, output=output, text=lambda: f"{item} of {manifest.release_version}: {wire['answer']}")
