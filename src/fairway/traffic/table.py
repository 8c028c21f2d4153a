"""The route table: everything a gateway needs to serve one route, as one immutable value, version 1.

A controller derives it from what is desired; gateways pull it, write it to disk and swap it in whole. Written
with the stdlib alone, because the data plane imports it. The wire form is canonical JSON of :meth:`RouteTable.to_wire`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Literal

from fairway.traffic.endpoints import DEFAULT_EJECTION, Ejection, Health
from fairway.traffic.fence import Fence
from fairway.traffic.flags import TableFlag
from fairway.traffic.json_pointer import parse_pointer
from fairway.traffic.reading import DEFAULT_READING, Reading
from fairway.traffic.rerun import DEFAULT_RERUN, Rerun
from fairway.traffic.sampling import Sampling
from fairway.units import WHOLE, AgentName, Digest, EnvironmentName, Parts, RouteId

TABLE_VERSION: Literal[1] = 1


class Role(StrEnum):
    """What an arm is to its route."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    BASELINE = "baseline"
    SHADOW = "shadow"


class RuleKind(StrEnum):
    """What a routing rule looks at; rules are tried in the order of the table."""

    RELEASE_HEADER = "release_header"
    HEADER = "header"
    COOKIE = "cookie"
    GRAY_TAG = "gray_tag"
    BAGGAGE = "baggage"
    TENANT = "tenant"
    USER = "user"
    REGION = "region"
    TRACE_TYPE = "trace_type"
    FLAG = "flag"


class KeyKind(StrEnum):
    """Where the key of a unit is read from; extractors are tried in order."""

    HEADER = "header"
    COOKIE = "cookie"
    PATH_SEGMENT = "path_segment"
    JWT_CLAIM = "jwt_claim"
    TRACE_ID = "trace_id"
    JSON_POINTER = "json_pointer"
    ISSUE_COOKIE = "issue_cookie"


