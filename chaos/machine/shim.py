"""Orders to the shim that is preloaded into a node (shim.c), and what a power failure leaves of a disk.

Law: a node hears an order at its next sync or look at the clock. After `Disk.lose_power`, which is for a dead node
only, each page that was written and not synced has, sector by sector, what it had before or what was written.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from cluster.store.directory import DATA_NAME
from cluster.store.journal import JOURNAL_NAME

SOURCE = Path(__file__).with_name("shim.c")
SECTOR_BYTES = 512
_PAGE_BYTES = 4096
_STALLED, _DELAY, _FAILING, _CLOCK = 0, 4, 8, 16
"""Offsets in shim.c's struct control."""
_HEAD = struct.Struct("=QQQ")


def missing_for_shim() -> str:
    """Why the shim cannot be built here; empty when it can."""
    return "" if shutil.which("gcc") else "not installed: gcc"


def build(directory: Path) -> Path:
    """The compiled shim. RuntimeError with what the compiler said."""
    target = directory / "shim.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return target


def of_store(store: Path) -> tuple[Path, ...]:
    """The files of a node's store that its disk is made of."""
    return store / DATA_NAME, store / JOURNAL_NAME


class Disk:
    """One node's shim: `files`, two at most, are what it watches, `directory` has its orders and what to undo."""

    def __init__(self, library: Path, files: Sequence[Path], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.files = files
        self._library = library
        self._undo = [directory / f"undo-{number}" for number in range(len(files))]
        self._boot = directory / "boot_id"
        self._boot.write_text(f"{uuid.uuid4()}\n")
        self._orders = directory / "control"
        self._orders.write_bytes(bytes(_PAGE_BYTES))
        with self._orders.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), _PAGE_BYTES)

    def environment(self) -> list[str]:
        """What to put before a command that is to run on this disk."""
        return [
            "env",
            f"LD_PRELOAD={self._library}",
            f"CHAOS_CONTROL={self._orders}",
            f"CHAOS_BOOT={self._boot}",
            *(f"CHAOS_DISK_{number}={file}" for number, file in enumerate(self.files)),
            *(f"CHAOS_UNDO_{number}={file}" for number, file in enumerate(self._undo)),
        ]

    def stall(self, *, stalled: bool) -> None:
        """Syncs do not return while it is so."""
        struct.pack_into("=i", self._page, _STALLED, int(stalled))

    def slow(self, seconds: float) -> None:
        """Each sync takes so much longer."""
        struct.pack_into("=i", self._page, _DELAY, int(seconds * 1e6))

    def fail(self, number: int) -> None:
        """Syncs and writes fail with this errno; 0: they do not."""
        struct.pack_into("=i", self._page, _FAILING, number)

    def shift_clock(self, seconds: float) -> None:
        """The node's wall clock is so far ahead of the machine's."""
        struct.pack_into("=q", self._page, _CLOCK, int(seconds * 1e9))

    @property
    def has_unsynced(self) -> bool:
        return any(undo.exists() and undo.stat().st_size > 0 for undo in self._undo)

    @property
    def has_files(self) -> bool:
        """Is there anything on it?"""
        return any(file.exists() for file in self.files)

    def lose_power(self, rng: random.Random) -> int:
        """Take back some of what was not synced; the machine starts anew. Returns how many sectors."""
        self._boot.write_text(f"{uuid.UUID(int=rng.getrandbits(128), version=4)}\n")
        return sum(_take_back(file, undo, rng) for file, undo in zip(self.files, self._undo, strict=True))

    def forget(self) -> None:
        """What is on the disk now is synced, as after a power failure. What a killed process left is not."""
        for undo in self._undo:
            undo.unlink(missing_ok=True)


def _take_back(path: Path, undo: Path, rng: random.Random) -> int:
    if not undo.exists() or not path.exists():
        return 0
    data, records, at = undo.read_bytes(), list[tuple[int, int, bytes]](), 0
    while at + _HEAD.size <= len(data):
        offset, size, length = _HEAD.unpack_from(data, at)
        old = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(old) < length:
            break  # the write it belongs to had not begun
        records.append((offset, size, old))
        at += _HEAD.size + length
    taken = 0
    with path.open("r+b") as file:
        for offset, size, old in reversed(records):
            if offset >= size and rng.random() < 0.5:
                os.truncate(file.fileno(), size)
            # Sectors of the disk, wherever in one the write began.
            start = 0
            while start < len(old):
                end = start + SECTOR_BYTES - (offset + start) % SECTOR_BYTES
                if rng.random() < 0.5:
                    file.seek(offset + start)
                    file.write(old[start:end])
                    taken += 1
                start = end
        file.flush()
        os.fsync(file.fileno())
    return taken
