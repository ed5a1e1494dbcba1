"""What the state of a replica was at marks in its log, for a comparison with the others.

Law: a mark stands at one index of the log, so every replica takes the digest of the same state: of the state as it was
at the mark, bit by bit. Only the latest marks are kept, and of digests that are not complete `BEGUN_MAX`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice

import trio

MARKS_KEPT = 8
BEGUN_MAX = 2
"""Each of them keeps a copy of a state. The digest of an older one is never taken."""
PIECES_A_TICK = 2
"""Pieces of a state for which there is time in one go: each costs a few milliseconds at most."""


class Checkpoints:
    """Of one replica. `tick` carries on with what is begun."""

    def __init__(self) -> None:
        self._reached: dict[bytes, int] = {}
        """Mark -> index."""
        self._begun: dict[bytes, tuple[Iterator[bytes], hashlib._Hash]] = {}
        self._digests: dict[bytes, str] = {}
        self._changed = trio.Event()

    def begin(self, mark: bytes, index: int, pieces: Iterator[bytes]) -> None:
        """`pieces` make the canonical form of all that the entries up to `index` have led to."""
        self._reached[mark] = index
        self._begun[mark] = (pieces, hashlib.sha256())
        if len(self._begun) > BEGUN_MAX:
            del self._begun[next(iter(self._begun))]
        if len(self._reached) > MARKS_KEPT:
            oldest = next(iter(self._reached))
            del self._reached[oldest]
            self._digests.pop(oldest, None)
        self._tell()
        self.tick()

    def tick(self) -> None:
        """To be called every few hundredths of a second."""
        for mark, (pieces, digest) in self._begun.items():
            few = list(islice(pieces, PIECES_A_TICK))
            for piece in few:
                digest.update(piece)
            if len(few) < PIECES_A_TICK:
                del self._begun[mark]
                self._digests[mark] = digest.hexdigest()
                self._tell()
            return

    async def reached(self, mark: bytes) -> int:
        """The index of the log at which the mark stands, once this replica has come to it."""
        while mark not in self._reached:
            await self._changed.wait()
        return self._reached[mark]

    async def digest(self, mark: bytes) -> str:
        """The state's SHA-256 there, in hex digits, once it is taken."""
        while mark not in self._digests:
            await self._changed.wait()
        return self._digests[mark]

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
