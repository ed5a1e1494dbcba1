"""What `cluster.raft.storage` asks of a store, kept by both."""

from __future__ import annotations

import itertools

import pytest

from cluster.raft.storage import Compacted, GroupWrite, InitialState, StorageFull, Unavailable
from cluster.raft.types import Configuration, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term

from .build import (
    VOTERS,
    G,
    appended,
    chunks_of,
    data_of,
    entries,
    entry,
    hard_state,
    index,
    meta,
)
from .conftest import Store


def test_a_group_nobody_wrote_to_is_empty(store: Store) -> None:
    group = store.group(G)
    nothing = SnapshotMeta(LogIndex(0), Term(0), Configuration(()))
    assert group.initial_state() == InitialState(hard_state(0), nothing, index(1), index(0))
    assert group.term(index(0)) == 0
    assert group.snapshot_meta() == nothing
    assert group.snapshot_index() == b""
    assert group.payload(index(1)) is None
    assert list(group.payload_indexes()) == []
    assert list(store.groups()) == []


def test_reading_a_group_does_not_make_it(store: Store) -> None:
    store.group(G).initial_state()
    assert list(store.groups()) == []


def test_groups_are_those_written_to_in_order(store: Store) -> None:
    store.write([GroupWrite(GroupId(7), hard_state=hard_state(1)), appended(1, 1, group=GroupId(2))])
    store.write([appended(1, 1, group=GroupId(300))])
    assert list(store.groups()) == [2, 7, 300]


def test_a_bootstrapped_group_starts_with_its_configuration(store: Store) -> None:
    configuration = Configuration((NodeId(1), NodeId(2)), (NodeId(3),), (NodeId(9),), (NodeId(4), NodeId(5)))
    first = meta(0, term=0, configuration=configuration)
    store.write([GroupWrite(G, snapshot=(first, b""))])
    assert store.group(G).initial_state().snapshot == first
    assert store.group(G).snapshot_meta().configuration == configuration


def test_hard_state_is_replaced(store: Store) -> None:
    store.write([GroupWrite(G, hard_state=hard_state(4, vote=2, commit_index=9))])
    store.write([GroupWrite(G, hard_state=hard_state(5, vote=0, commit_index=11))])
    assert store.group(G).initial_state().hard_state == hard_state(5, vote=0, commit_index=11)


def test_appended_entries_are_read_back(store: Store) -> None:
    written = [entry(1, b"", term=2), entry(2, bytes(70_000), term=2), entry(3, b"x" * 9000, term=5)]
    store.write([GroupWrite(G, entries=written)])
    assert store.group(G).entries(index(1), index(4), 1 << 20) == written
    assert store.group(G).term(index(3)) == 5
    assert store.group(G).initial_state().last_index == 3


@pytest.mark.parametrize("kind", list(EntryKind))
def test_an_entry_keeps_its_kind(store: Store, kind: EntryKind) -> None:
    written = entry(1)
    written = type(written)(written.term, written.index, kind, written.data)
    store.write([GroupWrite(G, entries=[written])])
    assert store.group(G).entries(index(1), index(2), 100) == [written]


def test_entries_gives_at_least_one_and_no_more_than_fit(store: Store) -> None:
    store.write([GroupWrite(G, entries=[entry(n, bytes(1000)) for n in range(1, 11)])])
    group = store.group(G)
    assert [e.index for e in group.entries(index(2), index(9), 1)] == [2]
    assert [e.index for e in group.entries(index(2), index(9), 3000)] == [2, 3, 4]
    assert [e.index for e in group.entries(index(2), index(9), 2999)] == [2, 3]
    assert [e.index for e in group.entries(index(2), index(9), 1 << 20)] == [2, 3, 4, 5, 6, 7, 8]
    assert group.entries(index(2), index(2), 1000) == []


def test_what_is_outside_of_the_log_is_compacted_or_unavailable(store: Store) -> None:
    store.write([appended(1, 10), GroupWrite(G, snapshot=(meta(4), b""))])
    group = store.group(G)
    with pytest.raises(Compacted, match=r"^group 3: entry 3 is compacted, the log starts at 5$"):
        group.term(index(3))
    with pytest.raises(Compacted):
        group.entries(index(4), index(8), 1000)
    with pytest.raises(Unavailable, match=r"^group 3: entry 11 is not there, the log ends at 10$"):
        group.term(index(11))
    with pytest.raises(Unavailable):
        group.entries(index(8), index(12), 1000)
    assert group.term(index(4)) == 1


def test_truncation_drops_the_end_and_the_log_goes_on_from_there(store: Store) -> None:
    store.write([appended(1, 9)])
    store.write([GroupWrite(G, truncate_from=index(6), entries=entries(6, 7, term=2))])
    group = store.group(G)
    assert group.initial_state().last_index == 7
    assert [e.term for e in group.entries(index(5), index(8), 1000)] == [1, 2, 2]
    assert group.payload(index(8)) is None


