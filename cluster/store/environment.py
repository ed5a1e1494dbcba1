"""An LMDB environment whose map grows, and whose errors are ours.

Law: `write` is one transaction and is on the platter when it returns: pages by fdatasync, then the meta page by
O_DSYNC (`sync` and `metasync` on). No writable map: a full disk must be an error of a write and not a SIGBUS.
Every commit carries its own number inside its trees, so that a root that leads to older pages is found out.
The map is only replaced while no reader is inside `read` (the gate); readers are short, and nobody else waits.
After the device failed once, nothing is written any more: what is in the page cache can no longer be believed.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import lmdb

from cluster.raft.storage import StorageCorrupt, StorageError, StorageFull, StorageIO
from cluster.store.directory import DATA_NAME

Result = TypeVar("Result")

_STAMP = struct.Struct(">Q")
_ENGINE = 0
"""LMDB 0.9, whose data format is the one that is looked at before it is opened. The binding holds another one, too, and
which of them makes a new file may be set from outside."""
_SHORT_WRITE_BYTES_MAX = 16 << 20
"""An entry's payload is one write; so much is left at most after one that came short."""
FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CORRUPT_ERRORS = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.PageFullError,
    lmdb.CursorFullError,
    lmdb.BadTxnError,
)
"""What LMDB says of a damaged or foreign file; the last, of a transaction that met damage before."""


class MapIsFull(StorageFull):
    """The file is as large as it may be, and has no room in one piece for what was to be written."""


def translate(error: lmdb.Error, path: Path) -> StorageError:
    """One of our errors for one of LMDB's."""
    if isinstance(error, _CORRUPT_ERRORS):
        return StorageCorrupt(f"{path / DATA_NAME} is damaged: {error.reason or error.what}")
    if error.code in FULL_CODES:
        return StorageFull(f"no space left for {path / DATA_NAME}: {os.strerror(error.code)}")
    if isinstance(error, lmdb.TxnFullError):
        return StorageFull(f"one write touches too many pages of {path / DATA_NAME}")
    return StorageIO(f"{path / DATA_NAME} failed: {error}")


