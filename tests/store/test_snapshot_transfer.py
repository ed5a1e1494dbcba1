"""A snapshot travels in chunks from one store to another, of either kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.raft.storage import GroupWrite, SnapshotChunk, StorageCorrupt
from cluster.raft.types import GroupId, LogIndex
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import MemoryStore

from .build import G, appended, chunks_of, data_of, entries, entry, hard_state, index, meta
from .conftest import Store

INDEX = bytes(n % 253 for n in range(200_000))
SOURCE_META = meta(8, term=2)


@pytest.fixture(params=["from lmdb", "from memory"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Entries 1..10 of which 3 and 4 are dead, and a snapshot at 8 with an index of four parts."""
    made: Store = LmdbStore(tmp_path / "source") if request.param == "from lmdb" else MemoryStore()
    made.write([GroupWrite(G, entries=[entry(n, b"%d" % n * 5000, term=2) for n in range(1, 11)])])
    made.write([GroupWrite(G, snapshot=(SOURCE_META, INDEX), delete_entries=[index(3), index(4)])])
    return made


def stage(store: Store, chunk: SnapshotChunk) -> None:
    store.write([GroupWrite(G, stage_meta=SOURCE_META, stage=[chunk])])


def assert_installed(store: Store) -> None:
    group = store.group(G)
    state = group.initial_state()
    assert (state.snapshot, state.first_index, state.last_index) == (SOURCE_META, 9, 8)
    assert group.snapshot_index() == INDEX
    assert list(group.payload_indexes()) == [1, 2, 5, 6, 7, 8]
    assert group.payload(index(7)) == b"7" * 5000
    assert group.term(index(8)) == 2


@pytest.mark.parametrize("max_bytes", [1, 7000, 70_000, 1 << 20])
def test_what_was_staged_chunk_by_chunk_is_installed_whole(store: Store, source: Store, max_bytes: int) -> None:
    store.write([appended(1, 20), GroupWrite(G, hard_state=hard_state(2), snapshot=(meta(5), b"old" * 99_999))])
    before = store.group(G).initial_state()
    for chunk in chunks_of(source.group(G), max_bytes):
        stage(store, chunk)
        assert store.group(G).initial_state() == before
        assert store.group(G).payload(index(3)) == b"data of 3"
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert_installed(store)
    assert store.group(G).initial_state().hard_state == hard_state(2)
    store.write([GroupWrite(G, entries=entries(9, 12, term=3))])
    assert data_of(store.group(G), 9, 10) == [b"data of 9", b"data of 10"]


