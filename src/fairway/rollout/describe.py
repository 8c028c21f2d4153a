"""Plans and routes in words, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fairway.rollout.colours import describe_colours
from fairway.rollout.status import status_wire
from fairway.units import format_share, short
from fairway.verdict.values import MEAN_KINDS

__all__ = ["describe_status", "status_wire"]

_COUNTS = re.compile(r"[\d,]+ of [\d,]+|in [\d,]+")
_ID = 8
"""Characters of a request's id that are shown."""


# -- status ------------------------------------------------------------------------------------------------------------


def describe_status(status: Mapping[str, Any]) -> str:
    """One screen: what is desired, observed, why, on which evidence, what it waits for, and who said what."""
    stable = status["stable"]
    lines = [
        f"route      {status['route']} (event {status['seq']})",
        f"stable     {_nothing(status) if stable is None else _named(stable)}",
    ]
    if status["controller"] is None:
        lines.append(f"controller {status['controller_trouble'] or 'none is running: start one with fairway up'}")
    for part in (_loud, _rollout, _serving, _why, _gates, _word):
        lines.extend(part(status))
    if status["blocked"]:
        named = status["blocked_versions"]
        told = (f"{named[one]} ({short(one)})" if one in named else short(one) for one in status["blocked"])
        lines.append(f"blocked    {', '.join(told)}; fairway rollout lift-block ends it")
    return "\n".join(lines)


def _nothing(status: Mapping[str, Any]) -> str:
    """There is none: nothing was deployed yet, or what was has been taken away."""
    rollout = status["rollout"]
    if rollout is None or rollout["phase"] != "rolled_back":
        return "none yet"
    return "NONE: every request is refused (503), until a release is deployed"


def _named(arm: Mapping[str, Any]) -> str:
    mix = ", UNVERIFIED: a mix of former parts that has not served as a whole" if arm.get("unverified") else ""
    return f"{arm['version']} ({short(arm['release'])}{mix})"


