"""How much room of the data file a write may take.

Law: what brings data may use as many pages as make `map_size_max`, wherever in the file they are; the rest is for what
gives space back, which needs new pages first: a write copies what it changes. So what was reserved is not filled with
data once it has been used. A write that finds no room in one piece may have been too early for what was freed last, and
is tried again one transaction later; then it takes more of the file than it should, because a store that cannot delete
is full for ever. What had to be put into what is reserved, as it was under way already, is to be seen: publishers have
to be blocked then.
"""

from __future__ import annotations

from collections.abc import Callable

import lmdb

from cluster.raft.storage import GroupWrite, StorageFull
from cluster.store.directory import DataDirectory
from cluster.store.environment import FULL_CODES, GrowingEnvironment, MapIsFull, Result
from cluster.store.reserve import Reserve

DATA_SHARE = 0.25
"""Of `reserve_bytes`, what data may use beyond `map_size_max`."""
DATA_FILE_SHARE = 0.5
"""The same of the file's end, where the pages that are free are not in one piece."""
LAST_FACTOR = 2
"""So many times `map_size_max` the file may become where nothing else helps to give space back. It does not, by far."""
_ENTRY_BYTES = 64
"""Of an entry beside its data."""
_COPIED_BYTES = 64 << 10
"""Pages that a write copies, about."""


class Space:
    """Of one store; `used_bytes` counts what is in use. Called by whoever writes to it."""

    def __init__(
        self,
        environment: GrowingEnvironment,
        reserve: Reserve,
        directory: DataDirectory,
        used_bytes: Callable[[], int],
    ) -> None:
        self.tight_bytes = 0
        """What was in use when data had to go into what is reserved; 0: it never had, since somebody set that."""
        self._environment = environment
        self._reserve = reserve
        self._directory = directory
        self._used_bytes = used_bytes

    def write(self, body: Callable[[lmdb.Transaction[bytes]], Result], data_bytes: int) -> Result:
        """What `body` returns; `data_bytes` is `data_bytes_of` what it writes, 0 for what gives space back.

        Raises what `GrowingEnvironment.write` does.
        """
        size, reserved = self._environment.map_size_max, self._environment.reserve_bytes
        limits = [size + reserved, LAST_FACTOR * size]
        if data_bytes:
            self._check_room(data_bytes + _COPIED_BYTES)
            limits = [size + int(reserved * DATA_FILE_SHARE), size + reserved]
        is_turned = False
        while True:
            try:
                return self._environment.write(body, file_max=limits[0])
            except MapIsFull:
                if not is_turned:
                    self._environment.turn()
                    is_turned = True
                    continue
                if data_bytes:
                    self.tight_bytes = self._used_bytes()
                del limits[0]
                if not limits:
                    raise
            except StorageFull:
                if not self.release():
                    raise

    def _check_room(self, wanted_bytes: int) -> None:
        environment = self._environment
        if environment.file_bytes + wanted_bytes <= environment.map_size_max:
            return
        used_bytes = self._used_bytes()
        beyond_bytes = used_bytes + wanted_bytes - environment.map_size_max
        if beyond_bytes > 0:
            self.tight_bytes = used_bytes
        if beyond_bytes > environment.reserve_bytes * DATA_SHARE:
            raise environment.is_full()

    def release(self) -> bool:
        """Give up the file that is kept for need. True if there is more room now."""
        return self._reserve.release(self._directory.free_bytes())

    def keep_reserve(self) -> None:
        """To be called now and then: see `Reserve.keep`."""
        self._reserve.keep(self._directory.free_bytes())

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


def data_bytes_of(write: GroupWrite) -> int:
    """About, of entries and of a foreign snapshot; 0 for writes that give space back, or need next to none."""
    size = sum([len(chunk.data) for chunk in write.stage])
    if write.entries:
        size += write.entry_bytes + _ENTRY_BYTES * len(write.entries)
    return size
