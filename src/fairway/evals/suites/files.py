"""Files a suite refers to: texts of inputs, tables of cases; inside the project only."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass

from fairway.errors import FairwayError
from fairway.evals.suites.keys import BadKeyError

SCHEME = "file://"
LONGEST_INPUT = 1 << 20
"""Bytes of an input; a larger one is no user turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFiles:
    """What a suite may read besides itself.

    Attributes:
        read: Bytes of a file, by its path inside the project.
        known: Every path there is; ``None``: only `read` knows.
    """

    read: Callable[[str], bytes]
    known: Collection[str] | None = None

    def find(self, written: str, *, suite: str) -> str:
        """The path inside the project that a suite means, from its own folder on.

        Args:
            written: As the suite has it, with or without ``file://``.
            suite: Path of the suite.

        Raises:
            BadKeyError: It leads out of the project, or is not there.
        """
        path = posixpath.normpath(posixpath.join(posixpath.dirname(suite), written.removeprefix(SCHEME)))
        if path.startswith(("/", "../")) or path == ".." or "\\" in written or "\0" in written:
            raise BadKeyError(f"{written!r} leads out of the project", hint="a suite reads files of its project only")
        if self.known is not None and path not in self.known:
            hint = "paths are relative to the suite's own folder; a new file must be added to git"
            raise BadKeyError(f"there is no file {path}", hint=hint)
        return path

    def content(self, written: str, *, suite: str) -> bytes:
        """Bytes of the file.

        Raises:
            BadKeyError: As :meth:`find`, or it cannot be read.
        """
        path = self.find(written, suite=suite)
        try:
            return self.read(path)
        except (OSError, LookupError, FairwayError) as error:
            raise BadKeyError(f"there is no file {path} that can be read") from error

    def text(self, written: str, *, suite: str) -> str:
        """The file as an input; a line end at its very end is no part of it.

        Raises:
            BadKeyError: As :meth:`content`, or it is no text, empty or too long.
        """
        content = self.content(written, suite=suite)
        if len(content) > LONGEST_INPUT:
            raise BadKeyError(f"{written} is larger than {LONGEST_INPUT // 1024} KiB")
        try:
            found = content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
        except UnicodeDecodeError as error:
            raise BadKeyError(f"{written} is not UTF-8: byte {error.start + 1}", hint="save it as UTF-8") from error
        if not found.strip():
            raise BadKeyError(f"{written} is empty")
        return found
