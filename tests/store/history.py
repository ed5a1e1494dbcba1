"""A random history of writes, the same for the same seed, and everything a store says after it."""

from __future__ import annotations

import random
from collections.abc import Iterator

from cluster.raft.storage import GroupStorage, GroupWrite, InitialState, Storage
from cluster.raft.types import Entry, GroupId, LogIndex
from cluster.store.memory import MemoryStore

from .build import chunks_of, entry, hard_state, meta

GROUPS = (GroupId(0), GroupId(1), GroupId(5))
SIZES = (0, 20, 900, 3_000, 70_000)
SMALL_SIZES = (0, 20, 600)
SMALL_WRITES_MEAN = 20

GroupContents = tuple[InitialState, list[Entry], bytes, dict[LogIndex, bytes | None]]


def history(seed: int) -> Iterator[list[GroupWrite]]:
    """Endless rounds: appends, truncations, snapshots, deletions, replacements, received snapshots; and stretches of
    small writes in between."""
    chance = random.Random(seed)
    model = MemoryStore()
    while True:
        is_small = chance.random() < 0.5
        for _ in range(chance.randint(1, 2 * SMALL_WRITES_MEAN if is_small else 5)):
            groups = chance.sample(GROUPS, chance.randint(1, len(GROUPS)))
            round_writes = [_group_write(chance, model.group(group), group, is_small) for group in sorted(groups)]
            model.write(round_writes)
            yield round_writes


def _group_write(chance: random.Random, group: GroupStorage, number: GroupId, is_small: bool) -> GroupWrite:
    state = group.initial_state()
    term = state.hard_state.term + (0 if is_small else chance.randint(0, 1))
    body = bytes([chance.randrange(256)]) * chance.choice(SMALL_SIZES if is_small else SIZES)
    match chance.choice((0, 7, 7, 7)) if is_small else chance.randrange(8):
        case 0 if state.last_index > state.snapshot.index:
            first = chance.randint(state.first_index, state.last_index)
            return GroupWrite(
                number,
                hard_state=hard_state(term),
                truncate_from=LogIndex(first),
                entries=[entry(first, body, term=term)],
            )
        case 1:
            last = chance.randint(state.snapshot.index, state.last_index)
            return GroupWrite(number, snapshot=(meta(last, term=group.term(LogIndex(last))), body * 3))
        case 2 | 3:
            kept = list(group.payload_indexes())
            dead = chance.sample(kept, len(kept) // 2)
            changed = kept[:1]
            return GroupWrite(
                number,
                delete_entries=dead,
                replace_entries=[entry(index, body[:50]) for index in changed],
            )
        case 4 if chance.random() < 0.3:
            source, snapshot = MemoryStore(), meta(state.last_index + 2, term=term)
            first = max(1, state.last_index - 3)
            source.write([GroupWrite(number, snapshot=(meta(first - 1, term=1), b""))])
            log = [entry(index, body, term=term) for index in range(first, snapshot.index + 1)]
            source.write([GroupWrite(number, entries=log), GroupWrite(number, snapshot=(snapshot, body))])
            chunks = chunks_of(source.group(number), 5_000)
            return GroupWrite(number, stage_meta=snapshot, stage=chunks, install=snapshot)
        case _:
            first = state.last_index + 1
            log = [entry(index, body, term=term) for index in range(first, first + chance.randint(1, 4))]
            return GroupWrite(number, hard_state=hard_state(term, commit_index=state.last_index), entries=log)


def contents(store: Storage) -> dict[GroupId, GroupContents]:
    """Everything that can be read, each payload checked."""
    return {number: _group_contents(store.group(number)) for number in store.groups()}


def _group_contents(group: GroupStorage) -> GroupContents:
    state = group.initial_state()
    log = group.entries(state.first_index, LogIndex(state.last_index + 1), 1 << 40)
    payloads = {index: group.payload(index) for index in group.payload_indexes()}
    return state, log, group.snapshot_index(), payloads
