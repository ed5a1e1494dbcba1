"""What lies in front of LMDB: the journal, and the tails of logs that are in it.

Law: a write is in the journal or in LMDB, and the journal's goes into LMDB with the next commit, which begins the
journal's next generation. While the disk is full nothing new goes to the journal: that it is full has to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.raft.storage import GroupWrite, StorageCorrupt
from cluster.raft.types import GroupId
from cluster.store.journal import Journal
from cluster.store.record import SnapshotHead
from cluster.store.state import GroupState, after
from cluster.store.tail import JOURNALED_BYTES_MAX, Tail, decode_writes, encode_writes, may_be_journaled, tail_of

Known = dict[GroupId, tuple[GroupState, SnapshotHead]]


RESERVE_SHARE = 4
"""The journal holds at most a fourth of what is reserved for writes that give space back: they take it along."""
HELD_BYTES_MAX = 1 << 20
"""What it holds at most in any case: the commit that takes it in is waited for by all that comes behind it."""


class Front:
    """Of the store in `directory`. `known` are its groups as they are with what the journal holds of them."""

    def __init__(self, directory: Path, reserve_bytes: int) -> None:
        self.tails: dict[GroupId, Tail] = {}
        """Of the groups of which the journal holds something."""
        self.damage = ""
        """What was wrong with the journal when it was opened."""
        self._directory = directory
        self._held_bytes_max = min(reserve_bytes // RESERVE_SHARE, HELD_BYTES_MAX)
        self._journal: Journal | None = None
        self._generation = 0
        """As LMDB has it; 0 before it has any."""
        self._is_refused = False
        """Was the last commit refused for want of space?"""

    def open(self, generation: int) -> list[list[GroupWrite]]:
        """What the journal holds of a generation, to be given to `take_up` in this order. Raises OSError.

        Where it is damaged nobody knows of which groups that was: `damage` is set, and `make` is to follow once it is
        durable that all of them are.
        """
        self._generation = generation
        try:
            self._journal = Journal(self._directory, generation)
        except StorageCorrupt as error:
            self.damage = str(error)
            return []
        records, self._journal.records = self._journal.records, []
        return [decode_writes(body) for body in records]

    def make(self) -> None:
        """An empty journal, in place of what is there. Raises OSError."""
        self._journal = Journal.made(self._directory, self._generation)

    def write(self, writes: Sequence[GroupWrite], known: Known) -> bool:
        """Whether `writes` are durable in the journal now, and `known` tells; otherwise they are to be committed.

        Raises StorageIO when nothing can be written any more.
        """
        journal = self._journal
        if journal is None or self._is_refused:
            return False
        size = 0
        for write in writes:
            of_group = known.get(write.group)
            if of_group is None or not may_be_journaled(write, of_group[0]):
                return False
            size += write.entry_bytes
        if size > JOURNALED_BYTES_MAX:
            return False
        moved = _moved(writes, known)
        body = encode_writes(writes)
        if not journal.has_room(len(body)) or journal.held_bytes + len(body) > self._held_bytes_max:
            return False
        try:
            journal.append(body)
        except OSError:
            return False
        self._add(writes, known, moved)
        return True

    def take_up(self, writes: Sequence[GroupWrite], known: Known) -> None:
        """The journal has held `writes` since before it was opened; their groups are known."""
        self._add(writes, known, _moved(writes, known))

    def _add(self, writes: Sequence[GroupWrite], known: Known, moved: Known) -> None:
        for write in writes:
            group = write.group
            self.tails[group] = (self.tails.get(group) or tail_of(*known[group])).after(write)
        known.update(moved)

    # ---- a commit of LMDB

    def waiting(self) -> list[GroupWrite]:
        """What the journal holds, for the commit."""
        return [tail.as_write(group) for group, tail in self.tails.items()]

    def stored(self, group: GroupId, known: Known) -> tuple[GroupState, SnapshotHead] | None:
        """The group as LMDB has it before the commit, if that is known."""
        tail = self.tails.get(group)
        return (tail.stored, tail.head) if tail is not None else known.get(group)

    @property
    def next_generation(self) -> int | None:
        """To be stored with the commit; None for one that ends no generation."""
        if self._journal is None:
            ends = bool(self.damage)
        else:
            ends = self._journal.is_used or self._generation == 0
        return self._generation + 1 if ends else None

    def refused(self) -> None:
        """The commit was, for want of space."""
        self._is_refused = True

    def committed(self) -> None:
        """The commit is durable."""
        self._is_refused = False
        following = self.next_generation
        self.tails.clear()
        if following is not None:
            self._generation = following
            if self._journal is not None:
                self._journal.begin(following)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


def _moved(writes: Sequence[GroupWrite], known: Mapping[GroupId, tuple[GroupState, SnapshotHead]]) -> Known:
    """The groups that `writes` move, as they are then. Raises AssertionError."""
    moved: Known = {}
    for write in writes:
        state, head = moved.get(write.group) or known[write.group]
        moved[write.group] = after(write.group, state, write), head
    return moved
