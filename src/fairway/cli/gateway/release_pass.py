"""``fairway gateway pass``: a signed pass to one release."""

from __future__ import annotations

import click

from fairway.cli.gateway.asking import state_of
from fairway.cli.output import emit, output_option, project_option, say


@click.command(
    "pass",
    epilog="""\b
Examples:
  fairway gateway pass 1.4.0 --for 10m -o json
  curl -H "$(fairway gateway pass candidate)" localhost:8700/chat""",
)
@click.argument("release")
@click.option("--for", "lasting", default="1h", show_default=True, help="How long it is good; 7d at most.")
@click.option("--table", "table_file", type=click.Path(exists=True, dir_okay=False), help="Instead of the last one.")
@project_option
@output_option
def command(release: str, lasting: str, table_file: str | None, project_dir: str | None, output: str) -> None:
    """Print the header that sends a request to one release: RELEASE is a digest, version or role.

    The gateway serves such a request by that release or refuses it: it never goes elsewhere. A pass is
    good at gateways with this project's key, for this route. Needs no gateway to run.
    """
    import time

    from fairway.cli.gateway.tables import last_table
    from fairway.errors import UserError
    from fairway.traffic.pin import load_pin_key
    from fairway.traffic.release_pass import MAX_SECONDS, RELEASE_HEADER, PassSigner
    from fairway.traffic.table import Role
    from fairway.units import parse_duration

    try:
        seconds = parse_duration(lasting)
    except ValueError as error:
        raise UserError(f"--for: {error}", code="duration", hint="write it as 10m, 1h or 2d") from error
    if not 1 <= seconds <= MAX_SECONDS:
        raise UserError("--for: between 1 second and 7 days", code="duration", hint="make another when it is over")
    if not release or release != release.strip() or ";" in release or not release.isprintable():
        raise UserError(f"{release!r} is no release's name", code="release", hint="give a digest, version or role")
    state = state_of(project_dir)
    table = last_table(state, table_file)
    arm = next((arm for arm in table.arms if release in (arm.release, arm.version, arm.role.value)), None)
    if arm is not None and arm.role is Role.SHADOW:
        raise UserError("a shadow serves nobody", code="release", hint="look at its pairs: fairway rollout status")
    if arm is None:
        say(f"the table names no release {release!r} now: until it does the gateway answers 404")
    expires = int(time.time() + seconds)
    value = PassSigner(load_pin_key(state.keys / "gateway-pin.key"), route=str(table.route)).sign(
        release, expires=expires
    )
    found = {"header": RELEASE_HEADER, "value": value, "route": str(table.route), "expires": expires}
    emit(found, output=output, text=lambda: f"{RELEASE_HEADER}: {value}")
