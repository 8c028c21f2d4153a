"""Answers of the gateway itself."""

from __future__ import annotations

import json

REASONS = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout",
    413: "Content Too Large", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip


def problem(status: int, code: str, message: str, extra: bytes = b"", *, head_only: bool = False) -> bytes:
    """An error as JSON, head and body.

    Args:
        status: HTTP status.
        code: Stable code for machines.
        message: For people.
        extra: Header lines, each ended by CRLF.
        head_only: The request was a HEAD.
    """
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    ).encode()
    return b"%b%b\r\n%b" % (head, extra, b"" if head_only else body)
