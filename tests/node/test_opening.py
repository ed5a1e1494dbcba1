"""What becomes of a store that cannot be used any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.node.bootstrap import Charter, establish, identity_of
from cluster.node.config import PeerSpec
from cluster.node.opening import ASIDE_NAME, STORE_NAME, Irreplaceable, has_lost_data, note_damage, open_store
from cluster.raft.storage import GroupWrite, Health, StorageCorrupt, StorageFull
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, Term
from cluster.store.directory import DirectoryInUse
from cluster.store.lmdb_store import LmdbStore


def opened(path: Path) -> LmdbStore:
    return open_store(path, map_size_max=None, groups_max=16)


def test_a_sound_store_is_opened_as_it_is(tmp_path: Path) -> None:
    for _ in range(2):
        store = opened(tmp_path)
        note = store.read_note("mine")
        store.write_note("mine", b"1")
        store.close()
    assert note == b"1"
    assert not has_lost_data(tmp_path)


def test_a_damaged_file_is_set_aside_and_only_the_latest_is_kept(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        store = opened(tmp_path)
        store.write_note("mine", content)
        store.close()
        (tmp_path / STORE_NAME / "data.mdb").write_bytes(content)
        store = opened(tmp_path)
        assert store.read_note("mine") is None
        store.close()
        assert has_lost_data(tmp_path)
        assert (tmp_path / ASIDE_NAME / "data.mdb").read_bytes() == content


def test_damage_that_ends_a_node_keeps_its_data_from_being_opened_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write_note("mine", b"1")
    error = StorageCorrupt("group 3: the hard state does not match its checksum")
    note_damage(tmp_path, BaseExceptionGroup("", [BaseExceptionGroup("", [error])]))
    store.close()
    store = opened(tmp_path)
    assert store.read_note("mine") is None
    store.close()
    assert has_lost_data(tmp_path)


def test_what_else_ends_a_node_says_nothing_about_its_data(tmp_path: Path) -> None:
    opened(tmp_path).close()
    note_damage(tmp_path, StorageFull("no space left"))
    opened(tmp_path).close()
    assert not has_lost_data(tmp_path)


def test_a_store_in_use_is_not_set_aside(tmp_path: Path) -> None:
    store = opened(tmp_path)
    note_damage(tmp_path, StorageCorrupt("x"))
    with pytest.raises(DirectoryInUse):
        opened(tmp_path)
    store.close()
    assert not has_lost_data(tmp_path)


@pytest.mark.parametrize("members", [1, 3])
def test_a_damaged_journal_is_no_reason_to_give_up_what_nobody_else_has(tmp_path: Path, members: int) -> None:
    charter = Charter("c", tuple([PeerSpec(f"mq-{n}", "127.0.0.1", 7000 + n) for n in range(1, members + 1)]), shards=1)
    store = opened(tmp_path)
    establish(store, charter, NodeId(1))
    store.write_identity(identity_of(charter, "mq-1"))
    for number in (1, 2):
        store.write([GroupWrite(GroupId(1), entries=[Entry(Term(0), LogIndex(number), EntryKind.COMMAND, b"x")])])
    store.close()
    journal = tmp_path / STORE_NAME / "journal"
    journal.write_bytes(b"")
    if members == 1:
        for _ in range(2):
            with pytest.raises(Irreplaceable, match=r"^.*/journal is damaged: .* only `clusterd recover` goes on"):
                opened(tmp_path)
        store = LmdbStore(tmp_path / STORE_NAME, marks_damage=False)
    else:
        store = opened(tmp_path)
    state = store.group(GroupId(1)).initial_state()
    assert (state.health, state.last_index) == ((Health.SOUND, 2) if members == 1 else (Health.DAMAGED, 0))
    store.close()
    assert not has_lost_data(tmp_path)
