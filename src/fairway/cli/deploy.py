"""``fairway deploy``: bring a release to production by its rollout policy, and wait for how it ends."""

from __future__ import annotations

from typing import Any

import click

from fairway.cli.steering import steers


@click.command("deploy", epilog="Example: fairway deploy v1.1.0")
@click.argument("release")
@click.option("--supersede", is_flag=True, help="Abort a rollout that is live, then start this one.")
@click.option(
    "--override",
    is_flag=True,
    help="Also past what is not known of stable, or a policy that asks less than stable's; needs a reason.",
)
@click.option("--no-wait", is_flag=True, help="Start it and return; follow it with `fairway rollout watch`.")
@click.option(
    "--timeout", default="2h", show_default=True, help="Give up waiting after this long; the rollout goes on."
)
@steers()
@click.pass_context
def command(
    context: click.Context,
    /,
    release: str,
    supersede: bool,
    override: bool,
    no_wait: bool,
    timeout: str,
    project_dir: str | None,
    output: str,
    **options: Any,
) -> None:
    """Deploy RELEASE (version, tag, digest or commit) to production by its rollout policy.

    A first release takes all traffic once it is ready; every later one goes through the canary's steps. Exits 0 when
    it is promoted, 1 when it was rolled back.
    """
    from fairway.cli import rollout

    context.invoke(
        rollout.start,
        release=release,
        supersede=supersede,
        override=override,
        project_dir=project_dir,
        output=output,
        **options,
    )
    if not no_wait:
        context.invoke(
            rollout.watch, timeout=timeout, until="promoted", screen=None, project_dir=project_dir, output=output
        )
