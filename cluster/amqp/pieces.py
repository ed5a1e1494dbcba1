"""Octets that came in several byte strings and stay in them: joining megabytes would hold up everybody else.

Law: what they are is never changed. Whoever writes octets somewhere takes the parts; only who needs one byte string
makes it, by `bytes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

PIECES_MIN: Final = 1 << 20
"""Octets from which on a body is left in pieces."""


class Pieces:
    """`parts` in their order; the length is that of all together."""

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts
        self._size = sum(map(len, parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self.parts)


Octets = bytes | Pieces


def flat(pieces: Iterable[Octets]) -> list[bytes]:
    """The byte strings of which all of `pieces` consist, in order."""
    parts: list[bytes] = []
    for piece in pieces:
        if type(piece) is bytes:
            parts.append(piece)
        else:
            assert isinstance(piece, Pieces)
            parts += piece.parts
    return parts


def gathered(pieces: Sequence[Octets], size: int) -> Octets:
    """All of `pieces`, `size` octets together: one byte string, unless a large one in parts is among them."""
    if size < PIECES_MIN or all(type(piece) is bytes for piece in pieces):
        return b"".join(pieces)  # type: ignore[arg-type]
    return Pieces(flat(pieces))
