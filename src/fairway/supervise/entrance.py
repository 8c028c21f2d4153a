"""How clients come in, as the project says it: what the gateway is started with, and whether that will serve."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fairway.gateway.tls import Certificate, TlsError, TlsFiles, inspect, read_pair
from fairway.project.load import Project
from fairway.supervise.examined import Check, ok, warn

SOON_DAYS = 14
"""A certificate that expires within so many days is told of."""


def tls_files(project: Project) -> TlsFiles | None:
    """Certificate and key; ``None``: clients speak plain HTTP."""
    found = project.gateway.tls
    if found is None:
        return None
    return TlsFiles(certificate=project.root / found.certificate, key=project.root / found.key)


def listening_options(project: Project) -> tuple[str, ...]:
    """The options of ``fairway gateway serve`` that say so."""
    gateway = project.gateway
    options: list[str] = []
    files = tls_files(project)
    if files is not None:
        options += ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]
    senders = () if gateway.proxy_protocol is None else gateway.proxy_protocol.senders
    for network in senders:
        options += ["--proxy-protocol", network]
    for network in gateway.trusted_proxies:
        options += ["--trusted-proxy", network]
    return tuple(options)


def checked_certificate(project: Project) -> Certificate | None:
    """What the project's certificate says; ``None`` when it has none.

    Raises:
        ProjectFileError: ``tls``: it does not serve; names the line of the file that is to be changed.
    """
    files = tls_files(project)
    if files is None:
        return None
    try:
        return inspect(read_pair(files))
    except TlsError as error:
        path = ("gateway", "tls", error.part)
        raise project.document.error(path, error.message, hint=error.hint, code="tls") from error


def look_at_certificate(project: Project) -> Iterator[Check]:
    """Whether the gateway's certificate serves, and for how long."""
    found = checked_certificate(project)
    if found is None:
        return
    days = (found.not_after - time.time()) / 86_400
    until = f"{time.strftime('%Y-%m-%d', time.gmtime(found.not_after))}, for {', '.join(found.names) or 'no name'}"
    if days < SOON_DAYS:
        yield warn("tls", f"the certificate expires in {days:.0f} days, on {until}", "renew it; no restart is needed")
    else:
        yield ok("tls", f"the certificate serves until {until}")


def checked_access_log(project: Project) -> None:
    """Find out whether the gateway's access log can be written, without writing it.

    Raises:
        ProjectFileError: ``access_log``: it cannot; names the line of the file.
    """
    to = project.gateway.access_log
    if to is None or to == "-":
        return
    path = project.root / to
    if path.parent == project.state.logs:
        return  # made when it serves
    if not path.parent.is_dir():
        why, hint = f"there is no folder {path.parent}", "make it, or write into .fairway/logs/"
    elif path.is_dir():
        why, hint = "that is a folder", "name a file in it"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        why, hint = "permission denied", "check who owns it"
    else:
        return
    text = f"the access log {path} cannot be written: {why}"
    raise project.document.error(("gateway", "access_log"), text, hint=hint, code="access_log")


def look_at_access_log(project: Project) -> Iterator[Check]:
    """Whether the gateway's access log can be written."""
    checked_access_log(project)
    if project.gateway.access_log is not None:
        yield ok("access log", project.gateway.access_log)
