"""What one node's directory has of its cluster, and how that becomes a cluster of this node alone.

Law: it is another cluster, by its id, which is written first: no member of the old one is ever linked to it, whatever
comes back. Every group gets, at the end of its log and in a term of its own, a configuration of this one voter; the
catalog's says as well that the others are no members. So all that stands in the log counts, also what was never agreed
upon. A shard that cannot be read, or is not here, begins empty. Interrupted anywhere, it can be done again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import UnknownCommand, encode_command
from cluster.broker.catalog.commands import SurviveAlone
from cluster.broker.catalog.snapshot import UnknownSnapshot
from cluster.broker.shard.columns import EntryCorrupt
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.state import ShardState
from cluster.node.bootstrap import Charter, write_charter
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.raft.membership import encode_configuration
from cluster.raft.storage import GroupStorage, GroupWrite, Health, InitialState, StorageCorrupt, StorageError
from cluster.raft.types import Configuration, Entry, EntryKind, GroupId, HardState, LogIndex, SnapshotMeta, Term
from cluster.store.identity import Identity
from cluster.store.lmdb_store import LmdbStore

_READ_BYTES = 4 << 20


class NothingToRecover(StorageError):
    """The directory is that of no member, or has no catalog that could be read."""


@dataclass(frozen=True, slots=True)
class ShardRemains:
    """messages, queues  alive, of the queues that the catalog knows
    unagreed   entries at the end of which this node does not know that a majority had them
    lost       why nothing of it is left; "" where it can be read
    """

    group: GroupId
    messages: int = 0
    queues: int = 0
    unagreed: int = 0
    lost: str = ""


@dataclass(frozen=True, slots=True)
class Remains:
    """What a directory has, everything in its log applied."""

    identity: Identity
    catalog: Catalog
    unagreed: int
    """Of the catalog's entries, as of a shard's."""
    shards: tuple[ShardRemains, ...]
    journal_damage: str = ""
    """Why the latest small writes are missing; "" where they are there."""

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the members that the new cluster is without."""
        return tuple([m.name for m in self.catalog.members.values() if int(m.node) != self.identity.member_id])


def survey(store: LmdbStore) -> Remains:
    """Read everything; nothing is changed. Raises NothingToRecover, StorageCorrupt (the identity)."""
    identity = store.read_identity()
    if identity is None:
        raise NothingToRecover("this directory has never belonged to a cluster")
    found = store.group(CATALOG_GROUP)
    try:
        initial = _sound(CATALOG_GROUP, found)
        catalog = _read_catalog(found, initial)
    except StorageCorrupt as error:
        raise NothingToRecover(f"the catalog cannot be read, and without it nothing can: {error}") from error
    if not catalog.cluster_id:
        raise NothingToRecover("the cluster of this directory was never founded")
    shards = tuple([_read_shard(store, GroupId(group), catalog) for group in sorted(catalog.placement)])
    return Remains(identity, catalog, _unagreed(initial), shards, store.journal_damage)


def survive(store: LmdbStore, remains: Remains) -> str:
    """Make the node of this directory a cluster of its own, durably. Returns the id of the new cluster.

    Raises StorageFull, StorageIO, StorageCorrupt, OSError.
    """
    cluster_id, identity = secrets.token_hex(8), remains.identity
    store.write_identity(replace(identity, cluster_id=cluster_id, members=()))
    write_charter(store, Charter(cluster_id, (), len(remains.shards)))
    store.give_up_journal()
    lost = [shard.group for shard in remains.shards if shard.lost]
    present = set(store.groups())
    store.write([GroupWrite(group, health=Health.DAMAGED) for group in lost if group in present])
    command = encode_command(SurviveAlone(cluster_id, identity.member_id, identity.node_name))
    alone = Configuration((identity.member_id,))
    writes = [_continued(store, CATALOG_GROUP, alone, command)]
    for shard in remains.shards:
        writes.append(_emptied(store, shard.group, alone) if shard.lost else _continued(store, shard.group, alone))
    store.write(writes)
    return cluster_id


def _continued(store: LmdbStore, group: GroupId, alone: Configuration, command: bytes | None = None) -> GroupWrite:
    initial = store.group(group).initial_state()
    term, index = Term(initial.hard_state.term + 1), LogIndex(initial.last_index + 1)
    entries = [Entry(term, index, EntryKind.CONFIG, encode_configuration(alone))]
    if command is not None:
        entries.append(Entry(term, LogIndex(index + 1), EntryKind.COMMAND, command))
    hard_state = HardState(term, alone.voters[0], entries[-1].index)
    return GroupWrite(group, hard_state=hard_state, entries=entries)


def _emptied(store: LmdbStore, group: GroupId, alone: Configuration) -> GroupWrite:
    term = Term(store.group(group).hard_state().term + 1)
    return GroupWrite(
        group,
        forget=True,
        hard_state=HardState(term, alone.voters[0], LogIndex(0)),
        snapshot=(SnapshotMeta(LogIndex(0), Term(0), alone), b""),
    )


def _sound(group: GroupId, storage: GroupStorage) -> InitialState:
    """Raises StorageCorrupt also where nothing was ever held."""
    initial = storage.initial_state()
    if initial.health is not Health.SOUND:
        raise StorageCorrupt(f"group {group}: it was found damaged, and not rebuilt")
    if not initial.last_index and not initial.snapshot.configuration.voters:
        raise StorageCorrupt(f"group {group}: this node has no replica of it")
    return initial


def _entries(storage: GroupStorage, initial: InitialState) -> Iterator[Entry]:
    """Those after the snapshot. Raises StorageCorrupt."""
    first, end = initial.first_index, LogIndex(initial.last_index + 1)
    while first < end:
        batch = storage.entries(first, end, _READ_BYTES)
        yield from batch
        first = LogIndex(batch[-1].index + 1)


def _unagreed(initial: InitialState) -> int:
    return initial.last_index - max(initial.hard_state.commit_index, initial.snapshot.index)


def _read_catalog(storage: GroupStorage, initial: InitialState) -> Catalog:
    """Raises StorageCorrupt, NothingToRecover."""
    catalog = Catalog()
    try:
        data = storage.snapshot_index()
        if data:
            catalog.restore(data)
        for entry in _entries(storage, initial):
            if entry.kind is EntryKind.COMMAND:
                catalog.apply(entry.index, entry.data)
    except (UnknownSnapshot, UnknownCommand) as error:
        raise NothingToRecover(f"the catalog was written by a newer program: {error}. Run that") from error
    return catalog


def _read_shard(store: LmdbStore, group: GroupId, catalog: Catalog) -> ShardRemains:
    storage = store.group(group)
    try:
        initial = _sound(group, storage)
        state = ShardState()
        data = storage.snapshot_index()
        if data:
            state.restore(data)
        missing = state.live.keys() - set(storage.payload_indexes())
        if missing:
            raise StorageCorrupt(f"group {group}: entry {min(missing)} is alive but not in the log")
        for entry in _entries(storage, initial):
            if entry.kind is EntryKind.COMMAND:
                state.apply(entry.index, entry.data)
            else:
                state.skip(entry.index)
        cursor: bytes | None = b""
        while cursor is not None:
            cursor = storage.check(cursor, _READ_BYTES)
    except (StorageCorrupt, EntryCorrupt) as error:
        return ShardRemains(group, lost=str(error))
    alive = [queue.alive for identifier, queue in state.queues.items() if QueueId(identifier) in catalog.queues]
    return ShardRemains(group, sum(alive), sum(1 for count in alive if count), _unagreed(initial))
