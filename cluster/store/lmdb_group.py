"""One group inside LMDB: where its records are, and how they are read.

Law: a group has two slots, a database each; the state database says which one is its own, and the other holds
nothing or a snapshot being received. Everything a read needs comes from one short transaction, so a snapshot
installed by the writer thread is seen whole or not at all. Nothing that was read is believed before its checksum.
The end of the log may still be in the journal: its tail is looked at before LMDB, which has it before it goes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import lmdb

from cluster.raft.storage import EMPTY_SNAPSHOT, Health, InitialState, SnapshotChunk, StorageCorrupt
from cluster.raft.types import Entry, GroupId, HardState, LogIndex, SnapshotMeta, Term
from cluster.store.chunk import LOG, check_record, cut_chunk, decode_part, key_position, log_key, part_key
from cluster.store.environment import GrowingEnvironment
from cluster.store.record import (
    ENTRY_HEADER_SIZE,
    Buffer,
    SnapshotHead,
    decode_data,
    decode_entry,
    decode_hard_state,
    decode_head,
    decode_term,
)
from cluster.store.state import NEW_HARD_STATE, GroupState, check_in_log
from cluster.store.tail import Tail

STATE_NAME = b"state"
NODE_NAME = b"node"
_STATE_KEY = struct.Struct(">IB")
HARD_STATE = 0
HEAD = 1
COMMIT_KEY = _STATE_KEY.pack(0xFFFFFFFF, 0)
"""Key of the number of the last commit in the state database: no group's."""
_BEHIND_ALL = b"\xff" * 9
"""After every key of a group."""
NEW_HEAD = SnapshotHead(0, 0, EMPTY_SNAPSHOT)

Slots = tuple["lmdb._Database", "lmdb._Database"]


def state_key(group: GroupId, kind: int) -> bytes:
    """Key of HARD_STATE or HEAD of a group in the state database."""
    return _STATE_KEY.pack(group, kind)


def group_of_state(key: Buffer) -> GroupId:
    """The group whose state stands under `key`."""
    return GroupId(_STATE_KEY.unpack(key)[0])


def slot_names(group: GroupId) -> list[bytes]:
    """Names of the two databases of a group."""
    return [b"group/%d/%d" % (group, slot) for slot in (0, 1)]


def group_of(name: bytes) -> GroupId | None:
    """The group a database belongs to, if it is a slot."""
    kind, _, rest = name.partition(b"/")
    return GroupId(int(rest.partition(b"/")[0])) if kind == b"group" else None


def last_index(txn: lmdb.Transaction[Buffer], slot: lmdb._Database, snapshot: SnapshotMeta) -> LogIndex:
    """Index of the last entry of a slot, or of its snapshot if that is later."""
    with txn.cursor(slot) as cursor:
        if cursor.last():
            kind, position = key_position(cursor.key())
            if kind == LOG and position > snapshot.index:
                return LogIndex(position)
    return snapshot.index


def load_head(txn: lmdb.Transaction[Buffer], state: lmdb._Database, group: GroupId) -> SnapshotHead:
    """Head of a group's snapshot; NEW_HEAD before it was bootstrapped. Raises StorageCorrupt."""
    record = txn.get(state_key(group, HEAD), db=state)
    return decode_head(group, record) if record is not None else NEW_HEAD


def load_hard_state(
    txn: lmdb.Transaction[Buffer], state: lmdb._Database, group: GroupId
) -> tuple[HardState, LogIndex | None]:
    """Term and vote of a group, and where its log ends if that is known. Raises StorageCorrupt."""
    record = txn.get(state_key(group, HARD_STATE), db=state)
    if record is not None:
        return decode_hard_state(group, record)
    if txn.get(state_key(group, HEAD), db=state) is not None:
        raise StorageCorrupt(f"group {group}: the hard state is missing")
    return NEW_HARD_STATE, None


def load_state(
    txn: lmdb.Transaction[Buffer], state: lmdb._Database, slots: Slots, group: GroupId
) -> tuple[GroupState, SnapshotHead]:
    """A group as the last write left it, nothing being received. Raises StorageCorrupt."""
    hard_state, written_last = load_hard_state(txn, state, group)
    head = load_head(txn, state, group)
    if head.health is Health.DAMAGED:
        return GroupState(hard_state, health=head.health), head
    last = last_index(txn, slots[head.slot], head.meta)
    is_known = txn.get(state_key(group, HARD_STATE), db=state) is not None
    if is_known != (txn.get(state_key(group, HEAD), db=state) is not None) or (last and not is_known):
        raise StorageCorrupt(f"group {group}: the snapshot's meta is missing")
    if written_last not in (None, last):
        raise StorageCorrupt(f"group {group}: the log ends at entry {last}, but was written up to {written_last}")
    return GroupState(hard_state, head.meta, last, health=head.health), head


