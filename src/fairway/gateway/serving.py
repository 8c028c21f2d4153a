"""A route table made ready for a worker's hot path: arms with their pools, prepared header lines, current cells."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from fairway.gateway.endpoints.arm import ArmEndpoints
from fairway.gateway.left_out import LeftOut
from fairway.gateway.sampling import SamplePlan
from fairway.gateway.telemetry import NO_CELL, Cell
from fairway.gateway.thresholds import NO_THRESHOLDS, Thresholds, thresholds_for
from fairway.gateway.tracing import trace_lines
from fairway.traffic.bucket import highest_below, mirror_salt, tag_of
from fairway.traffic.json_pointer import make_ready
from fairway.traffic.keys import issued_cookie
from fairway.traffic.matching import looked_at
from fairway.traffic.pin import release_tag
from fairway.traffic.rules import Decision, Ruleset
from fairway.traffic.table import Arm, KeyKind, Role, RouteTable
from fairway.units import WHOLE, Digest

if TYPE_CHECKING:
    from fairway.gateway.repeats import RequestRepeat


class ArmServing:
    """One arm of a table: its endpoints, and the lines its answers carry."""

    __slots__ = (
        "_attested", "arm", "digest", "endpoints", "order", "pools", "reading", "tag", "trace_lines", "turn",
        "version_line",
    )  # fmt: skip

    def __init__(self, arm: Arm, endpoints: ArmEndpoints, trace: bytes = b"") -> None:
        self.arm = arm
        self.trace_lines = trace
        """Header lines each of its requests gains, beside any baggage of the client's; mostly none."""
        self._attested = False
        self.reading = object()
        """Stands for how its answers are read: what was learned of one holds for the next while it is the same."""
        self.digest = arm.release.encode("utf-8", "surrogateescape")
        self.endpoints = endpoints
        self.pools = list(endpoints.pools.values())
        """Of the endpoints the table names."""
        self.turn = endpoints.turn
        self.order = endpoints.order
        self.tag = release_tag(arm.release)
        version = "".join(char for char in arm.version if " " < char < "\x7f")
        self.version_line = f"x-fairway-release: {version or 'unnamed'}\r\n".encode()

    @property
    def attested(self) -> bool:
        """Whether outcomes are expected: it has sent one, or stable has (then a candidate should)."""
        return self._attested

    @attested.setter
    def attested(self, expected: bool) -> None:
        if expected is not self._attested:
            self._attested = expected
            self.reading = object()


class MirrorPlan:
    """Which conversations are copied to which shadow."""

    __slots__ = ("_below", "_salted", "arm", "everybody", "salt_tag", "says")

    def __init__(self, arm: ArmServing, table: RouteTable) -> None:
        self.arm = arm
        self.everybody = table.mirror == WHOLE
        self.salt_tag = tag_of(table.salt)
        self._salted = f"{mirror_salt(table.salt)}\0".encode("utf-8", "surrogateescape")
        self._below = highest_below(table.mirror)
        self.says = table.shadow_says

    def takes(self, key: bytes) -> bool:
        """Whether the conversation with this key is one of those."""
        return blake2b(self._salted + key, digest_size=8).digest() < self._below

    def unit(self, key: bytes) -> bytes:
        """Eight bytes that stand for the conversation in the shared memory, beside its place among all."""
        return blake2b(self._salted + key, digest_size=8, person=b"mirror").digest()


def _mirror_plan(table: RouteTable, arms: dict[Digest, ArmServing], withheld: frozenset[Digest]) -> MirrorPlan | None:
    shadow = table.arm(Role.SHADOW)
    if not table.mirror or shadow is None or not shadow.endpoints:
        return None
    if shadow.release in withheld or shadow.release in table.masks:
        return None
    return MirrorPlan(arms[shadow.release], table)


MAX_TOLD = 256
"""Bytes of a cookie that are kept as they are, to know it by."""

MAX_KNOWN = 2_048
"""Units a worker keeps at hand under one table."""


class Placement(NamedTuple):
    """Where one request goes.

    Attributes:
        decision: The assigned arm, the serving arm, and why.
        key: Key of the unit when it takes part in unit tests.
        cookie: Header lines for the answer: the pin, an issued cookie.
    """

    decision: Decision
    key: str | None
    cookie: bytes


