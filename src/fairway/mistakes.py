"""Mistakes of project files, told together and in words; knows no pydantic, so that lean readers can use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from fairway.errors import ProjectFileError

M = TypeVar("M")

_TOLD = 20


class CombinedProjectFileError(ProjectFileError):
    """Several mistakes of one or more files, told together; the first one gives file, line, column and key.

    Attributes:
        errors: Every mistake, the first included.
    """

    def __init__(self, errors: Sequence[ProjectFileError]) -> None:
        first = errors[0]
        super().__init__(
            first.problem, file=first.file, line=first.line, column=first.column, key=first.key, code=first.code
        )
        self.errors = tuple(errors)
        told = [str(error) for error in errors[:_TOLD]]
        if len(errors) > _TOLD:
            told.append(f"and {len(errors) - _TOLD} more")
        self.message = "\n".join(told)
        self.args = (self.message,)


def all_of(error: ProjectFileError) -> tuple[ProjectFileError, ...]:
    """The single mistakes an error tells of, in order."""
    return error.errors if isinstance(error, CombinedProjectFileError) else (error,)


def raise_all(errors: Iterable[ProjectFileError]) -> None:
    """Raise the mistakes as one error, ordered by place; nothing happens when there is none."""
    flat = [single for error in errors for single in all_of(error)]
    flat.sort(key=lambda error: (error.file, error.line or 0, error.column or 0))
    if len(flat) == 1:
        raise flat[0]
    if flat:
        raise CombinedProjectFileError(flat)


def collect(errors: list[ProjectFileError], check: Callable[[], M | None]) -> M | None:
    """The result of ``check``; its mistakes are kept in ``errors`` instead."""
    try:
        return check()
    except ProjectFileError as error:
        errors.append(error)
        return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word a typo most likely meant, or ``None``."""
    words = list(known)
    lowered = {candidate.lower(): candidate for candidate in reversed(words)}
    found = get_close_matches(word[:80].lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def suggest(word: str, known: Iterable[str], *, what: str) -> str:
    """A hint: the nearest known word, else all of them (up to twelve)."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean {near!r}?"
    if not words:
        return f"there are no {what} yet"
    listed = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"known {what}: {listed}"


def shown(value: object) -> str:
    """What stands there, short; long texts are not repeated."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"a text of {len(value)} characters"
    if isinstance(value, list | tuple):
        return "a list"
    return "a mapping" if isinstance(value, dict) else f"a {type(value).__name__}"
