"""The ``gateway`` section of ``fairway.yaml``, and the values of a route table it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fairway.section import Bytes, Duration, Flag, HttpPath, MisplacedError, Port, Positive, Section, Share, Text
from fairway.traffic.endpoints import Ejection, Health
from fairway.traffic.json_pointer import parse_pointer
from fairway.traffic.listening_config import Networks, ProxyProtocolSection, TlsSection
from fairway.traffic.reading import Reading
from fairway.traffic.sampling import MOST_BODY_BYTES, Sampling
from fairway.traffic.table import KeyExtractor, KeyKind, Limits, Role, Rule, RuleKind, Timeouts
from fairway.units import WHOLE, Parts

_KEY_KINDS = {
    KeyKind.HEADER: "a header",
    KeyKind.COOKIE: "a cookie",
    KeyKind.PATH_SEGMENT: "a 0-based segment of the path",
    KeyKind.JWT_CLAIM: "a claim of the bearer token",
    KeyKind.TRACE_ID: "the trace id of a W3C traceparent",
    KeyKind.JSON_POINTER: "a JSON pointer into the first 64 KiB of the body",
    KeyKind.ISSUE_COOKIE: "a cookie the gateway issues",
}
NonEmpty = Annotated[str, Field(strict=True, min_length=1, max_length=256)]


def _one_line(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("must be one line without control characters")
    return text


Word = Annotated[NonEmpty, AfterValidator(_one_line)]


def _expression(text: str) -> str:
    try:
        found = re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from error
    if found.search(""):
        raise ValueError("matches nothing at all, and so would be found everywhere")
    return text


class KeySection(Section):
    """Where the key of a unit is read: exactly one of the kinds, such as ``header: x-conversation-id``."""

    header: Word | None = None
    cookie: Word | None = None
    path_segment: Annotated[int, Field(strict=True, ge=0, le=64)] | None = None
    jwt_claim: Word | None = None
    trace_id: Word | None = None
    json_pointer: Word | None = None
    issue_cookie: Word | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> KeySection:
        if len(self.model_fields_set) != 1:
            kinds = ", ".join(kind.value for kind in _KEY_KINDS)
            raise ValueError(f"a key has exactly one of {kinds}")
        if self.json_pointer is not None:
            parse_pointer(self.json_pointer)
        return self

    def extractor(self) -> KeyExtractor:
        """As the route table carries it; header names in lower case."""
        (kind,) = self.model_fields_set
        name = str(getattr(self, kind))
        return KeyExtractor(kind=KeyKind(kind), name=name.lower() if kind in ("header", "trace_id") else name)


class RuleSection(Section):
    """Requests whose header, cookie, tenant … has one of ``values`` go to the arm ``to``, before any split.

    Attributes:
        name: Header, cookie, baggage member or flag; not needed for ``gray_tag``, ``tenant``, ``user``, ``region`` and
            ``trace_type``.
    """

    id: Word | None = None
    kind: RuleKind
    name: Word | None = None
    values: Annotated[tuple[Word, ...], Field(min_length=1, max_length=1000)]
    to: Role = Role.CANDIDATE

    @model_validator(mode="after")
    def _named(self) -> RuleSection:
        if self.kind in (RuleKind.HEADER, RuleKind.COOKIE, RuleKind.BAGGAGE, RuleKind.FLAG) and self.name is None:
            raise ValueError(f"a rule of kind {self.kind} needs a name")
        if self.kind is RuleKind.RELEASE_HEADER:
            raise ValueError("the release header is always looked at first and needs no rule")
        return self


class TimeoutsSection(Section):
    """How long the gateway waits; ``total`` is also when an unfinished request counts as failed.

    Attributes:
        head: For a request's head from its first byte on, for a TLS handshake, and for a PROXY header.
        keep_alive: A connection without a request is closed after this.
        websocket: A WebSocket on which nothing has passed is closed after this.
    """

    connect: Duration = 2.0
    first_byte: Duration = 30.0
    idle: Duration = 60.0
    total: Duration = 60.0
    head: Duration = 10.0
    keep_alive: Duration = 75.0
    websocket: Duration = 300.0

    @model_validator(mode="after")
    def _above_zero(self) -> TimeoutsSection:
        for name in ("connect", "first_byte", "idle", "total", "head", "keep_alive", "websocket"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        return self


class LimitsSection(Section):
    """What one worker accepts before it refuses.

    Attributes:
        body_rate: Bytes a second, on average, below which a request's body is too slow; 0: none.
        arm_in_flight: Requests of one release that run at once; what comes beyond waits.
        queue: Requests of one release that wait; what comes beyond is told to come back.
        queue_wait: How long a request waits at most.
    """

    head: Bytes = 65_536
    body: Bytes = 16_777_216
    in_flight: Positive = 1024
    connections: Positive = 8192
    body_rate: Bytes = 240
    arm_in_flight: Positive = 1024
    queue: Annotated[int, Field(strict=True, ge=0, le=65_536)] = 256
    queue_wait: Duration = 5.0


class HealthSection(Section):
    """What the gateway asks each instance by itself. Off unless this section is there.

    Attributes:
        path: Asked with GET; 200 is healthy, and a release it names has to be the arm's.
        interval: From one question to the next.
        timeout: How long an answer may take.
        healthy, unhealthy: So many alike in a row change what an instance counts as.
    """

    path: HttpPath = "/ready"
    interval: Duration = 5.0
    timeout: Duration = 2.0
    healthy: Positive = 2
    unhealthy: Positive = 3

    @model_validator(mode="after")
    def _in_range(self) -> HealthSection:
        if self.interval < 0.1:
            raise MisplacedError("must be at least 100ms", "interval")
        if self.timeout <= 0:
            raise MisplacedError("must be above 0", "timeout")
        return self


class EjectionSection(Section):
    """When an instance gets no requests for a while because of how it fared.

    Attributes:
        after: Broken requests in a row: refused, reset, or not answered in time.
        base: The first time; each further one lasts twice as long as the one before.
        longest: At most.
        share: Of a release's instances that may be out at once; never the last one. 0% ejects none.
    """

    after: Positive = 3
    base: Duration = 5.0
    longest: Duration = 300.0
    share: Share = 50_000

    @model_validator(mode="after")
    def _in_range(self) -> EjectionSection:
        if not 0 < self.base <= self.longest:
            raise MisplacedError("must be above 0 and no more than longest", "base")
        return self


class RedactionSection(Section):
    """One more shape of what is never kept: matches of ``pattern`` become ``[NAME_REDACTED]``."""

    name: Annotated[str, Field(strict=True, pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
    pattern: Annotated[str, Field(strict=True, min_length=1, max_length=1000), AfterValidator(_expression)]


class CaptureSection(Section):
    """Requests and answers of some conversations, redacted and kept for a while. Off unless this section is there.

    Attributes:
        share: Of conversations, chosen by a hash of their key: the same share of every arm's.
        body: A larger request or answer is kept without its body.
        keep: So much is kept on disk, the newest.
        redact: More shapes, beside secrets, e-mail addresses, card, account, phone and social security numbers.
    """

    share: Share = 1_000
    body: Bytes = 16_384
    keep: Bytes = 16 * 1024 * 1024
    redact: Annotated[tuple[RedactionSection, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _in_range(self) -> CaptureSection:
        if not 0 < self.share <= WHOLE:
            raise MisplacedError("nothing is captured at 0%: leave capture out", "share")
        if not 1 <= self.body <= MOST_BODY_BYTES:
            raise MisplacedError("must be between 1 byte and 64KiB", "body")
        if not 65_536 <= self.keep <= 1 << 40:
            raise MisplacedError("must be at least 64KiB", "keep")
        return self


class ServingSection(Section):
    """What a gateway serves a route by, apart from its arms and their shares.

    Attributes:
        keys: Tried in order; what identifies a conversation, user or tenant.
        tenant, user, region, trace_type: Request headers that rules of that kind look at.
        block: Length of a telemetry block; blocks start at multiples of it.
        pin: How long a conversation stays where it began.
        trace: Every request tells its arm, as W3C baggage, the agent, the arm's version and its role.
        usage: Read the tokens a model's API says at the end of an answer, where the agent says none.
        stall: A stream of events in which nothing comes for longer has stalled.
    """

    keys: Annotated[tuple[KeySection, ...], Field(max_length=16)] = (
        KeySection(header="x-conversation-id"),
        KeySection(issue_cookie="fairway-unit"),
    )
    tenant: Word = "x-tenant"
    user: Word = "x-user"
    region: Word = "x-region"
    trace_type: Word = "x-trace-type"
    rules: Annotated[tuple[RuleSection, ...], Field(max_length=1000)] = ()
    timeouts: TimeoutsSection = TimeoutsSection()
    limits: LimitsSection = LimitsSection()
    health: HealthSection | None = None
    ejection: EjectionSection = EjectionSection()
    block: Duration = 10.0
    pin: Duration = 3600.0
    usage: Flag = True
    stall: Duration = 2.0
    trace: Flag = False

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.block < 0.1:
            raise ValueError("block must be at least 100ms")
        if self.stall <= 0:
            raise MisplacedError("must be above 0", "stall")
        ids = [rule.id for rule in self.rules if rule.id is not None]
        if len(set(ids)) != len(ids):
            raise ValueError("two rules have the same id")
        return self

    def table_keys(self) -> tuple[KeyExtractor, ...]:
        """Extractors of the route table."""
        return tuple(key.extractor() for key in self.keys)

    def table_rules(self) -> tuple[Rule, ...]:
        """Rules of the route table; one without an id is named by its place (``rule-1``)."""
        headers: Mapping[RuleKind, Text] = {
            RuleKind.TENANT: self.tenant,
            RuleKind.USER: self.user,
            RuleKind.REGION: self.region,
            RuleKind.TRACE_TYPE: self.trace_type,
        }
        return tuple(
            Rule(
                id=rule.id or f"rule-{number}",
                kind=rule.kind,
                name=(rule.name or headers.get(rule.kind, "")).lower()
                if rule.kind not in (RuleKind.COOKIE, RuleKind.BAGGAGE)
                else rule.name or "",
                values=rule.values,
                to=rule.to,
            )
            for number, rule in enumerate(self.rules, start=1)
        )

    def table_reading(self) -> Reading:
        """What the route table has gateways read of answers."""
        return Reading(usage=self.usage, stall_seconds=self.stall)

    def table_timeouts(self) -> Timeouts:
        """Timeouts of the route table, in seconds."""
        given = self.timeouts
        return Timeouts(
            connect=given.connect,
            first_byte=given.first_byte,
            idle=given.idle,
            total=given.total,
            head=given.head,
            keep_alive=given.keep_alive,
            websocket=given.websocket,
        )

    def table_limits(self) -> Limits:
        """Limits of the route table."""
        given = self.limits
        return Limits(
            head_bytes=given.head,
            body_bytes=given.body,
            in_flight=given.in_flight,
            connections=given.connections,
            body_rate=given.body_rate,
            arm_in_flight=given.arm_in_flight,
            queue=given.queue,
            queue_wait=given.queue_wait,
        )

    def table_health(self) -> Health | None:
        """What the gateway asks by the route table; ``None``: nothing."""
        given = self.health
        return None if given is None else Health(**given.model_dump())

    def table_ejection(self) -> Ejection:
        """When an endpoint is left out by the route table."""
        return Ejection(**self.ejection.model_dump())


class GatewaySection(ServingSection):
    """The data plane in front of an environment.

    Attributes:
        tls: Certificate and key; ``None``: clients speak plain HTTP.
        proxy_protocol: Who says in front of each connection whose it is; ``None``: nobody.
        trusted_proxies: Networks whose ``x-forwarded-for`` and the like are believed; anybody else's are replaced.
        capture: Which conversations are sampled; ``None``: none, and no body is ever kept.
        access_log: File that gets a line of JSON for every request, relative to the project; ``-`` is standard output.
    """

    host: Word = "127.0.0.1"
    port: Port = 8700
    admin_port: Port = 8701
    workers: Annotated[int, Field(strict=True, ge=1, le=256)] = 2
    tls: TlsSection | None = None
    proxy_protocol: ProxyProtocolSection | None = None
    trusted_proxies: Networks = ()
    capture: CaptureSection | None = None
    access_log: Word | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.port and self.port == self.admin_port:
            raise ValueError("port and admin_port must differ")
        return self

    def table_sample(self) -> Sampling | None:
        """What the route table samples."""
        found = self.capture
        return None if found is None else Sampling(share=Parts(found.share), body_bytes=found.body)
