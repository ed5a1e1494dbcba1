"""What the catalog keeps of a password.

Law: ours are argon2id. Those that come from RabbitMQ's definitions are kept as they are, `algorithm:base64`, where
the base64 holds a salt of 4 octets and the digest of salt and password. "" lets nobody log in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

ARGON2ID = "argon2id"
DEFAULT_RABBIT_ALGORITHM = "rabbit_password_hashing_sha256"
_SALT_OCTETS = 4
_DIGESTS = {
    DEFAULT_RABBIT_ALGORITHM: "sha256",
    "rabbit_password_hashing_sha512": "sha512",
    "rabbit_password_hashing_md5": "md5",
}
_HASHER = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
"""OWASP's minimum for argon2id: 19 MiB, two passes."""


def hash_password(password: bytes) -> str:
    """Takes tens of milliseconds: for a thread."""
    return _HASHER.hash(password)


def read_hash(text: str, algorithm: str | None) -> str:
    """What is kept of a hash that somebody brings, under RabbitMQ's name of its algorithm (None: guess).

    Raises ValueError, one line without any of the hash.
    """
    if not text:
        return ""
    if text.startswith(f"${ARGON2ID}$") and algorithm in {None, ARGON2ID}:
        return text
    name = algorithm or DEFAULT_RABBIT_ALGORITHM
    if name not in _DIGESTS:
        known = ", ".join([*_DIGESTS, ARGON2ID])
        raise ValueError(f"hashing_algorithm '{name}' is not one of {known}")
    octets = _SALT_OCTETS + hashlib.new(_DIGESTS[name], usedforsecurity=False).digest_size
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != octets:
        raise ValueError(f"password_hash is not the base64 of {octets} octets (4 of salt and a {name} digest)")
    return f"{name}:{text}"


def show_hash(kept: str) -> tuple[str, str]:
    """Hash and algorithm, as `read_hash` takes them."""
    if not kept or kept.startswith("$"):
        return kept, ARGON2ID
    algorithm, _, text = kept.partition(":")
    return text, algorithm


def verify(kept: str, password: bytes) -> bool:
    """Whether the password is the right one. May take tens of milliseconds: for a thread."""
    text, algorithm = show_hash(kept)
    if algorithm != ARGON2ID:
        digest = _DIGESTS.get(algorithm)
        raw = base64.b64decode(text)
        salt, right = raw[:_SALT_OCTETS], raw[_SALT_OCTETS:]
        return digest is not None and hmac.compare_digest(hashlib.new(digest, salt + password).digest(), right)
    try:
        return _HASHER.verify(text, password)
    except (VerificationError, InvalidHashError):
        return False
