"""The journal: what is confirmed is in it, whatever ends process or machine, and damage is not taken for its end."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from cluster.raft.storage import GroupWrite, Health, StorageCorrupt, StorageFull, StorageIO
from cluster.raft.types import GroupId
from cluster.store import journal as journal_file
from cluster.store.directory import DataDirectory
from cluster.store.environment import GrowingEnvironment
from cluster.store.identity import FORMAT_VERSION, JOURNAL_FORMAT_VERSION
from cluster.store.journal import JOURNAL_BYTES, JOURNAL_NAME, RECORDS_MAX, Journal
from cluster.store.lmdb_group import HEAD, NEW_HEAD, state_key
from cluster.store.lmdb_store import LmdbStore
from cluster.store.reserve import RESERVE_NAME
from cluster.store.state import GroupState
from cluster.store.tail import JOURNALED_BYTES_MAX, tail_of

from .build import G, appended, data_of, entries, entry, hard_state, index, meta
from .seed import chosen_seed

SECTOR_BYTES = 512
BODIES = [b"one", b"two" * 400, b"three" * 50]


@pytest.fixture(autouse=True)
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Starts the machine anew."""
    file = tmp_path / "boot_id"
    numbers = count()

    def boot() -> None:
        file.write_text(f"boot {next(numbers)}\n")

    boot()
    monkeypatch.setattr(journal_file, "_BOOT_ID", file)
    return boot


def written(directory: Path, bodies: list[bytes]) -> Path:
    """The file of a journal of generation 7 to which `bodies` were given, by a process that is gone."""
    journal = Journal.made(directory, 7)
    for body in bodies:
        journal.append(body)
    journal.close()
    return directory / JOURNAL_NAME


def held(directory: Path, generation: int = 7) -> list[bytes]:
    journal = Journal(directory, generation)
    journal.close()
    return journal.records


def places(content: bytes) -> list[int]:
    """Where the records begin, and where the last ends."""
    found, at = [512], 512
    while (head := content[at : at + 32])[:4] == b"jrec":
        at += 64 + struct.unpack_from(">I", head, 20)[0]
        found.append(at)
    return found


def test_what_was_appended_is_there_for_the_next_process(tmp_path: Path) -> None:
    written(tmp_path, BODIES)
    assert held(tmp_path) == BODIES
    journal = Journal(tmp_path, 7)
    journal.append(b"four")
    journal.close()
    assert held(tmp_path) == [*BODIES, b"four"]


def test_what_is_of_an_earlier_generation_is_nothing(tmp_path: Path) -> None:
    written(tmp_path, BODIES)
    assert held(tmp_path, 8) == []
    journal = Journal(tmp_path, 8)
    journal.append(b"new")
    journal.close()
    assert held(tmp_path, 8) == [b"new"]


def test_a_new_generation_begins_in_front(tmp_path: Path) -> None:
    journal = Journal.made(tmp_path, 1)
    journal.append(b"old" * 100)
    journal.begin(2)
    assert not journal.is_used
    journal.append(b"new")
    journal.close()
    assert held(tmp_path, 2) == [b"new"]


def test_it_has_room_for_so_many_records_and_so_many_bytes(tmp_path: Path) -> None:
    journal = Journal.made(tmp_path, 1)
    largest = JOURNAL_BYTES - 512 - 64
    assert journal.has_room(largest)
    assert not journal.has_room(largest + 1)
    for _ in range(RECORDS_MAX):
        assert journal.has_room(0)
        journal.append(b"")
    assert not journal.has_room(0)
    journal.close()


