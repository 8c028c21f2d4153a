"""Nonces nobody who wrote the text under test can know, and that are the same when the same is asked again.

A judge reads text an attacker may have written, between delimiters with a nonce, and its grade must repeat another.
Random nonces would make every question new, so that no judge's answer could ever be taken from a cache or a resumed
run. Instead each is ``HMAC-SHA256(secret, purpose, repeat, digest of everything else in the request)``, with a secret
of this machine that stands in no bundle, report or log:

- *unpredictable*: without the secret, HMAC is a pseudo-random function: for a request nobody has sent, its value is a
  fresh random one to whoever chose the request, the text under test included;
- *bound to its text*: a reply that contains a nonce is another text, and so has other nonces. Whoever learns the
  nonces of one call (its provider, a reader of its log) can use them in no other text, not even in another repeat;
  with random nonces the argument would need each to stay secret, here none has to. What is left is guessing:
  2⁻⁶⁴ for each question that is asked;
- *reproducible*: the same text, rubric, model and repeat give the same request, byte for byte.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from fairway.errors import UserError
from fairway.state_dir import StateDir

_SECRET_BYTES = 32
_NONCE_HEX = 16
_DOMAIN = b"fairway.judge.nonce.1"


@dataclass(frozen=True, slots=True)
class Nonces:
    """The source of nonces, around its secret."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < _SECRET_BYTES:
            raise ValueError(f"a secret for nonces has at least {_SECRET_BYTES} bytes")

    def nonce(self, purpose: str, content: bytes, *, repeat: tuple[int, ...], avoid: str = "") -> str:
        """Sixteen hexadecimal digits.

        Args:
            purpose: What it is for: nonces for different purposes differ.
            content: Everything else in the request.
            repeat: Which repeat it is, of what and of whose.
            avoid: Text that must not contain it. By chance one in 2⁶⁴ would; the next one is taken then.
        """
        counter = 0
        while True:
            parts = (purpose.encode(), repr(repeat).encode(), str(counter).encode(), hashlib.sha256(content).digest())
            message = b"\0".join((_DOMAIN, *parts))
            found = hmac.new(self.secret, message, hashlib.sha256).hexdigest()[:_NONCE_HEX]
            if found not in avoid:
                return found
            counter += 1


def random_nonces() -> Nonces:
    """With a secret of its own that is kept nowhere, so that no later run asks the same."""
    return Nonces(secrets.token_bytes(_SECRET_BYTES))


def load_nonces(state: StateDir) -> Nonces:
    """With the secret of a project's state folder, ``keys/judge-nonce.key``, made on first use, mode 600.

    Raises:
        UserError: ``key_permissions``: others can read it. ``judge_nonce``: it is no secret, or cannot be written.
    """
    path = state.keys / "judge-nonce.key"
    try:
        if not path.exists():
            _create(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_text(encoding="ascii").strip()
        secret = bytes.fromhex(content)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the judges' secret {path} cannot be used: {error}",
            code="judge_nonce",
            hint="delete it; the next run makes another",
        ) from error
    if mode & 0o077:
        raise UserError(
            f"the judges' secret {path} can be read by others (mode {mode:o})",
            code="key_permissions",
            hint=f"delete {path}; the next run makes another",
        )
    if len(secret) < _SECRET_BYTES:
        raise UserError(
            f"the judges' secret {path} is too short", code="judge_nonce", hint="delete it; the next run makes another"
        )
    return Nonces(secret)


def _create(path: Path) -> None:
    """Make a secret and link it into place: of several processes one wins, and nobody ever sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # somebody else made it first; theirs is the secret
    finally:
        temporary.unlink(missing_ok=True)
