"""A file that takes space while there is some, to give it back when there is none.

Law: it holds nothing. When the disk is full it goes, so that what consumers settle, votes and marks can still be
written while publishers are blocked; when there is room again it comes back. Where it cannot be made, there is none.
"""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_NAME = "reserve"
ROOM_FACTOR = 4
"""So many times its size must be free before it comes back: else it would be what fills the disk."""


class Reserve:
    """`size` bytes in `directory`; 0 means none."""

    def __init__(self, directory: Path, size: int) -> None:
        self._file = directory / RESERVE_NAME
        self._size = size

    def keep(self, free_bytes: int) -> None:
        """To be called now and then: make it if it is not there and there is room."""
        if not self._size or free_bytes < ROOM_FACTOR * self._size or self._file.exists():
            return
        draft = self._file.with_suffix(".new")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
            draft.rename(self._file)
        except OSError:
            draft.unlink(missing_ok=True)

    def release(self, free_bytes: int) -> bool:
        """Give its space back, if that is what is missing. True if there is more room now."""
        if free_bytes >= self._size or not self._file.exists():
            return False
        self._file.unlink()
        return True
