"""``rollout.gates.custom``: gates that ask Prometheus or an HTTP endpoint; nothing is guaranteed of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from fairway.bundle.secret_shapes import find_secret
from fairway.section import Duration, Name, Number, Positive, SecretReference, Section, Text
from fairway.sources.placeholders import placeholders_in
from fairway.sources.values import OnFail, Question, SourceGate, SourceKind

LONGEST_QUERY = 4096
MOST = 20
"""Custom gates of a policy."""
_POINTER = re.compile(r"^(?:/(?:[^~/]|~[01])*)*$")
_WORDS = "api[_-]?key|access[_-]?key|secrets?|password|passwd|passphrase|token|credentials?|authorization"
_TELLING = re.compile(rf"(?:{_WORDS}|(?:^|[_.-])(?:key|auth))$", re.IGNORECASE)
_ASSIGNED = re.compile(rf"(?:{_WORDS})\s?=\s?[^\s,;&\"'~{{}}]{{6,}}", re.IGNORECASE)
"""As the ledger redacts it: what is asked has to be what was approved, so it is refused before."""
_HEADER = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
_MARGIN = re.compile(r"^([+-])\s*(\d+(?:\.\d+)?)\s*%$")


def _templated(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    if len(text) > LONGEST_QUERY:
        raise ValueError(f"must be at most {LONGEST_QUERY} characters")
    if _ASSIGNED.search(text) or find_secret(text.encode()):
        raise ValueError("holds what looks like a credential; give bearer or basic, by reference")
    placeholders_in(text)
    return text


def _address(text: str) -> str:
    try:
        parts = urlsplit(text.replace("{{", "").replace("}}", ""))
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("is not an address; write for example http://127.0.0.1:9090") from error
    if parts.scheme not in ("http", "https") or not host or any(char.isspace() for char in text):
        raise ValueError("is not an address; write for example http://127.0.0.1:9090")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no user or password; give bearer or basic, by reference")
    if any(_TELLING.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("an address holds no credential; give bearer or basic, by reference")
    return _templated(text)


def _server(text: str) -> str:
    parts = urlsplit(_address(text).replace("{{", "").replace("}}", ""))
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/api/v1/query"):
        raise ValueError("give the server's address alone, without /api/v1/query: http://127.0.0.1:9090")
    return text


def _readable(reference: str) -> str:
    if not reference.startswith("env:"):
        raise ValueError("is read from the controller's environment: write env:NAME")
    return reference


def _pointer(text: str) -> str:
    if not _POINTER.match(text):
        raise ValueError(f"{text!r} is no JSON pointer; write for example /data/ok")
    return text


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not _HEADER.match(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in ("authorization", "proxy-authorization", "cookie") or _TELLING.search(name):
            raise ValueError(f"{name} is a credential; give bearer or basic, by reference")
        if any(ord(char) < 32 or ord(char) > 126 for char in value):
            raise ValueError(f"the value of {name} is not plain text")
        placeholders_in(value)
    return headers


def _margin(value: object) -> float:
    """``+10%`` is 1.1, ``-10%`` is 0.9."""
    match = _MARGIN.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a margin of stable's figure such as +10% or -5%")
    part = float(match.group(2)) / 100
    ratio = 1 + part if match.group(1) == "+" else 1 - part
    if not 0 <= ratio <= 100:
        raise ValueError("a margin must be between -100% and +9900%")
    return ratio


Template = Annotated[str, Field(strict=True), AfterValidator(_templated)]
Address = Annotated[str, Field(strict=True), AfterValidator(_address)]
Server = Annotated[str, Field(strict=True), AfterValidator(_server)]
Credential = Annotated[SecretReference, AfterValidator(_readable)]
Pointer = Annotated[str, Field(strict=True), AfterValidator(_pointer)]
Headers = Annotated[Mapping[str, Text], AfterValidator(_headers)]
Margin = Annotated[
    float,
    BeforeValidator(_margin),
    WithJsonSchema({"type": "string", "description": "of stable's figure: +10% or -5%"}),
]


class BasicSection(Section):
    """Basic authentication."""

    user: Text
    password: Credential


class PrometheusSection(Section):
    """A PromQL query that gives one number."""

    url: Server
    query: Template
    stable_query: Template | None = None
    bearer: Credential | None = None
    basic: BasicSection | None = None
    headers: Headers = {}

    @model_validator(mode="after")
    def _one_credential(self) -> PrometheusSection:
        if self.bearer is not None and self.basic is not None:
            raise ValueError("give bearer or basic, not both")
        return self

    def to_question(self) -> Question:
        """What is asked."""
        return Question(
            kind=SourceKind.PROMETHEUS,
            url=self.url,
            query=self.query,
            stable_query=self.stable_query or "",
            headers=self.headers,
            **_credential(self.bearer, self.basic),
        )


class HttpSection(Section):
    """An endpoint that answers with JSON, and where in it the figure stands."""

    url: Address
    json_pointer: Pointer = ""
    bearer: Credential | None = None
    basic: BasicSection | None = None
    headers: Headers = {}

    @model_validator(mode="after")
    def _one_credential(self) -> HttpSection:
        if self.bearer is not None and self.basic is not None:
            raise ValueError("give bearer or basic, not both")
        return self

    def to_question(self) -> Question:
        """What is asked."""
        return Question(
            kind=SourceKind.HTTP,
            url=self.url,
            pointer=self.json_pointer,
            headers=self.headers,
            **_credential(self.bearer, self.basic),
        )


def _credential(bearer: str | None, basic: BasicSection | None) -> dict[str, Any]:
    if basic is not None:
        return {"user": basic.user, "password": basic.password}
    return {"bearer": bearer or ""}


class CompareSection(Section):
    """Limits as a margin of stable's figure, asked for at the same time."""

    at_most: Margin | None = None
    at_least: Margin | None = None

    @model_validator(mode="after")
    def _some(self) -> CompareSection:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most, at_least or both, for example at_most: +10%")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most: nothing could keep both")
        return self


