"""Signed heads of the audit chain: in the ledger, and in a file beside it that only grows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairway.canonical import canonical_json
from fairway.errors import PermanentError, UserError
from fairway.ledger.records import SignedHead
from fairway.ledger.session import Session
from fairway.release.trust import SigningKey, TrustedKeys, pre_authentication_encoding, verify_signature

HEAD_PAYLOAD = "application/vnd.fairway.audit-head+json"


def sign_head(session: Session, key: SigningKey) -> SignedHead | None:
    """Sign the last row; ``None`` when it is signed already or there is none."""
    last = session.row("SELECT seq, hash, at FROM audit ORDER BY seq DESC LIMIT 1")
    if last is None or last["seq"] == last_signed(session):
        return None
    signature = key.sign(_message(last["seq"], last["hash"], last["at"]))
    head = SignedHead(seq=last["seq"], hash=last["hash"], at=last["at"], key_id=key.key_id, signature=signature.hex())
    session.run(
        "INSERT INTO heads (seq, hash, at, key_id, signature) VALUES (:seq, :hash, :at, :key_id, :signature)",
        seq=head.seq, hash=head.hash, at=head.at, key_id=head.key_id, signature=head.signature,
    )  # fmt: skip
    return head


def last_row(session: Session) -> int:
    """Number of the last row; 0 when there is none."""
    row = session.row("SELECT max(seq) AS seq FROM audit")
    return (row["seq"] if row is not None else None) or 0


def last_signed(session: Session) -> int:
    """The last row with a signature over it; 0 when there is none."""
    row = session.row("SELECT max(seq) AS seq FROM heads")
    return (row["seq"] if row is not None else None) or 0


def is_genuine(head: SignedHead, trusted: TrustedKeys) -> bool:
    """Whether a key we trust signed it."""
    public = trusted.get(head.key_id)
    try:
        signature = bytes.fromhex(head.signature)
        message = _message(head.seq, head.hash, head.at)
    except ValueError:
        return False
    if signature.hex() != head.signature:
        return False  # another spelling of the same bytes is not what was written
    return public is not None and verify_signature(public, signature, message)


def head_to_wire(head: SignedHead) -> dict[str, Any]:
    """A JSON-able value, to keep somewhere else."""
    return {"seq": head.seq, "hash": head.hash, "at": head.at, "key_id": head.key_id, "signature": head.signature}


def head_from_wire(wire: Any) -> SignedHead:
    """Read a head.

    Raises:
        UserError: When it is malformed (``code="malformed_head"``).
    """
    names = ("hash", "at", "key_id", "signature")
    if (
        not isinstance(wire, dict)
        or type(wire.get("seq")) is not int
        or any(type(wire.get(n)) is not str for n in names)
    ):
        raise UserError("this is not a signed head of an audit chain", code="malformed_head")
    return SignedHead(seq=wire["seq"], **{name: wire[name] for name in names})


def append_head(file: Path, head: SignedHead) -> None:
    """Add a head to the file beside the ledger: who cuts the ledger short must cut this too.

    Raises:
        PermanentError: When the file cannot be written (``code="heads_file"``).
    """
    # A line of its own even after half a line; empty lines are passed over.
    line = b"\n" + canonical_json(head_to_wire(head)) + b"\n"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PermanentError(f"cannot write {file}: {error.strerror}", code="heads_file") from error


def read_heads(file: Path, *, torn: bool = False) -> Iterator[SignedHead]:
    """Heads of a file, one a line.

    Args:
        file: Such as :func:`append_head` makes.
        torn: Pass over lines that are not heads: a power cut may leave half a line in the file beside the ledger.
            Nothing is lost by it, because who can spoil a line there can remove it as well.

    Raises:
        UserError: When a line is malformed (``code="malformed_head"``).
    """
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        if not line.strip():
            continue
        try:
            head = _read_line(file, line)
        except UserError:
            if torn:
                continue
            raise
        yield head


def _read_line(file: Path, line: str) -> SignedHead:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} holds a line that is not a head", code="malformed_head") from error
    return head_from_wire(value)


def _message(seq: int, digest: str, at: str) -> bytes:
    return pre_authentication_encoding(HEAD_PAYLOAD, canonical_json([seq, digest, at]))
