"""The error tree.

::

    FairwayError                 a stable code, a message, and a hint that says what to change
    ├── UserError                the person can mend it; exit 2, HTTP 400
    │   ├── ProjectFileError     a project file is wrong; names file, line, column and key
    │   ├── NotFoundError        a name, version or file that is not there; HTTP 404
    │   └── RefusedError         a policy or a law says no; HTTP 403
    ├── ConflictError            somebody else changed it first; exit 3, HTTP 409
    ├── TransientError           may work later; exit 3, HTTP 503 with Retry-After
    │   └── BusyError            asked too often or overloaded: it did nothing, and may be asked again
    └── PermanentError           broken, and trying again does not help; exit 3, HTTP 500

Expected outcomes - a failed check, a broken judge, a metric without data - are values, never exceptions.
"""

from __future__ import annotations

from typing import ClassVar


class FairwayError(Exception):
    """Root of every error Fairway raises on purpose.

    Attributes:
        code: Stable machine-readable code, listed in ``docs/reference/errors.md``.
        message: What is wrong, one sentence, no trailing full stop.
        hint: What to change or run next; ``None`` when the message already says it.
    """

    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UserError(FairwayError):
    """Something the person who ran the command can mend."""

    exit_code = 2
    http_status = 400

    def __init__(self, message: str, *, code: str = "user_error", hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)


class ProjectFileError(UserError):
    """A project file is wrong.

    Attributes:
        file: Path as the person wrote or would write it, relative to the project.
        line: 1-based line, or ``None`` when the whole file is meant.
        column: 1-based column, or ``None``.
        key: Dotted path of the key inside the file (``rollout.steps[1].dwell``), or ``None``.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str,
        line: int | None = None,
        column: int | None = None,
        key: str | None = None,
        code: str = "project_file",
        hint: str | None = None,
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        self.problem = message
        where = file if line is None else f"{file}:{line}" if column is None else f"{file}:{line}:{column}"
        text = f"{where}: {key}: {message}" if key else f"{where}: {message}"
        super().__init__(text, code=code, hint=hint)


class NotFoundError(UserError):
    """A name, version or file that is not there."""

    http_status = 404

    def __init__(self, message: str, *, code: str = "not_found", hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)


class RefusedError(UserError):
    """A policy or a law says no: unsigned release, missing evidence, wrong branch."""

    http_status = 403

    def __init__(self, message: str, *, code: str = "refused", hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)


class ConflictError(FairwayError):
    """Somebody else changed it first; read again and decide again."""

    http_status = 409

    def __init__(self, message: str, *, code: str = "conflict", hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)


class TransientError(FairwayError):
    """May work later.

    Attributes:
        retry_after: Seconds to wait before trying again; ``None`` when unknown.
    """

    http_status = 503

    def __init__(
        self, message: str, *, code: str = "transient", hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after = retry_after


class BusyError(TransientError):
    """Asked too often, or overloaded (HTTP 429, 503): it says it did nothing, so asking again repeats nothing."""


class PermanentError(FairwayError):
    """Broken, and trying again does not help."""

    def __init__(self, message: str, *, code: str = "permanent", hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
