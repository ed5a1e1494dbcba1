"""A node's disk: what outlives its process.

Law: a write is there, whole, from the moment its latency is over, and only then is its writer told. A crash keeps all
or nothing of the write under way; the disk is then read anew from what it had been given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import outcome

from cluster.raft.runtime import WriteOutcome
from cluster.raft.storage import GroupWrite
from cluster.store.memory import MemoryStore
from tests.simulation.agenda import Agenda

Done = Callable[[WriteOutcome], None]


class Disk:
    """`store` is what the process of the moment sees."""

    forgets = False
    """Planted: a write is reported as done while it is in the cache, which a crash empties."""

    def __init__(self, agenda: Agenda, random: Random, first: Sequence[GroupWrite]) -> None:
        self.incarnation = 0
        self.latency_seconds = 0.002
        self.store = MemoryStore()
        self._agenda = agenda
        self._random = random
        self._kept: list[Sequence[GroupWrite]] = [first]
        """What is safe, in order."""
        self._cached: list[Sequence[GroupWrite]] = []
        self._under_way: list[Sequence[GroupWrite]] = []

    def start(self, when_awake: Callable[[Callable[[], None]], None]) -> DiskWriter:
        """A process opens it. `when_awake` runs an act in that process, once it is not paused."""
        self.incarnation += 1
        self.store = MemoryStore()
        for writes in self._kept:
            self.store.write(writes)
        return DiskWriter(self, when_awake)

    def crash(self) -> None:
        """The process is gone."""
        self.incarnation += 1
        if self._random.random() < 0.5:
            self._kept += self._under_way
        self._under_way.clear()
        self._cached.clear()

    def fill(self, room_bytes: int) -> None:
        """From now on so much more goes onto it."""
        self.store.bytes_max = self.store.used_bytes() + room_bytes

    def empty(self) -> None:
        """There is space again."""
        self.store.bytes_max = None

    def begin(self, writes: Sequence[GroupWrite], end: Callable[[], None]) -> None:
        """`end` runs when the time that a write takes is over, unless the process is gone then."""
        incarnation = self.incarnation
        self._under_way.append(writes)

        def ended() -> None:
            if incarnation == self.incarnation:
                self._under_way.remove(writes)
                end()

        self._agenda.after(self.latency_seconds * self._random.uniform(0.5, 2), ended)

    def carry_out(self, writes: Sequence[GroupWrite]) -> None:
        """Raises what the store raises."""
        self.store.write(writes)
        self._cached.append(writes)
        if not self.forgets or len(self._cached) > 20:
            self._kept += self._cached
            self._cached.clear()


class DiskWriter:
    """The `Writer` of one process."""

    def __init__(self, disk: Disk, when_awake: Callable[[Callable[[], None]], None]) -> None:
        self._disk = disk
        self._when_awake = when_awake

    def submit(self, writes: Sequence[GroupWrite], done: Done) -> None:
        disk = self._disk

        def end() -> None:
            result = outcome.capture(disk.carry_out, writes)
            self._when_awake(lambda: done(WriteOutcome(disk.latency_seconds, result)))

        disk.begin(writes, end)

    def close(self) -> None:
        """Nothing to give back."""
