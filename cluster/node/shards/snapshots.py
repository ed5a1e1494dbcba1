"""The snapshot of a shard's index that is being written: bit by bit, beside everything else.

Law: it says what was true when it was begun, and what was dead then is deleted with it, not before. One at a time; one
that is overtaken by an installed snapshot is given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cluster.node.checkpoints import PIECES_A_TICK
from cluster.raft.types import LogIndex


class Snapshots:
    """One replica's. `index` and `dead` are those of the one that was begun last."""

    def __init__(self) -> None:
        self.index = LogIndex(0)
        self.dead: list[LogIndex] = []
        self._pieces: Iterator[bytes] | None = None
        self._written: list[bytes] = []

    @property
    def is_begun(self) -> bool:
        """Is one being written?"""
        return self._pieces is not None

    def begin(self, index: LogIndex, pieces: Iterator[bytes], dead: list[LogIndex]) -> None:
        """`pieces` say what the entries up to `index` have led to, and make the `dead` ones superfluous."""
        self.index, self._pieces, self.dead = index, pieces, dead

    def tick(self) -> bytes | None:
        """To be called every few hundredths of a second while one is begun. All of it, when it is complete."""
        assert self._pieces is not None
        few = list(islice(self._pieces, PIECES_A_TICK))
        self._written += few
        if len(few) == PIECES_A_TICK:
            return None
        data = b"".join(self._written)
        self.give_up()
        return data

    def give_up(self) -> None:
        """The state was replaced."""
        self._pieces, self._written = None, []