class CustomGateSection(Section):
    """One custom gate.

    Attributes:
        prometheus, http: Who is asked; exactly one.
        at_most, at_least: Absolute limits. Without any limit an HTTP endpoint has to answer ``true``.
        compare: Limits as a margin of stable's figure, instead.
        for_: Seconds the limit has to be kept for PASS, or broken for FAIL, without interruption.
        every: Seconds between two questions.
        timeout: Seconds an answer may take.
        errors: Consecutive errors of the source after which the rollout pauses.
        on_fail: What FAIL asks for.
    """

    name: Name
    prometheus: PrometheusSection | None = None
    http: HttpSection | None = None
    at_most: Number | None = None
    at_least: Number | None = None
    compare: CompareSection | None = None
    for_: Annotated[Duration, Field(alias="for")] = 60.0
    every: Duration = 10.0
    timeout: Duration = 5.0
    errors: Annotated[Positive, Field(le=1000)] = 5
    on_fail: OnFail = OnFail.PAUSE

    @field_validator("every", "timeout")
    @classmethod
    def _reasonable(cls, seconds: float) -> float:
        if not 0.2 <= seconds <= 3600:
            raise ValueError("must be between 200ms and 1h")
        return seconds

    @model_validator(mode="after")
    def _consistent(self) -> CustomGateSection:
        if (self.prometheus is None) == (self.http is None):
            raise ValueError("give exactly one of prometheus and http")
        absolute = self.at_most is not None or self.at_least is not None
        if absolute and self.compare is not None:
            raise ValueError("give an absolute limit (at_most, at_least) or compare, not both")
        if self.prometheus is not None and not absolute and self.compare is None:
            raise ValueError("a query needs a limit: at_most, at_least or compare")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most: nothing could keep both")
        if self.prometheus is not None and self.prometheus.stable_query is not None and self.compare is None:
            raise ValueError("stable_query is asked only with compare")
        if self.compare is not None and not self._tells_arms_apart():
            raise ValueError("compare asks about both arms: put {{arm}} where the release's name stands")
        return self

    def _tells_arms_apart(self) -> bool:
        question = self._question()
        if question.stable_query:
            return True
        texts = (question.url, question.query, *question.headers.values())
        return any(name.split(".")[0] == "arm" for text in texts for name in placeholders_in(text))

    def _question(self) -> Question:
        source = self.prometheus or self.http
        assert source is not None
        return source.to_question()

    def to_gate(self) -> SourceGate:
        """The gate of a plan."""
        compare = self.compare
        return SourceGate(
            name=self.name,
            question=self._question(),
            at_most=self.at_most,
            at_least=self.at_least,
            most_of_stable=None if compare is None else compare.at_most,
            least_of_stable=None if compare is None else compare.at_least,
            holds_for=self.for_,
            every=self.every,
            timeout=self.timeout,
            errors=self.errors,
            on_fail=self.on_fail,
        )


CustomGates = Annotated[tuple[CustomGateSection, ...], Field(max_length=MOST)]