class Known:
    """Where units go that this worker has placed alike under this table, and all that their next requests need.

    Attributes:
        placement: Where their requests go; without a key.
        expires: Epoch seconds until when.
        counts: Whether they take part in unit tests.
        release: Assigned; whose cell counts them.
        left_out: Where they are counted when a mirror is on and they are not copied.
        served: The arm that serves it.
        direct: Whether their requests may take the short way: that is the assigned one, and nothing is mirrored or
            sampled.
        pool: Of that arm's endpoint; ``None`` when it has several, which serve in turn.
        slow_above: Seconds up to which a request is within every limit of time.
        thresholds: What its requests are held against.
        tokens_above, iterations_above: Of them, those for what an agent says.
        cell: That counts them now.
        until: Seconds of ``perf_counter`` up to which all of this holds without another look; see :meth:`go_on`.
        logged, first_logged: What the access log says of where they go, and of where their first ones went; once it was
            asked.
    """

    __slots__ = (
        "cell", "counts", "direct", "expires", "first_logged", "iterations_above", "left_out", "logged",
        "placement", "pool", "release", "served", "slow_above", "thresholds", "tokens_above", "until",
    )  # fmt: skip

    def __init__(
        self,
        decision: Decision,
        expires: float,
        served: ArmServing,
        thresholds: Thresholds,
        left_out: LeftOut | None = None,
    ) -> None:
        self.cell = NO_CELL
        self.left_out = left_out
        self.until = 0.0
        self.logged = self.first_logged = b""
        self.placement = Placement(decision, None, b"")
        self.expires = expires
        self.counts = decision.counts
        self.release = decision.release
        self.served = served
        self.direct = decision.served_as_assigned
        self.pool = served.pools[0] if len(served.pools) == 1 else None
        self.thresholds = thresholds
        self.slow_above = thresholds.soonest
        self.tokens_above = thresholds.tokens
        self.iterations_above = thresholds.iterations

    def leave_out(self, left_out: LeftOut) -> None:
        """A shadow does not follow them from now on."""
        self.left_out = left_out
        self.until = 0.0

    def go_on(self, serving: Serving, started: float, epoch: float) -> bool:
        """Whether a request may take the short way, and until when that holds: it, and the block it is counted in.

        Args:
            serving: The table in force.
            started: ``perf_counter()`` seconds of its start.
            epoch: Wall clock minus ``perf_counter()``.
        """
        now = started + epoch
        if not self.direct or now >= self.expires or self.release is None:
            return False
        cell = serving.cells.get(self.release)
        if cell is None or not cell.t0 <= now < cell.end:
            return False
        self.cell = cell if self.left_out is None else self.left_out.cell(cell)
        self.until = min(self.expires, cell.end) - epoch
        return True


class Unit:
    """A unit this worker has at hand: a conversation, by its key.

    Attributes:
        known: Where its requests go.
        digest: Hash of its key, as telemetry and the shared memory name it: eight bytes.
        cookie: What tells the cookie it comes with (see :func:`cookie_told`); ``None``: it comes without one.
        marked: The block it was last noted in as having had a request.
    """

    __slots__ = ("cookie", "digest", "known", "marked")

    def __init__(self, known: Known, digest: bytes, cookie: bytes | None = None) -> None:
        self.known = known
        self.digest = digest
        self.cookie = cookie
        self.marked: Cell | None = None


@dataclass(slots=True, kw_only=True)
class Start:
    """What conversations that begin alike, and at nearly the same time, have in common.

    Attributes:
        known: Where their next requests go.
        renew: Epoch seconds from when another is to be made, so that each lives for its full time.
        release, expires, salt: What the shared memory keeps of them.
        pin: The part of their pins that is the same.
        tail: The part of their cookie lines after the pin.
    """

    known: Known
    renew: float
    release: int
    expires: int
    salt: int
    pin: bytes
    tail: bytes


def know(serving: Serving, decision: Decision, expires: float) -> Known | None:
    """Units placed so; ``None`` when nobody serves them."""
    served = decision.served
    if served is None:
        return None
    return Known(decision, expires, serving.arms[served.release], serving.thresholds_of(decision.role))


def remember(units: dict[bytes, Unit], key: bytes, unit: Unit) -> None:
    """Keep a unit at hand; when there are too many, begin anew (each is cheap to find again)."""
    if len(units) >= MAX_KNOWN:
        units.clear()
    units[key] = unit


def cookie_told(cookie: bytes) -> bytes:
    """What stands for a cookie, however long."""
    return cookie if len(cookie) <= MAX_TOLD else blake2b(cookie, digest_size=32).digest()


def unusual(_: bytes) -> None:
    """For tables whose key is not in a header, and while draining: nothing takes the short way."""


