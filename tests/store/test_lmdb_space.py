"""The map grows when it must, the file only as far as it must."""

from __future__ import annotations

import random
import threading
from collections import deque
from pathlib import Path

from cluster.raft.storage import GroupWrite
from cluster.raft.types import GroupId, LogIndex
from cluster.store.lmdb_store import LmdbStore

from .build import G, data_of, entry, hard_state, index, meta
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


def test_a_store_could_hold_its_largest_size_or_what_the_disk_and_its_own_free_pages_allow(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size_max=64 * MEGABYTE)
    store.write([GroupWrite(G, entries=[entry(1, bytes(10 * MEGABYTE))])])
    store.write([GroupWrite(G, truncate_from=index(1), entries=[entry(1, bytes(MEGABYTE))])])
    statistics = store.statistics()
    free_bytes = statistics.free_pages * statistics.page_size
    assert free_bytes > 8 * MEGABYTE > statistics.used_bytes
    assert statistics.capacity_bytes(100 * MEGABYTE) == 64 * MEGABYTE
    assert statistics.capacity_bytes(5 * MEGABYTE) == statistics.used_bytes + free_bytes + 5 * MEGABYTE
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
