"""The map grows when it must, the file only as far as it must."""

from __future__ import annotations

import random
import shutil
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.raft.storage import GroupWrite, StorageFull
from cluster.raft.types import GroupId, LogIndex
from cluster.store.directory import DataDirectory
from cluster.store.environment import GrowingEnvironment
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import MemoryStore

from .build import G, chunks_of, data_of, entry, hard_state, index, meta
from .seed import chosen_seed

MEGABYTE = 1 << 20


def test_the_map_doubles_until_a_write_fits(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=MEGABYTE // 4, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(1, bytes(10 * MEGABYTE)), entry(2)])])
    statistics = store.statistics()
    assert (statistics.map_size, statistics.map_grow_count) == (16 * MEGABYTE, 6)
    assert statistics.commit_count == 1
    assert store.group(G).payload(index(1)) == bytes(10 * MEGABYTE)
    store.close()


def test_many_groups_begin_in_a_small_map(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=32 << 10, map_size_max=MEGABYTE)
    groups = [GroupId(number) for number in range(100)]
    store.write([GroupWrite(group, entries=[entry(1, b"%d" % group)]) for group in groups])
    assert list(store.groups()) == groups
    store.close()
    store = LmdbStore(tmp_path)
    assert [store.group(group).payload(index(1)) for group in groups] == [b"%d" % group for group in groups]
    store.close()


def test_a_grown_file_opens_with_a_small_map_again(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=MEGABYTE, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(1, bytes(10 * MEGABYTE))])])
    store.close()
    store = LmdbStore(tmp_path, map_size=MEGABYTE, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(2, bytes(10 * MEGABYTE))])])
    assert store.group(G).payload(index(1)) == bytes(10 * MEGABYTE)
    store.close()


def test_the_default_maximum_follows_the_space_left_on_the_disk(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    statistics = store.statistics()
    assert statistics.map_size == 64 * MEGABYTE
    assert statistics.map_size_max > 64 * MEGABYTE
    store.close()


def test_readers_of_other_threads_see_whole_writes_while_the_map_grows(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=MEGABYTE // 4, map_size_max=256 * MEGABYTE)
    other = GroupId(4)
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        one, two = store.group(G), store.group(other)
        while not done.is_set():
            last = one.initial_state().last_index
            if two.initial_state().last_index < last:
                wrong.append(f"entry {last} of one group is there, of the other it is not")
            if last and one.payload(last) != bytes([last]) * 300_000:
                wrong.append(f"entry {last} is not what was written")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 121):
            body = bytes([number]) * 300_000
            store.write([GroupWrite(group, entries=[entry(number, body)]) for group in (G, other)])
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert store.statistics().map_grow_count >= 8
    store.close()


def test_an_install_is_seen_whole_or_not_at_all_by_other_threads(tmp_path: Path) -> None:
    source = LmdbStore(tmp_path / "source")
    source.write([GroupWrite(G, entries=[entry(n, b"new") for n in range(1, 9)])])
    source.write([GroupWrite(G, snapshot=(meta(8), b"new"))])
    chunk = source.group(G).snapshot_chunk(meta(8), b"", MEGABYTE)
    assert chunk is not None
    store = LmdbStore(tmp_path / "receiver")
    store.write([GroupWrite(G, entries=[entry(n, b"old") for n in range(1, 9)])])
    wrong: list[bytes | None] = []
    done = threading.Event()

    def read() -> None:
        group = store.group(G)
        while not done.is_set():
            if (found := group.payload(index(5))) not in (b"old", b"new"):
                wrong.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        store.write([GroupWrite(G, stage_meta=meta(8), stage=[chunk])])
        store.write([GroupWrite(G, install=meta(8))])
    done.set()
    reader.join()
    assert wrong == []
    source.close()
    store.close()


def test_the_file_stops_growing_when_as_much_is_deleted_as_appended(tmp_path: Path) -> None:
    """About 20 MB are alive at any time, in entries of very different sizes that die out of order."""
    chance = random.Random(chosen_seed())
    store = LmdbStore(tmp_path)
    alive: deque[tuple[int, int]] = deque()
    alive_bytes = 0
    sizes: list[int] = []
    for number in range(1, 901):
        body = bytes(chance.choice((100, 3_000, 30_000, 64_000, 260_000, 600_000)))
        alive.append((number, len(body)))
        alive_bytes += len(body)
        dead: list[LogIndex] = []
        while alive_bytes > 20 * MEGABYTE:
            alive.rotate(-chance.randrange(len(alive) // 2))
            oldest, size = alive.popleft()
            alive_bytes -= size
            dead.append(LogIndex(oldest))
        write = GroupWrite(
            G,
            hard_state=hard_state(1, commit_index=number),
            entries=[entry(number, body)],
            snapshot=(meta(number), b"index"),
            delete_entries=dead,
        )
        store.write([write])
        if number % 100 == 0:
            sizes.append(store.statistics().file_size)
    statistics = store.statistics()
    assert statistics.file_size < 2.5 * 20 * MEGABYTE, sizes
    assert sizes[-1] <= sizes[2] * 1.5, sizes
    assert statistics.used_bytes < 1.2 * alive_bytes + MEGABYTE
    assert statistics.file_size <= statistics.used_bytes + statistics.free_pages * statistics.page_size
    store.close()


def test_after_a_bulk_deletion_the_free_pages_are_filled_first(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(n, bytes(100_000)) for n in range(1, 201)])])
    full = store.statistics()
    store.write([GroupWrite(G, snapshot=(meta(200), b""), delete_entries=[LogIndex(n) for n in range(1, 200)])])
    freed = store.statistics()
    assert freed.used_bytes < full.used_bytes / 50
    assert freed.free_pages > 4800
    for number in range(201, 381):
        store.write([GroupWrite(G, entries=[entry(number, bytes(100_000))])])
    assert store.statistics().file_size < full.file_size * 1.15
    assert data_of(store.group(G), 201, 380) == [bytes(100_000)] * 180
    store.close()


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