class LmdbGroup:
    """`GroupStorage` of one group; `slots` and `tails` are shared with the store, which adds a group to the one at its
    first write, and to the other while the journal has something of it."""

    def __init__(
        self,
        group: GroupId,
        environment: GrowingEnvironment,
        state: lmdb._Database,
        slots: dict[GroupId, Slots],
        tails: dict[GroupId, Tail],
    ) -> None:
        self._group = group
        self._environment = environment
        self._state = state
        self._slots = slots
        self._tails = tails
        # The head as it was read last, and what it decoded to: it changes once a snapshot, and is asked for
        # by every read.
        self._decoded: tuple[bytes, SnapshotHead] = (b"", NEW_HEAD)

    def initial_state(self) -> InitialState:
        slots = self._slots.get(self._group)
        if slots is None:
            return GroupState().initial_state()
        tail = self._tails.get(self._group)
        if tail is not None:
            return tail.state().initial_state()
        with self._environment.read() as txn:
            return load_state(txn, self._state, slots, self._group)[0].initial_state()

    def hard_state(self) -> HardState:
        tail = self._tails.get(self._group)
        if tail is not None:
            return tail.hard_state
        with self._environment.read() as txn:
            return load_hard_state(txn, self._state, self._group)[0]

    def term(self, index: LogIndex) -> Term:
        tail = self._tails.get(self._group)
        if tail is not None and index in tail:
            return tail.entry(index).term
        with self._environment.read() as txn:
            head, slot = self._open(txn)
            if index == head.meta.index:
                return head.meta.term
            self._check_in_log(txn, head, slot, tail, index, index)
            return decode_term(self._group, index, self._record(txn, slot, index))

    def entries(self, first_index: LogIndex, end_index: LogIndex, max_bytes: int) -> list[Entry]:
        found: list[Entry] = []
        if first_index >= end_index:
            return found
        tail = self._tails.get(self._group)
        with self._environment.read() as txn:
            head, slot = self._open(txn)
            self._check_in_log(txn, head, slot, tail, first_index, LogIndex(end_index - 1))
            size = 0
            for index in range(first_index, end_index):
                if tail is not None and index >= tail.first:
                    entry = tail.entry(LogIndex(index))
                    size += len(entry.data)
                    if found and size > max_bytes:
                        break
                    found.append(entry)
                    continue
                record = self._record(txn, slot, LogIndex(index))
                size += len(record) - ENTRY_HEADER_SIZE
                if found and size > max_bytes:
                    break
                found.append(decode_entry(self._group, index, record))
        return found

    def snapshot_meta(self) -> SnapshotMeta:
        with self._environment.read() as txn:
            return self._open(txn)[0].meta

    def snapshot_index(self) -> bytes:
        with self._environment.read() as txn:
            head, slot = self._open(txn)
            parts: list[bytes] = []
            for part in range(head.part_count):
                record = txn.get(part_key(part), db=slot)
                if record is None:
                    raise StorageCorrupt(f"group {self._group}: part {part} of the snapshot's index is missing")
                parts.append(decode_part(self._group, part, record))
        return b"".join(parts)

    def payload(self, index: LogIndex) -> bytes | None:
        tail = self._tails.get(self._group)
        if tail is not None and index >= tail.first:
            return tail.entry(index).data if index in tail else None
        with self._environment.read() as txn:
            _, slot = self._open(txn)
            record = txn.get(log_key(index), db=slot) if slot is not None else None
            return decode_data(self._group, index, record) if record is not None else None

    def payload_indexes(self) -> Sequence[LogIndex]:
        found: list[LogIndex] = []
        with self._environment.read() as txn:
            head, slot = self._open(txn)
            if slot is not None:
                with txn.cursor(slot) as cursor:
                    if cursor.set_range(log_key(0)):
                        for key in cursor.iternext(keys=True, values=False):
                            position = key_position(key)[1]
                            if position > head.meta.index:
                                break
                            found.append(LogIndex(position))
        return found

    def snapshot_chunk(self, meta: SnapshotMeta, cursor: bytes, max_bytes: int) -> SnapshotChunk | None:
        with self._environment.read() as txn:
            head, slot = self._open(txn)
            if head.meta != meta:
                return None
            return cut_chunk(cursor, self._records_from(txn, slot, cursor, log_key(head.meta.index + 1)), max_bytes)

    def check(self, cursor: bytes, max_bytes: int) -> bytes | None:
        left = max_bytes
        with self._environment.read() as txn:
            _, slot = self._open(txn)
            for key, record in self._records_from(txn, slot, cursor, _BEHIND_ALL):
                if left <= 0:
                    return bytes(key)
                left -= len(record)
        return None

    def _records_from(
        self,
        txn: lmdb.Transaction[memoryview],
        slot: lmdb._Database | None,
        start: bytes,
        end: bytes,
    ) -> Iterator[tuple[Buffer, Buffer]]:
        if slot is None:
            return
        with txn.cursor(slot) as cursor:
            if not cursor.set_range(start or part_key(0)):
                return
            for key, record in cursor:
                if bytes(key) >= end:
                    return
                check_record(self._group, key, record)
                yield key, record

    def _open(self, txn: lmdb.Transaction[memoryview]) -> tuple[SnapshotHead, lmdb._Database | None]:
        """The group's head, and the slot it names; None for a group nobody wrote to, or whose contents are damaged."""
        slots = self._slots.get(self._group)
        if slots is None:
            return NEW_HEAD, None
        found = txn.get(state_key(self._group, HEAD), db=self._state)
        record = bytes(found) if found is not None else b""
        known, head = self._decoded
        if record != known:
            head = decode_head(self._group, record) if record else NEW_HEAD
            self._decoded = (record, head)
        return head, slots[head.slot] if head.health is not Health.DAMAGED else None

    def _check_in_log(
        self,
        txn: lmdb.Transaction[memoryview],
        head: SnapshotHead,
        slot: lmdb._Database | None,
        tail: Tail | None,
        first: LogIndex,
        last: LogIndex,
    ) -> None:
        if tail is not None:
            end = tail.last_index
        else:
            end = last_index(txn, slot, head.meta) if slot is not None else head.meta.index
        for index in (first, last):
            check_in_log(self._group, index, first_index=head.meta.index + 1, last_index=end)

    def _record(self, txn: lmdb.Transaction[memoryview], slot: lmdb._Database | None, index: LogIndex) -> memoryview:
        record = txn.get(log_key(index), db=slot) if slot is not None else None
        if record is None:
            raise StorageCorrupt(f"group {self._group}: entry {index} is missing")
        return record
