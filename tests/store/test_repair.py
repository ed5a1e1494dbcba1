"""A group whose contents are damaged: what stays, what goes, and how it becomes whole again. Both stores."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import lmdb
import pytest

from cluster.raft.storage import GroupStorage, GroupWrite, Health, StorageCorrupt
from cluster.raft.types import Configuration, LogIndex, SnapshotMeta, Term
from cluster.store.chunk import log_key, part_key
from cluster.store.lmdb_group import COMMIT_KEY, HARD_STATE, HEAD, state_key
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import HARD_STATE_KEY, HEAD_KEY, MemoryStore

from .build import VOTERS, G, appended, chunks_of, data_of, entries, entry, hard_state, index, meta
from .conftest import Store

BASE = SnapshotMeta(LogIndex(0), Term(0), VOTERS)


def test_a_damaged_group_looks_empty_and_keeps_term_and_vote(store: Store) -> None:
    store.write([GroupWrite(G, hard_state(4, 2), entries=entries(1, 9))])
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    group = store.group(G)
    initial = group.initial_state()
    assert (initial.health, initial.hard_state, initial.last_index) == (Health.DAMAGED, hard_state(4, 2), 0)
    assert initial.snapshot.configuration == Configuration(())
    assert group.payload(index(3)) is None
    assert list(group.payload_indexes()) == []


def test_a_damaged_group_takes_votes_and_nothing_else(store: Store) -> None:
    store.write([GroupWrite(G, hard_state(4, 2), entries=entries(1, 9))])
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.write([GroupWrite(G, hard_state(5, 1))])
    with pytest.raises(AssertionError, match="damaged contents are written to"):
        store.write([appended(1, 1)])
    assert store.group(G).hard_state() == hard_state(5, 1)


def test_a_group_is_rebuilt_from_entries(store: Store) -> None:
    store.write([GroupWrite(G, hard_state(4, 2), entries=entries(1, 9))])
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.write([GroupWrite(G, health=Health.REBUILDING, entries=entries(1, 3), snapshot=(BASE, b""))])
    initial = store.group(G).initial_state()
    assert (initial.health, initial.last_index) == (Health.REBUILDING, 3)
    assert initial.snapshot.configuration == VOTERS
    store.write([GroupWrite(G, health=Health.SOUND, entries=entries(4, 9))])
    assert store.group(G).initial_state().health is Health.SOUND
    assert data_of(store.group(G), 1, 9) == [b"data of %d" % n for n in range(1, 10)]


def test_a_group_is_rebuilt_from_a_snapshot_and_stays_under_repair_until_it_is_told(store: Store) -> None:
    source = [appended(1, 9), GroupWrite(G, snapshot=(meta(6), b"the index"), delete_entries=[index(2)])]
    for write in source:
        store.write([write])
    chunks = chunks_of(store.group(G), 64)
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.write([GroupWrite(G, health=Health.REBUILDING, snapshot=(BASE, b""))])
    store.write([GroupWrite(G, stage_meta=meta(6), stage=chunks, install=meta(6))])
    assert store.group(G).initial_state().health is Health.REBUILDING
    store.write([GroupWrite(G, snapshot=(meta(6), b"the index"))])
    assert store.group(G).initial_state().health is Health.REBUILDING
    store.write([GroupWrite(G, health=Health.SOUND)])
    assert store.group(G).snapshot_index() == b"the index"
    assert list(store.group(G).payload_indexes()) == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("health", [Health.REBUILDING, Health.SOUND])
def test_sound_contents_are_not_thrown_away(store: Store, health: Health) -> None:
    store.write([appended(1, 3)])
    with pytest.raises(AssertionError):
        store.write([GroupWrite(G, health=health)])
    assert store.group(G).initial_state().last_index == 3


PLACES = {
    "group 3: the hard state does not match its checksum": (HARD_STATE_KEY, state_key(G, HARD_STATE)),
    "group 3: the snapshot's meta does not match its checksum": (HEAD_KEY, state_key(G, HEAD)),
    "group 3: part 0 of the snapshot's index does not match its checksum": (part_key(0), part_key(0)),
    "group 3: entry 3 does not match its checksum": (log_key(3), log_key(3)),
    "group 3: entry 9 does not match its checksum": (log_key(9), log_key(9)),
}
"""By what is said of it: the key of a record in memory, and in LMDB."""


def _torn(record: bytes | None) -> bytes:
    assert record is not None
    return record[:-1] + bytes([record[-1] ^ 1])


def _tear(store: Store, in_memory: bytes, in_lmdb: bytes) -> None:
    if isinstance(store, MemoryStore):
        store.damage(G, in_memory, _torn(store.group(G).record(in_memory)))
        return

    def edit(txn: lmdb.Transaction[bytes]) -> None:
        database = store._state if in_lmdb in (state_key(G, HARD_STATE), state_key(G, HEAD)) else store._slots[G][0]
        txn.put(in_lmdb, _torn(txn.get(in_lmdb, db=database)), db=database)

    assert isinstance(store, LmdbStore)
    store._environment.write(edit)


def _read_all(group: GroupStorage) -> None:
    group.initial_state()
    group.snapshot_index()
    group.entries(index(7), index(10), 1000)
    for at in group.payload_indexes():
        group.payload(at)


@pytest.mark.parametrize("said", PLACES)
def test_a_record_that_was_damaged_is_found_by_who_reads_it(store: Store, said: str) -> None:
    store.write([GroupWrite(G, hard_state(4, 2), entries=entries(1, 9))])
    store.write([GroupWrite(G, snapshot=(meta(6), b"the index"), delete_entries=[index(2)])])
    _read_all(store.group(G))
    _tear(store, *PLACES[said])
    with pytest.raises(StorageCorrupt, match=re.escape(said)):
        _read_all(store.group(G))
    if PLACES[said][0] == HARD_STATE_KEY:
        return
    assert store.group(G).hard_state() == hard_state(4, 2)
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.write([GroupWrite(G, health=Health.REBUILDING, entries=entries(1, 9), snapshot=(BASE, b""))])
    assert data_of(store.group(G), 1, 9) == [b"data of %d" % n for n in range(1, 10)]
    store.group(G).check(b"", 1000)


# -- LMDB


def _edit(path: Path, key: bytes, name: bytes, record: bytes | None) -> None:
    """Put or delete a record behind the store's back."""
    with lmdb.open(str(path), max_dbs=300) as environment:
        database, state = environment.open_db(name), environment.open_db(b"state")
        with environment.begin(write=True, db=database) as txn:
            if record is None:
                assert txn.delete(key)
            else:
                txn.put(key, record)
            txn.put(COMMIT_KEY, txn.id().to_bytes(8), db=state)


