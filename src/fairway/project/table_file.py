"""A route table that a person writes: arms and their shares, and the keys of ``gateway`` of ``fairway.yaml``.

For a gateway without a controller. What a controller would number and name - fence, salt, digests - is left to Fairway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from fairway.errors import ProjectFileError
from fairway.rollout.config import TripSection
from fairway.rollout.rerun_config import RerunSection, RerunSetting
from fairway.section import MisplacedError, Name, Section, Share
from fairway.traffic.config import ServingSection, Word
from fairway.traffic.fence import ZERO_FENCE
from fairway.traffic.table import Arm, Role, RouteTable
from fairway.units import AgentName, Digest, EnvironmentName, Parts, RouteId
from fairway.validate import validate
from fairway.yaml_file import YamlDocument, read_yaml

_OPTIONS: Mapping[str, str] = {
    "host": "--host", "port": "--port", "admin_port": "--admin-port", "workers": "--workers",
    "tls": "--tls-certificate and --tls-key", "proxy_protocol": "--proxy-protocol",
    "trusted_proxies": "--trusted-proxy", "access_log": "--access-log",
}  # fmt: skip
"""Keys of ``gateway`` that say how a process listens, which a running one cannot change with its table."""


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isdecimal() or not 0 < int(port) < 65_536 or "/" in text:
        raise ValueError(f"{text!r} is not host:port; write for example 127.0.0.1:9001 or '[::1]:9001'")
    if ":" in bare:
        try:
            ip_address(bare)
        except ValueError as error:
            raise ValueError(f"{text!r} is not host:port: {error}") from error
    return text


def _digest(text: str) -> str:
    algorithm, _, value = text.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not all(char in "0123456789abcdef" for char in value):
        raise ValueError("is no digest: sha256: and 64 hexadecimal digits; leave it out when the agent says none")
    return text


class ArmSection(Section):
    """One release serving.

    Attributes:
        version: As people call it; in metrics, logs and ``x-fairway-release``.
        endpoints: ``host:port`` of each instance.
        release: Digest that the agent says in ``fairway-release``; one is made of the version where this is left out.
    """

    version: Word
    endpoints: Annotated[
        tuple[Annotated[str, Field(strict=True, max_length=256), AfterValidator(_endpoint)], ...],
        Field(min_length=1, max_length=1024),
    ]
    release: Annotated[str, Field(strict=True), AfterValidator(_digest)] | None = None


class ArmsSection(Section):
    """Who serves: stable, and what is tried beside it.

    Attributes:
        shadow: Gets copies, and serves nobody.
    """

    stable: ArmSection
    candidate: ArmSection | None = None
    shadow: ArmSection | None = None

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        given = [arm for arm in (self.stable, self.candidate, self.shadow) if arm is not None]
        if len({arm.version for arm in given}) != len(given):
            raise ValueError("two arms have the same version; counts are kept by version")
        if len({arm.release for arm in given if arm.release}) != sum(bool(arm.release) for arm in given):
            raise ValueError("two arms have the same release")
        return self


class TableFile(ServingSection):
    """What one gateway serves, without a controller.

    Attributes:
        agent, environment: Name the route, in metrics and logs.
        split: The candidate's share of the conversations.
        mirror: Share of stable's conversations that are copied to the shadow.
        salt: Of the hash that conversations are split by; without it each candidate draws others.
        trip: When the gateway goes back to stable by itself; ``null``: never.
        rerun: Which failed requests are run again on stable.
    """

    agent: Name
    environment: Name = "production"
    arms: ArmsSection
    split: Share = 0
    mirror: Share = 0
    salt: Word | None = None
    trip: TripSection | None = TripSection()
    rerun: RerunSetting = RerunSection()

    @model_validator(mode="after")
    def _has_arms(self) -> Self:
        if self.split and self.arms.candidate is None:
            raise MisplacedError("a split needs arms.candidate", "split")
        if self.mirror and self.arms.shadow is None:
            raise MisplacedError("a mirror needs arms.shadow", "mirror")
        return self

    def table(self) -> RouteTable:
        """As gateways serve it, not numbered yet."""
        arms = tuple(self._arm(role) for role in Role if getattr(self.arms, role.value, None) is not None)
        drawn = next((arm.release for arm in arms if arm.role is Role.CANDIDATE), arms[0].release)
        trip = self.trip
        return RouteTable(
            route=RouteId(agent=AgentName(self.agent), environment=EnvironmentName(self.environment)),
            fence=ZERO_FENCE,
            arms=arms,
            rules=self.table_rules(),
            split=Parts(self.split),
            salt=self.salt or drawn,
            keys=self.table_keys(),
            mirror=Parts(self.mirror),
            timeouts=self.table_timeouts(),
            limits=self.table_limits(),
            trip=None if trip is None else trip.table_trip(),
            block_seconds=self.block,
            pin_seconds=self.pin,
            rerun=self.rerun.table_rerun(),
            reading=self.table_reading(),
            health=self.table_health(),
            ejection=self.table_ejection(),
            trace=self.trace,
        )

    def _arm(self, role: Role) -> Arm:
        given: ArmSection = getattr(self.arms, role.value)
        made = hashlib.sha256(f"{self.agent}\0{given.version}".encode()).hexdigest()
        return Arm(
            role=role,
            release=Digest(given.release or f"sha256:{made}"),
            version=given.version,
            endpoints=given.endpoints,
        )


def read_table_file(path: Path) -> RouteTable:
    """The table in a file: YAML or JSON as people write it, or the wire form as a gateway keeps it.

    A table that people write has a fence of zero: whoever serves it numbers it.

    Raises:
        NotFoundError: When there is no such file.
        ProjectFileError: With file, line and key of each mistake.
    """
    wire = _wire_form(path)
    if wire is not None:
        try:
            return RouteTable.from_wire(wire)
        except ValueError as error:
            hint = "see: fairway schema route-table; by hand a table is written as in docs/gateway/table.md"
            raise ProjectFileError(str(error), file=str(path), code="table", hint=hint) from error
    document = read_yaml(path)
    _check_options(document)
    return validate(TableFile, document).table()


def _wire_form(path: Path) -> Any:
    """The value, when it is a table as gateways keep it, which carries a fence."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, OSError):  # whatever is wrong, the reader of YAML names the place
        return None
    return found if isinstance(found, dict) and "fence" in found else None


def _check_options(document: YamlDocument) -> None:
    value = document.value
    if not isinstance(value, dict):
        hint = "it begins with agent: and arms:, see: fairway schema gateway.yaml"
        raise document.error((), "expected a mapping (key: value)", hint=hint)
    for key, option in _OPTIONS.items():
        if key in value:
            raise document.error((key,), "does not belong into a table", of_key=True, hint=f"it is an option: {option}")
    if "capture" in value:
        hint = "it needs a controller that keeps samples: fairway up"
        raise document.error(("capture",), "does not belong into a table", of_key=True, hint=hint)