def fill(store: LmdbStore) -> int:
    """Append until the store is full; the last index that fitted."""
    while True:
        last = store.group(G).initial_state().last_index
        try:
            store.write([GroupWrite(G, entries=[entry(last + 1, bytes(30_000))])])
        except StorageFull:
            return last


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


def test_what_the_last_write_freed_is_room_for_the_next(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=16 * MEGABYTE, map_size_max=16 * MEGABYTE)
    last = fill(store)
    store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=[index(n) for n in range(1, last + 1)])])
    store.space.tight_bytes = 0
    store.write([GroupWrite(G, entries=[entry(last + 1, bytes(8 * MEGABYTE))])])
    assert not store.space.tight_bytes
    store.close()


def write_all(store: LmdbStore, writes: Sequence[GroupWrite]) -> None:
    for write in writes:
        store.write([write])


def test_a_small_snapshot_finds_room_where_a_large_one_does_not(tmp_path: Path) -> None:
    """It makes some: what it replaces may be most of the store."""
    other = GroupId(4)
    source = MemoryStore()
    for group, size in ((G, 100_000), (other, 0)):
        source.write([GroupWrite(group, entries=[entry(n, bytes(size)) for n in range(1, 601)])])
        source.write([GroupWrite(group, snapshot=(meta(600), b"state"))])
    store = LmdbStore(tmp_path, map_size=32 * MEGABYTE, map_size_max=32 * MEGABYTE)
    store.write([GroupWrite(other, entries=[entry(n, bytes(100_000)) for n in range(1, 100)])])
    fill(store)
    large = [GroupWrite(G, stage_meta=meta(600), stage=[chunk]) for chunk in chunks_of(source.group(G), 300_000)]
    with pytest.raises(StorageFull):
        write_all(store, large)
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
    store.close()
