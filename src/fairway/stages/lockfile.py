"""Pinned requirements, and how what is installed differs from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

from fairway.pipeline.port import Finding

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_PIN = re.compile(rf"^(?P<name>{_NAME})\s*(\[[^\]]*\])?\s*===?\s*(?P<version>[^\s;*,]+)\s*(;\s*(?P<marker>.+))?$")
_NAMED = re.compile(rf"^(?P<name>{_NAME})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of a lock file: a distribution, the version it must have, and when that holds (PEP 508 marker)."""

    name: str
    version: str
    line: int
    marker: str | None = None


def normal_name(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str, *, file: str) -> tuple[tuple[Pin, ...], tuple[Finding, ...]]:
    """Pins of a lock file in pip's format, and what in it is no pin.

    Hashes, comments and index options are passed over. A requirement that is not pinned is an error: what it installs
    is decided on the day. A requirement by URL or path cannot be compared: a warning.
    """
    pins: list[Pin] = []
    findings: list[Finding] = []
    for number, line in _lines(text):
        if line.startswith("-"):
            if line.split()[0] in ("-e", "--editable", "-r", "--requirement"):
                message = f"{line!r} cannot be compared with what is installed"
                findings.append(_finding("warning", "lock/not-a-pin", message, file=file, line=number))
            continue
        match = _PIN.match(line)
        if match:
            name, version = normal_name(match["name"]), match["version"]
            pins.append(Pin(name=name, version=version, line=number, marker=match["marker"]))
        elif " @ " in line or "://" in line:
            message = f"{line.split(' @ ')[0]!r} is not given by version and cannot be compared"
            findings.append(_finding("warning", "lock/not-a-pin", message, file=file, line=number))
        else:
            named = _NAMED.match(line)
            message = f"{named['name'] if named else line!r} is not pinned to one version"
            findings.append(
                _finding("error", "lock/not-pinned", message, file=file, line=number, hint="write name==1.2.3")
            )
    return tuple(pins), tuple(findings)


def applicable(pins: tuple[Pin, ...], environment: Mapping[str, str]) -> tuple[Pin, ...]:
    """The pins that hold for an interpreter; one whose marker cannot be read counts as holding.

    Args:
        pins: Of the lock file.
        environment: The interpreter's marker variables (PEP 508).
    """
    return tuple(pin for pin in pins if pin.marker is None or _holds(pin.marker, environment))


def _holds(marker: str, environment: Mapping[str, str]) -> bool:
    try:
        return Marker(marker).evaluate({**environment, "extra": ""})
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName):
        return True


def compare(pins: tuple[Pin, ...], installed: Mapping[str, str], *, file: str) -> tuple[Finding, ...]:
    """What is missing or drifted, by name.

    Args:
        pins: Those that apply.
        installed: ``{normal name: version}`` of the interpreter that runs the project.
        file: The lock file.
    """
    return tuple(_differences(pins, installed, file=file))


def _differences(pins: tuple[Pin, ...], installed: Mapping[str, str], *, file: str) -> Iterator[Finding]:
    hint = f"pip install -r {file}"
    for pin in pins:
        found = installed.get(pin.name)
        if found is None:
            message = f"{pin.name} {pin.version} is not installed"
            yield _finding("error", "lock/missing", message, file=file, line=pin.line, hint=hint)
        elif not _same_version(found, pin.version):
            message = f"{pin.name} is {found}, the lock file says {pin.version}"
            yield _finding("error", "lock/drifted", message, file=file, line=pin.line, hint=hint)


def _same_version(one: str, other: str) -> bool:
    """Equal but for spelling: case, a leading v, trailing zeros, and a local part only one of them names."""

    def plain(text: str) -> str:
        version = text.lower().removeprefix("v")
        return re.sub(r"(\.0)+$", "", version)

    if ("+" in one) != ("+" in other):
        one, other = one.split("+")[0], other.split("+")[0]
    return plain(one) == plain(other)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines with the number of their first: continuations joined, comments and hashes taken off."""
    joined, first = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        first = first or number
        if raw.rstrip().endswith("\\"):
            joined += raw.rstrip()[:-1] + " "
            continue
        line = re.sub(r"(^|\s)#.*$", "", joined + raw)
        line = re.sub(r"\s--hash[= ]\S+", "", line).strip()
        if line:
            yield first, line
        joined, first = "", 0


def _finding(severity: str, rule: str, message: str, *, file: str, line: int, hint: str | None = None) -> Finding:
    return Finding(severity=severity, rule=rule, message=message, file=file, line=line, hint=hint)
