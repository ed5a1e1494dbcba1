"""A node's store in LMDB: every group, the identity, one transaction a round.

Law: one process, one `LmdbStore` and one writing thread at a time have a directory; what `write` was given is
durable together or not there at all. Handles are made outside of writes, so a failed write leaves none dangling.
What is small goes to the journal; the next commit of LMDB takes in all that is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import lmdb

from cluster.raft.storage import GroupWrite, Health, StorageCorrupt, StorageError, StorageFull, StorageIO
from cluster.raft.types import GroupId
from cluster.store.chunk import accept
from cluster.store.directory import DATA_NAME, DataDirectory
from cluster.store.environment import GrowingEnvironment
from cluster.store.front import Front, Known
from cluster.store.identity import FORMAT_VERSION, JOURNAL_FORMAT_VERSION, Identity, decode_identity, encode_identity
from cluster.store.journal import JOURNAL_NAME
from cluster.store.lmdb_group import (
    COMMIT_KEY,
    NEW_HEAD,
    NODE_NAME,
    STATE_NAME,
    LmdbGroup,
    Slots,
    group_of,
    group_of_state,
    load_hard_state,
    load_head,
    load_state,
    slot_names,
)
from cluster.store.lmdb_write import GroupWriter
from cluster.store.note import note_key, sealed, unsealed
from cluster.store.probe import check_file
from cluster.store.record import SnapshotHead
from cluster.store.reserve import Reserve
from cluster.store.space import Space, demand_of
from cluster.store.state import GroupState, after
from cluster.store.statistics import StoreStatistics

MAP_SIZE = 64 << 20
MAP_SIZE_MAX_SHARE = 0.8
"""Of the space that is free or ours already, what the data file may take unless it was told otherwise."""
GROUPS_MAX = 128
_IDENTITY_KEY = b"identity"
_JOURNAL_NOTE = "journal"
"""Number of the journal's generation."""


