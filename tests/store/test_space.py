"""What a write may use of the room that there is, and what becomes of one for which there is none."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.raft.storage import GroupWrite, SnapshotChunk, StorageFull
from cluster.raft.types import GroupId
from cluster.store.directory import DataDirectory
from cluster.store.environment import GrowingEnvironment
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import MemoryStore
from cluster.store.space import demand_of

from .build import G, chunks_of, entry, hard_state, index, meta

MEGABYTE = 1 << 20


def fill(store: LmdbStore, size: int = 30_000) -> int:
    """Append entries of that size until the store is full; the last index that fitted."""
    while True:
        last = store.group(G).initial_state().last_index
        try:
            store.write([GroupWrite(G, entries=[entry(last + 1, bytes(size))])])
        except StorageFull:
            return last


def write_all(store: LmdbStore, writes: Sequence[GroupWrite]) -> None:
    for write in writes:
        store.write([write])


def test_a_full_map_still_takes_what_gives_space_back(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=4 * MEGABYTE, map_size_max=4 * MEGABYTE)
    last = fill(store)
    for round_number in range(80):
        assert last >= 110 * (round_number + 1), "what was freed is used again"
        assert store.statistics().map_size >= 4 * MEGABYTE
        store.write([GroupWrite(G, hard_state=hard_state(1, commit_index=round_number))])
        store.write([GroupWrite(G, snapshot=(meta(last), bytes(20_000)))])
        dead = list(store.group(G).payload_indexes())
        store.write([GroupWrite(G, delete_entries=dead)])
        last = fill(store)
    assert store.statistics().file_size <= 7 * MEGABYTE
    assert store.statistics().used_bytes <= 4 * MEGABYTE * 17 // 16
    store.close()


def test_what_gives_space_back_is_not_counted(tmp_path: Path) -> None:
    """Not even where snapshots that came in one piece have used what is reserved: nothing else makes that less."""
    store = LmdbStore(tmp_path, map_size=8 * MEGABYTE, map_size_max=8 * MEGABYTE)
    last = fill(store)
    assert store.statistics().used_bytes < 8.25 * MEGABYTE, "a quarter of what is reserved, and as much of the journal"
    source = MemoryStore()
    for group in map(GroupId, range(10, 120)):
        source.write([GroupWrite(group, entries=[entry(1, bytes(3_000))])])
        source.write([GroupWrite(group, snapshot=(meta(1), b"state"))])
    pieces = [(group, chunks_of(source.group(group), MEGABYTE)) for group in source.groups()]
    with pytest.raises(StorageFull):
        write_all(store, [GroupWrite(group, stage_meta=meta(1), stage=chunks) for group, chunks in pieces])
    assert store.statistics().used_bytes > 8.4 * MEGABYTE
    store.write([GroupWrite(G, hard_state=hard_state(2))])
    store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=[index(n) for n in range(1, last + 1)])])
    assert store.statistics().used_bytes < MEGABYTE
    store.close()


def test_what_a_write_asks_for_is_the_least_that_any_of_it_may_use() -> None:
    first, other, whole = [
        SnapshotChunk(*told) for told in ((b"", b"12", b"n"), (b"n", b"345", None), (b"", b"6", None))
    ]
    staged = [GroupWrite(G, stage_meta=meta(1), stage=[chunk]) for chunk in (first, other, whole)]
    assert [demand_of([write]) for write in staged] == [(2, 0.5), (3, 0.5), (1, 1.0)]
    data = GroupWrite(G, entries=[entry(1, bytes(1000))])
    assert demand_of([data]).share == demand_of([data, *staged]).share == demand_of([*staged, data]).share == 0.25
    assert 1000 < demand_of([data]).data_bytes < 1100
    assert demand_of([GroupWrite(G, hard_state(1), snapshot=(meta(1), bytes(9)), delete_entries=[index(1)])]) == (
        0,
        1.0,
    )


def test_free_pages_in_pieces_are_made_up_for_by_a_larger_file(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    last = 0
    while store.statistics().used_bytes < 15 * MEGABYTE:
        last += 1
        store.write([GroupWrite(G, entries=[entry(last, bytes(100_000))])])
    # Every second of them goes: half of the file is free, in pieces of 100,000 bytes.
    store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=[index(n) for n in range(1, last, 2)])])
    for _ in range(5):
        last += 1
        store.write([GroupWrite(G, entries=[entry(last, bytes(MEGABYTE))])])
    statistics = store.statistics()
    assert 17 * MEGABYTE < statistics.file_size < 22 * MEGABYTE
    assert statistics.used_bytes < 14 * MEGABYTE
    # As much as may be used is not more for that.
    last += 1
    store.write([GroupWrite(G, entries=[entry(last, bytes(MEGABYTE))])])
    with pytest.raises(StorageFull):
        store.write([GroupWrite(G, entries=[entry(last + 1, bytes(3 * MEGABYTE))])])
    assert not store.space.tight_bytes
    store.close()


def test_a_disk_without_room_in_one_piece_is_told_by_what_was_in_use_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(n, bytes(100_000)) for n in range(1, 100)])])
    store.write([GroupWrite(G, snapshot=(meta(99), b""), delete_entries=[index(n) for n in range(1, 99, 2)])])
    turned = 0

    def is_full(self: GrowingEnvironment, *told: object, file_max: int) -> None:
        raise StorageFull("no space left")

    def turn(self: GrowingEnvironment) -> None:
        nonlocal turned
        turned += 1

    monkeypatch.setattr(GrowingEnvironment, "write", is_full)
    monkeypatch.setattr(GrowingEnvironment, "turn", turn)
    for size, is_tight in ((9 * MEGABYTE, False), (MEGABYTE, True)):
        with pytest.raises(StorageFull):
            store.write([GroupWrite(G, entries=[entry(100, bytes(size))])])
        assert bool(store.statistics().tight_bytes) is is_tight
    assert store.statistics().tight_bytes == store.statistics().used_bytes
    assert turned == 1
    monkeypatch.undo()
    store.close()


def test_the_file_does_not_grow_beyond_twice_the_maximum_however_small_the_pieces(tmp_path: Path) -> None:
    """Every second entry goes, again and again, and those that follow are larger than what is free in one piece."""
    store = LmdbStore(tmp_path, map_size=8 * MEGABYTE, map_size_max=8 * MEGABYTE)
    sizes: list[int] = []
    for size in (40_000, 120_000, 360_000, 1_080_000):
        last = fill(store, size)
        sizes.append(store.statistics().file_size)
        first = store.group(G).initial_state().first_index
        dead = [*store.group(G).payload_indexes(), *map(index, range(first, last + 1))][::2]
        store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=dead)])
    assert sizes[1] > 11 * MEGABYTE
    assert sizes[-1] <= 16 * MEGABYTE
    store.close()


def test_what_the_last_write_freed_is_room_for_the_next(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    last = fill(store)
    store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=[index(n) for n in range(1, last + 1)])])
    store.space.tight_bytes = 0
    store.write([GroupWrite(G, entries=[entry(last + 1, bytes(8 * MEGABYTE))])])
    assert not store.space.tight_bytes
    store.close()


def test_a_write_for_which_the_disk_has_no_room_takes_that_of_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LmdbStore(tmp_path, map_size_max=16 * MEGABYTE, reserve_file=MEGABYTE)
    store.space.look()
    reserve = tmp_path / "reserve"
    assert reserve.exists()
    write = GrowingEnvironment.write

    def is_full(self: GrowingEnvironment, *told: Any, **named: Any) -> Any:
        if reserve.exists():
            raise StorageFull("no space left")
        return write(self, *told, **named)

    monkeypatch.setattr(GrowingEnvironment, "write", is_full)
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: 0)
    store.write([GroupWrite(G, entries=[entry(1)])])
    assert not reserve.exists()
    assert store.group(G).payload(index(1)) == b"data of 1"
    reserve.touch()
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: MEGABYTE)
    with pytest.raises(StorageFull):
        store.write([GroupWrite(G, hard_state=hard_state(1))])
    assert reserve.exists(), "something else than space is missing"
    monkeypatch.undo()
    store.close()


def test_a_small_snapshot_finds_room_where_a_large_one_does_not(tmp_path: Path) -> None:
    """It makes some: what it replaces may be most of the store."""
    other = GroupId(4)
    source = MemoryStore()
    for group, size in ((G, 10_000), (other, 0)):
        source.write([GroupWrite(group, entries=[entry(n, bytes(size)) for n in range(1, 601)])])
        source.write([GroupWrite(group, snapshot=(meta(600), b"state"))])
    store = LmdbStore(tmp_path, map_size=32 * MEGABYTE, map_size_max=32 * MEGABYTE)
    store.write([GroupWrite(other, entries=[entry(n, bytes(100_000)) for n in range(1, 100)])])
    fill(store)
    large = [GroupWrite(G, stage_meta=meta(600), stage=[chunk]) for chunk in chunks_of(source.group(G), 10_000)]
    with pytest.raises(StorageFull):
        write_all(store, large)
    # Half of what is reserved, and a quarter that was in the journal.
    assert store.statistics().used_bytes < 33.5 * MEGABYTE
    with pytest.raises(StorageFull):
        store.write([GroupWrite(other, entries=[entry(100)])])
    [chunk] = chunks_of(source.group(other), MEGABYTE)
    before = store.statistics().used_bytes
    store.write([GroupWrite(other, stage_meta=meta(600), stage=[chunk])])
    store.write([GroupWrite(other, install=meta(600))])
    assert store.statistics().used_bytes < before - 9 * MEGABYTE
    store.close()


def test_a_store_that_holds_more_than_it_may_takes_in_what_frees_it(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(n, bytes(100_000)) for n in range(1, 401)])])
    store.close()
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    assert store.statistics().map_size_max == store.statistics().used_bytes > 38 * MEGABYTE
    store.write([GroupWrite(G, entries=[entry(401, bytes(40_000))])])
    with pytest.raises(StorageFull):
        store.write([GroupWrite(G, entries=[entry(402, bytes(2 * MEGABYTE))])])
    store.close()


def test_a_store_that_holds_more_than_it_may_forgets_the_snapshot_that_was_on_its_way(tmp_path: Path) -> None:
    """Its process was killed then. What is forgotten makes room, and takes some before that."""
    other = GroupId(4)
    source = MemoryStore()
    source.write([GroupWrite(G, entries=[entry(n, bytes(15_000)) for n in range(1, 1001)])])
    source.write([GroupWrite(G, snapshot=(meta(1000), b"state"))])
    store = LmdbStore(tmp_path / "killed", map_size=64 * MEGABYTE, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(other, entries=[entry(n, bytes(100_000)) for n in range(1, 101)])])
    for chunk in chunks_of(source.group(G), MEGABYTE)[:-1]:
        store.write([GroupWrite(G, stage_meta=meta(1000), stage=[chunk])])
    before = store.statistics().used_bytes
    shutil.copytree(tmp_path / "killed", tmp_path / "again")
    store.close()
    store = LmdbStore(tmp_path / "again", map_size=4 * MEGABYTE, map_size_max=8 * MEGABYTE)
    assert store.statistics().used_bytes < before - 14 * MEGABYTE
    store.write([GroupWrite(other, entries=[entry(101, bytes(100_000))])])
    store.close()


def test_what_a_store_may_hold_by_default_grows_with_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = [20 * MEGABYTE]
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: disk[-1])
    store = LmdbStore(tmp_path, map_size=MEGABYTE)
    before = store.statistics().map_size_max
    assert 15 * MEGABYTE < before < 18 * MEGABYTE
    for free_bytes, is_more in ((MEGABYTE, False), (40 * MEGABYTE, True)):
        disk.append(free_bytes)
        store.space.look()
        assert (store.statistics().map_size_max > before) is is_more
        assert store.statistics().map_size_max >= before
    store.close()


def test_as_a_last_resort_a_full_store_takes_half_as_much_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    last = fill(store)
    store.space.is_last_resort = True
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: MEGABYTE)
    assert fill(store) == last, "what gives space back needs the disk's last"
    monkeypatch.setattr(DataDirectory, "free_bytes", lambda _: 64 * MEGABYTE)
    assert 1.4 * last < fill(store) < 1.6 * last
    assert store.statistics().used_bytes <= 24 * MEGABYTE
    store.space.is_last_resort = False
    store.write([GroupWrite(G, snapshot=(meta(last), bytes(20_000)))])
    store.write([GroupWrite(G, delete_entries=list(store.group(G).payload_indexes()))])
    assert fill(store) > last
    store.close()
