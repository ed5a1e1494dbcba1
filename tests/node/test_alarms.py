"""When publishers are blocked for want of room."""

from __future__ import annotations

from cluster.node.alarms import shortage
from cluster.store.statistics import StoreStatistics

MIB = 1 << 20
GIB = 1 << 30


def store(*, used: int = 0, free_pages: int = 0, map_size_max: int = 64 * GIB) -> StoreStatistics:
    return StoreStatistics(
        file_size=used + free_pages * 4096,
        used_bytes=used,
        free_pages=free_pages,
        page_size=4096,
        map_size=map_size_max,
        map_size_max=map_size_max,
        map_grow_count=0,
        commit_count=0,
        last_commit_seconds=0.0,
    )


def test_a_disk_with_less_than_the_least_free_space_is_short() -> None:
    assert not shortage(store(), 256 * MIB, 256 * MIB, 1.0)
    why = shortage(store(), 256 * MIB - 1, 256 * MIB, 1.0)
    assert why == "268435455 bytes left on the disk, limits.disk_free_min is 268435456"


def test_free_pages_of_a_file_that_never_shrinks_are_room_on_the_disk() -> None:
    assert not shortage(store(free_pages=256 * MIB // 4096), 0, 256 * MIB, 1.0)


def test_a_store_near_its_largest_size_is_short_however_much_the_disk_has() -> None:
    assert not shortage(store(used=55 * GIB), 999 * GIB, 256 * MIB, 1.0)
    why = shortage(store(used=57 * GIB), 999 * GIB, 256 * MIB, 1.0)
    assert why.startswith("7516192768 bytes left of limits.store_size_max (68719476736), 8589934592 are kept")


def test_a_small_store_keeps_a_quarter_for_consumers_and_no_more() -> None:
    assert not shortage(store(used=47 * MIB, map_size_max=64 * MIB), 999 * GIB, 256 * MIB, 1.0)
    assert shortage(store(used=49 * MIB, map_size_max=64 * MIB), 999 * GIB, 256 * MIB, 1.0)


def test_an_alarm_ends_only_with_more_room_than_raised_it() -> None:
    assert shortage(store(), 256 * MIB, 256 * MIB, 0.95)
    assert not shortage(store(), 270 * MIB, 256 * MIB, 0.95)
