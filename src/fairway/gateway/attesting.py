"""Whether a shadow says that it is one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.gateway.comparing import Side

_FAILED = 500


@dataclass(slots=True)
class Attesting:
    """What the answers of one shadow have said so far.

    Attributes:
        proved: One has said ``shadow=1``.
        broken: One was answered and has not.
    """

    proved: bool = False
    broken: bool = False

    def heard(self, shadow: Side, *, safe: bool = False) -> bool:
        """Take one more answer in; ``False`` when it does not say that a shadow gave it.

        What failed without an outcome - no answer, or a status of 500 and above - says neither, nor does an answer to
        what could change nothing.

        Args:
            shadow: The answer.
            safe: Of a request whose method changes nothing.
        """
        if shadow.outcome is not None and shadow.outcome.shadow:
            self.proved = True
            return True
        if safe or (shadow.outcome is None and (not shadow.status or shadow.status >= _FAILED)):
            return True
        self.broken = True
        return False
