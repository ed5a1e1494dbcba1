"""When publishers are blocked for want of room."""

from __future__ import annotations

import pytest

from cluster.node.alarms import (
    QUIET_SECONDS,
    REFUSING_SECONDS,
    Refusals,
    has_room_for_letters,
    is_held_up,
    shortage,
    unconfirmed_bytes,
)
from cluster.raft.types import NodeId
from cluster.store.statistics import StoreStatistics

MIB = 1 << 20
GIB = 1 << 30


def store(*, used: int = 0, free_pages: int = 0, map_size_max: int = 64 * GIB, tight: int = 0) -> StoreStatistics:
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
        tight_bytes=tight,
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


THREE_REPLICAS = [(1, 2, 3), (2, 3, 1)]


@pytest.mark.parametrize(
    ("up", "short", "held_up"),
    [
        ({1, 2, 3}, set(), False),
        ({1, 2, 3}, {1}, False),
        ({1, 2, 3}, {1, 2}, True),
        ({2, 3}, {1, 2}, True),
        ({2, 3}, {2}, True),
        ({1, 2, 3}, {1, 2, 3}, True),
        ({3}, {1, 2}, False),
        ({2, 3}, {1}, False),
    ],
)
def test_all_publishers_wait_once_a_group_cannot_do_without_a_node_that_is_short(
    up: set[int], short: set[int], held_up: bool
) -> None:
    nodes = {NodeId(node) for node in short}
    groups = [tuple([NodeId(node) for node in voters]) for voters in THREE_REPLICAS]
    assert is_held_up(groups, up, nodes) is held_up
    assert is_held_up([*groups[:1], (NodeId(7), NodeId(8), NodeId(9))], up | {7, 8, 9}, nodes) is held_up


def test_a_store_whose_room_is_in_pieces_is_short_until_as_much_is_free_as_is_kept_for_consumers() -> None:
    disk_free = 7 * GIB
    assert not shortage(store(used=50 * GIB), disk_free, 256 * MIB, 1.0)
    why = shortage(store(used=50 * GIB, tight=50 * GIB), disk_free, 256 * MIB, 1.0)
    assert why.endswith("bytes of limits.store_size_max (68719476736) are used, and no room was left in one piece")
    assert shortage(store(used=43 * GIB, tight=50 * GIB), disk_free, 256 * MIB, 1.0)
    assert not shortage(store(used=42 * GIB, tight=50 * GIB), disk_free, 256 * MIB, 1.0)
    assert not shortage(store(used=50 * GIB, tight=50 * GIB), 9 * GIB, 256 * MIB, 1.0), "it may grow again"


def test_a_store_whose_room_is_in_pieces_and_that_holds_less_than_is_kept_is_short_until_half_of_that_is_gone() -> None:
    disk_free = 7 * GIB
    assert shortage(store(used=4 * GIB, tight=6 * GIB), disk_free, 256 * MIB, 1.0)
    assert not shortage(store(used=3 * GIB, tight=6 * GIB), disk_free, 256 * MIB, 1.0)


def test_a_store_is_full_until_it_has_refused_nothing_for_a_while() -> None:
    refusals = Refusals()
    assert not refusals.is_full(0.0)
    refusals.told(0.0, is_full=True)
    assert refusals.is_full(100.0)
    refusals.told(100.0, is_full=False)
    assert refusals.is_full(100.0 + QUIET_SECONDS - 0.1)
    assert not refusals.is_full(100.0 + QUIET_SECONDS)


def test_what_is_given_up_and_comes_again_is_one_refusal_that_lasts() -> None:
    refusals = Refusals()
    now = 0.0
    while now < REFUSING_SECONDS:
        refusals.told(now, is_full=True)
        assert not refusals.needs_last_resort(now, holds_up=True)
        refusals.told(now + 1.0, is_full=False)
        assert not refusals.needs_last_resort(now + 1.0, holds_up=True)
        now += 1.6
    assert not refusals.needs_last_resort(now, holds_up=True), "nothing is refused"
    refusals.told(now, is_full=True)
    assert not refusals.needs_last_resort(now, holds_up=False), "nobody waits for it"
    assert not refusals.needs_last_resort(now, holds_up=True), "nobody has waited for long"
    assert refusals.needs_last_resort(now + REFUSING_SECONDS, holds_up=True)


def test_refusals_that_are_far_apart_do_not_add_up() -> None:
    refusals = Refusals()
    for now in (0.0, REFUSING_SECONDS + QUIET_SECONDS):
        refusals.told(now, is_full=True)
        assert not refusals.needs_last_resort(now, holds_up=True)
        refusals.told(now + 0.2, is_full=False)
        assert not refusals.needs_last_resort(now + 0.2 + QUIET_SECONDS, holds_up=True)


def test_dead_letters_have_room_down_to_half_of_what_is_kept() -> None:
    kept = 8 * MIB
    assert has_room_for_letters(store(used=60 * MIB, map_size_max=64 * MIB), 999 * GIB, kept)
    assert not has_room_for_letters(store(used=61 * MIB, map_size_max=64 * MIB), 999 * GIB, kept)
    assert has_room_for_letters(store(free_pages=1024), 0, kept)
    assert not has_room_for_letters(store(free_pages=1023), 0, kept)


@pytest.mark.parametrize(("node_count", "size"), [(1, 1000), (3, 1000), (4, 750), (6, 500)])
def test_clients_of_all_nodes_have_no_more_under_way_than_three_eighths_of_what_is_kept(
    node_count: int, size: int
) -> None:
    assert unconfirmed_bytes(8000, node_count) == size
    assert node_count * size <= 8000 * 3 // 8
