"""A store with its journal: it reads what is not in LMDB yet, takes it in in time, and says when it is lost."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.raft.storage import GroupWrite, Health, StorageFull, StorageIO
from cluster.raft.types import GroupId
from cluster.store.directory import DataDirectory
from cluster.store.environment import GrowingEnvironment
from cluster.store.front import HELD_BYTES_MAX
from cluster.store.identity import FORMAT_VERSION, JOURNAL_FORMAT_VERSION
from cluster.store.journal import JOURNAL_NAME, RECORDS_MAX, Journal
from cluster.store.lmdb_group import HEAD, NEW_HEAD, state_key
from cluster.store.lmdb_store import LmdbStore
from cluster.store.reserve import RESERVE_NAME
from cluster.store.state import GroupState
from cluster.store.tail import JOURNALED_BYTES_MAX, tail_of

from .build import G, appended, data_of, entries, entry, hard_state, index, meta

pytestmark = pytest.mark.usefixtures("boots")


def opened(path: Path) -> LmdbStore:
    return LmdbStore(path, map_size=1 << 17)


def kill(store: LmdbStore, path: Path) -> Path:
    """A copy of the directory, as the end of the process leaves it."""
    left = path.with_name(path.name + "-left")
    shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(path, left)
    (left / "lock").unlink()
    return left


def commits(store: LmdbStore) -> int:
    """Of LMDB."""
    return int(store._environment._env.info()["last_txnid"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_small_write_goes_to_the_journal_and_is_read_from_there(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 3), appended(1, 2, group=GroupId(5))])
    before = commits(store)
    store.write([appended(4, 6), GroupWrite(GroupId(5), hard_state=hard_state(0, commit_index=2))])
    store.write([GroupWrite(G, truncate_from=index(3), entries=entries(3, 4, term=2))])
    assert commits(store) == before
    group = store.group(G)
    assert group.initial_state().last_index == 4
    assert [found.term for found in group.entries(index(1), index(5), 1 << 20)] == [1, 1, 2, 2]
    assert group.term(index(4)) == 2
    assert (group.payload(index(4)), group.payload(index(5))) == (b"data of 4", None)
    assert store.group(GroupId(5)).hard_state().commit_index == 2
    left = kill(store, path)
    store.close()
    for directory in (path, left):
        store = opened(directory)
        assert data_of(store.group(G), 1, 4) == [b"data of %d" % n for n in range(1, 5)]
        assert [found.term for found in store.group(G).entries(index(1), index(5), 1 << 20)] == [1, 1, 2, 2]
        assert store.group(GroupId(5)).initial_state().hard_state == hard_state(0, commit_index=2)
        store.close()


def test_whoever_reads_a_tail_beside_the_writer_finds_what_was_there_when_it_was_cut() -> None:
    before = tail_of(GroupState(last_index=index(2)), NEW_HEAD).after(appended(3, 6))
    cut = before.after(GroupWrite(G, truncate_from=index(4), entries=entries(4, 4, term=2)))
    assert ([found.term for found in before.entries], before.last_index) == ([1, 1, 1, 1], 6)
    assert ([found.term for found in cut.entries], cut.last_index) == ([1, 2], 4)


@pytest.mark.parametrize(
    "write",
    [
        GroupWrite(G, hard_state=hard_state(3)),
        GroupWrite(G, hard_state=hard_state(0, vote=2)),
        GroupWrite(G, snapshot=(meta(2), b"index")),
        GroupWrite(G, entries=[entry(4, bytes(JOURNALED_BYTES_MAX + 1))]),
        GroupWrite(G, forget=True),
        GroupWrite(GroupId(9), entries=[entry(1)]),
    ],
    ids=["a term", "a vote", "a snapshot", "much", "a replica that goes", "a new group"],
)
def test_everything_else_is_committed_and_takes_in_what_the_journal_holds(path: Path, write: GroupWrite) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    store.write([appended(3, 3)])
    before = commits(store)
    store.write([write])
    assert commits(store) > before
    told = store.group(G).initial_state(), store.group(write.group).initial_state()
    left = kill(store, path)
    store.close()
    Journal.made(left, 99).close()
    store = opened(left)
    assert (store.group(G).initial_state(), store.group(write.group).initial_state()) == told
    store.close()


def test_a_full_journal_is_taken_in(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 1)])
    before = commits(store)
    count = 2 * RECORDS_MAX + 10
    for number in range(2, count + 1):
        store.write([appended(number, number)])
    assert commits(store) - before == 2
    left = kill(store, path)
    store.close()
    store = opened(left)
    assert data_of(store.group(G), 1, count) == [b"data of %d" % n for n in range(1, count + 1)]
    store.close()


def test_what_the_journal_holds_is_taken_in_before_it_is_more_than_one_commit_may_bring(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 1)])
    before, count = commits(store), 3 * HELD_BYTES_MAX // JOURNALED_BYTES_MAX
    for number in range(2, count + 2):
        store.write([GroupWrite(G, entries=[entry(number, bytes(JOURNALED_BYTES_MAX))])])
    assert commits(store) - before == 3
    store.close()


def test_damage_of_the_journal_has_all_replicas_rebuilt_and_their_votes_stay(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 2), GroupWrite(GroupId(5), hard_state=hard_state(4, vote=3))])
    store.write([appended(3, 3)])
    left = kill(store, path)
    store.close()
    content = bytearray((left / JOURNAL_NAME).read_bytes())
    content[560] ^= 1
    (left / JOURNAL_NAME).write_bytes(content)
    for _ in range(2):  # nor does it come back with the next start
        store = opened(left)
        assert [store.group(group).initial_state().health for group in store.groups()] == [Health.DAMAGED] * 2
        assert store.group(GroupId(5)).hard_state() == hard_state(4, vote=3)
        store.close()
    store = opened(left)
    assert store.journal_damage == ""
    store.write([GroupWrite(G, health=Health.REBUILDING)])
    store.close()


def test_damage_of_the_journal_is_not_forgotten_by_who_could_not_mark_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    left = kill(store, path)
    store.close()
    (left / JOURNAL_NAME).unlink()

    def fails(self: GrowingEnvironment, *told: object, file_max: int) -> None:
        raise StorageIO("the device is gone")

    with monkeypatch.context() as patched:
        patched.setattr(GrowingEnvironment, "write", fails)
        with pytest.raises(StorageIO):
            opened(left)
    store = opened(left)
    assert store.group(G).initial_state().health is Health.DAMAGED
    store.close()


def test_a_group_that_is_damaged_in_lmdb_does_not_take_the_others_with_it(path: Path) -> None:
    other = GroupId(5)
    store = opened(path)
    store.write([appended(1, 2), GroupWrite(other, hard_state=hard_state(4, vote=3), entries=entries(1, 2, term=4))])
    store.write([appended(3, 3), GroupWrite(other, entries=entries(3, 3, term=4))])
    store._environment.write(lambda txn: txn.put(state_key(other, HEAD), b"rot", db=store._state))
    left = kill(store, path)
    store.close()
    for _ in range(2):
        store = opened(left)
        assert data_of(store.group(G), 1, 3) == [b"data of 1", b"data of 2", b"data of 3"]
        state = store.group(other).initial_state()
        assert (state.health, state.hard_state, state.last_index) == (Health.DAMAGED, hard_state(4, vote=3), 0)
        store.close()


def test_a_journal_that_is_gone_has_all_replicas_rebuilt(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    left = kill(store, path)
    store.close()
    (left / JOURNAL_NAME).unlink()
    store = opened(left)
    assert store.journal_damage == f"{left / JOURNAL_NAME} is gone, though {left} was in use"
    assert store.group(G).initial_state().health is Health.DAMAGED
    store.close()


def test_an_older_program_may_open_what_was_closed_in_order_and_nothing_else(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    store.write([appended(3, 3)])
    assert (path / "format").read_text() == f"{JOURNAL_FORMAT_VERSION}\n"
    assert b"data of 3" not in (path / "data.mdb").read_bytes()
    store.close()
    assert (path / "format").read_text() == f"{FORMAT_VERSION}\n"
    assert b"data of 3" in (path / "data.mdb").read_bytes()


def test_what_a_small_store_has_in_its_journal_never_keeps_it_from_giving_space_back(path: Path) -> None:
    store = LmdbStore(path, map_size=1 << 17, map_size_max=1 << 20)
    written = 0
    with suppress(StorageFull):
        while written < 1000:
            store.write([GroupWrite(G, entries=[entry(written + 1, bytes(2100))])])
            written += 1
    assert written < 1000
    dead = [index(number) for number in range(1, written + 1)]
    store.write([GroupWrite(G, snapshot=(meta(written), b"index"), delete_entries=dead)])
    store.write([GroupWrite(G, entries=[entry(written + 1, bytes(2100))])])
    store.close()


def test_an_older_program_may_not_open_what_a_device_that_failed_has_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has a record that nobody was told of: an older program would go on beside it."""
    store = opened(path)
    store.write([appended(1, 2)])

    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(StorageIO):
            store.write([appended(3, 3)])
    store.close()
    assert (path / "format").read_text() == f"{JOURNAL_FORMAT_VERSION}\n"


