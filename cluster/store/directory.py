"""A node's data directory: who has it open, and which format is in it.

Law: one process at a time. The kernel holds the lock, so a killed process leaves none behind. A directory that
was in use once is never taken for a new one: a node that forgot its vote could vote twice.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cluster.raft.storage import StorageCorrupt, StorageError
from cluster.store.identity import check_format

LOCK_NAME = "lock"
FORMAT_NAME = "format"
DATA_NAME = "data.mdb"


class DirectoryInUse(StorageError):
    """Another process, or another store of this one, has the directory open."""


def lock_directory(path: Path) -> int:
    """The descriptor that holds the lock until it is closed. Raises DirectoryInUse."""
    descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise DirectoryInUse(f"{path} is in use by process {owner}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def flush_directory(path: Path) -> None:
    """Which names are in it is durable when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DataDirectory:
    """An open, locked data directory; made if it is not there.

    Raises DirectoryInUse, IdentityMismatch (a newer format), StorageCorrupt (the data file of a used directory
    is gone), OSError (no permission and the like).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = lock_directory(path)
        try:
            self.is_new = not self._check_format()
        except BaseException:
            os.close(self._lock)
            raise

    def _check_format(self) -> bool:
        """Whether the directory was in use before."""
        try:
            text = (self.path / FORMAT_NAME).read_text()
        except FileNotFoundError:
            return False
        if not text.strip().isdigit():
            raise StorageCorrupt(f"{self.path / FORMAT_NAME} does not hold a format version")
        check_format(int(text))
        data = self.path / DATA_NAME
        if not data.exists() or data.stat().st_size == 0:
            raise StorageCorrupt(f"{data} is gone, though {self.path} was in use")
        return True

    def mark_used(self, format_version: int) -> None:
        """From now on the data file must be there, and be read by who knows this format. Called when its first
        transaction is durable. Takes no space where there was a format before."""
        file = self.path / FORMAT_NAME
        if self.is_new:
            draft = file.with_suffix(".new")
            _write_durably(draft, "w", format_version)
            draft.rename(file)
            for directory in (self.path, self.path.parent):
                flush_directory(directory)
            self.is_new = False
        elif file.read_text() != f"{format_version}\n":
            _write_durably(file, "r+", format_version)

    def free_bytes(self) -> int:
        """What the file system still gives to this process."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._lock)


def _write_durably(path: Path, mode: str, format_version: int) -> None:
    with path.open(mode) as file:
        file.write(f"{format_version}\n")
        file.flush()
        os.fsync(file.fileno())
