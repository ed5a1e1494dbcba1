"""A message's body: who it is, a hash over everything else, and filling.

Law: a body that was changed in one bit is not taken for any message.
"""

from __future__ import annotations

from hashlib import blake2b

_HASH_BYTES = 12
_END = b"\n"


def make(stream: str, number: int, filler: bytes) -> bytes:
    """Hash, stream and number as a line, then the filling."""
    rest = f"{stream}/{number}".encode() + _END + filler
    return blake2b(rest, digest_size=_HASH_BYTES).digest() + rest


def is_intact(body: bytes) -> tuple[str, int] | None:
    """(stream, number) of a body that is what it was; None for any other."""
    rest = body[_HASH_BYTES:]
    if blake2b(rest, digest_size=_HASH_BYTES).digest() != body[:_HASH_BYTES]:
        return None
    name, _, number = rest.partition(_END)[0].decode().rpartition("/")
    return name, int(number)
