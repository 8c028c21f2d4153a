"""Where the access log goes, found out before anything is served."""

from __future__ import annotations

from pathlib import Path


def access_log_path(given: str | None) -> str:
    """The file, absolute; ``-`` and empty as they are.

    Raises:
        UserError: When it cannot be opened for writing.
    """
    from fairway.errors import UserError

    if not given or given == "-":
        return given or ""
    path = Path(given).absolute()
    try:
        if not path.is_fifo():
            with path.open("ab"):
                pass
    except OSError as error:
        text = f"the access log {path} cannot be written: {error.strerror}"
        raise UserError(text, code="access_log", hint="its folder has to be there") from error
    return str(path)
