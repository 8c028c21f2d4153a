"""A kind of assertion: its name, what a suite may write for it, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fairway.evals.assertions.finding import Finding
from fairway.evals.trials import Observed
from fairway.evals.values import Assertion

Reader = Callable[[Any], Any]
"""Takes what stands in the file, gives what the check takes.

Raises:
    BadValueError: It cannot be used.
"""
Check = Callable[[Assertion, Observed], Finding]


class BadValueError(ValueError):
    """A value of an assertion that cannot be used.

    Attributes:
        at: Keys and indices below the assertion that lead to it.
        hint: What to write instead; ``None`` when the message says it.
    """

    def __init__(self, message: str, *at: str | int, hint: str | None = None) -> None:
        """Keep the place."""
        super().__init__(message)
        self.at = at
        self.hint = hint


class How(StrEnum):
    """What it takes to decide an assertion.

    ``checked``: nothing but the observation. ``scripted``: a child process of this project. ``called``: a webhook or an
    embedding endpoint. ``judged``: a judge. ``set``: whatever its members take.
    """

    CHECKED = "checked"
    SCRIPTED = "scripted"
    CALLED = "called"
    JUDGED = "judged"
    SET = "set"


class Threshold(StrEnum):
    """What ``threshold`` means for a kind.

    ``none``: it takes none. ``share``: a score above 0 and at most 1. ``amount``: a number of at least 0, optional.
    ``required``: an amount that must be given.
    """

    NONE = "none"
    SHARE = "share"
    AMOUNT = "amount"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One row of the registry.

    Attributes:
        value: Reads what a suite writes as ``value``; ``None``: the kind takes no value.
        value_needed: Whether the value may be left out.
        threshold: What ``threshold`` means here.
        options: Other keys a suite may write, each with its reader.
        check: For what needs nothing but the observation; ``None``: somebody has to measure it.
        summary: What it asks for, one line, for documentation and ``fairway eval`` help.
    """

    name: str
    how: How = How.CHECKED
    value: Reader | None = None
    value_needed: bool = True
    threshold: Threshold = Threshold.NONE
    options: Mapping[str, Reader] = field(default_factory=dict)
    check: Check | None = None
    summary: str = ""