def _written(path: Path) -> None:
    store = LmdbStore(path)
    store.write([GroupWrite(G, hard_state(4, 2), entries=[entry(n, bytes([n]) * 100) for n in range(1, 10)])])
    store.close()


def test_damaged_contents_stay_until_they_are_rebuilt(tmp_path: Path) -> None:
    _written(tmp_path)
    store = LmdbStore(tmp_path)
    before = store.statistics().used_bytes
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.close()
    store = LmdbStore(tmp_path)
    assert store.statistics().used_bytes == before
    with store._environment.read() as txn:
        assert txn.stat(store._slots[G][0])["entries"] == 9
    store.write([GroupWrite(G, health=Health.REBUILDING, snapshot=(BASE, b""))])
    with store._environment.read() as txn:
        assert txn.stat(store._slots[G][0])["entries"] == 0
    store.close()


def test_a_damaged_head_does_not_keep_a_group_from_repair(tmp_path: Path) -> None:
    _written(tmp_path)
    _edit(tmp_path, state_key(G, HEAD), b"state", b"rubbish")
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match="the snapshot's meta does not match its checksum"):
        store.group(G).initial_state()
    assert store.group(G).hard_state() == hard_state(4, 2)
    store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.write([GroupWrite(G, health=Health.REBUILDING, entries=entries(1, 2), snapshot=(BASE, b""))])
    assert data_of(store.group(G), 1, 2) == [b"data of 1", b"data of 2"]
    store.close()