class LmdbStore:
    """`Storage` in the directory `path`, which is made if it is not there.

    map_size       bytes of map to begin with; it doubles when it is full
    map_size_max   bytes that data may take, and at least as many as it takes now; None means 80 % of what the file
                   system has left for it, and more when it has more. Beyond it a write that brings data raises
                   StorageFull
    reserve_bytes  what writes that only give space back may take beyond it, see `Space`; None means a sixteenth
    reserve_file   bytes of a file beside the data that is given up when the disk is full, see `Reserve`
    groups_max     groups that may ever live in the directory; one more raises StorageFull
    marks_damage   false: where the journal is damaged no group is marked for that, reads find what LMDB has, and
                   `give_up_journal`, before the first write, says that this is to be all

    Raises DirectoryInUse, IdentityMismatch (a newer format), StorageCorrupt, StorageIO.
    """

    def __init__(
        self,
        path: Path,
        *,
        map_size: int = MAP_SIZE,
        map_size_max: int | None = None,
        reserve_bytes: int | None = None,
        reserve_file: int = 0,
        groups_max: int = GROUPS_MAX,
        marks_damage: bool = True,
    ) -> None:
        self.path = path
        self._marks_damage = marks_damage
        self._groups_max = groups_max
        self._writing = threading.Lock()
        self._is_open = False
        """Is it known what the journal holds, or that it holds nothing?"""
        self._directory = DataDirectory(path)
        try:
            if not self._directory.is_new:
                check_file(path, 2 * groups_max + 2)
            default_size = self._default_size if map_size_max is None else None
            if map_size_max is None:
                map_size_max = max(map_size, self._default_size())
            if reserve_bytes is None:
                reserve_bytes = map_size_max // 16
            self._front = Front(path, reserve_bytes)
            self._environment = GrowingEnvironment(
                path,
                map_size=min(map_size, map_size_max),
                map_size_max=map_size_max,
                reserve_bytes=reserve_bytes,
                databases_max=2 * groups_max + 2,
            )
            self.space = Space(
                self._environment, Reserve(path, reserve_file), self._directory, self._counted, default_size
            )
        except BaseException:
            self._directory.close()
            raise
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _default_size(self) -> int:
        """What the store may hold, by what the file system has left for it and what it has."""
        data = self.path / DATA_NAME
        own_bytes = data.stat().st_blocks * 512 if data.exists() else 0
        return int((self._directory.free_bytes() + own_bytes) * MAP_SIZE_MAX_SHARE)

    def _open(self) -> None:
        self._state, self._node = self._environment.open_databases([STATE_NAME, NODE_NAME])
        self._environment.stamp_with(self._state, COMMIT_KEY)
        with self._environment.read() as txn, txn.cursor() as cursor:
            found = {group_of(bytes(name)) for name in cursor.iternext(keys=True, values=False)}
        self._slots: dict[GroupId, Slots] = {}
        self._open_slots(sorted(group for group in found if group is not None))
        self._known: Known = {}
        self._commit_count = 0
        self._last_commit_seconds = 0.0
        self.space.begin()
        self._drop_unfinished()
        self._open_journal()

    def _open_journal(self) -> None:
        """Know what it holds. What is damaged is known to be before it is replaced."""
        front, held = self._front, list[list[GroupWrite]]()
        note = self.read_note(_JOURNAL_NOTE)
        if note is not None:
            held = self.space.with_room(lambda: front.open(int.from_bytes(note)), JOURNAL_NAME)
        else:
            try:
                self.space.with_room(front.make, JOURNAL_NAME)
            except StorageFull:
                if self._directory.is_new:
                    raise
                # An older program has left it, and it is full: it has no journal before the next start.
                self._is_open = True
                return
            self._commit([])
        if front.damage:
            if not self._marks_damage:
                return
            self._commit([GroupWrite(group, health=Health.DAMAGED) for group in self.groups()])
            self.space.with_room(front.make, JOURNAL_NAME)
        self._directory.mark_used(JOURNAL_FORMAT_VERSION)
        self._take_up(held)
        self._is_open = True

    def _take_up(self, held: Sequence[Sequence[GroupWrite]]) -> None:
        """Know what the journal holds. A group of it that is damaged in LMDB is known to be, before the journal goes:
        what is missing at its end could not be found out any more. The others go on."""
        damaged: list[GroupWrite] = []
        with self._environment.read() as txn:
            for group in sorted({write.group for writes in held for write in writes}):
                try:
                    self._known[group] = load_state(txn, self._state, self._slots[group], group)
                except StorageCorrupt:
                    damaged.append(GroupWrite(group, health=Health.DAMAGED))
        for writes in held:
            self._front.take_up([write for write in writes if write.group in self._known], self._known)
        if damaged:
            self._commit(damaged)

    def give_up_journal(self) -> None:
        """If it is damaged, go on with what LMDB has. Raises StorageFull, OSError."""
        if not self._is_open:
            self.space.with_room(self._front.make, JOURNAL_NAME)
            self._directory.mark_used(JOURNAL_FORMAT_VERSION)
            self._is_open = True

    @property
    def journal_damage(self) -> str:
        """What was wrong with the journal when it was opened: all replicas are to be rebuilt; "" if nothing was."""
        return self._front.damage

    def _open_slots(self, groups: Sequence[GroupId]) -> None:
        names = [name for group in groups for name in slot_names(group)]
        handles = iter(self._environment.open_databases(names))
        self._slots.update((group, (next(handles), next(handles))) for group in groups)

    def _drop_unfinished(self) -> None:
        """Empty the slots of snapshots that were being received: their transfers ended with the process."""
        unfinished: list[lmdb._Database] = []
        with self._environment.read() as txn:
            for group, slots in self._slots.items():
                try:
                    head = load_head(txn, self._state, group)
                except StorageCorrupt:
                    continue  # the group's reader will say so; the others go on
                slot = slots[1 - head.slot]
                if head.health is not Health.DAMAGED and txn.stat(slot)["entries"]:
                    unfinished.append(slot)

        def drop(txn: lmdb.Transaction[bytes]) -> None:
            for slot in unfinished:
                txn.drop(slot, delete=False)

        if unfinished:
            self.space.write(drop, demand_of(()))

    def group(self, group: GroupId) -> LmdbGroup:
        """The read side of a group, whether or not anything was written to it yet."""
        return LmdbGroup(group, self._environment, self._state, self._slots, self._front.tails)

    def groups(self) -> Sequence[GroupId]:
        """Every group that was written to, ascending."""
        with self._environment.read() as txn, txn.cursor(self._state) as cursor:
            keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        return sorted({group_of_state(key) for key in keys if key != COMMIT_KEY})

    def write(self, writes: Sequence[GroupWrite]) -> None:
        """All of `writes`, durably, in one transaction. Reads may go on in other threads.

        Raises StorageFull (nothing took effect), StorageIO (from then on always), StorageCorrupt,
        AssertionError for a write the protocol does not allow (nothing took effect).
        """
        assert self._writing.acquire(blocking=False), "two threads write at a time"
        try:
            assert self._is_open, "the journal is damaged, and nobody has said what becomes of that"
            start = time.perf_counter()
            if not self._write_journal(writes):
                self._make_slots(writes)
                self._commit(writes)
            self._last_commit_seconds = time.perf_counter() - start
            self._commit_count += 1
        finally:
            self._writing.release()

    def _write_journal(self, writes: Sequence[GroupWrite]) -> bool:
        """Whether `writes` are durable in the journal now; otherwise they are to be committed."""
        if self._environment.has_failed:
            return False
        try:
            return self._front.write(writes, self._known)
        except StorageIO as error:
            self._environment.fail(error)
            raise

    def _commit(self, writes: Sequence[GroupWrite]) -> None:
        """In LMDB, and with them what the journal holds."""
        # What waits in the journal was accepted when there was space for it.
        waiting = self._front.waiting()
        try:
            moved = self.space.write(lambda txn: self._apply(txn, [*waiting, *writes]), demand_of(writes))
        except StorageFull:
            self._front.refused()
            raise
        self._known.update(moved)
        self._front.committed()

    def _make_slots(self, writes: Sequence[GroupWrite]) -> None:
        new = {write.group for write in writes} - self._slots.keys()
        if len(self._slots) + len(new) > self._groups_max:
            raise StorageFull(f"{self.path} has no room for another group, {self._groups_max} is its maximum")
        if new:
            self._open_slots(sorted(new))

    def _apply(self, txn: lmdb.Transaction[bytes], writes: Sequence[GroupWrite]) -> Known:
        """The groups that `writes` moved, as they are once `txn` is durable."""
        moved: Known = {}
        generation = self._front.next_generation
        if generation is not None:
            txn.put(note_key(_JOURNAL_NOTE), sealed(generation.to_bytes(8)), db=self._node)
        for write in writes:
            group = write.group
            slots = self._slots[group]
            known = moved.get(group) or self._front.stored(group, self._known)
            if known is None and write.health is Health.DAMAGED:
                before, head = self._bereft(txn, group)
            else:
                before, head = known or load_state(txn, self._state, slots, group)
            _, accepted = accept(before.received, write.stage_meta, write.stage)
            state = after(group, before, write)
            writer = GroupWriter(txn, self._state, slots, group, head)
            if known is None:
                writer.make_known(before)
            writer.apply(write, accepted)
            if state.hard_state != before.hard_state or state.last_index != before.last_index:
                writer.put_hard_state(state)
            moved[group] = (state, writer.head)
        return moved

    def _bereft(self, txn: lmdb.Transaction[bytes], group: GroupId) -> tuple[GroupState, SnapshotHead]:
        """A group of which only the hard state is believed. Raises StorageCorrupt."""
        try:
            head = load_head(txn, self._state, group)
        except StorageCorrupt:
            head = NEW_HEAD
        return GroupState(load_hard_state(txn, self._state, group)[0]), head

    def read_identity(self) -> Identity | None:
        """The owner of this directory; None before the first `write_identity`.

        Raises StorageCorrupt, IdentityMismatch (a newer format).
        """
        with self._environment.read() as txn:
            record = txn.get(_IDENTITY_KEY, db=self._node)
            return decode_identity(bytes(record)) if record is not None else None

    def write_identity(self, identity: Identity) -> None:
        """Durable when it returns. Raises StorageFull, StorageIO."""
        record = encode_identity(identity)
        self._environment.write(lambda txn: txn.put(_IDENTITY_KEY, record, db=self._node))

    def read_note(self, name: str) -> bytes | None:
        """What `write_note` was given last; None before that. Raises StorageCorrupt."""
        with self._environment.read() as txn:
            record = txn.get(note_key(name), db=self._node)
            return unsealed(name, bytes(record)) if record is not None else None

    def write_note(self, name: str, data: bytes) -> None:
        """A record of the node's own, durable when it returns. Not beside a `write`. Raises StorageFull, StorageIO."""
        record = sealed(data)
        self._environment.write(lambda txn: txn.put(note_key(name), record, db=self._node))

    def statistics(self) -> StoreStatistics:
        """Sizes and counts of this moment; walks no data."""
        used, free, page_size = self._page_counts()
        return StoreStatistics(
            file_size=(self.path / DATA_NAME).stat().st_size,
            used_bytes=used * page_size,
            free_pages=free,
            page_size=page_size,
            map_size=self._environment.map_size,
            map_size_max=self._environment.map_size_max,
            map_grow_count=self._environment.grow_count,
            commit_count=self._commit_count,
            last_commit_seconds=self._last_commit_seconds,
            tight_bytes=self.space.tight_bytes,
        )

    def _page_counts(self) -> tuple[int, int, int]:
        databases = [self._state, self._node, *(slot for slots in list(self._slots.values()) for slot in slots)]
        return self._environment.page_counts(databases)

    def _counted(self) -> tuple[int, int]:
        """Bytes in use, and of free pages."""
        used, free, page_size = self._page_counts()
        return used * page_size, free * page_size

    def close(self) -> None:
        """Close the map and let go of the directory. No read or write may be under way or follow.

        What the journal holds goes into LMDB, if it can: then an older program may open the directory. A write that a
        disk never ended is not waited for.
        """
        if self._is_open and self._writing.acquire(blocking=False):
            with suppress(StorageError, OSError):
                if self._front.next_generation is not None:
                    self._commit([])
                self._directory.mark_used(FORMAT_VERSION)
        self._front.close()
        self._environment.close()
        self._directory.close()