def test_the_whole_log_can_be_truncated(store: Store) -> None:
    store.write([appended(1, 3)])
    store.write([GroupWrite(G, truncate_from=index(1))])
    assert store.group(G).initial_state().last_index == 0


def test_truncation_beyond_the_end_drops_nothing(store: Store) -> None:
    store.write([appended(1, 3)])
    store.write([GroupWrite(G, truncate_from=index(9))])
    assert store.group(G).initial_state().last_index == 3


def test_a_snapshot_moves_the_log_and_keeps_the_payloads(store: Store) -> None:
    store.write([appended(1, 9)])
    store.write([GroupWrite(G, snapshot=(meta(6), b"index"))])
    group = store.group(G)
    assert group.initial_state() == InitialState(hard_state(0), meta(6), index(7), index(9))
    assert group.snapshot_index() == b"index"
    assert group.payload(index(2)) == b"data of 2"
    assert group.payload(index(8)) == b"data of 8"
    assert list(group.payload_indexes()) == [1, 2, 3, 4, 5, 6]
    assert group.payload(index(10)) is None


def test_a_snapshot_of_the_whole_log_leaves_it_empty_and_growing(store: Store) -> None:
    store.write([appended(1, 3), GroupWrite(G, snapshot=(meta(3), b""))])
    assert store.group(G).initial_state().last_index == 3
    store.write([appended(4, 5, term=2)])
    assert data_of(store.group(G), 4, 5) == [b"data of 4", b"data of 5"]


@pytest.mark.parametrize("size", [0, 1, 65_515, 65_516, 65_517, 3_000_000])
def test_a_snapshot_index_of_any_size_is_read_back(store: Store, size: int) -> None:
    body = bytes(n % 251 for n in range(size))
    store.write([GroupWrite(G, snapshot=(meta(0, term=0), body))])
    assert store.group(G).snapshot_index() == body


def test_a_smaller_snapshot_index_leaves_nothing_of_the_larger_one(store: Store) -> None:
    store.write([GroupWrite(G, snapshot=(meta(0, term=0), b"x" * 500_000))])
    store.write([GroupWrite(G, snapshot=(meta(0, term=0), b"short"))])
    assert store.group(G).snapshot_index() == b"short"
    assert len(chunks_of(store.group(G), 1 << 30)[0].data) < 100


def test_deleted_payloads_are_gone(store: Store) -> None:
    store.write([appended(1, 9), GroupWrite(G, snapshot=(meta(6), b""))])
    store.write([GroupWrite(G, delete_entries=[index(2), index(5)])])
    store.write([GroupWrite(G, delete_entries=[index(5), index(6)])])
    group = store.group(G)
    assert group.payload(index(5)) is None
    assert list(group.payload_indexes()) == [1, 3, 4]
    assert group.initial_state().last_index == 9


def test_the_log_goes_on_when_every_payload_is_deleted(store: Store) -> None:
    everything = [LogIndex(n) for n in range(1, 4)]
    store.write([appended(1, 3), GroupWrite(G, snapshot=(meta(3), b""), delete_entries=everything)])
    assert store.group(G).initial_state().last_index == 3
    store.write([appended(4, 4)])
    assert store.group(G).payload(index(4)) == b"data of 4"


def test_a_replaced_payload_is_the_smaller_one(store: Store) -> None:
    store.write([GroupWrite(G, entries=[entry(1, bytes(100_000)), entry(2)]), GroupWrite(G, snapshot=(meta(2), b""))])
    store.write([GroupWrite(G, replace_entries=[entry(1, b"small")])])
    assert store.group(G).payload(index(1)) == b"small"
    assert list(store.group(G).payload_indexes()) == [1, 2]


def test_replacing_a_deleted_payload_does_not_bring_it_back(store: Store) -> None:
    store.write([appended(1, 2), GroupWrite(G, snapshot=(meta(2), b""), delete_entries=[index(1)])])
    store.write([GroupWrite(G, replace_entries=[entry(1, b"small")])])
    assert list(store.group(G).payload_indexes()) == [2]


def test_groups_do_not_see_each_other(store: Store) -> None:
    one, two = GroupId(1), GroupId(2)
    store.write([appended(1, 3, group=one), appended(1, 1, group=two, term=4)])
    store.write([GroupWrite(one, truncate_from=index(2)), GroupWrite(two, hard_state=hard_state(4))])
    assert store.group(one).initial_state().last_index == 1
    assert store.group(two).initial_state().last_index == 1
    assert store.group(two).term(index(1)) == 4
    assert store.group(one).initial_state().hard_state.term == 0


