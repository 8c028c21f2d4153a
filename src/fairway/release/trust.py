"""Signatures over releases: DSSE envelopes with Ed25519, and a local key made on first use.

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md (v1.0.0). The signature covers the payload
*type* as well as the payload, so that a signed value of one kind is never taken for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fairway.canonical import canonical_json
from fairway.errors import PermanentError, RefusedError, UserError
from fairway.release.store import sync_folder
from fairway.release.values import Manifest, SignedRelease
from fairway.release.wire import manifest_bytes, read_manifest

RELEASE_PAYLOAD = "application/vnd.fairway.release+json"
"""Payload type of a signed manifest."""

LOCAL_KEY = "local.key"
TRUSTED_FOLDER = "trusted"
_SEED_BYTES = 32

TrustedKeys = Mapping[str, bytes]
"""Raw Ed25519 public keys by key id."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that never leaves its file in any message, log or ``repr``."""

    seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def key_id(self) -> str:
        """``sha256:<hex>`` of the raw public key."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes, deterministic."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)


def key_id(public: bytes) -> str:
    """``sha256:<hex>`` of a raw public key."""
    return "sha256:" + hashlib.sha256(public).hexdigest()


def verify_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` was made over ``message`` with the private half of ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def local_key(folder: Path) -> SigningKey:
    """The key of this machine, made on first use; processes that race for it get the same one.

    Args:
        folder: ``StateDir.keys``; made with mode 700. The private key is ``local.key`` (mode 600, the seed in hex),
            the public one ``local.pub``.

    Raises:
        UserError: When others can read the key (``code="key_permissions"``).
        PermanentError: When the key file is damaged (``code="bad_key"``) or cannot be read or written (``key_file``).
    """
    path = folder / LOCAL_KEY
    try:
        if not path.exists():
            _create_key(path)
        return _read_key(path)
    except OSError as error:
        raise PermanentError(f"cannot use the signing key {path}: {error.strerror}", code="key_file") from error


def trusted_keys(folder: Path) -> dict[str, bytes]:
    """Public keys this project believes: its own ``local.pub`` and every ``trusted/*.pub``.

    Raises:
        PermanentError: When a key file is damaged (``code="bad_key"``).
    """
    found: dict[str, bytes] = {}
    own = folder / LOCAL_KEY
    if own.exists():
        public = local_key(folder).public
        found[key_id(public)] = public
    for path in sorted((folder / TRUSTED_FOLDER).glob("*.pub")):
        public = _unhex(path.read_text(encoding="ascii", errors="replace"), path)
        found[key_id(public)] = public
    return found


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What DSSE signs: ``DSSEv1 <len> <type> <len> <payload>``, lengths in bytes and decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, payload_type: str, key: SigningKey) -> str:
    """A DSSE envelope around ``payload``, as canonical JSON text."""
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key.key_id, "sig": base64.b64encode(signature).decode()}],
    }
    return canonical_json(envelope).decode()


def unseal(envelope: str, payload_type: str, trusted: TrustedKeys) -> bytes:
    """The payload of an envelope at least one trusted key signed.

    Raises:
        RefusedError: ``malformed_envelope``; ``wrong_payload_type``; ``unsigned``; ``unknown_signer``: nobody we trust
            signed it; ``bad_signature``: somebody we trust signed something else.
    """
    payload, kind, signatures = _open(envelope)
    if kind != payload_type:
        raise RefusedError(f"the envelope holds {kind!r}, expected {payload_type!r}", code="wrong_payload_type")
    if not signatures:
        raise RefusedError("the release is not signed", code="unsigned", hint="fairway release create signs it")
    message = pre_authentication_encoding(kind, payload)
    # The key id is a hint, not a claim: a signature counts when a key we trust, looked up by it, verifies it.
    known = [(trusted[name], signature) for name, signature in signatures if name in trusted]
    if not known:
        raise RefusedError(
            f"signed by {', '.join(name[:15] for name, _ in signatures)}, which this project does not trust",
            code="unknown_signer",
            hint="put the signer's public key into .fairway/keys/trusted/<name>.pub if you trust it",
        )
    if not any(verify_signature(public, signature, message) for public, signature in known):
        raise RefusedError(
            "the signature does not match: the release was altered after it was signed",
            code="bad_signature",
            hint="package it again from its commit",
        )
    return payload


def sign(manifest: Manifest, key: SigningKey) -> str:
    """The DSSE envelope (JSON text) of a manifest."""
    return seal(manifest_bytes(manifest), RELEASE_PAYLOAD, key)


def verify(envelope: str, trusted: TrustedKeys) -> Manifest:
    """The manifest in an envelope that a trusted key signed.

    Raises:
        RefusedError: As :func:`unseal`, and ``malformed_payload`` when what was signed is not a manifest.
    """
    payload = unseal(envelope, RELEASE_PAYLOAD, trusted)
    try:
        manifest = read_manifest(payload)
    except UserError as error:
        raise RefusedError(f"what was signed is not a release: {error.message}", code="malformed_payload") from error
    if manifest_bytes(manifest) != payload:
        raise RefusedError("what was signed is not in canonical form", code="malformed_payload")
    return manifest


def signed(manifest: Manifest, key: SigningKey) -> SignedRelease:
    """A manifest with its envelope."""
    return SignedRelease(manifest=manifest, envelope=sign(manifest, key))


def _open(envelope: str) -> tuple[bytes, str, list[tuple[str, bytes]]]:
    """Payload, payload type and ``(key id, signature)`` of each signature."""
    try:
        wire = json.loads(envelope)
        if set(wire) != {"payload", "payloadType", "signatures"} or not isinstance(wire["payloadType"], str):
            raise ValueError("it needs exactly payload, payloadType and signatures")
        signatures = [(str(entry["keyid"]), _base64(entry["sig"])) for entry in wire["signatures"]]
        return _base64(wire["payload"]), wire["payloadType"], signatures
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedError("this is not a DSSE envelope", code="malformed_envelope") from error


def _base64(text: str) -> bytes:
    """Standard or URL-safe base64, as DSSE asks of verifiers."""
    standard = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _create_key(path: Path) -> None:
    """Make a key and link it into place: of several processes one wins, and nobody ever sees half a key."""
    folder = path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    seed = secrets.token_bytes(_SEED_BYTES)
    temporary = folder / f".{path.name}.{secrets.token_hex(6)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # somebody else made it first; theirs is the key
    finally:
        temporary.unlink(missing_ok=True)
    path.with_suffix(".pub").write_text(SigningKey(seed).public.hex() + "\n", encoding="ascii")
    sync_folder(folder)


def _read_key(path: Path) -> SigningKey:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(
            f"the signing key {path} can be read by others (mode {mode:o})",
            code="key_permissions",
            hint=f"chmod 600 {path}, and make a new key if somebody may have copied it",
        )
    return SigningKey(_unhex(path.read_text(encoding="ascii", errors="replace"), path))


def _unhex(text: str, path: Path) -> bytes:
    try:
        raw = bytes.fromhex(text.strip())
    except ValueError:
        raw = b""
    if len(raw) != _SEED_BYTES:
        raise PermanentError(
            f"{path} is not a key: expected 64 hex digits", code="bad_key", hint="restore it from a backup"
        )
    return raw
