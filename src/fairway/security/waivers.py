"""Findings somebody answers for: ``policies/waivers.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from fairway.section import Section, Text
from fairway.security.findings import SecurityFinding
from fairway.validate import validate
from fairway.yaml_file import parse_yaml

WAIVERS_FILE = "policies/waivers.yaml"


class WaiverSection(Section):
    """One waiver; without ``owner``, ``reason`` or ``expires`` it is read but does not count."""

    rule: Text
    file: Text
    owner: str | None = None
    reason: str | None = None
    expires: Annotated[str, Field(strict=True)] | None = None


class WaiversFile(Section):
    """The whole file."""

    waivers: tuple[WaiverSection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """One waiver that counts.

    Attributes:
        rule: Exactly one rule's id.
        file: A path or glob (``app/*.py``).
        expires: The last day it counts.
    """

    rule: str
    file: str
    owner: str
    reason: str
    expires: date

    def covers(self, finding: SecurityFinding) -> bool:
        """Whether the finding is the one that is answered for."""
        return finding.rule == self.rule and fnmatchcase(finding.file, self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waivers:
    """Waivers that count, and why the others do not (``void``)."""

    active: tuple[Waiver, ...] = ()
    void: tuple[str, ...] = ()

    def covering(self, finding: SecurityFinding) -> Waiver | None:
        """The first waiver that covers a finding, or ``None``."""
        return next((waiver for waiver in self.active if waiver.covers(finding)), None)


def read_waivers(content: bytes, *, today: date, file: str = WAIVERS_FILE) -> Waivers:
    """Read a project's waivers.

    Args:
        content: Bytes of the file.
        today: A waiver counts up to and including the day it expires.
        file: Its path, for messages.

    Raises:
        ProjectFileError: With file, line, column and key of each mistake.
    """
    document = parse_yaml(content, file=file)
    sections = validate(WaiversFile, document).waivers
    active: list[Waiver] = []
    void: list[str] = []
    for index, section in enumerate(sections):
        place = document.position(("waivers", index))
        where = f"{file}:{place.line}" if place else file
        missing = [name for name in ("owner", "reason", "expires") if not (getattr(section, name) or "").strip()]
        if missing:
            void.append(
                f"{where}: the waiver of {section.rule} has no {' and no '.join(missing)}, so it does not count"
            )
            continue
        owner, reason, until = section.owner or "", section.reason or "", section.expires or ""
        try:
            expires = date.fromisoformat(until.strip())
        except ValueError:
            path = ("waivers", index, "expires")
            raise document.error(path, "expected a date such as '2027-01-31'") from None
        if expires < today:
            void.append(f"{where}: the waiver of {section.rule} expired on {expires}, so it does not count")
            continue
        active.append(Waiver(rule=section.rule, file=section.file, owner=owner, reason=reason, expires=expires))
    return Waivers(active=tuple(active), void=tuple(void))


def earliest_expiry(waivers: Sequence[Waiver]) -> date | None:
    """The last day all of them count; ``None`` without waivers."""
    return min((waiver.expires for waiver in waivers), default=None)
