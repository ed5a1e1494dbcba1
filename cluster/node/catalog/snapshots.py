"""When the catalog's copy writes a snapshot of itself, and how: bit by bit, beside everything else.

Law: a snapshot is begun when the log since the last one has grown to a quarter of that one's size, so what a command
costs does not grow with the catalog, and a node that starts replays little more than that; and when a peer has no
room for that log. Writing one never keeps the loop longer than a piece takes. One at a time; one that is overtaken by
an installed snapshot is given up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.broker.catalog.catalog import Catalog
from cluster.raft.types import Entry, LogIndex

SNAPSHOT_BYTES = 1 << 19
"""Of log between two snapshots at least."""
_ENTRY_BYTES = 128
"""What an entry counts besides its data."""
_PIECES_A_TICK = 2


@dataclass(frozen=True, slots=True)
class Written:
    """A snapshot as of `index`, and the entries that it makes superfluous."""

    index: LogIndex
    data: bytes
    dead: list[LogIndex]


class Snapshots:
    """One replica's. `applied` is told of every entry, `tick` carries on with what is begun."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._log_bytes = 0
        """Of entries since the last snapshot was begun."""
        self._last_bytes = 0
        """Size of the last snapshot."""
        self._dead: list[LogIndex] = []
        """Entries that no snapshot has made superfluous yet."""
        self._pieces: Iterator[bytes] | None = None
        """Of the snapshot that is being written."""
        self._written: list[bytes] = []
        self._index = LogIndex(0)
        """Of the snapshot that was begun, or restored, last."""
        self._covered: list[LogIndex] = []

    def applied(self, entry: Entry) -> None:
        self._dead.append(entry.index)
        self._log_bytes += len(entry.data) + _ENTRY_BYTES

    def restored(self, index: LogIndex, size: int) -> None:
        """The copy was replaced by a snapshot as of `index`, of so many bytes."""
        self._index = index
        self._last_bytes, self._log_bytes = size, 0
        self._dead[:0] = self._covered
        self._pieces, self._written, self._covered = None, [], []

    def want(self, applied_index: int) -> None:
        """Begin one now, unless one is being written, or nothing was applied since the last one."""
        if self._pieces is None and self._index < applied_index:
            self._begin(applied_index)

    def tick(self, applied_index: int) -> Written | None:
        """To be called every few hundredths of a second. A snapshot when one is complete."""
        if self._pieces is None and self._log_bytes >= max(SNAPSHOT_BYTES, self._last_bytes // 4):
            self._begin(applied_index)
        if self._pieces is None:
            return None
        for _ in range(_PIECES_A_TICK):
            piece = next(self._pieces, None)
            if piece is None:
                return self._complete()
            self._written.append(piece)
        return None

    def _begin(self, applied_index: int) -> None:
        self._log_bytes = 0
        self._index = LogIndex(applied_index)
        self._covered, self._dead = self._dead, []
        self._pieces = self._catalog.draft().pieces()

    def _complete(self) -> Written:
        data = b"".join(self._written)
        written = Written(self._index, data, self._covered)
        self._last_bytes = len(data)
        self._pieces, self._written, self._covered = None, [], []
        return written
