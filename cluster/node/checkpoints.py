"""What the state of a replica was at marks in its log, for a comparison with the others.

Law: a mark stands at one index of the log, so every replica takes it of the same state. Only the latest are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import trio

MARKS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state as of `index` has this SHA-256, in hex digits."""

    index: int
    digest: str


class Checkpoints:
    """Of one replica."""

    def __init__(self) -> None:
        self._taken: dict[bytes, Checkpoint] = {}
        self._changed = trio.Event()

    def take(self, mark: bytes, index: int, state: bytes) -> None:
        """`state` is the canonical form of all that the entries up to `index` have led to."""
        self._taken[mark] = Checkpoint(index, hashlib.sha256(state).hexdigest())
        if len(self._taken) > MARKS_KEPT:
            del self._taken[next(iter(self._taken))]
        self._changed.set()
        self._changed = trio.Event()

    async def at(self, mark: bytes) -> Checkpoint:
        """Once this replica has come to the mark."""
        while mark not in self._taken:
            await self._changed.wait()
        return self._taken[mark]