def test_a_record_that_was_torn_with_the_machine_is_nothing(tmp_path: Path, boots: Callable[[], None]) -> None:
    """Of each sector of the record it is the chance's whether it was written."""
    seed = chosen_seed()
    chance = random.Random(seed)
    file = written(tmp_path, BODIES[:1])
    before = file.read_bytes()
    for _ in range(60):
        last = chance.randbytes(chance.choice((5, 600, 3000)))
        file.write_bytes(before)
        journal = Journal(tmp_path, 7)
        journal.append(last)
        journal.close()
        after = file.read_bytes()
        torn = bytearray(after)
        for at in range(0, len(torn), SECTOR_BYTES):
            if chance.random() < 0.5:
                torn[at : at + SECTOR_BYTES] = before[at : at + SECTOR_BYTES]
        if torn == after:
            continue
        file.write_bytes(torn)
        boots()
        # A sector that says what it said before is no loss.
        found = held(tmp_path)
        assert found in ([BODIES[0]], [BODIES[0], last])
        assert held(tmp_path) == found  # what was torn then is not found again
        journal = Journal(tmp_path, 7)
        journal.append(b"next")
        journal.close()
        assert held(tmp_path) == [*found, b"next"]


def test_a_flipped_bit_anywhere_in_a_record_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    end = places(whole)[-1]
    for at in range(512, end):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match=r"journal is damaged: record \d does not match its checksum$"):
            Journal(tmp_path, 7)


def test_a_record_whose_last_pages_are_missing_was_being_written_when_the_process_was_killed(tmp_path: Path) -> None:
    file = written(tmp_path, [*BODIES, b"four" * 2500])
    whole = file.read_bytes()
    begin, end = places(whole)[-2:]
    for page in range(4096, end, 4096):
        file.write_bytes(whole[:page].ljust(len(whole), b"\0"))
        assert held(tmp_path) == BODIES
        assert held(tmp_path) == BODIES
    for damaged_at in (begin, begin + 32, end - 33, end - 32, end - 1):
        damaged = bytearray(whole)
        damaged[damaged_at] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt):
            Journal(tmp_path, 7)


def test_damage_before_the_last_record_is_found_after_the_machine_was_started_anew(
    tmp_path: Path, boots: Callable[[], None]
) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    boots()
    for at in range(512, places(whole)[-2]):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match="does not match its checksum"):
            Journal(tmp_path, 7)


def test_a_label_that_is_damaged_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, BODIES)
    whole = file.read_bytes()
    for at in range(52):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(StorageCorrupt, match="its label does not match its checksum"):
            Journal(tmp_path, 7)


@pytest.mark.parametrize("size", [0, 100, JOURNAL_BYTES - 1, JOURNAL_BYTES + 1])
def test_a_file_of_another_size_is_found(tmp_path: Path, size: int) -> None:
    file = written(tmp_path, BODIES)
    os.truncate(file, size)
    with pytest.raises(StorageCorrupt, match=f"it has {size} bytes instead of"):
        Journal(tmp_path, 7)


def test_a_message_that_looks_like_a_record_is_none(tmp_path: Path) -> None:
    """Whoever publishes does not know the seed."""
    whole = written(tmp_path, BODIES).read_bytes()
    first, second = places(whole)[:2]
    (tmp_path / "other").mkdir()
    file = written(tmp_path / "other", [whole[first:second]])
    content = bytearray(file.read_bytes())
    content[512:544] = bytes(32)
    content[-32:] = whole[first : first + 32]
    file.write_bytes(content)
    with pytest.raises(StorageCorrupt):  # by the record's own end, of course
        Journal(tmp_path / "other", 7)
    content[places(whole)[0] : second + 200] = bytes(second + 200 - places(whole)[0])
    file.write_bytes(content)
    assert held(tmp_path / "other") == []


def test_a_sector_that_cannot_be_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the node would end at each start; what takes its place is written elsewhere."""
    written(tmp_path, BODIES)

    def fails(file: int, length: int, at: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(StorageCorrupt, match=r"journal is damaged: Input/output error$"):
        Journal(tmp_path, 7)


# ---- in front of LMDB


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

    def fails(self: GrowingEnvironment, *told: object, adds_data: bool) -> None:
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
    store._environment.write(lambda txn: txn.put(state_key(other, HEAD), b"rot", db=store._state), adds_data=False)
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
    store._environment.write(lambda txn: txn.delete(b"note/journal", db=store._node), adds_data=False)
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
    store.keep_reserve()
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
