"""Regular expressions of a suite."""

from __future__ import annotations

import re
from functools import lru_cache

from fairway.evals.assertions.kind import BadValueError


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression as Python reads it; named groups may be written ``(?<name>…)`` too.

    Raises:
        BadValueError: It is none.
    """
    python = re.sub(r"(?<!\\)\(\?<([A-Za-z_]\w*)>", r"(?P<\1>", pattern)
    python = re.sub(r"(?<!\\)\\k<([A-Za-z_]\w*)>", r"(?P=\1)", python)
    try:
        return re.compile(python)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadValueError(f"is not a regular expression: {error}") from error