@pytest.mark.parametrize("record", [None, b"rubbish"])
def test_a_group_whose_vote_is_damaged_cannot_even_be_marked(tmp_path: Path, record: bytes | None) -> None:
    _written(tmp_path)
    _edit(tmp_path, state_key(G, HARD_STATE), b"state", record)
    store = LmdbStore(tmp_path)
    for act in (store.group(G).hard_state, store.group(G).initial_state):
        with pytest.raises(StorageCorrupt, match="group 3: the hard state"):
            act()
    with pytest.raises(StorageCorrupt, match="group 3: the hard state"):
        store.write([GroupWrite(G, health=Health.DAMAGED)])
    store.close()


def test_a_log_that_lost_its_end_is_found_out(tmp_path: Path) -> None:
    """What it forgot it may have acknowledged."""
    _written(tmp_path)
    _edit(tmp_path, log_key(9), b"group/3/0", None)
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match="group 3: the log ends at entry 8, but was written up to 9"):
        store.group(G).initial_state()
    store.close()


def test_a_group_that_lost_its_head_is_found_out(tmp_path: Path) -> None:
    _written(tmp_path)
    _edit(tmp_path, state_key(G, HEAD), b"state", None)
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match="group 3: the snapshot's meta is missing"):
        store.group(G).initial_state()
    store.close()


def test_a_leader_does_not_send_what_is_damaged(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(n, bytes([n]) * 5000) for n in range(1, 10)])])
    store.write([GroupWrite(G, snapshot=(meta(9), b"index"))])
    store.close()
    data = tmp_path / "data.mdb"
    content = bytearray(data.read_bytes())
    content[content.index(bytes([7]) * 5000) + 100] ^= 4
    data.write_bytes(content)
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match="group 3: entry 7 does not match its checksum"):
        chunks_of(store.group(G), 6000)
    store.close()


def test_meta_pages_that_do_not_follow_each_other_are_found_out(tmp_path: Path) -> None:
    """LMDB would take the older one for the newest, and forget a vote."""
    _written(tmp_path)
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    places = [page + 16 + 24 + 96 + 8 for page in (0, 4096)]
    newest = max(places, key=lambda at: int.from_bytes(content[at : at + 8], "little"))
    content[newest] ^= 1 << 4
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StorageCorrupt, match=r"its meta pages are of transactions \d+ and \d+, which do not follow"):
        LmdbStore(tmp_path)


def test_flipped_bits_are_found_or_harmless_wherever_they_are(tmp_path: Path) -> None:
    """One at a time, anywhere: nothing reads other than it was written, and nothing ends the process."""
    seed = int(os.environ.get("ROT_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with ROT_SEED={seed}")
    source = random.Random(seed)
    _written(tmp_path)
    data = tmp_path / "data.mdb"
    content = data.read_bytes()
    found = 0
    for _ in range(150):
        at = source.choice([source.randrange(len(content)), source.choice([0, 4096]) + source.randrange(200)])
        data.write_bytes(content[:at] + bytes([content[at] ^ 1 << source.randrange(8)]) + content[at + 1 :])
        try:
            store = LmdbStore(tmp_path)
        except StorageCorrupt:
            found += 1
            continue
        try:
            initial = store.group(G).initial_state()
            assert (initial.hard_state, initial.last_index) == (hard_state(4, 2), 9)
            assert data_of(store.group(G), 1, 9) == [bytes([n]) * 100 for n in range(1, 10)]
        except StorageCorrupt as error:
            found += re.match("group 3: |.* is damaged: ", str(error)) is not None
        finally:
            store.close()
    assert found > 5