def _when(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _loud(status: Mapping[str, Any]) -> Iterator[str]:
    """What must not be read past: broken glass that nobody has explained, and what no gate has passed."""
    for one in status["glass"]:
        if not one["note"]:
            yield (
                f"GLASS      broken by {one['by']} at {_when(one['at'])} ({one['verb']}): {one['reason']};"
                f" a note is owed: fairway audit note {one['event']}"
            )
    for one in status["overrides"]:
        yield (
            f"OVERRIDE   {one['verb'].replace('_', ' ')} by {one['by']} at {_when(one['at'])}, not passed"
            f" ({one['past']}): {one['reason']}"
        )


def _rollout(status: Mapping[str, Any]) -> Iterator[str]:
    rollout = status["rollout"]
    if rollout is None:
        return
    where = rollout["phase"].replace("_", " ")
    if rollout["phase"] == "stepping":
        share = format_share(rollout["steps"][rollout["step"] - 1])
        name = f" ({rollout['names'][rollout['step'] - 1]})" if any(rollout.get("names", ())) else ""
        where = f"step {rollout['step']} of {len(rollout['steps'])}{name}, {share}"
    again = f", attempt {rollout['attempt']}" if rollout["attempt"] > 1 else ""
    yield f"rollout    {_named(rollout['candidate'])}: {where}, asked by {rollout['requested_by']}{again}"
    if status.get("colours"):
        yield f"colours    {describe_colours(status['colours'])}"
    for one in rollout.get("loosens", ()):
        yield f"LAXER      than stable's policy: {one}"
    if rollout["paused"]:
        yield f"paused     {rollout['paused']}"
    if rollout["cause_text"]:
        yield f"because    {rollout['cause_text']}"
    if status["next"]:
        yield f"next       {' | '.join(status['next'])}"


def _serving(status: Mapping[str, Any]) -> Iterator[str]:
    """What shall run and serve, and what does."""
    desired, observed = status["desired"], status["observed"]
    if desired is not None and desired["arms"]:
        arms = ", ".join(f"{arm['version']} as {arm['role']} x{arm['replicas']}" for arm in desired["arms"])
        mirror = f", {format_share(desired['mirror'])} mirrored" if desired["mirror"] else ""
        yield f"desired    {arms}; {format_share(desired['split'])} to the candidate{mirror}"
    if observed is None:
        yield from _last_seen(status)
        return
    versions = {arm["release"]: arm["version"] for arm in (desired or {}).get("arms", ())}
    for arm in observed["arms"]:
        ready = sum(instance["state"] == "ready" for instance in arm["instances"])
        name = versions.get(arm["release"], short(arm["release"]))
        yield f"observed   {name}: {ready} of {len(arm['instances'])} ready{_trouble(arm)}"
    yield _gateways(observed)
    if observed["telemetry_error"]:
        yield f"telemetry  {observed['telemetry_error']}"


def _last_seen(status: Mapping[str, Any]) -> Iterator[str]:
    """What the last controller saw, as that: what serves now is not known without one."""
    seen = status["last_seen"]
    if seen is None:
        return
    versions = {arm["release"]: arm["version"] for arm in (status["desired"] or {}).get("arms", ())}
    arms = [
        f"{versions.get(arm['release'], short(arm['release']))} {ready} of {len(arm['instances'])} ready"
        for arm in seen["arms"]
        for ready in [sum(instance["state"] == "ready" for instance in arm["instances"])]
    ]
    when = datetime.fromtimestamp(seen["at"], UTC)
    yield f"last seen  {when:%Y-%m-%d %H:%M:%S} UTC: {', '.join(arms) or 'no arm'}; what is true now is not known"


def _trouble(arm: Mapping[str, Any]) -> str:
    parts = [
        f"{one['state'].replace('_', ' ')} at {one['endpoint']}{': ' + one['detail'] if one['detail'] else ''}"
        for one in arm["instances"]
        if one["state"] != "ready"
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _gateways(observed: Mapping[str, Any]) -> str:
    if not observed["gateways"]:
        return "gateways   none is alive"
    by, fence = observed["confirmed_by"], observed["fence"]
    if observed["in_force"]:
        names = f" ({', '.join(sorted(by))})" if by else ""
        return f"gateways   all {observed['gateways']} serve it{names}, fence {fence}"
    late = [f"{name} at {has}" for name, has in sorted(by.items()) if has != fence]
    missing = f": {', '.join(late)}" if late else f": the lowest is at {observed['confirmed'] or 'nothing'}"
    pinned = "; pinned by a person" if observed["pinned"] else ""
    if observed["masked"]:
        pinned += "; a release is masked by a person"
    tripped = "; one has gone back to stable by itself" if observed["tripped"] else ""
    return f"gateways   not all serve fence {fence} yet{missing}{pinned}{tripped}"


def _why(status: Mapping[str, Any]) -> Iterator[str]:
    why = status["why"]
    if why is not None:
        yield f"why        {why['code']}: {why['reason']}"
    waits = status["waits_for"]
    if waits is not None and waits["conversations"] is not None:
        yield f"waits for  {waits['text']}"
    for alarm in status["alarms"]:
        yield f"ALARM      {alarm['name']} ({alarm['action'].replace('_', ' ')}): {alarm['reason']}"


def _gates(status: Mapping[str, Any]) -> Iterator[str]:
    """A gate's verdict with the figures it was reached on, and beside it those of now, where they differ.

    Gates that only must not fail, and do not, share a line a verdict: what is waited for must not drown in them.
    """
    quiet: dict[str, list[str]] = {}
    for gate in status["evidence"]:
        asked_for = gate.get("kind") in MEAN_KINDS  # by the project: none is there by default
        if not gate["must_pass"] and gate["verdict"] not in ("FAIL", "ERROR") and not asked_for:
            quiet.setdefault(gate["verdict"], []).append(gate["gate"])
            continue
        must = "must pass" if gate["must_pass"] else "must not fail"
        yield f"evidence   {gate['gate']} ({must}): {gate['verdict']} - {gate['reason']}"
        if gate["latched"] and gate["present"] and _counts(gate["present"]) != _counts(gate["latched"]):
            yield f"           {'':<{len(gate['gate'])}} now {gate['present']}"
    for verdict, names in quiet.items():
        yield f"evidence   {', '.join(names)} (must not fail): {verdict}"
    for one in status["sources"]:
        yield f"custom     {one['gate']} (guarantee: none): {one['verdict']} - {one['reason']}"


def _counts(text: str) -> list[str]:
    """The ``3 of 400`` of a sentence, or the ``in 400`` of a mean."""
    return _COUNTS.findall(text)


def _word(status: Mapping[str, Any]) -> Iterator[str]:
    """What people said: holds, approvals given and missing, and requests nobody has answered."""
    for hold in status["holds"]:
        until = "" if hold["until"] is None else f" until {_when(hold['until'])}"
        yield f"hold       {hold['kind']} by {hold['by']}{until}: {hold['reason']}"
    for one in status["approvals"]:
        yield f"approvals  before {one['before']}: {_counted(one)}"
    for one in status["early_approvals"]:
        point = "first exposure" if one["step"] is None else f"what follows step {one['step']}"
        what = f"{one['version'] or short(one['release'])}, which no rollout is about, before {point}"
        yield f"approvals  {what}: {one['by']} at {_when(one['at'])}"
    for request in status["requests"]:
        gone = f", withdrawn by {request['withdrawn_by']}" if request["withdrawn_by"] else ""
        what = f"{request['id'][:_ID]} {request['verb'].replace('_', ' ')}"
        yield f"request    {what} by {request['by']} at {_when(request['at'])}, not answered{gone}"
    for one in status["refused"]:
        what = f"{one['verb'].replace('_', ' ')} by {one['by']}, asked at {_when(one['asked_at'])}"
        yield f"REFUSED    {what}, when a controller came at {_when(one['at'])}: {one['message']}"


def _counted(one: Mapping[str, Any]) -> str:
    given = f" ({', '.join(one['given'])})" if one["given"] else ""
    missing = f", {one['missing']} missing" if one["missing"] else ""
    until = f", counts until {_when(one['expires'])}" if one["expires"] else ""
    expired = f"; expired: {', '.join(one['expired'])}" if one["expired"] else ""
    return f"{len(one['given'])} of {one['needed']}{given}{missing}{until}{expired}"
