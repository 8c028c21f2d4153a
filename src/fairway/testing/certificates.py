"""Certificates for tests: signed by themselves, for localhost, of whatever age and kind a test needs."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairway.gateway.tls import KeyPair, TlsFiles


def key_pair(
    name: str = "localhost",
    *,
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=1),
    for_servers: bool = True,
) -> KeyPair:
    """A fresh key and its certificate.

    Args:
        name: Common name, and a name it is for beside localhost and the loopback addresses.
        begins: Of its validity, from now on.
        ends: The same.
        for_servers: Or for clients only.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if for_servers else ExtendedKeyUsageOID.CLIENT_AUTH
    loopback = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName(name), *loopback]), False)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def written(pair: KeyPair, folder: Path) -> TlsFiles:
    """The pair as files."""
    files = TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key")
    files.certificate.write_bytes(pair.certificate)
    files.key.write_bytes(pair.key)
    return files


def trusting(*pairs: KeyPair) -> ssl.SSLContext:
    """What a client connects with that trusts these and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in pairs:
        context.load_verify_locations(cadata=pair.certificate.decode())
    return context
