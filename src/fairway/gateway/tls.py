"""TLS towards clients: certificate and key read whole, proved to serve before they are put in force.

The parent reads the files, so that the workers, also one that is started later, all serve the same pair, and files that
are being replaced are never met half-way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairway.errors import UserError

SHUTDOWN_SECONDS = 30.0
"""How long a client may take to read what is left of its last answer and to say goodbye."""

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2: forward secrecy and authenticated encryption only
_EXPIRED, _NOT_YET, _PURPOSE = 10, 9, 26  # X509_V_ERR_*, openssl/x509_vfy.h

Part = Literal["certificate", "key"]


class TlsError(UserError):
    """A certificate or its key does not serve.

    Attributes:
        part: Which of the two files is to be changed.
    """

    def __init__(self, message: str, *, part: Part, hint: str) -> None:
        """Keep the part."""
        super().__init__(message, code="tls", hint=hint)
        self.part = part


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where certificate (with its chain, leaf first) and key are, as PEM."""

    certificate: Path
    key: Path

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file does; a file that is not there counts as one of its own."""
        found = []
        for path in (self.certificate, self.key):
            try:
                status = path.stat()
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate chain and its key, as PEM. Never shown: it holds the key.

    Attributes:
        fingerprint: SHA-256 over both, to tell pairs apart.
    """

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"KeyPair({self.fingerprint[:12]})"

    @property
    def fingerprint(self) -> str:
        """In hex; says nothing of the key."""
        return hashlib.sha256(self.certificate + b"\0" + self.key).hexdigest()

    def to_wire(self) -> dict[str, str]:
        """A JSON-able value for the channel between parent and workers."""
        return {"certificate": self.certificate.decode("latin-1"), "key": self.key.decode("latin-1")}

    @classmethod
    def from_wire(cls, wire: dict[str, str]) -> KeyPair:
        """Read what :meth:`to_wire` wrote."""
        return cls(certificate=wire["certificate"].encode("latin-1"), key=wire["key"].encode("latin-1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says.

    Attributes:
        names: Host names and addresses it is for.
        not_after: Epoch seconds at which it expires.
    """

    names: tuple[str, ...]
    not_after: float


def read_pair(files: TlsFiles) -> KeyPair:
    """Both files.

    Raises:
        TlsError: When one cannot be read.
    """
    return KeyPair(certificate=_read(files.certificate, "certificate"), key=_read(files.key, "key"))


def _read(path: Path, part: Part) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise TlsError(
            f"the TLS {part} {path} cannot be read: {why}",
            part=part,
            hint=f"gateway.tls.{part} names a PEM file that the gateway's user may read",
        ) from error


def server_context(pair: KeyPair) -> ssl.SSLContext:
    """What connections are accepted with: TLS 1.2 and 1.3, HTTP/1.1 and nothing else.

    Raises:
        TlsError: When the pair is malformed, or the key is of another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    def no_password() -> str:
        raise TlsError(
            "the TLS key is encrypted",
            part="key",
            hint="a gateway that starts by itself cannot ask for a password: decrypt it with `openssl pkey`",
        )

    with _file_of(pair.certificate + b"\n" + pair.key) as path:
        try:
            context.load_cert_chain(path, password=no_password)
        except ssl.SSLError as error:
            raise _explained(error, pair) from error


@contextlib.contextmanager
def _file_of(pem: bytes) -> Iterator[str]:
    """A path at which OpenSSL, which loads files only, finds this: in memory where the system can, so nowhere else."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        import tempfile

        with tempfile.NamedTemporaryFile() as file:  # only its owner may read it
            file.write(pem)
            file.flush()
            yield file.name


def _explained(error: ssl.SSLError, pair: KeyPair) -> TlsError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return TlsError(
            "the TLS key is not that of the certificate",
            part="key",
            hint="gateway.tls.certificate starts with the server's own certificate, its chain follows; "
            "gateway.tls.key is its private key",
        )
    said = error.reason or str(error)
    if b"-----BEGIN CERTIFICATE-----" not in pair.certificate:
        part: Part = "certificate"
        said = "there is none in the file"
    elif b"PRIVATE KEY-----" not in pair.key:
        said = "there is none in the file"
        part = "key"
    else:
        part = "certificate" if "KEY" not in (error.reason or "") else "key"
    return TlsError(f"the TLS {part} is not usable: {said}", part=part, hint="both files are PEM, the key unencrypted")


def inspect(pair: KeyPair) -> Certificate:
    """What the certificate says, after a handshake with it in memory has gone well.

    That is what a client will do, short of judging who signed it: certificate and key belong together, it is in force
    now, it is for servers, and neither is too weak for this OpenSSL.

    Raises:
        TlsError: When the handshake fails.
    """
    server = server_context(pair)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever signed it
    try:
        client.load_verify_locations(cadata=_first_certificate(pair.certificate))
        said = _handshake(client, server)
    except ssl.SSLCertVerificationError as error:
        raise _not_verified(error) from error
    except ssl.SSLError as error:
        raise TlsError(
            f"no TLS connection can be made with the certificate: {error.reason or error}",
            part="certificate",
            hint="use a key of at least 2048 bits (RSA) or 256 (EC), signed with SHA-256 or better",
        ) from error
    names = tuple(str(name) for _, name in said.get("subjectAltName", ()))
    return Certificate(names=names, not_after=float(ssl.cert_time_to_seconds(str(said["notAfter"]))))


def _first_certificate(pem: bytes) -> str:
    text = pem.decode("latin-1")
    start, end = text.find("-----BEGIN CERTIFICATE-----"), text.find("-----END CERTIFICATE-----")
    return text[start : end + len("-----END CERTIFICATE-----")] + "\n"


def _not_verified(error: ssl.SSLCertVerificationError) -> TlsError:
    hint = "renew it; the files are read again when they change, without a restart"
    if error.verify_code == _EXPIRED:
        return TlsError("the TLS certificate has expired", part="certificate", hint=hint)
    if error.verify_code == _NOT_YET:
        return TlsError("the TLS certificate is not valid yet", part="certificate", hint="compare the clocks")
    if error.verify_code == _PURPOSE:
        return TlsError(
            "the TLS certificate is not one for servers", part="certificate", hint="it lacks the usage serverAuth"
        )
    return TlsError(f"the TLS certificate is refused: {error.verify_message}", part="certificate", hint=hint)


def _handshake(client_context: ssl.SSLContext, server_context: ssl.SSLContext) -> dict[str, Any]:
    """A handshake of both in memory; what the client read of the certificate.

    Raises:
        ssl.SSLError: When it fails.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(8):  # flights; TLS 1.3 needs three
        done = [_step(side) for side in (client, server)]
        if all(done):
            return client.getpeercert() or {}
    raise ssl.SSLError("the handshake does not end")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
