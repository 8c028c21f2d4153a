"""``fairway gateway status``: what the running gateway serves."""

from __future__ import annotations

from typing import Any

import click

from fairway.cli.gateway.asking import ask, state_of
from fairway.cli.output import emit, output_option, project_option


@click.command("status", epilog="Example: fairway gateway status -o json")
@project_option
@output_option
def command(project_dir: str | None, output: str) -> None:
    """Show what the running gateway serves: table, arms, workers, pin and trip."""
    found = ask(state_of(project_dir), "GET", "/v1/status")
    emit(found, output=output, text=lambda: _status_text(found))


def _status_text(found: dict[str, Any]) -> str:
    lines = [f"gateway {found['gateway']} on port {found['port']}, up {found['uptime_seconds']:.0f} s"]
    if found["tls"]:
        lines.append(_tls_text(found["tls"]))
    table = found["table"]
    if table is None:
        lines.append("no table yet: every request is answered 503")
    else:
        lines.append(f"route {table['route']}  table {table['fence']} (confirmed {found['confirmed']})")
        for arm in table["arms"]:
            share = f"  {table['split']}" if arm["role"] == "candidate" else ""
            masked = "  masked" if arm["release"] in table["masks"] else ""
            lines.append(f"  {arm['role']:<10} {arm['version']:<12} {_ready(arm)} ready{share}{masked}{_said(arm)}")
            lines += _endpoint_lines(arm)
    for worker in found["workers"]:
        state = "serving" if worker["ready"] else "starting"
        lines.append(f"worker {worker['worker']} pid {worker['pid']} {state}, {worker['in_flight']} in flight")
    lines += _decided_here(found)
    if found["not_kept"]:
        lines.append(f"NOT ON DISK: {', '.join(found['not_kept']['what'])}: {found['not_kept']['error']}")
    if found["table_error"]:
        lines.append(f"last table refused: {found['table_error']}")
    return "\n".join(lines)


def _decided_here(found: dict[str, Any]) -> list[str]:
    """What this gateway overrules its table by."""
    arms = found["table"]["arms"] if found["table"] else ()
    versions = {arm["release"]: arm["version"] for arm in arms}

    def named(release: str) -> str:
        return str(versions.get(release, release))

    lines = []
    if found["pinned"]:
        to = f" ({named(found['pinned_to'])})" if found["pinned_to"] else ""
        lines.append(f"PINNED to stable{to}; `fairway gateway pin none` ends it")
    if found["tripped"]:
        lines.append(f"TRIPPED: {named(found['tripped'])} passed its exposure limit and gets no traffic")
        lines.append("  until a table takes it away; `fairway gateway untrip` lets it serve again")
    for release in found["masked"]:
        lines.append(f"MASKED by hand: {named(release)} gets no traffic; `fairway gateway unmask` lets it serve again")
    return lines


def _ready(arm: dict[str, Any]) -> str:
    """Endpoints that get requests, of those the table names."""
    endpoints = arm.get("endpoints", ())
    healthy = sum(endpoint["state"] == "healthy" for endpoint in endpoints)
    return str(arm["ready"]) if healthy == len(endpoints) else f"{healthy} of {arm['ready']}"


def _tls_text(found: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    until = datetime.fromtimestamp(found["not_after"], UTC)
    line = f"TLS for {', '.join(found['names']) or 'no name'}, until {until:%Y-%m-%d %H:%M} UTC"
    return f"{line}\nCERTIFICATE ON DISK NOT IN FORCE: {found['error']}" if found["error"] else line


def _said(arm: dict[str, Any]) -> str:
    """Whether the arm's answers say that they are its release's."""
    if not arm.get("endpoints"):
        return ""
    return "  verified" if all(endpoint["verified"] for endpoint in arm["endpoints"]) else "  unverified"


def _endpoint_lines(arm: dict[str, Any]) -> list[str]:
    """What there is to say of an arm's endpoints: those that are left out, and who waits for one."""
    waiting = arm.get("waiting", 0)
    lines = [f"    {waiting} requests wait for a connection"] if waiting else []
    for endpoint in arm.get("endpoints", ()):
        if endpoint["state"] != "healthy":
            by = f" by {_counted(endpoint['left_out_by'], 'worker')}" if "left_out_by" in endpoint else ""
            why = f": {endpoint['detail']}" if "detail" in endpoint else ""
            lines.append(f"    {endpoint['endpoint']} {endpoint['state']}{by}{why}")
    return lines


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