@dataclass(slots=True)
class Serving:
    """One table in force; replaced whole, while running requests keep theirs."""

    table: RouteTable
    regime: str
    ruleset: Ruleset
    arms: dict[Digest, ArmServing]
    cells: dict[Digest, Cell] = field(default_factory=dict)
    thresholds: dict[Role, Thresholds] = field(default_factory=dict)
    """What requests are held against, by role; empty when nobody is marked."""
    issue_cookie: str | None = None
    key_header: str = ""
    """Header the key is read from first, in lower case; empty when that is not a header."""
    key_line: bytes = b""
    """The same as it begins a line."""
    usual: Callable[[bytes], re.Match[bytes] | None] = unusual
    """Matches requests that may take the short way."""
    other_lines: Callable[[bytes], object] | None = None
    """Searches a lower-case head for headers a rule looks at."""
    known: dict[bytes, Unit] = field(default_factory=dict)
    """Units seen under this table by this worker, by key: saves hashing the key of every turn of a conversation."""
    with_cookie: dict[bytes, Unit] = field(default_factory=dict)
    """The same for requests with a cookie, which may be a pin: as they came last."""
    heads: dict[tuple[object, ...], RequestRepeat] = field(default_factory=dict)
    """Heads that several connections send."""
    recalled: dict[tuple[int, int, int], Known] = field(default_factory=dict)
    """How units go on that the shared memory knows, by what it knows of them."""
    starts: dict[bool, Start] = field(default_factory=dict)
    """How conversations begin on the candidate and elsewhere."""
    salted: blake2b | None = None
    """Of what the bucket hashes before the key; ``None`` when the candidate gets nobody, or everybody."""
    everybody: bool = False
    """Whether it gets everybody."""
    below: bytes = b""
    """Bucket hashes below this are the candidate's."""
    mirror: MirrorPlan | None = None
    crowded: Start | None = None
    """How conversations begin that the mirror has no room for."""
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """Requests on the short way that are not copied, by what they are counted as."""
    sample: SamplePlan | None = None
    reads_bodies: bool = False
    """Whether a key may stand in the body of a request."""
    sweep_seconds: float = 0.25
    secure: bool = False
    """Whether clients speak TLS, so that their cookies are for TLS alone."""
    taken_away: frozenset[Digest] = frozenset()
    """Releases that get no traffic now: the table masks them, or the gateway withholds them."""
    body_bytes: int = 0
    """What a request's body may have, as the table says."""
    in_flight: int = 0

    def forget_times(self) -> None:
        """The wall clock was set: nothing holds that was derived from it; all is cheap to find again."""
        for kept in (self.known, self.with_cookie, self.recalled, self.starts, self.cells):
            kept.clear()
        self.crowded = None

    def thresholds_of(self, role: Role) -> Thresholds:
        """What a role's requests are held against."""
        return self.thresholds.get(role, NO_THRESHOLDS)


def expect_outcomes(serving: Serving, attested: set[str]) -> None:
    """Note which arms are expected to report outcomes, given the releases that ever have."""
    stable = serving.table.arm(Role.STABLE)
    stable_does = stable is not None and stable.release in attested
    for served in serving.arms.values():
        served.attested = stable_does or served.arm.release in attested


def prepare(
    table: RouteTable,
    fleet: dict[Digest, ArmEndpoints],
    loop: asyncio.AbstractEventLoop,
    withheld: frozenset[Digest] = frozenset(),
) -> Serving:
    """Make a table ready; ``fleet`` gains the releases it names, those it no longer names are retired.

    Args:
        table: To serve.
        fleet: The endpoints of all releases, by release.
        loop: Opens connections.
        withheld: Releases the gateway keeps from traffic by itself.
    """
    arms = {
        arm.release: ArmServing(arm, _endpoints_of(arm, table, fleet, loop), trace_lines(table, arm))
        for arm in table.arms
    }
    for release in fleet.keys() - arms.keys():
        fleet.pop(release).retire()
    for key in table.keys:
        if key.kind is KeyKind.JSON_POINTER:
            make_ready(key.name)
    first = table.keys[0] if table.keys else None
    key_header = first.name.lower() if first is not None and first.kind is KeyKind.HEADER else ""
    timeouts = table.timeouts
    ends = (timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total, timeouts.head, timeouts.keep_alive)
    shortest = min(ends)
    return Serving(
        table=table,
        regime=replace(table, masks=tuple(sorted({*table.masks, *withheld}))).regime if withheld else table.regime,
        ruleset=Ruleset(table, withheld),
        arms=arms,
        thresholds={role: thresholds_for(table.theta, role) for by in table.theta.values() for role in by},
        issue_cookie=issued_cookie(table.keys),
        key_header=key_header,
        key_line=b"\r\n%b:" % key_header.encode("latin-1", "replace") if key_header else b"",
        other_lines=_other_lines(table),
        taken_away=withheld.union(table.masks),
        body_bytes=table.limits.body_bytes,
        in_flight=table.limits.in_flight,
        salted=blake2b(f"{table.salt}\0".encode("utf-8", "surrogateescape"), digest_size=8)
        if 0 < table.split < WHOLE
        else None,
        everybody=table.split >= WHOLE,
        below=highest_below(table.split),
        mirror=_mirror_plan(table, arms, withheld),
        sample=None if table.sample is None else SamplePlan(table.sample),
        reads_bodies=any(key.kind is KeyKind.JSON_POINTER for key in table.keys),
        sweep_seconds=min(0.25, max(0.02, shortest / 4)),
    )


def _endpoints_of(
    arm: Arm, table: RouteTable, fleet: dict[Digest, ArmEndpoints], loop: asyncio.AbstractEventLoop
) -> ArmEndpoints:
    endpoints = fleet.get(arm.release)
    if endpoints is None:
        endpoints = fleet[arm.release] = ArmEndpoints(arm.release, loop)
    path = "/" if table.health is None else table.health.path
    endpoints.follow(arm.endpoints, table.limits, table.ejection, path)
    return endpoints


def _other_lines(table: RouteTable) -> Callable[[bytes], object] | None:
    names = looked_at(table.rules)
    if not names:
        return None
    either = b"|".join(re.escape(name.encode("latin-1", "replace")) for name in names)
    return re.compile(rb"\r\n(?:" + either + rb"):").search