NO_SHARE = Parts(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One release serving: its role and the ``host:port`` of each ready instance."""

    role: Role
    release: Digest
    version: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A request whose ``name`` has one of ``values`` goes to the arm ``to``; ``id`` is what `explain` names."""

    id: str
    kind: RuleKind
    name: str
    values: tuple[str, ...]
    to: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyExtractor:
    """Header or cookie name, 0-based path segment, claim or JSON pointer, by ``kind``."""

    kind: KeyKind
    name: str

    def __post_init__(self) -> None:
        """Refuse a pointer that is none.

        Raises:
            ValueError: When it is malformed.
        """
        if self.kind is KeyKind.JSON_POINTER:
            parse_pointer(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. ``total`` is also when an unfinished request counts as failed.

    Attributes:
        head: For a request's head from its first byte on; also for a TLS handshake, and for a PROXY header.
        keep_alive: A connection without a request is closed after this.
        websocket: A WebSocket on which nothing has passed is closed after this.
    """

    connect: float = 2.0
    first_byte: float = 30.0
    idle: float = 60.0
    total: float = 60.0
    head: float = 10.0
    keep_alive: float = 75.0
    websocket: float = 300.0

    def to_wire(self) -> dict[str, float]:
        """A JSON-able value, without later fields that have their default."""
        wire = {name: getattr(self, name) for name in ("connect", "first_byte", "idle", "total")}
        return wire | {
            name: getattr(self, name)
            for name in ("head", "keep_alive", "websocket")
            if getattr(self, name) != getattr(_TIMEOUTS, name)
        }


_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, requests and connections a worker accepts before it refuses.

    Attributes:
        body_rate: Bytes a second, on average, below which a request's body is too slow; 0: none.
        arm_in_flight: Requests of one arm that run at once; what comes beyond waits.
        queue: Requests of one arm that wait; what comes beyond is told to come back.
        queue_wait: Seconds a request waits at most.
    """

    head_bytes: int = 65_536
    body_bytes: int = 16_777_216
    in_flight: int = 1024
    connections: int = 8192
    body_rate: int = 240
    arm_in_flight: int = 1024
    queue: int = 256
    queue_wait: float = 5.0

    def __post_init__(self) -> None:
        if self.arm_in_flight < 1 or self.queue < 0 or self.queue_wait < 0:
            raise ValueError("arm_in_flight must be at least 1, queue and queue_wait at least 0")

    def to_wire(self) -> dict[str, float]:
        """A JSON-able value, without later fields that have their default."""
        wire = {name: getattr(self, name) for name in ("head_bytes", "body_bytes", "in_flight", "connections")}
        later = ("body_rate", "arm_in_flight", "queue", "queue_wait")
        return wire | {name: getattr(self, name) for name in later if getattr(self, name) != getattr(_LIMITS, name)}


_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """When a gateway goes back to stable by itself: candidate's bad units in excess of stable's rate."""

    max_excess_bad_units: int
    window_seconds: float
    min_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """One route as gateways serve it.

    Attributes:
        fence: Whose decision this is; a gateway refuses a lower one.
        arms: Stable first; of each role one, but for ``baseline``: former stables kept for conversations that began
            on them. An arm without endpoints is not ready; requests for it fall back to stable.
        rules: Tried in order, before the hash.
        split: Candidate's share in parts of 100,000; a unit is the candidate's iff its bucket is below.
        salt: Salt of the bucket hash: the rollout id, or the release of stable when no rollout runs.
        keys: Extractors of the unit key, tried in order.
        masks: Releases that get no traffic whatever a rule, pin or bucket says.
        theta: ``{metric: {role: threshold}}``; a request above its arm's threshold marks its unit ``slow`` for
            ``latency_ms``. Empty: nothing is marked. ``tokens_mean`` asks for tokens by unit, at whatever threshold.
        block_seconds: Length of a telemetry block; blocks start at multiples of it (epoch).
        pin_seconds: How long a conversation stays where it began.
        flags: Feature flags in force; every request tells its arm which are on.
        rerun: Which failed requests are run again on stable.
        shadow_says: Each answer of a shadow has to say that it is one (``shadow=1`` in its outcome); else nothing more
            is copied to it.
        sample: Which conversations are told to a listener beside the gateway; ``None``: none.
        trace: Every request tells its arm, as W3C ``baggage``, the agent, the arm's version and its role.
        reading: What is read of answers that pass.
        health: What the gateway asks each endpoint by itself; ``None``: nothing.
        ejection: When an endpoint is left out because of how it fared.
    """

    route: RouteId
    fence: Fence
    arms: tuple[Arm, ...]
    rules: tuple[Rule, ...] = ()
    split: Parts = NO_SHARE
    salt: str = ""
    keys: tuple[KeyExtractor, ...] = ()
    mirror: Parts = NO_SHARE
    masks: tuple[Digest, ...] = ()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    trip: Trip | None = None
    theta: Mapping[str, Mapping[Role, float]] = field(default_factory=dict)
    block_seconds: float = 10.0
    pin_seconds: float = 3600.0
    flags: tuple[TableFlag, ...] = ()
    rerun: Rerun = DEFAULT_RERUN
    shadow_says: bool = False
    sample: Sampling | None = None
    trace: bool = False
    reading: Reading = DEFAULT_READING
    health: Health | None = None
    ejection: Ejection = DEFAULT_EJECTION
    version: Literal[1] = TABLE_VERSION

    def __post_init__(self) -> None:
        if not 0 <= self.split <= WHOLE or not 0 <= self.mirror <= WHOLE:
            raise ValueError(f"split {self.split} and mirror {self.mirror} must be between 0 and {WHOLE}")
        roles = [arm.role for arm in self.arms if arm.role is not Role.BASELINE]
        if len(set(roles)) != len(roles):
            raise ValueError("two arms have the same role")
        if len({arm.release for arm in self.arms}) != len(self.arms):
            raise ValueError("two arms serve the same release")
        if self.split and self.arm(Role.CANDIDATE) is None:
            raise ValueError("a split needs a candidate arm")
        if self.block_seconds <= 0:
            raise ValueError("block_seconds must be above 0")

    def arm(self, role: Role) -> Arm | None:
        """The arm with that role, or ``None``."""
        return next((arm for arm in self.arms if arm.role is role), None)

    @property
    def regime(self) -> str:
        """Digest (16 hex digits) of what decides who is assigned where and what counts as slow.

        Two tables of one regime may differ in fence, endpoints, timeouts and limits only: what is counted under them
        can be compared, though an arm was restarted in between. Computed anew each time; keep it.
        """
        wire = self.to_wire()
        parts: dict[str, Any] = {name: wire[name] for name in ("split", "salt", "keys", "mirror", "theta", "rules")}
        parts["arms"] = sorted([arm.role.value, arm.release] for arm in self.arms)
        parts["masks"] = sorted(set(self.masks))
        return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_wire(self) -> dict[str, Any]:
        """A JSON-able value; :meth:`from_wire` is its inverse."""
        wire: dict[str, Any] = {
            "version": self.version,
            "route": {"agent": self.route.agent, "environment": self.route.environment},
            "fence": [self.fence.term, self.fence.seq],
            "arms": [
                {
                    "role": arm.role.value,
                    "release": arm.release,
                    "version": arm.version,
                    "endpoints": list(arm.endpoints),
                }
                for arm in self.arms
            ],
            "rules": [
                {"id": r.id, "kind": r.kind.value, "name": r.name, "values": list(r.values), "to": r.to.value}
                for r in self.rules
            ],
            "split": self.split,
            "salt": self.salt,
            "keys": [{"kind": key.kind.value, "name": key.name} for key in self.keys],
            "mirror": self.mirror,
            "masks": list(self.masks),
            "timeouts": self.timeouts.to_wire(),
            "limits": self.limits.to_wire(),
            "trip": None
            if self.trip is None
            else {
                "max_excess_bad_units": self.trip.max_excess_bad_units,
                "window_seconds": self.trip.window_seconds,
                "min_units": self.trip.min_units,
            },
            "theta": {metric: {role.value: limit for role, limit in by.items()} for metric, by in self.theta.items()},
            "block_seconds": self.block_seconds,
            "pin_seconds": self.pin_seconds,
        }
        if self.flags:
            wire["flags"] = [flag.to_wire() for flag in self.flags]
        if self.rerun != DEFAULT_RERUN:
            wire["rerun"] = self.rerun.to_wire()
        if self.shadow_says:
            wire["shadow_says"] = True
        if self.sample is not None:
            wire["sample"] = self.sample.to_wire()
        if self.trace:
            wire["trace"] = True
        if self.reading != DEFAULT_READING:
            wire["reading"] = self.reading.to_wire()
        if self.health is not None:
            wire["health"] = self.health.to_wire()
        if self.ejection != DEFAULT_EJECTION:
            wire["ejection"] = self.ejection.to_wire()
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> RouteTable:
        """Read a table; strict, because a gateway must not guess.

        Raises:
            ValueError: On a version this code does not know, a missing or unknown key, or a value out of range.
        """
        if not isinstance(wire, Mapping):
            raise ValueError("a route table is a JSON object")
        if wire.get("version") != TABLE_VERSION:
            raise ValueError(f"route table version {wire.get('version')!r} is not supported (this gateway reads 1)")
        known = {
            "version", "route", "fence", "arms", "rules", "split", "salt", "keys", "mirror", "masks", "timeouts",
            "limits", "trip", "theta", "block_seconds", "pin_seconds", "flags", "rerun",
            "shadow_says", "sample", "trace", "reading", "health", "ejection",
        }  # fmt: skip
        if unknown := set(wire) - known:
            raise ValueError(f"route table has unknown keys {sorted(unknown)}")
        try:
            return cls._read(wire)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"route table is malformed: {type(error).__name__}: {error}") from error

    @classmethod
    def _read(cls, wire: Mapping[str, Any]) -> RouteTable:
        term, seq = wire["fence"]
        trip = wire["trip"]
        return cls(
            route=RouteId(
                agent=AgentName(wire["route"]["agent"]), environment=EnvironmentName(wire["route"]["environment"])
            ),
            fence=Fence(term=int(term), seq=int(seq)),
            arms=tuple(
                Arm(
                    role=Role(arm["role"]),
                    release=Digest(arm["release"]),
                    version=arm["version"],
                    endpoints=tuple(arm["endpoints"]),
                )
                for arm in wire["arms"]
            ),
            rules=tuple(
                Rule(
                    id=rule["id"],
                    kind=RuleKind(rule["kind"]),
                    name=rule["name"],
                    values=tuple(rule["values"]),
                    to=Role(rule["to"]),
                )
                for rule in wire["rules"]
            ),
            split=Parts(wire["split"]),
            salt=wire["salt"],
            keys=tuple(KeyExtractor(kind=KeyKind(key["kind"]), name=key["name"]) for key in wire["keys"]),
            mirror=Parts(wire["mirror"]),
            masks=tuple(Digest(mask) for mask in wire["masks"]),
            timeouts=Timeouts(**wire["timeouts"]),
            limits=Limits(**wire["limits"]),
            trip=None if trip is None else Trip(**trip),
            theta={m: {Role(role): float(v) for role, v in by.items()} for m, by in wire["theta"].items()},
            block_seconds=float(wire["block_seconds"]),
            pin_seconds=float(wire["pin_seconds"]),
            flags=tuple(TableFlag.from_wire(flag) for flag in wire.get("flags", ())),
            rerun=Rerun.from_wire(wire["rerun"]) if "rerun" in wire else DEFAULT_RERUN,
            shadow_says=_flag(wire.get("shadow_says", False)),
            sample=Sampling.from_wire(wire["sample"]) if "sample" in wire else None,
            trace=_flag(wire.get("trace", False)),
            reading=Reading.from_wire(wire["reading"]) if "reading" in wire else DEFAULT_READING,
            health=Health.from_wire(wire["health"]) if "health" in wire else None,
            ejection=Ejection.from_wire(wire["ejection"]) if "ejection" in wire else DEFAULT_EJECTION,
        )


def _flag(value: Any) -> bool:
    """True or false, and nothing that looks like it.

    Raises:
        TypeError: When it is neither.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
