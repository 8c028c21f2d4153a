"""Versions and tags: ``v3.2.1``, ``v3.3.0-rc1``, ``v3.3.0-gray-a``, ``v3.2.1-r1``, and one for every other commit.

Read in any case, with or without ``v``; written in canonical lower case. The order is total::

    3.3.0-dev.4+g1a2b3c4 < 3.3.0-gray-a < 3.3.0-rc1 < 3.3.0-rc2 < 3.3.0 < 3.3.0-r1 < 3.3.0-r2 < 3.3.1

A rollback ``-r1`` comes after the version it brings back, because it is released later; a gray version comes before the
candidates, because it is tried on a few users while the release is still open. This is not SemVer's order, which
compares the words after the dash by alphabet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import total_ordering

from fairway.errors import UserError

_NUMBER = r"(0|[1-9]\d{0,8})"
_VERSION = re.compile(
    rf"^v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(?:-rc(?P<rc>{_NUMBER})|-gray-(?P<gray>[a-z0-9]{{1,32}})|-r(?P<r>[1-9]\d{{0,8}})"
    rf"|-dev\.(?P<dev>{_NUMBER})[+-]g(?P<sha>[0-9a-f]{{7,64}}))?$"
)


class VersionKind(IntEnum):
    """What a version says it is; the value is its rank within one ``major.minor.patch``."""

    DEV = 0
    GRAY = 1
    CANDIDATE = 2
    RELEASE = 3
    ROLLBACK = 4


@total_ordering
@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version; compare with ``<``, write with ``str()``.

    Attributes:
        number: Of the candidate (``rc2``: 2), the rollback (``r1``: 1) or the commits since the last release (dev);
            else 0.
        name: Of the gray release (``a``), or the commit of a dev version, at least 7 hex digits; else ``""``.
    """

    major: int
    minor: int
    patch: int
    kind: VersionKind = VersionKind.RELEASE
    number: int = 0
    name: str = ""

    def __str__(self) -> str:
        core = f"{self.major}.{self.minor}.{self.patch}"
        match self.kind:
            case VersionKind.DEV:
                return f"{core}-dev.{self.number}+g{self.name}"
            case VersionKind.GRAY:
                return f"{core}-gray-{self.name}"
            case VersionKind.CANDIDATE:
                return f"{core}-rc{self.number}"
            case VersionKind.ROLLBACK:
                return f"{core}-r{self.number}"
            case VersionKind.RELEASE:
                return core

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Version):
            return NotImplemented
        return self._rank() < other._rank()

    def _rank(self) -> tuple[int, int, int, int, int, str]:
        return (self.major, self.minor, self.patch, int(self.kind), self.number, self.name)

    @property
    def tag(self) -> str:
        """The git tag: ``v3.3.0-rc1``."""
        return f"v{self}"

    @property
    def image_tag(self) -> str:
        """As a container registry accepts it: no ``+``; :meth:`parse` reads it back to the same version."""
        return str(self).replace("+", "-")

    @property
    def is_release(self) -> bool:
        """Whether it may be the stable version of a production environment: a release or a rollback to one."""
        return self.kind in (VersionKind.RELEASE, VersionKind.ROLLBACK)

    def rollback(self, number: int) -> Version:
        """The ``number``-th rollback to this version (or to the one this is a rollback of)."""
        return Version(major=self.major, minor=self.minor, patch=self.patch, kind=VersionKind.ROLLBACK, number=number)

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version, a tag or an image tag, in any case.

        Raises:
            UserError: ``code="bad_version"``, saying which forms exist.
        """
        match = _VERSION.match(text.strip().lower()) if text.isascii() else None
        if match is None:
            raise UserError(
                f"{text!r} is not a version",
                code="bad_version",
                hint="write for example v3.2.1, v3.3.0-rc1 (candidate), v3.3.0-gray-a (gray) or v3.2.1-r1 (rollback)",
            )
        major, minor, patch = (int(match.group(i)) for i in (1, 2, 3))
        kind, number, name = VersionKind.RELEASE, 0, ""
        if (rc := match.group("rc")) is not None:
            kind, number = VersionKind.CANDIDATE, int(rc)
        elif (gray := match.group("gray")) is not None:
            kind, name = VersionKind.GRAY, gray
        elif (again := match.group("r")) is not None:
            kind, number = VersionKind.ROLLBACK, int(again)
        elif (dev := match.group("dev")) is not None:
            kind, number, name = VersionKind.DEV, int(dev), match.group("sha")
        return cls(major=major, minor=minor, patch=patch, kind=kind, number=number, name=name)


def dev_version(nearest: Version | None, commits_since: int, commit_sha: str) -> Version:
    """The version of a commit that has no tag of its own, unique for each commit.

    Args:
        nearest: The newest release among the commit's ancestors; ``None`` when there is none.
        commits_since: Commits between that release (or the first commit) and this one.
        commit_sha: Full commit id, so that two branches with as many commits differ.

    Returns:
        ``<next patch>-dev.<n>+g<sha>``, which is after the nearest release and before the one that will follow it;
        ``0.0.0-dev.<n>+g<sha>`` without a release.
    """
    major, minor, patch = (0, 0, 0) if nearest is None else (nearest.major, nearest.minor, nearest.patch + 1)
    return Version(
        major=major, minor=minor, patch=patch, kind=VersionKind.DEV, number=commits_since, name=commit_sha.lower()[:12]
    )
