"""``fairway gateway serve``: run a gateway in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from fairway.cli.gateway.asking import state_of
from fairway.cli.output import output_option, project_option, say


@click.command(
    "serve",
    epilog="""\b
Examples:
  fairway gateway serve --port 8700 --admin-port 8701
  fairway gateway serve --table gateway.yaml --port 8700 --workers 1
  fairway gateway serve --host :: --port 8443 --tls-certificate tls.crt --tls-key tls.key""",
)
@click.option(
    "--table",
    "table_file",
    type=click.Path(exists=True, dir_okay=False),
    help="A table, YAML or JSON; read again when it changes, unless a controller is asked as well.",
)
@click.option("--controller-socket", type=click.Path(), help="Pull tables from here.  [default: the project's]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Loopback port of metrics and status.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Serving processes.")
@click.option("--tls-certificate", type=click.Path(), help="PEM certificate, its chain after it: serve HTTPS.")
@click.option("--tls-key", type=click.Path(), help="PEM private key of the certificate, not encrypted.")
@click.option("--proxy-protocol", multiple=True, metavar="NETWORK", help="Demand a PROXY header, from here only.")
@click.option("--trusted-proxy", multiple=True, metavar="NETWORK", help="Believe x-forwarded-for from here.")
@click.option("--fd", type=click.IntRange(0), help="Use this inherited listening socket instead of host and port.")
@click.option("--access-log", metavar="FILE", help="A line of JSON for every request; - is standard output.")
@click.option(
    "--drain",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds running requests may take after SIGTERM.",
)
@click.option(
    "--hang-after",
    default=10.0,
    show_default=True,
    type=click.FloatRange(2.0),
    help="Seconds after which a worker that says nothing is killed and replaced.",
)
@project_option
@output_option
def command(
    table_file: str | None,
    controller_socket: str | None,
    host: str,
    port: int,
    admin_port: int | None,
    workers: int,
    tls_certificate: str | None,
    tls_key: str | None,
    proxy_protocol: tuple[str, ...],
    trusted_proxy: tuple[str, ...],
    fd: int | None,
    access_log: str | None,
    drain: float,
    hang_after: float,
    project_dir: str | None,
    output: str,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain.

    Without --table the table comes from the controller. The last table is kept on disk, so that the
    gateway serves with everything else stopped, also after a restart of its own.
    """
    import asyncio
    import json
    import logging
    import os

    import uvloop

    from fairway.cli.gateway.listening import listening_of, tls_of, url_of
    from fairway.cli.gateway.log_path import access_log_path
    from fairway.errors import UserError
    from fairway.gateway.otlp import otlp_settings
    from fairway.gateway.parent import Gateway
    from fairway.gateway.priority import give_way
    from fairway.gateway.renewing import Again
    from fairway.gateway.settings import GatewaySettings
    from fairway.gateway.succession import Succession
    from fairway.project.table_file import read_table_file

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    state = state_of(project_dir)
    push = otlp_settings(os.environ)
    tls = tls_of(tls_certificate, tls_key)
    pulled = Path(controller_socket) if controller_socket else None if table_file else state.socket("controller")

    def ready(bound: int, admin: int | None) -> None:
        if output == "json":
            click.echo(json.dumps({"port": bound, "admin_port": admin}))
        else:
            url = url_of(host, bound, secure=tls is not None)
            say(f"serving on {url}" + (f", admin on 127.0.0.1:{admin}" if admin else ""))

    async def run() -> Again | None:
        settings = GatewaySettings(
            state=state,
            host=host,
            port=port,
            fd=fd,
            admin_port=admin_port,
            workers=workers,
            table_file=Path(table_file) if table_file else None,
            read_table=read_table_file,
            controller_socket=pulled,
            drain_seconds=drain,
            silent_seconds=hang_after,
            access_log=access_log_path(access_log),
            listening=listening_of(proxy_protocol, trusted_proxy),
            tls=tls,
            succession=Succession.taken(os.environ),
        )
        gateway = Gateway(settings, on_ready=ready)
        if push is not None:
            from fairway.gateway.otlp_push import push_of

            gateway.exporter = push_of(gateway, push)
        return await gateway.run()

    give_way()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            again = runner.run(run())
    except ValueError as error:
        raise UserError(f"{table_file}: {error}", code="table", hint="see: fairway schema gateway.yaml") from error
    if again is not None:
        again()
