"""The test's disk and the store's own memory twin give the same answers to the same writes."""

from __future__ import annotations

import os
import random

from cluster.raft.storage import GroupStorage, GroupWrite
from cluster.raft.types import Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, SnapshotMeta, Term
from cluster.store.memory import MemoryStore
from tests.raft.disk import Disk, members

GROUP = GroupId(4)
CONFIGURATION = members(1, 2, 3)


def entry(index: int, term: int, data: bytes) -> Entry:
    return Entry(Term(term), LogIndex(index), EntryKind.COMMAND, data)


def a_write(disk: Disk, term: int, source: random.Random) -> GroupWrite:
    """Some write that a member in this state may make, all fields of one round together."""
    truncate_from: LogIndex | None = None
    last_index = disk.last_index
    if disk.log and source.random() < 0.2:
        truncate_from = LogIndex(source.randint(disk.first_index, last_index))
        last_index = LogIndex(truncate_from - 1)
    count = source.randint(0, 4)
    entries = [entry(last_index + 1 + at, term, source.randbytes(source.randint(0, 50))) for at in range(count)]
    snapshot: tuple[SnapshotMeta, bytes] | None = None
    terms = [*(old.term for old in disk.log[: last_index - disk.meta.index]), *([term] * count)]
    if terms and source.random() < 0.2:
        length = source.randint(1, len(terms))
        meta = SnapshotMeta(LogIndex(disk.meta.index + length), Term(terms[length - 1]), CONFIGURATION)
        snapshot = (meta, source.randbytes(20))
    known = sorted(disk.payloads)
    dead = [index for index in known if source.random() < 0.2]
    shrunk = [entry(index, 1, b"s") for index in known if index not in dead and source.random() < 0.1]
    return GroupWrite(
        GROUP,
        HardState(Term(term), NodeId(0), disk.meta.index) if source.random() < 0.5 else None,
        truncate_from=truncate_from,
        entries=entries,
        snapshot=snapshot,
        delete_entries=dead,
        replace_entries=shrunk,
    )


def told(storage: GroupStorage) -> tuple[object, ...]:
    state = storage.initial_state()
    entries: list[Entry] = []
    if state.last_index >= state.first_index:
        entries = storage.entries(state.first_index, LogIndex(state.last_index + 1), 1 << 30)
    indexes = list(storage.payload_indexes())
    payloads = [storage.payload(index) for index in indexes]
    return state, entries, storage.snapshot_meta(), storage.snapshot_index(), indexes, payloads


def test_the_same_writes_give_the_same_answers() -> None:
    seed = int(os.environ.get("RAFT_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with RAFT_SEED={seed}")
    source = random.Random(seed)
    for _ in range(10):
        disk, store = Disk(CONFIGURATION), MemoryStore()
        first = GroupWrite(GROUP, HardState(Term(1), NodeId(0), LogIndex(0)), entries=[entry(1, 1, b"x")])
        snapshot = (SnapshotMeta(LogIndex(1), Term(1), CONFIGURATION), b"index")
        for write in (first, GroupWrite(GROUP, snapshot=snapshot)):
            disk.apply(write)
            store.write([write])
        for term in range(1, 60):
            write = a_write(disk, term, source)
            disk.apply(write)
            store.write([write])
            assert told(store.group(GROUP)) == told(disk)
