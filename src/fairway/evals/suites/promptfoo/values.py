"""What an import takes and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Loss(StrEnum):
    """What it means that something was not taken.

    ``check``: the case has a ``todo`` in its place, stays unknown and holds the gate until somebody writes it.
    ``case``: the case is not in the suite. ``setting``: nothing that is checked is missing; it is said so that a person
    can decide.
    """

    CHECK = "check"
    CASE = "case"
    SETTING = "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTaken:
    """Something of the configuration that the import could not take.

    Attributes:
        what: Key or type, as the configuration has it.
        why: In words, with what to do instead where there is something.
        file, line: Where it stands; the line is 1-based, ``None``: not known.
        cases: How many cases it concerns.
    """

    loss: Loss
    what: str
    why: str
    file: str
    line: int | None = None
    cases: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTarget:
    """A provider, as ``fairway eval run --target`` names it.

    Attributes:
        label: As the configuration calls it.
        target: For ``--target``; ``None``: Fairway cannot ask it as it is.
        note: What a person has to do besides; empty: nothing.
    """

    label: str
    target: str | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSuite:
    """One prompt of the configuration with its cases.

    Attributes:
        system: What the system says before the first turn, as a template; ``None``: nothing.
        value: As the suite's file has it.
    """

    name: str
    value: Mapping[str, Any]
    system: str | None = None
    cases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A configuration as Fairway has it.

    Attributes:
        file: The configuration.
        suites: One a prompt.
        targets: One a provider.
        not_taken: In the order of the configuration.
    """

    file: str
    suites: tuple[ImportedSuite, ...] = ()
    targets: tuple[ImportedTarget, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()

    def count(self, loss: Loss) -> int:
        """How many cases are concerned by a loss; for settings, how many settings."""
        found = [one for one in self.not_taken if one.loss is loss]
        return len(found) if loss is Loss.SETTING else sum(one.cases for one in found)

    @property
    def cases(self) -> int:
        """Cases of all suites."""
        return sum(suite.cases for suite in self.suites)


@dataclass(slots=True)
class Report:
    """What is listed while an import goes on; the same thing at the same place counts its cases."""

    found: dict[tuple[Loss, str, str, str, int | None], int] = field(default_factory=dict)

    def add(self, loss: Loss, what: str, why: str, *, file: str, line: int | None = None, cases: int = 1) -> None:
        """List something."""
        key = (loss, what, why, file, line)
        self.found[key] = self.found.get(key, 0) + cases

    def has(self, loss: Loss, what: str) -> bool:
        """Whether something was listed whose name begins so."""
        return any(one[0] is loss and one[1].startswith(what) for one in self.found)

    def listed(self) -> tuple[NotTaken, ...]:
        """All of it, in the order it was found."""
        return tuple(
            NotTaken(loss=loss, what=what, why=why, file=file, line=line, cases=cases)
            for (loss, what, why, file, line), cases in self.found.items()
        )
