"""A node's disk: what outlives its process.

Law: a write is there, whole, from the moment its latency is over, and only then is its writer told. A crash and an
error keep all or nothing of the write under way. What rots stays rotten, whoever reads it, until it is written anew.

A device that calls a write done too early may be left by a power cut with records of its last write damaged, and with
some that stood on the same pages. That leaves term and vote as they were written: where their record or a tree does not
read, the node finds its disk lost (`lose`). Where a whole write were missing nothing would tell, and that is not
survived: see `forgets`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import outcome

from cluster.raft.runtime import WriteOutcome
from cluster.raft.storage import GroupWrite, Health, StorageCorrupt, StorageFull, StorageIO
from cluster.raft.types import NOBODY, GroupId
from cluster.store.chunk import log_key, split_index
from cluster.store.memory import HARD_STATE_KEY, HEAD_KEY, MemoryStore
from tests.simulation.agenda import Agenda

Done = Callable[[WriteOutcome], None]
_NEIGHBOURS = 3
"""Entries before those of a write that were on the page it began with."""


class Disk:
    """`store` is what is on it. One process at a time has it open."""

    forgets = False
    """Planted: a write is reported as done while it is in the cache, which a crash empties."""

    def __init__(self, agenda: Agenda, random: Random, first: Sequence[GroupWrite]) -> None:
        self.incarnation = 0
        self.latency_seconds = 0.002
        self.is_even = False
        """Does every write take just that? Else half of it, or up to twice as long."""
        self.stalled = False
        """No write comes to an end."""
        self.broken = False
        """Every write ends in an I/O error, and whether it is there nobody knows."""
        self.errors = 0
        """Writes that ended so in the process of the moment."""
        self.damages = 0
        """Records that were damaged, ever."""
        self.is_lost = False
        """Can a term and a vote not be read any more?"""
        self.store = MemoryStore()
        self.store.write(first)
        self._latest = first
        """The last write that is there."""
        self._agenda = agenda
        self._random = random
        self._harm = Random()
        """A twin: what is damaged changes nothing else in the course of a seed."""
        self._harm.setstate(random.getstate())
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
                    self._write(writes)
        self._under_way.clear()
        self._held.clear()
        if self.forgets:
            self._cached.clear()
            self.store = MemoryStore()
            for writes in self._synced:
                self.store.write(writes)

    def tear(self) -> int:
        """After a crash: the last write that is there was not, wholly. How many records are damaged."""
        places = [(write.group, key) for write in self._latest for key in self._pages_of(write)]
        torn = self._harm.sample(places, self._harm.randint(min(1, len(places)), len(places)))
        for group, key in torn:
            self.damage(group, key)
        return len(torn)

    def lose(self, group: GroupId) -> None:
        """Term and vote of a group are not what was written any more."""
        self.is_lost = True
        self.damage(group, HARD_STATE_KEY)

    def damage(self, group: GroupId, key: bytes) -> None:
        """Some bytes of a record become others."""
        record = self.store.group(group).record(key)
        if record is None:
            return
        first = self._harm.randrange(len(record))
        count = self._harm.randint(1, len(record) - first)
        instead = bytes(count) if self._harm.random() < 0.5 else self._harm.randbytes(count)
        if instead == record[first : first + count]:
            instead = bytes([record[first] ^ 1]) + instead[1:]
        self.store.damage(group, key, record[:first] + instead + record[first + count :])
        self.damages += 1

    def _pages_of(self, write: GroupWrite) -> list[bytes]:
        """Keys of the records that a write put there, and of those beside them."""
        contents = self.store.group(write.group).contents
        keys = [log_key(entry.index) for entry in (*write.entries, *write.replace_entries)]
        if write.entries:
            before = [index for index in contents.log if index < write.entries[0].index]
            keys += [log_key(index) for index in before[-_NEIGHBOURS:]]
        if write.snapshot is not None or write.install is not None:
            keys += [key for key, _ in split_index(write.group, contents.index)]
        if write.snapshot is not None or write.install is not None or write.health is not None:
            keys.append(HEAD_KEY)
        return keys

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

        spread = 1.0 if self.is_even else self._random.uniform(0.5, 2)
        self._agenda.after(self.latency_seconds * spread, ended)

    def carry_out(self, writes: Sequence[GroupWrite]) -> None:
        """Raises what the store raises, and StorageIO."""
        if self.broken:
            self.errors += 1
            if self._random.random() < 0.5:
                with suppress(StorageFull, StorageCorrupt):
                    self._write(writes)
            raise StorageIO("input/output error")
        self._write(writes)
        if self.forgets:
            self._cached.append(writes)
            if len(self._cached) > 20:
                self._synced += self._cached
                self._cached.clear()

    def _write(self, writes: Sequence[GroupWrite]) -> None:
        for write in writes:
            self._check_vote(write)
        self.store.write(writes)
        self._latest = writes

    def _check_vote(self, write: GroupWrite) -> None:
        """A replica whose contents are damaged promises nothing to anybody."""
        before, wanted = self.store.group(write.group).state, write.hard_state
        health = before.health if write.health is None else write.health
        if health is Health.SOUND or wanted is None or wanted.vote == NOBODY:
            return
        known = before.hard_state
        assert (wanted.term, wanted.vote) == (known.term, known.vote), (
            f"group {write.group}: a damaged replica votes for node {wanted.vote} in term {wanted.term}"
        )


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
