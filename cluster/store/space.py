"""How much room of the data file a write may take.

Law: what brings data may use as many pages as make `map_size_max`, wherever in the file they are; the rest is for what
gives space back, which needs new pages first: a write copies what it changes. So what was reserved is not filled with
data once it has been used. The file itself may become larger than that where its free pages are not in one piece: what
is in a log has to be stored before whatever frees some. A write that finds no room may also have been too early for
what was freed last, and is tried again one transaction later: refused, it would be too early for ever. Where the disk
has nothing left for pages in one piece, that is to be seen: publishers have to be blocked then. And where nothing can
be committed without a store that is full, what is in the logs already is stored all the same, as a last resort: what
would free some is behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import lmdb

from cluster.raft.storage import GroupWrite, StorageFull
from cluster.store.directory import DataDirectory
from cluster.store.environment import FULL_CODES, GrowingEnvironment, MapIsFull, Result
from cluster.store.reserve import Reserve

ENTRIES_SHARE = 0.25
"""Of `reserve_bytes`, what entries may use beyond `map_size_max`: what was under way when publishers were blocked."""
SNAPSHOT_SHARE = 0.5
"""The same of received snapshots, which replace what may be much more. One that comes in one piece may use all of it: a
large one that does not fit must not keep the small ones out, which would make room for it."""
LAST_RESORT_FACTOR = 1.5
"""So many times what may be used is used then."""
LAST_FACTOR = 2
"""So many times `map_size_max` the file may become where its free pages are not in one piece."""
_ENTRY_BYTES = 64
"""Of an entry beside its data."""
_COPIED_BYTES = 64 << 10
"""Pages that a write copies, about."""


class Demand(NamedTuple):
    """What a write asks for: bytes of data, about, 0 if it gives space back; how much of the reserve it may use."""

    data_bytes: int
    share: float


class Space:
    """Of one store; `counted` are the bytes in use, and those of free pages. Called by whoever writes to it."""

    def __init__(
        self,
        environment: GrowingEnvironment,
        reserve: Reserve,
        directory: DataDirectory,
        counted: Callable[[], tuple[int, int]],
        default_size: Callable[[], int] | None,
    ) -> None:
        """`default_size` says what the store may hold if nobody else does."""
        self.tight_bytes = 0
        """In use when data was refused though there was room, in pieces; 0: none was, since somebody set that."""
        self.is_last_resort = False
        """Entries may use up to `LAST_RESORT_FACTOR` times what was to be used when the store was opened."""
        self._environment = environment
        self._reserve = reserve
        self._directory = directory
        self._counted = counted
        self._default_size = default_size
        self._last_resort_max = int(LAST_RESORT_FACTOR * environment.map_size_max)

    def begin(self) -> None:
        """When it is known what is in use: a store that holds more than it may has to take in what consumers ack."""
        self._environment.map_size_max = max(self._environment.map_size_max, self._counted()[0])

    def write(self, body: Callable[[lmdb.Transaction[bytes]], Result], demand: Demand) -> Result:
        """What `body` returns. Raises what `GrowingEnvironment.write` does."""
        environment, data_bytes = self._environment, demand.data_bytes
        wanted_bytes = data_bytes + _COPIED_BYTES
        if data_bytes:
            self._check_room(wanted_bytes, demand.share)
        limits = [LAST_FACTOR * environment.map_size_max, environment.map_size_max + environment.reserve_bytes]
        is_turned = False
        while True:
            try:
                return environment.write(body, file_max=limits[-1])
            except StorageFull as full:
                used_bytes, free_bytes = self._counted()
                is_in_pieces = free_bytes >= wanted_bytes
                if is_in_pieces and not is_turned:
                    environment.turn()
                    is_turned = True
                elif isinstance(full, MapIsFull) and limits[1:]:
                    limits.pop()
                elif isinstance(full, MapIsFull) or not self.release():
                    if data_bytes and is_in_pieces:
                        self.tight_bytes = used_bytes
                    raise

    def _check_room(self, wanted_bytes: int, share: float) -> None:
        environment = self._environment
        if environment.file_bytes + wanted_bytes > environment.map_size_max:
            used_bytes = self._counted()[0] + wanted_bytes
            is_beyond = used_bytes - environment.map_size_max > environment.reserve_bytes * share
            if is_beyond and not self._may_overfill(wanted_bytes, used_bytes):
                raise environment.refusal()

    def _may_overfill(self, wanted_bytes: int, used_bytes: int) -> bool:
        """As a last resort, on a disk that keeps some room for what gives space back."""
        if not self.is_last_resort or used_bytes > self._last_resort_max:
            return False
        needed_bytes = wanted_bytes + self._environment.reserve_bytes - self._counted()[1]
        return self._directory.free_bytes() >= needed_bytes or self.release()

    def release(self) -> bool:
        """Give up the file that is kept for need. True if there is more room now."""
        return self._reserve.release(self._directory.free_bytes())

    def look(self) -> None:
        """To be called now and then: the reserve comes back with room, and so does what the store may hold."""
        self._reserve.keep(self._directory.free_bytes())
        if self._default_size is not None:
            self._environment.map_size_max = max(self._environment.map_size_max, self._default_size())

    def with_room(self, act: Callable[[], Result], name: str) -> Result:
        """What `act` returns, which may take space for the file of that name: in need that of the reserve.

        Raises StorageFull, OSError.
        """
        while True:
            try:
                return act()
            except OSError as error:
                if error.errno not in FULL_CODES:
                    raise
                if not self.release():
                    path = self._environment.path / name
                    raise StorageFull(f"no space left for {path}: {error.strerror}") from error


def demand_of(writes: Sequence[GroupWrite]) -> Demand:
    """Of one transaction."""
    data_bytes, share = 0, 1.0
    for write in writes:
        if write.entries:
            data_bytes += write.entry_bytes + _ENTRY_BYTES * len(write.entries)
            share = ENTRIES_SHARE
        for chunk in write.stage:
            data_bytes += len(chunk.data)
            if chunk.cursor or chunk.next_cursor is not None:
                share = min(share, SNAPSHOT_SHARE)
    return Demand(data_bytes, share)
