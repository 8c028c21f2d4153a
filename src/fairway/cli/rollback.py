"""``fairway rollback``: go back."""

from __future__ import annotations

import click

from fairway.cli.output import emit, output_option, project_option, say


@click.command("rollback", epilog="Example: fairway rollback --reason 'wrong answers about refunds'")
@click.option(
    "--to", "target", default=None, help="Version, tag, digest or commit; by default the last stable release."
)
@click.option("--reason", default="", help="Why; kept in the audit log.")
@project_option
@output_option
def command(target: str | None, reason: str, project_dir: str | None, output: str) -> None:
    """Take all traffic back: to the last stable release, or to one that was stable here before.

    While a rollout is live this aborts it. The release that is left behind is blocked until somebody lifts it
    (`fairway rollout lift-block`).
    """
    from fairway.bootstrap import open_workspace
    from fairway.cli.verbs import ask
    from fairway.rollout.requests import Verb

    workspace = open_workspace(project_dir)
    try:
        to = None
        if target is not None:
            to = workspace.ledger.find_release(workspace.project.name, target).manifest.release_digest
        answer = ask(workspace, Verb.ROLLBACK, args={"to": to}, reason=reason)
    finally:
        workspace.close()
    wire = {"request": answer.request_id, "result": answer.kind.value, "seq": answer.seq, "message": answer.message}
    emit(wire, output=output, text=lambda: answer.message)
    if output == "text":
        say("follow it with: fairway rollout watch")
