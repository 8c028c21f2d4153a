"""What a person reads of a replay."""

from __future__ import annotations

from typing import Any

_SHOWN = 20
"""Differences a person is shown; the first is the one that matters."""

_WHY = {
    "no_snapshot": "kept nothing of what they looked at",
    "unreadable": "cannot be read",
    "not_noted": "are of an earlier version, which did not say how far it had read",
    "other_version": "were read by gates of another version",
    "blocks_gone": "read blocks that are not all kept any more",
}


def replay_text(body: dict[str, Any]) -> str:
    """The differences, what could not be taken again, and the counts."""
    if not body["events"]:
        return "the ledger has no events yet, so there was nothing to replay"
    gates = body["gates"]
    if gates is None:
        return "\n".join([*_decisions(body), _counts(body)])
    return "\n".join([*_findings(gates), *_decisions(body), *_not_known(gates), _counts(body)])


def _findings(body: dict[str, Any]) -> list[str]:
    lines = []
    for found in body["different"][:_SHOWN]:
        first = "first difference in what was found" if found is body["first"] else "then"
        figure = f" {found['path']}" if found["path"] else ""
        lines.append(
            f"{first}: {found['route']} event {found['seq']} ({found['code']}), {found['what']}{figure}:"
            f" recorded {found['recorded']!r}, by its blocks {found['recomputed']!r}"
        )
    if len(body["different"]) > _SHOWN:
        lines.append(f"and {len(body['different']) - _SHOWN} more")
    lines += [
        f"boundary: {found['route']} event {found['seq']}: {found['what']} is recorded as {found['recorded']!r} and"
        f" comes out as {found['recomputed']!r}, within 1e-9 of its threshold"
        for found in body["boundary"]
    ]
    return lines


def _not_known(body: dict[str, Any]) -> list[str]:
    lines = []
    for why, count in body["not_reread"].items():
        one = next(event for event in body["not_reread_events"] if event["why"] == why)
        lines.append(
            f"not known: {count} event{'s' * (count != 1)} {_WHY[why]}; the first is {one['route']} event {one['seq']}:"
            f" {one['detail']}"
        )
    lines += [
        f"not known: what the source of custom gate {gate} answered is taken as recorded, in {count}"
        f" event{'s' * (count != 1)}"
        for gate, count in body["as_recorded"].items()
    ]
    lines.append(
        f"{body['findings']} findings worked out again from {body['blocks']} blocks,"
        f" {len(body['different'])} events were recorded otherwise"
    )
    return lines


def _decisions(body: dict[str, Any]) -> list[str]:
    lines = []
    for result in body["different"][:_SHOWN]:
        found = result["difference"]
        first = "first difference: " if result is body["first"] else "then "
        lines.append(
            f"{first}{result['route']} event {result['seq']} ({result['code']}) at {found['path']}:"
            f" recorded {found['recorded']!r}, now {found['replayed']!r}"
        )
    if len(body["different"]) > _SHOWN:
        lines.append(f"and {len(body['different']) - _SHOWN} more")
    for result in body["boundary"]:
        edge = result["edge"][0]
        came = "comes out differently" if result["difference"] else "comes out the same"
        lines.append(
            f"boundary: {result['route']} event {result['seq']}: {edge['figure']} {edge['value']!r} is within 1e-9 of"
            f" {edge['threshold']!r}; here it {came}"
        )
    for result in body["other_engine"][:_SHOWN]:
        lines.append(
            f"decided by engine {result['engine']}: {result['route']} event {result['seq']} ({result['code']}); this"
            f" engine differs at {result['difference']['path']}"
        )
    if body["other_engine_count"] > _SHOWN:
        lines.append(f"and {body['other_engine_count'] - _SHOWN} more decided by another engine")
    return lines


def _counts(body: dict[str, Any]) -> str:
    unread = body["events"] - body["replayed"]
    kept = f", {unread} kept nothing to replay" if unread else ""
    others = f", {body['other_engine_count']} decided by another engine" if body["other_engine_count"] else ""
    return (
        f"{body['replayed']} of {body['events']} events replayed, {len(body['different'])} came out differently"
        f"{kept}{others}"
    )
