"""One group's disk in memory: what was written is there, what was not is not.

Law: `apply` is the only way in and takes effect at once and whole. A crash is simply not calling it. It
checks what a store may assume of consensus: logs without gaps, truncation only inside the log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.raft.storage import (
    EMPTY_SNAPSHOT,
    Compacted,
    GroupWrite,
    Health,
    InitialState,
    SnapshotChunk,
    StorageCorrupt,
    Unavailable,
)
from cluster.raft.types import (
    NOBODY,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)


class Disk:
    """A `GroupStorage` with `apply`."""

    def __init__(self, configuration: Configuration) -> None:
        self.term_and_vote = HardState(Term(0), NOBODY, LogIndex(0))
        self.health = Health.SOUND
        self.is_damaged = False
        """Reading anything but term and vote fails."""
        self.meta = SnapshotMeta(LogIndex(0), Term(0), configuration)
        self.index = b""
        self.log: list[Entry] = []
        self.payloads: dict[LogIndex, bytes] = {}
        self.staged: dict[str, str] = {}
        self.staged_meta: SnapshotMeta | None = None
        self.staged_next: bytes | None = b""
        self.reads = 0

    @property
    def is_sound(self) -> bool:
        return self.health is Health.SOUND and not self.is_damaged

    @property
    def first_index(self) -> LogIndex:
        return LogIndex(self.meta.index + 1)

    @property
    def last_index(self) -> LogIndex:
        return LogIndex(self.meta.index + len(self.log))

    # -- the write side

    def apply(self, write: GroupWrite) -> None:
        if write.hard_state is not None:
            assert write.hard_state.term >= self.term_and_vote.term
            same_term = write.hard_state.term == self.term_and_vote.term
            assert not same_term or self.term_and_vote.vote in (NOBODY, write.hard_state.vote), "voted twice"
            self.term_and_vote = write.hard_state
        if write.health is not None:
            self._become(write.health)
        assert self.health is not Health.DAMAGED or not (write.stage or write.entries or write.install)
        if write.install is not None:
            assert self.staged_next is None
            assert write.install == self.staged_meta
            self._install(write.install)
        for chunk in write.stage:
            assert write.stage_meta is not None
            if not chunk.cursor:
                self.staged, self.staged_meta, self.staged_next = {}, write.stage_meta, b""
            assert write.stage_meta == self.staged_meta
            assert chunk.cursor == self.staged_next, "a chunk is missing"
            self.staged.update(json.loads(chunk.data))
            self.staged_next = chunk.next_cursor
        if write.truncate_from is not None:
            assert self.first_index <= write.truncate_from <= self.last_index
            del self.log[write.truncate_from - self.first_index :]
        if write.entries:
            assert write.entries[0].index == self.last_index + 1, "a gap in the log"
            self.log.extend(write.entries)
        if write.snapshot is not None:
            self._compact(*write.snapshot)
        for index in write.delete_entries:
            assert index <= self.meta.index
            self.payloads.pop(index, None)
        for entry in write.replace_entries:
            assert entry.index <= self.meta.index
            self.payloads[entry.index] = entry.data

    def _become(self, health: Health) -> None:
        match health:
            case Health.DAMAGED:
                self._empty()
            case Health.REBUILDING:
                assert self.health is Health.DAMAGED
                self._empty()
            case Health.SOUND:
                assert self.health is Health.REBUILDING
        self.health = health

    def _empty(self) -> None:
        self.meta, self.index = EMPTY_SNAPSHOT, b""
        self.log, self.payloads = [], {}
        self.staged, self.staged_meta, self.staged_next = {}, None, b""
        self.is_damaged = False

    def _compact(self, meta: SnapshotMeta, index: bytes) -> None:
        if meta.index == 0:
            self.meta = meta
            return
        assert self.meta.index < meta.index <= self.last_index
        count = meta.index - self.meta.index
        assert self.log[count - 1].term == meta.term
        for entry in self.log[:count]:
            if entry.kind is EntryKind.COMMAND:
                self.payloads[entry.index] = entry.data
        del self.log[:count]
        self.meta, self.index = meta, index

    def _install(self, meta: SnapshotMeta) -> None:
        staged = {key: bytes.fromhex(data) for key, data in self.staged.items()}
        self.meta, self.index = meta, staged.pop("index")
        self.payloads = {LogIndex(int(index)): data for index, data in staged.items()}
        self.log = []
        self.staged, self.staged_meta, self.staged_next = {}, None, b""

    # -- the read side

    def initial_state(self) -> InitialState:
        self._check()
        return InitialState(self.term_and_vote, self.meta, self.first_index, self.last_index, self.health)

    def hard_state(self) -> HardState:
        return self.term_and_vote

    def _check(self) -> None:
        if self.is_damaged:
            raise StorageCorrupt("the log is damaged")

    def term(self, index: LogIndex) -> Term:
        self.reads += 1
        if index == self.meta.index:
            return self.meta.term
        return self._entry(index).term

    def entries(self, first_index: LogIndex, end_index: LogIndex, max_bytes: int) -> list[Entry]:
        self.reads += 1
        self._entry(LogIndex(end_index - 1))
        found = [self._entry(first_index)]
        size = len(found[0].data)
        for index in range(first_index + 1, end_index):
            entry = self._entry(LogIndex(index))
            size += len(entry.data)
            if size > max_bytes:
                break
            found.append(entry)
        return found

    def _entry(self, index: LogIndex) -> Entry:
        self._check()
        if index <= self.meta.index:
            raise Compacted(f"{index} is compacted")
        if index > self.last_index:
            raise Unavailable(f"{index} is not there")
        return self.log[index - self.first_index]

    def snapshot_meta(self) -> SnapshotMeta:
        self._check()
        return self.meta

    def snapshot_index(self) -> bytes:
        return self.index

    def payload(self, index: LogIndex) -> bytes | None:
        if index > self.meta.index:
            return self._entry(index).data
        return self.payloads.get(index)

    def payload_indexes(self) -> Sequence[LogIndex]:
        return sorted(self.payloads)

    def check(self, cursor: bytes, max_bytes: int) -> bytes | None:
        self._check()
        return None

    def snapshot_chunk(self, meta: SnapshotMeta, cursor: bytes, max_bytes: int) -> SnapshotChunk | None:
        if meta != self.meta:
            return None
        # Records, as in a real store: a cursor stays good when payloads are deleted between two chunks.
        position = int(cursor or b"0")
        records: dict[str, str] = {} if cursor else {"index": self.index.hex()}
        size = 0
        for index in sorted(self.payloads):
            if index < position:
                continue
            if size >= max_bytes:
                return SnapshotChunk(cursor, json.dumps(records).encode(), str(index).encode())
            records[str(index)] = self.payloads[index].hex()
            size += len(self.payloads[index])
        return SnapshotChunk(cursor, json.dumps(records).encode(), None)


def members(*nodes: int) -> Configuration:
    return Configuration(tuple(NodeId(node) for node in nodes))