class GrowingEnvironment:
    """LMDB in `path`, `map_size` bytes of map at first, doubled when it is full, up to `map_size_max`.

    `reserve_bytes` come on top of that for what gives space back: LMDB needs a few new pages even to delete.
    Raises StorageCorrupt, StorageIO when it cannot open.
    """

    def __init__(self, path: Path, *, map_size: int, map_size_max: int, reserve_bytes: int, databases_max: int) -> None:
        assert 0 < map_size <= map_size_max
        self.path = path
        self.map_size_max = map_size_max
        self.reserve_bytes = reserve_bytes
        self.grow_count = 0
        self._gate = threading.Lock()
        self._failure: StorageIO | None = None
        self._stamped: tuple[lmdb._Database, bytes] | None = None
        try:
            self._env = lmdb.open(
                str(path),
                map_size=map_size,
                max_dbs=databases_max,
                max_spare_txns=1,
                readahead=False,
                mode=0o750,
                lib_version=_ENGINE,
            )
        except lmdb.Error as error:
            if error.code == 0:  # py-lmdb itself, which looks at the file first: no format that it knows
                raise StorageCorrupt(f"{path / DATA_NAME} is damaged: {error.what}") from error
            raise translate(error, path) from error
        self._page_size: int = self._env.stat()["psize"]
        self._pad()
        self._flush()

    def _flush(self) -> None:
        """The last commit of a killed process may be in the page cache alone, and whoever reads it builds on it."""
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise translate(error, self.path) from error

    def _pad(self) -> None:
        """Give a file that was cut off its length back: reading a missing page is then a checksum error and
        not a SIGBUS. (LMDB may end a healthy file early too, when the last pages it took were unused.)"""
        data = self.path / DATA_NAME
        size = self.file_bytes
        if data.stat().st_size < size:
            os.truncate(data, size)

    @property
    def map_size(self) -> int:
        """Bytes of address space that the file may fill at the moment."""
        return self._env.info()["map_size"]

    def open_databases(self, names: list[bytes]) -> list[lmdb._Database]:
        """Handles that stay valid until `close`; what is missing is created in one transaction,
        while nobody reads.

        Raises StorageFull, StorageIO, StorageCorrupt.
        """
        return self._growing(lambda: self._open_all(names), self.map_size_max + self.reserve_bytes)

    def _open_all(self, names: list[bytes]) -> list[lmdb._Database]:
        with self._gate, self._env.begin(write=True) as txn:
            before = txn.stat()["entries"]
            handles = [self._env.open_db(name, txn=txn) for name in names]
            if txn.stat()["entries"] != before:
                self._stamp(txn)
            return handles

    def stamp_with(self, database: lmdb._Database, key: bytes) -> None:
        """From now on every commit leaves its number under `key`, in a database that nearly every write touches.

        Raises StorageCorrupt if what is there is not of the last commit.
        """
        with self.read() as txn:
            found = txn.get(key, db=database)
            stamp = bytes(found) if found is not None else None
            is_empty = txn.stat(database)["entries"] == 0
        last = self._env.info()["last_txnid"]
        # The first commit of all makes the database itself. One that has contents and no stamp is of an older program.
        if (stamp is None and is_empty and last > 1) or stamp not in (None, _STAMP.pack(last)):
            raise StorageCorrupt(f"{self.path / DATA_NAME} is damaged: its trees are not those of its last commit")
        self._stamped = (database, key)

    def _stamp(self, txn: lmdb.Transaction[bytes]) -> None:
        if self._stamped is not None:
            database, key = self._stamped
            txn.put(key, _STAMP.pack(txn.id()), db=database)

    @property
    def has_failed(self) -> bool:
        """Will every write fail from now on?"""
        return self._failure is not None

    def fail(self, error: StorageIO) -> None:
        """The device failed under somebody else, beside this file."""
        self._failure = error

    @contextmanager
    def read(self) -> Iterator[lmdb.Transaction[memoryview]]:
        """A read transaction of the last durable state, to be left quickly; no view of it may be kept.

        Raises StorageCorrupt, StorageIO.
        """
        with self._gate:
            try:
                with self._env.begin(buffers=True) as txn:
                    yield txn
            except lmdb.Error as error:
                raise translate(error, self.path) from error

    def write(self, body: Callable[[lmdb.Transaction[bytes]], Result], *, file_max: int | None = None) -> Result:
        """Run `body` in a write transaction, again if the map had to grow, and make it durable. The file grows up to
        `file_max` bytes for it; None: to the end of what is reserved.

        Raises StorageFull (nothing took effect), StorageIO (and ever after), StorageCorrupt.
        """
        limit = self.map_size_max + self.reserve_bytes if file_max is None else file_max
        smallest = max(limit, self.file_bytes)
        if self.map_size > smallest:
            self._resize(smallest)
        return self._growing(lambda: self._transact(body), limit)

    def refusal(self) -> MapIsFull:
        """To be raised for what has no room."""
        return MapIsFull(f"{self.path / DATA_NAME} reached its configured maximum of {self.map_size_max} bytes")

    @property
    def file_bytes(self) -> int:
        """Up to the last page that was ever used."""
        return (self._env.info()["last_pgno"] + 1) * self._page_size

    def turn(self) -> None:
        """Commit nothing, if there is room for that: what one transaction has freed is there for the next but one, and
        a next that needs it would be refused for ever. Raises StorageIO, StorageCorrupt."""
        with suppress(StorageFull):
            self.write(lambda _: None)

    def _transact(self, body: Callable[[lmdb.Transaction[bytes]], Result]) -> Result:
        with self._env.begin(write=True) as txn:
            result = body(txn)
            self._stamp(txn)
            return result

    def _growing(self, act: Callable[[], Result], limit: int) -> Result:
        """What `act` returns, however often the map had to grow for it, up to `limit` bytes."""
        if self._failure is not None:
            raise self._failure
        while True:
            try:
                return act()
            except lmdb.MapFullError as error:
                size = self.map_size
                if size >= limit:
                    raise self.refusal() from error
                self._resize(min(size * 2, limit))
                self.grow_count += 1
            except lmdb.Error as error:
                if error.code == errno.EIO and self._has_no_space():
                    # LMDB calls a write that came short an I/O error (mdb_page_flush).
                    raise StorageFull(f"no space left for {self.path / DATA_NAME}: a write came short") from error
                translated = translate(error, self.path)
                if isinstance(translated, StorageIO):
                    self._failure = translated
                raise translated from error

    def _has_no_space(self) -> bool:
        """Whether the file system may have had less than a single write of LMDB needs.

        A device that fails may be full, too. It is not believed for that: the transaction is void, the next one
        writes and syncs all its pages anew, and LMDB itself refuses everything after a meta page that failed.
        """
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize < _SHORT_WRITE_BYTES_MAX

    def _resize(self, map_size: int) -> None:
        """Replace the map while nobody reads. LMDB never makes it smaller than what is in use."""
        with self._gate:
            self._env.set_mapsize(map_size)

    def page_counts(self, databases: list[lmdb._Database]) -> tuple[int, int, int]:
        """(pages in use, pages free, bytes of a page), given every named database. Pages of the free list
        itself count as free."""
        with self.read() as txn:
            stats = [txn.stat(), *(txn.stat(database) for database in databases)]
            total = self._env.info()["last_pgno"] + 1
        used = 2 + sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return used, max(0, total - used), stats[0]["psize"]

    def close(self) -> None:
        """Drop the map. Nothing may be read or written afterwards."""
        with self._gate:
            self._env.close()