def test_one_write_may_move_a_group_several_times(store: Store) -> None:
    store.write([appended(1, 2), appended(3, 4), GroupWrite(G, snapshot=(meta(3), b"i")), appended(5, 5)])
    assert store.group(G).initial_state() == InitialState(hard_state(0), meta(3), index(4), index(5))


@pytest.mark.parametrize(
    "broken",
    [
        GroupWrite(G, entries=[entry(12)]),
        GroupWrite(G, entries=[entry(10)]),
        GroupWrite(G, truncate_from=index(4)),
        GroupWrite(G, snapshot=(meta(3), b"")),
        GroupWrite(G, snapshot=(meta(11), b"")),
        GroupWrite(G, delete_entries=[index(5)]),
        GroupWrite(G, replace_entries=[entry(5)]),
        GroupWrite(G, hard_state=hard_state(1)),
        GroupWrite(G, install=meta(20)),
    ],
    ids=lambda write: next(name for name in write.__slots__[1:] if getattr(write, name) not in (None, ())),
)
def test_a_write_the_protocol_forbids_changes_nothing(store: Store, broken: GroupWrite) -> None:
    store.write([appended(1, 10), GroupWrite(G, hard_state=hard_state(2), snapshot=(meta(4), b"i"))])
    before = store.group(G).initial_state()
    with pytest.raises(AssertionError):
        store.write([appended(1, 1, group=GroupId(9)), broken])
    assert store.group(G).initial_state() == before
    assert store.group(G).snapshot_index() == b"i"
    assert list(store.groups()) == [G]
    store.write([appended(11, 11)])
    assert store.group(G).initial_state().last_index == 11


def _fill(store: Store) -> None:
    for number in itertools.count(1):
        store.write(
            [
                GroupWrite(G, entries=[entry(number, bytes(50_000))]),
                GroupWrite(GroupId(4), entries=[entry(number, b"")]),
            ]
        )


def test_a_full_store_refuses_the_whole_write_and_goes_on_when_space_returns(small_store: Store) -> None:
    with pytest.raises(StorageFull, match="configured maximum of 1048576 bytes"):
        _fill(small_store)
    last = small_store.group(G).initial_state().last_index
    assert last >= 8
    group = small_store.group(G)
    assert group.initial_state().last_index == last
    assert small_store.group(GroupId(4)).initial_state().last_index == last
    dead = [LogIndex(n) for n in range(1, last)]
    small_store.write([GroupWrite(G, hard_state=hard_state(1))])
    small_store.write([GroupWrite(G, snapshot=(meta(last), b""), delete_entries=dead)])
    small_store.write([GroupWrite(G, hard_state=hard_state(2))])
    small_store.write([GroupWrite(G, entries=[entry(last + 1, bytes(50_000))])])
    assert group.payload(index(last + 1)) == bytes(50_000)


def test_voters_are_part_of_the_meta(store: Store) -> None:
    store.write([GroupWrite(G, snapshot=(meta(0, term=0), b""))])
    assert store.group(G).snapshot_meta().configuration == VOTERS


def test_statistics_count_writes_and_bytes(store: Store) -> None:
    store.write([appended(1, 1)])
    before = store.statistics()
    store.write([GroupWrite(G, entries=[entry(2, bytes(200_000))])])
    after = store.statistics()
    assert after.commit_count == before.commit_count + 1
    assert 200_000 <= after.used_bytes - before.used_bytes < 220_000
    assert after.used_bytes <= after.map_size <= after.map_size_max


def test_a_write_of_nothing_is_allowed(store: Store) -> None:
    store.write([])
    store.write([GroupWrite(G)])
    assert store.group(G).initial_state().last_index == 0


def test_what_is_forgotten_leaves_the_vote_and_nothing_else(store: Store) -> None:
    store.write([GroupWrite(G, hard_state=hard_state(4, vote=2, commit_index=3), snapshot=(meta(0, term=0), b""))])
    store.write([appended(1, 5)])
    store.write([GroupWrite(G, snapshot=(meta(3), b"an index"))])
    store.write([GroupWrite(G, forget=True)])
    group = store.group(G)
    nothing = SnapshotMeta(LogIndex(0), Term(0), Configuration(()))
    assert group.initial_state() == InitialState(hard_state(4, vote=2), nothing, index(1), index(0))
    assert group.snapshot_index() == b""
    assert list(group.payload_indexes()) == []
    store.write([appended(1, 2)])
    assert data_of(group, 1, 2) == [b"data of 1", b"data of 2"]


def test_notes_are_kept_by_name(store: Store) -> None:
    assert store.read_note("a") is None
    store.write_note("a", b"1")
    store.write_note("b", b"")
    store.write_note("a", b"2")
    assert (store.read_note("a"), store.read_note("b")) == (b"2", b"")
