"""Which instances there are, and what is known of each: from the table, from their ready path, and from heartbeats.

For people and dashboards alone: no request goes anywhere because an instance announced itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from fairway.errors import ConflictError, UserError
from fairway.gateway.endpoints.health import Answered, Checked, Fitness, Place
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import Digest

MAX_ANNOUNCED = 1024
"""Instances that announce themselves and are kept."""

MAX_TEXT = 128
"""Characters of what an instance says of itself."""

FRESH_SECONDS = 30.0
"""So long ago an instance that nobody asks may have answered last, to count as ready."""

DEFAULT_TTL, MOST_TTL = 30.0, 3600.0
"""Seconds a heartbeat holds."""

_OK = 200
_SAID = ("agent_id", "model", "version", "gray_tag", "region")


class InstanceStatus(StrEnum):
    """How an instance is, as far as this gateway knows."""

    READY = "ready"
    DOWN = "down"
    EJECTED = "ejected"
    DRAINING = "draining"
    UNKNOWN = "unknown"


_STATUSES = frozenset(status.value for status in InstanceStatus)


class Source(StrEnum):
    """How this gateway knows of an instance."""

    TABLE = "table"
    ANNOUNCED = "announced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance.

    Attributes:
        agent_id, version: Whose it is; of the table, or as it says.
        model, region: As it says; ``None``: it does not.
        gray_tag: The lane it is on; of the table's instances their arm's role.
        seen: Epoch seconds when it last answered or announced itself; ``None``: never.
        endpoint: ``host:port``; ``None``: it did not say.
        detail: Why it is not ready; empty otherwise.
    """

    source: Source
    agent_id: str
    version: str
    gray_tag: str
    status: InstanceStatus
    endpoint: str | None = None
    release: str | None = None
    model: str | None = None
    region: str | None = None
    seen: float | None = None
    detail: str = ""

    def to_wire(self, now: float) -> dict[str, Any]:
        """A JSON-able value; ``now`` in epoch seconds."""
        return {
            "agent_id": self.agent_id,
            "model": self.model,
            "version": self.version,
            "gray_tag": self.gray_tag,
            "status": self.status.value,
            "region": self.region,
            "endpoint": self.endpoint,
            "release": self.release,
            "source": self.source.value,
            "seen_seconds_ago": None if self.seen is None else round(max(0.0, now - self.seen), 1),
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class _Said:
    """What an instance said of itself, and when."""

    at: float
    texts: Mapping[str, str]


class Registry:
    """Instances of one gateway's table, and those that announced themselves."""

    def __init__(self) -> None:
        self._answers: dict[Place, _Said] = {}
        self._announced: dict[tuple[str, str], tuple[Instance, float]] = {}

    def heard(self, place: Place, answered: Answered, now: float) -> None:
        """An endpoint of the table answered at its ready path; ``now`` in epoch seconds."""
        if answered.status != _OK:
            return
        try:
            body = json.loads(answered.body)
        except (ValueError, RecursionError):
            body = None
        texts = {name: body[name] for name in _SAID if _is_text(body.get(name))} if isinstance(body, dict) else {}
        self._answers[place] = _Said(now, texts)

    def served(self, stats: Mapping[str, Any], now: float) -> None:
        """What a worker tells: an endpoint it has a connection open to answered a moment ago, or is being asked."""
        for release, told in stats.get("arms", {}).items():
            for endpoint, known in told["endpoints"].items():
                if known.get("open", 0) > known["busy"]:
                    place = (Digest(release), endpoint)
                    self._answers[place] = _Said(now, self._answers.get(place, _Said(0.0, {})).texts)

    def announce(self, wire: object, now: float) -> Instance:
        """An instance says that it lives.

        Args:
            wire: ``agent_id`` and ``version``; and ``model``, ``gray_tag``, ``status``, ``region``, ``endpoint``, and
                ``ttl``, the seconds this holds.
            now: Epoch seconds.

        Raises:
            UserError: When it is malformed.
            ConflictError: When there is no room for another.
        """
        found, ttl = _announced(wire, now)
        self._announced = {key: kept for key, kept in self._announced.items() if kept[1] > now}
        key = (found.agent_id, found.endpoint or f"{found.version}@{found.region}")
        if key not in self._announced and len(self._announced) >= MAX_ANNOUNCED:
            raise ConflictError(f"{MAX_ANNOUNCED} instances are announced already", code="too_many_instances")
        self._announced[key] = (found, now + ttl)
        return found

    def instances(
        self,
        table: RouteTable | None,
        checked: Mapping[Place, Checked],
        *,
        ejected: Collection[Place] = (),
        withheld: Collection[Digest] = (),
        now: float,
    ) -> tuple[Instance, ...]:
        """All that are known, those of the table first.

        Args:
            table: In force, with every endpoint it names.
            checked: What the gateway's own questions made of them.
            ejected: Endpoints a worker has ejected.
            withheld: Releases the gateway keeps from traffic by itself.
            now: Epoch seconds.
        """
        announced = {key[1]: kept for key, (kept, until) in self._announced.items() if until > now}
        found: list[Instance] = []
        for arm in () if table is None else table.arms:
            for endpoint in arm.endpoints:
                place = (arm.release, endpoint)
                assert table is not None
                known = self._known(table, arm, place, announced.pop(endpoint, None))
                leaves = arm.release in table.masks or arm.release in withheld or arm.role is Role.BASELINE
                status, detail = _status(checked.get(place), known.seen, now, ejected=place in ejected, leaves=leaves)
                found.append(replace(known, status=status, detail=detail))
        places = {(one.release, one.endpoint) for one in found}
        self._answers = {place: said for place, said in self._answers.items() if place in places}
        return (*found, *announced.values())

    def _known(self, table: RouteTable, arm: Arm, place: Place, announced: Instance | None) -> Instance:
        """What is known of an endpoint of the table; what it says of itself never changes whose it is."""
        said = self._answers.get(place, _Said(0.0, {}))
        texts = said.texts
        times = [at for at in (said.at, 0.0 if announced is None else announced.seen) if at]
        return Instance(
            source=Source.TABLE,
            agent_id=str(table.route.agent),
            version=arm.version,
            gray_tag=arm.role.value,
            status=InstanceStatus.UNKNOWN,
            endpoint=place[1],
            release=arm.release,
            model=texts.get("model") or (None if announced is None else announced.model),
            region=texts.get("region") or (None if announced is None else announced.region),
            seen=max(times, default=None),
        )


def _status(
    checked: Checked | None, seen: float | None, now: float, *, ejected: bool, leaves: bool
) -> tuple[InstanceStatus, str]:
    """How an endpoint of the table is; one that nobody has heard of lately is unknown, never ready."""
    if checked is not None and checked.fitness is not Fitness.FIT:
        return InstanceStatus.DOWN, checked.detail
    if ejected:
        return InstanceStatus.EJECTED, "left out by a worker because of how it fared"
    if leaves:
        return InstanceStatus.DRAINING, "gets no new conversations"
    if seen is None or (checked is None and now - seen > FRESH_SECONDS):
        return InstanceStatus.UNKNOWN, "" if checked is None else checked.detail
    return InstanceStatus.READY, ""


def _announced(wire: object, now: float) -> tuple[Instance, float]:
    known: dict[str, Any] = wire if isinstance(wire, dict) else {}
    ttl = known.get("ttl", DEFAULT_TTL)
    texts: dict[str, Any] = {name: known.get(name) for name in (*_SAID, "endpoint", "status")}
    wrong = [name for name, value in texts.items() if value is not None and not _is_text(value)]
    wrong += [name for name in ("agent_id", "version") if texts[name] is None]
    wrong += sorted(known.keys() - texts.keys() - {"ttl"})
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MOST_TTL:
        wrong.append("ttl")
    if texts["status"] is not None and texts["status"] not in _STATUSES:
        wrong.append("status")
    if wrong:
        raise UserError(
            f"not a heartbeat: {', '.join(sorted(set(wrong)))}",
            code="heartbeat",
            hint="agent_id and version; and model, gray_tag, status, region and endpoint, short texts, and ttl seconds",
        )
    instance = Instance(
        source=Source.ANNOUNCED,
        agent_id=texts["agent_id"],
        version=texts["version"],
        gray_tag=texts["gray_tag"] or "",
        status=InstanceStatus(texts["status"] or "ready"),
        endpoint=texts["endpoint"],
        model=texts["model"],
        region=texts["region"],
        seen=now,
    )
    return instance, float(ttl)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
