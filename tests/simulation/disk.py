"""A node's disk: what outlives its process.

Law: a write is there, whole, from the moment its latency is over, and only then is its writer told. A crash and an
error keep all or nothing of the write under way. What rots stays rotten, whoever reads it, until it is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import outcome

from cluster.raft.runtime import WriteOutcome
from cluster.raft.storage import GroupWrite, StorageCorrupt, StorageFull, StorageIO
from cluster.store.memory import MemoryStore
from tests.simulation.agenda import Agenda

Done = Callable[[WriteOutcome], None]


class Disk:
    """`store` is what is on it. One process at a time has it open."""

    forgets = False
    """Planted: a write is reported as done while it is in the cache, which a crash empties."""

    def __init__(self, agenda: Agenda, random: Random, first: Sequence[GroupWrite]) -> None:
        self.incarnation = 0
        self.latency_seconds = 0.002
        self.stalled = False
        """No write comes to an end."""
        self.broken = False
        """Every write ends in an I/O error, and whether it is there nobody knows."""
        self.errors = 0
        """Writes that ended so in the process of the moment."""
        self.store = MemoryStore()
        self.store.write(first)
        self._agenda = agenda
        self._random = random
        self._under_way: list[Sequence[GroupWrite]] = []
        self._held: list[Callable[[], None]] = []
        """Ends of writes that wait for a stall to be over."""
        self._synced: list[Sequence[GroupWrite]] = [first]
        """Of a disk that forgets: what a crash leaves."""
        self._cached: list[Sequence[GroupWrite]] = []

    def start(self, when_awake: Callable[[Callable[[], None]], None]) -> DiskWriter:
        """A process opens it. `when_awake` runs an act in that process, once it is not paused."""
        self.incarnation += 1
        self.errors = 0
        return DiskWriter(self, when_awake)

    def crash(self) -> None:
        """The process is gone."""
        self.incarnation += 1
        if self._random.random() < 0.5:
            for writes in self._under_way:
                with suppress(StorageFull, StorageCorrupt):
                    self.store.write(writes)
        self._under_way.clear()
        self._held.clear()
        if self.forgets:
            self._cached.clear()
            self.store = MemoryStore()
            for writes in self._synced:
                self.store.write(writes)

    def fill(self, room_bytes: int) -> None:
        """From now on so much more goes onto it."""
        self.store.bytes_max = self.store.used_bytes() + room_bytes

    def empty(self) -> None:
        """There is space again."""
        self.store.bytes_max = None

    def go_on(self) -> None:
        """A stall is over."""
        self.stalled = False
        held, self._held = self._held, []
        for ended in held:
            self._agenda.after(0.0, ended)

    def begin(self, writes: Sequence[GroupWrite], end: Callable[[], None]) -> None:
        """`end` runs when the time that a write takes is over, unless the process is gone then."""
        incarnation = self.incarnation
        self._under_way.append(writes)

        def ended() -> None:
            if incarnation != self.incarnation:
                return
            if self.stalled:
                self._held.append(ended)
                return
            self._under_way.remove(writes)
            end()

        self._agenda.after(self.latency_seconds * self._random.uniform(0.5, 2), ended)

    def carry_out(self, writes: Sequence[GroupWrite]) -> None:
        """Raises what the store raises, and StorageIO."""
        if self.broken:
            self.errors += 1
            if self._random.random() < 0.5:
                with suppress(StorageFull, StorageCorrupt):
                    self.store.write(writes)
            raise StorageIO("input/output error")
        self.store.write(writes)
        if self.forgets:
            self._cached.append(writes)
            if len(self._cached) > 20:
                self._synced += self._cached
                self._cached.clear()


class DiskWriter:
    """The `Writer` of one process."""

    def __init__(self, disk: Disk, when_awake: Callable[[Callable[[], None]], None]) -> None:
        self._disk = disk
        self._incarnation = disk.incarnation
        self._when_awake = when_awake

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        disk = self._disk
        if self._incarnation != disk.incarnation:
            # The process is gone, and a step of it was still to be taken.
            return

        def end() -> None:
            result = outcome.capture(disk.carry_out, writes)
            self._when_awake(lambda: done(WriteOutcome(disk.latency_seconds, result)))

        disk.begin(writes, end)

    def close(self) -> None:
        """Nothing to give back."""
