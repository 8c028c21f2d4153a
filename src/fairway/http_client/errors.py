"""What can go wrong between a request and its answer.

::

    HttpAddressError      (UserError)       not an address this client can ask
    HttpTroubleError      (TransientError)
    ├── HttpConnectError                    nobody there; nothing was sent
    ├── HttpCutError                        the connection ended before the answer did
    └── HttpTimeoutError                    not in time
    HttpAnswerError       (PermanentError)  not HTTP, or larger than what is read
"""

from __future__ import annotations

from fairway.errors import PermanentError, TransientError, UserError


class HttpAddressError(UserError):
    """Not an address this client can ask."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="http_address")


class HttpTroubleError(TransientError):
    """There was no answer, this time."""


class HttpConnectError(HttpTroubleError):
    """Nobody is there; nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="http_connect")


class HttpCutError(HttpTroubleError):
    """The connection ended before the answer did; what the server did is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="http_cut")


class HttpTimeoutError(HttpTroubleError):
    """Not in time; what the server did is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="http_timeout")


class HttpAnswerError(PermanentError):
    """The answer is not HTTP, or larger than what is read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="http_answer")