def test_a_directory_that_cannot_be_written_any_more_is_let_go_nevertheless(path: Path) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    (path / "format").rename(path / "away")
    store.close()
    (path / "away").rename(path / "format")
    store = opened(path)
    assert store.group(G).initial_state().last_index == 2
    store.close()


def test_a_full_disk_does_not_keep_what_an_older_program_left_from_being_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(path)
    store.write([appended(1, 2)])
    store.close()
    store = opened(path)
    store._environment.write(lambda txn: txn.delete(b"note/journal", db=store._node))
    store.close()
    (path / JOURNAL_NAME).unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "made", is_full)
        store = opened(path)
        store.write([appended(3, 3)])
        store.write([appended(4, 4)])
        left = kill(store, path)
        store.close()
    assert (left / "format").read_text() == (path / "format").read_text() == f"{FORMAT_VERSION}\n"
    for directory in (left, path):
        store = opened(directory)
        assert data_of(store.group(G), 3, 4) == [b"data of 3", b"data of 4"]
        assert (directory / JOURNAL_NAME).exists()
        store.close()


def test_the_reserve_is_given_up_for_a_journal_that_has_to_be_written_elsewhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that copies on write."""
    store = LmdbStore(path, reserve_file=1 << 20)
    store.space.look()
    store.write([appended(1, 1)])
    store.write([appended(2, 2)])
    left = kill(store, path)
    store.close()
    write = os.pwrite

    def is_short(file: int, data: bytes, at: int) -> int:
        return 0 if (left / RESERVE_NAME).exists() else write(file, data, at)

    monkeypatch.setattr(DataDirectory, "free_bytes", lambda self: 0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", is_short)
        store = LmdbStore(left, map_size=1 << 17, map_size_max=1 << 20, reserve_file=1 << 20)
    assert data_of(store.group(G), 1, 2) == [b"data of 1", b"data of 2"]
    store.close()


def test_a_full_disk_keeps_what_the_journal_has_and_takes_nothing_more(path: Path) -> None:
    store = LmdbStore(path, map_size=1 << 17, map_size_max=1 << 18, reserve_bytes=1 << 17)
    store.write([appended(1, 1)])
    store.write([appended(2, 2)])
    with pytest.raises(StorageFull):
        store.write([GroupWrite(G, entries=[entry(3, bytes(1 << 18))])])
    with pytest.raises(StorageFull):
        store.write([GroupWrite(G, entries=[entry(3, bytes(1 << 18))])])
    assert data_of(store.group(G), 1, 2) == [b"data of 1", b"data of 2"]
    before = commits(store)
    store.write([GroupWrite(G, hard_state=hard_state(0, commit_index=1))])
    assert commits(store) > before, "that the disk is full has to be seen"
    before = commits(store)
    store.write([GroupWrite(G, snapshot=(meta(2), b"index"), delete_entries=[index(1)])])
    store.write([appended(3, 3)])
    assert commits(store) > before
    left = kill(store, path)
    store.close()
    store = opened(left)
    assert (store.group(G).payload(index(1)), store.group(G).payload(index(3))) == (None, b"data of 3")
    store.close()


def is_full(*told: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_record_that_cannot_be_flushed_ends_all_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    store.write([appended(1, 1)])

    def fails(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(StorageIO, match=r"journal failed: .*Input/output error"):
            store.write([appended(2, 2)])
    for write in (appended(2, 2), GroupWrite(G, hard_state=hard_state(3))):
        with pytest.raises(StorageIO, match="journal failed"):
            store.write([write])
    assert store.group(G).initial_state().last_index == 1
    store.close()


def test_a_record_that_cannot_be_written_is_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(path)
    store.write([appended(1, 1)])
    store.write([appended(2, 2)])

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", is_full)
        store.write([appended(3, 3)])
    left = kill(store, path)
    store.close()
    store = opened(left)
    assert data_of(store.group(G), 1, 3) == [b"data of 1", b"data of 2", b"data of 3"]
    store.close()
