"""A `GroupWrite` as LMDB operations.

Law: `after` has allowed the write before anything here runs; what is here only moves records. The fields are
carried out in their order, inside the caller's transaction, and nothing outside of it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import lmdb

from cluster.raft.storage import EMPTY_SNAPSHOT, GroupWrite, Health, SnapshotChunk
from cluster.raft.types import Entry, GroupId, LogIndex, SnapshotMeta
from cluster.store.chunk import INDEX_PART, chunk_records, key_position, log_key, part_key, split_index
from cluster.store.lmdb_group import HARD_STATE, HEAD, NEW_HEAD, Slots, state_key
from cluster.store.record import SnapshotHead, decode_term, encode_entry, encode_hard_state, encode_head
from cluster.store.state import GroupState


class GroupWriter:
    """The operations of one write of one group; `head` moves along."""

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        state: lmdb._Database,
        slots: Slots,
        group: GroupId,
        head: SnapshotHead,
    ) -> None:
        self._txn = txn
        self._state = state
        self._slots = slots
        self._group = group
        self.head = head

    def apply(self, write: GroupWrite, accepted: Sequence[SnapshotChunk]) -> None:
        """Carry out `write`, of whose chunks only `accepted` are new.

        Raises StorageCorrupt for a damaged chunk, and what LMDB raises.
        """
        if write.forget:
            self._empty(NEW_HEAD)
        if write.health is not None:
            self._become(write.health)
        for chunk in accepted:
            self._stage(chunk)
        if write.install is not None:
            self._install(write.install)
        slot = self._slots[self.head.slot]
        if write.truncate_from is not None:
            self._truncate(slot, write.truncate_from)
        for entry in write.entries:
            key = log_key(entry.index)
            assert self._txn.put(key, encode_entry(self._group, entry), append=True, db=slot)
        if write.snapshot is not None:
            self._snapshot(slot, *write.snapshot)
        for index in write.delete_entries:
            self._txn.delete(log_key(index), db=slot)
        for entry in write.replace_entries:
            self._replace(slot, entry)

    def put_hard_state(self, state: GroupState) -> None:
        """Term and vote, and where the log ends: a log that lost its end is found out."""
        record = encode_hard_state(self._group, state.hard_state, state.last_index)
        self._txn.put(state_key(self._group, HARD_STATE), record, db=self._state)

    def make_known(self, state: GroupState) -> None:
        """A group exists once its head and its hard state are stored, whatever its first write brings."""
        if self._txn.get(state_key(self._group, HEAD), db=self._state) is None:
            self._put_head(self.head)
            self.put_hard_state(state)

    def _become(self, health: Health) -> None:
        match health:
            case Health.DAMAGED:
                self._put_head(SnapshotHead(self.head.slot, 0, EMPTY_SNAPSHOT, health))
            case Health.REBUILDING:
                self._empty(replace(NEW_HEAD, health=health))
            case Health.SOUND:
                self._put_head(replace(self.head, health=health))

    def _put_head(self, head: SnapshotHead) -> None:
        self._txn.put(state_key(self._group, HEAD), encode_head(self._group, head), db=self._state)
        self.head = head

    def _empty(self, head: SnapshotHead) -> None:
        for slot in self._slots:
            self._txn.drop(slot, delete=False)
        self._put_head(head)

    def _stage(self, chunk: SnapshotChunk) -> None:
        """Checked records go into the other slot, in the form and place they will be read from."""
        slot = self._slots[1 - self.head.slot]
        if chunk.cursor == b"":
            self._txn.drop(slot, delete=False)
        for key, record in chunk_records(self._group, chunk.data):
            self._txn.put(key, record, db=slot)

    def _install(self, meta: SnapshotMeta) -> None:
        """The other slot becomes the group's own. No record is copied."""
        slot = 1 - self.head.slot
        self._txn.drop(self._slots[self.head.slot], delete=False)
        self._put_head(SnapshotHead(slot, self._count_parts(self._slots[slot]), meta, self.head.health))

    def _count_parts(self, slot: lmdb._Database) -> int:
        with self._txn.cursor(slot) as cursor:
            found = cursor.prev() if cursor.set_range(log_key(0)) else cursor.last()
            if not found:
                return 0
            kind, position = key_position(cursor.key())
            assert kind == INDEX_PART
            return position + 1

    def _truncate(self, slot: lmdb._Database, first: LogIndex) -> None:
        with self._txn.cursor(slot) as cursor:
            found = cursor.set_range(log_key(first))
            keys = list(cursor.iternext(keys=True, values=False)) if found else []
        for key in keys:
            self._txn.delete(key, db=slot)

    def _snapshot(self, slot: lmdb._Database, meta: SnapshotMeta, index: bytes) -> None:
        part_count = 0
        for key, record in split_index(self._group, index):
            self._txn.put(key, record, db=slot)
            part_count += 1
        for part in range(part_count, self.head.part_count):
            self._txn.delete(part_key(part), db=slot)
        self._put_head(SnapshotHead(self.head.slot, part_count, meta, self.head.health))

    def _replace(self, slot: lmdb._Database, entry: Entry) -> None:
        """A payload that is gone stays gone, and one that stays keeps its term."""
        with self._txn.cursor(slot) as cursor:
            if cursor.set_key(log_key(entry.index)):
                term = decode_term(self._group, entry.index, cursor.value())
                cursor.put(log_key(entry.index), encode_entry(self._group, replace(entry, term=term)))