def test_chunks_and_install_may_come_in_one_write(store: Store, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    store.write([GroupWrite(G, stage_meta=SOURCE_META, stage=chunks, install=SOURCE_META)])
    assert_installed(store)


def test_an_installed_snapshot_can_be_sent_on(store: Store, source: Store) -> None:
    store.write([GroupWrite(G, stage_meta=SOURCE_META, stage=chunks_of(source.group(G), 9000), install=SOURCE_META)])
    third = MemoryStore()
    third.write([GroupWrite(G, stage_meta=SOURCE_META, stage=chunks_of(store.group(G), 9000), install=SOURCE_META)])
    assert_installed(third)


def test_a_group_can_install_again_and_again(store: Store, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    for _ in range(3):
        store.write([GroupWrite(G, stage_meta=SOURCE_META, stage=chunks, install=SOURCE_META)])
        store.write([appended(9, 15)])
    assert store.group(G).initial_state().last_index == 15
    assert list(store.group(G).payload_indexes()) == [1, 2, 5, 6, 7, 8]


def test_chunks_hold_what_fits_or_one_record(source: Store) -> None:
    assert all(len(chunk.data) <= 70_000 for chunk in chunks_of(source.group(G), 70_000))
    one_each = chunks_of(source.group(G), 1)
    assert len(one_each) == 4 + 6
    assert one_each[0].cursor == b""
    assert [chunk.next_cursor for chunk in one_each[:-1]] == [chunk.cursor for chunk in one_each[1:]]


def test_a_chunk_of_a_snapshot_that_was_replaced_says_start_again(source: Store) -> None:
    first = source.group(G).snapshot_chunk(SOURCE_META, b"", 1000)
    assert first is not None
    source.write([GroupWrite(G, snapshot=(meta(9, term=2), b"newer"))])
    assert source.group(G).snapshot_chunk(SOURCE_META, first.next_cursor or b"", 1000) is None


def test_a_payload_deleted_during_the_transfer_is_left_out(store: Store, source: Store) -> None:
    group = source.group(G)
    chunks = chunks_of(group, 1)
    before_seven = next(chunk for chunk in chunks if b"6" * 5000 in chunk.data)
    source.write([GroupWrite(G, delete_entries=[index(7)])])
    for chunk in chunks[: chunks.index(before_seven) + 1]:
        stage(store, chunk)
    rest = group.snapshot_chunk(SOURCE_META, before_seven.next_cursor or b"", 1 << 20)
    assert rest is not None
    stage(store, rest)
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert list(store.group(G).payload_indexes()) == [1, 2, 5, 6, 8]


def test_a_group_with_nothing_alive_travels_in_one_empty_chunk(store: Store) -> None:
    origin = MemoryStore()
    first = meta(0, term=0)
    origin.write([GroupWrite(G, snapshot=(first, b""))])
    (chunk,) = chunks_of(origin.group(G), 1000)
    assert (chunk.data, chunk.next_cursor) == (b"", None)
    store.write([appended(1, 5), GroupWrite(G, stage_meta=first, stage=[chunk], install=first)])
    assert store.group(G).initial_state().last_index == 0
    assert store.group(G).payload(index(1)) is None


def test_a_first_chunk_drops_what_was_staged(store: Store, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    other = MemoryStore()
    other_meta = meta(20, term=2)
    other.write([appended(1, 20, term=2), GroupWrite(G, snapshot=(other_meta, b"other"))])
    (first_of_other,) = chunks_of(other.group(G), 1 << 20)
    store.write([GroupWrite(G, stage_meta=other_meta, stage=[first_of_other])])
    for chunk in chunks:
        stage(store, chunk)
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert_installed(store)


def test_a_chunk_that_comes_twice_is_staged_once(store: Store, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    for chunk in [chunks[0], chunks[1], chunks[1], *chunks[2:], chunks[1], chunks[-1]]:
        stage(store, chunk)
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert_installed(store)


def test_a_gap_between_chunks_is_refused(store: Store, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    stage(store, chunks[0])
    with pytest.raises(AssertionError, match="a staged chunk leaves a gap"):
        stage(store, chunks[2])
    for chunk in chunks[1:]:
        stage(store, chunk)
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert_installed(store)


def test_an_unfinished_snapshot_is_not_installed(store: Store, source: Store) -> None:
    for chunk in chunks_of(source.group(G), 30_000)[:-1]:
        stage(store, chunk)
    with pytest.raises(AssertionError, match="group 3: the staged snapshot is not complete"):
        store.write([GroupWrite(G, install=SOURCE_META)])


@pytest.mark.parametrize("offset", [0, 5, 10, 30, 40_000, 66_000, 80_000, -1])
def test_a_damaged_chunk_is_refused_and_nothing_of_its_write_stays(store: Store, source: Store, offset: int) -> None:
    (chunk,) = chunks_of(source.group(G), 1 << 20)
    rotten = bytearray(chunk.data)
    rotten[offset] ^= 1
    with pytest.raises(StorageCorrupt, match=r"^group 3: "):
        store.write(
            [
                GroupWrite(GroupId(1), entries=entries(1, 1)),
                GroupWrite(G, stage_meta=SOURCE_META, stage=[SnapshotChunk(b"", bytes(rotten), None)]),
            ]
        )
    assert list(store.groups()) == []
    stage(store, chunk)
    store.write([GroupWrite(G, install=SOURCE_META)])
    assert_installed(store)


def test_a_chunk_of_another_group_is_refused(store: Store, source: Store) -> None:
    (chunk,) = chunks_of(source.group(G), 1 << 20)
    with pytest.raises(StorageCorrupt):
        store.write([GroupWrite(GroupId(4), stage_meta=SOURCE_META, stage=[chunk])])


def test_a_record_of_unknown_kind_is_refused(store: Store, source: Store) -> None:
    chunk = chunks_of(source.group(G), 1)[-1]
    with pytest.raises(StorageCorrupt, match="unknown kind 3"):
        stage(store, SnapshotChunk(b"", b"\3" + chunk.data[1:], None))


@pytest.mark.parametrize("cut", [1, 12, 13, 70_000])
def test_a_chunk_that_was_cut_off_is_refused(store: Store, source: Store, cut: int) -> None:
    (chunk,) = chunks_of(source.group(G), 1 << 20)
    with pytest.raises(StorageCorrupt):
        stage(store, SnapshotChunk(b"", chunk.data[:cut], None))


def test_a_transfer_does_not_survive_the_process(tmp_path: Path, source: Store) -> None:
    chunks = chunks_of(source.group(G), 30_000)
    store = LmdbStore(tmp_path / "receiver")
    store.write([appended(1, 3)])
    used = store.statistics().used_bytes
    for chunk in chunks:
        stage(store, chunk)
    store.close()
    store = LmdbStore(tmp_path / "receiver")
    assert store.statistics().used_bytes <= used + store.statistics().page_size
    with pytest.raises(AssertionError, match="nothing is staged to install"):
        store.write([GroupWrite(G, install=SOURCE_META)])
    for chunk in chunks:
        stage(store, chunk)
    store.write([GroupWrite(G, install=SOURCE_META)])
    store.close()
    store = LmdbStore(tmp_path / "receiver")
    assert_installed(store)
    assert store.group(G).payload(LogIndex(3)) is None
    store.close()
