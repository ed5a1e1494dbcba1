"""What a full, failing or rotten disk does to the LMDB store.

A write error of the device is made without a fake: the data file's descriptor inside this process is pointed
at /dev/full (ENOSPC), or at /proc/self/mem, whose first pages nobody may write (EIO).
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.raft.storage import GroupWrite, StorageCorrupt, StorageFull, StorageIO
from cluster.raft.types import GroupId, LogIndex
from cluster.store.lmdb_store import LmdbStore
from cluster.store.tail import JOURNALED_BYTES_MAX

from .build import G, appended, data_of, entry, hard_state, index, meta

MARK = b"<the payload that rots>"
LARGE = bytes(JOURNALED_BYTES_MAX)
"""With anything beside it, too much for the journal."""


PAGE_BYTES = 4096


def free_list_root(content: bytes | bytearray) -> int:
    """The first page of the tree of free pages in a data file."""
    metas = [content[start : start + 192] for start in (0, PAGE_BYTES)]
    latest = max(metas, key=lambda found: struct.unpack_from("<Q", found, 144))
    root: int = struct.unpack_from("<Q", latest, 80)[
        0
    ]  # of the first of two databases, behind two headers and 24 bytes
    assert 2 <= root < len(content) // PAGE_BYTES
    return root


@contextmanager
def data_file_becomes(path: Path, target: str) -> Iterator[None]:
    """Every descriptor of the data file leads to `target` for a while."""
    data = str(path / "data.mdb")
    descriptors: list[int] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == data:
                descriptors.append(int(name))
        except FileNotFoundError:
            continue  # the listing's own descriptor
    assert descriptors
    saved = [os.dup(descriptor) for descriptor in descriptors]
    other = os.open(target, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(other, descriptor)
    os.close(other)
    try:
        yield
    finally:
        for descriptor, original in zip(descriptors, saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)


def test_a_full_disk_refuses_the_write_and_the_next_one_goes_on(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([appended(1, 3)])
    with (
        data_file_becomes(tmp_path, "/dev/full"),
        pytest.raises(StorageFull, match=f"^no space left for {tmp_path}/data.mdb: No space left on device$"),
    ):
        store.write([GroupWrite(G, entries=[entry(4, LARGE), entry(5)])])
    assert store.group(G).initial_state().last_index == 3
    store.write([appended(4, 6)])
    assert store.group(G).initial_state().last_index == 6
    store.close()
    store = LmdbStore(tmp_path)
    assert data_of(store.group(G), 1, 6) == [b"data of %d" % n for n in range(1, 7)]
    store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_disk_that_takes_a_part_of_a_write_is_full_and_has_not_failed(small_disk: Path) -> None:
    store = LmdbStore(small_disk / "store", map_size=64 << 20, map_size_max=64 << 20)
    store.write([appended(1, 3)])
    ballast = small_disk / "ballast"
    for leave in (5 << 12, 9 << 12, 40 << 12, 0):
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(max(0, free - leave)))
        with pytest.raises(StorageFull, match=r"^no space left for "):
            store.write([GroupWrite(G, entries=[entry(4, bytes(1 << 20))])])
        assert store.group(G).initial_state().last_index == 3
        ballast.unlink()
    store.write([appended(4, 6)])
    assert data_of(store.group(G), 1, 6) == [b"data of %d" % n for n in range(1, 7)]
    store.close()


def test_a_device_that_failed_is_never_written_again(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([appended(1, 3)])
    with (
        data_file_becomes(tmp_path, "/proc/self/mem"),
        pytest.raises(StorageIO, match=f"^{tmp_path}/data.mdb failed: .*Input/output error$"),
    ):
        store.write([GroupWrite(G, entries=[entry(4, LARGE), entry(5)])])
    with pytest.raises(StorageIO, match="Input/output error"):
        store.write([appended(4, 5)])
    assert store.group(G).initial_state().last_index == 3
    store.close()


def rot(path: Path, original: bytes, changed: bytes) -> None:
    """Change the one place of the closed data file where `original` stands."""
    data = (path / "data.mdb").read_bytes()
    assert data.count(original) == 1
    (path / "data.mdb").write_bytes(data.replace(original, changed))


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_rotten_entry_is_named_and_its_neighbours_are_read(tmp_path: Path, size: int) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(1), entry(2, MARK + bytes(size)), entry(3)])])
    store.write([appended(1, 3, group=GroupId(4))])
    store.close()
    rot(tmp_path, MARK, MARK.upper())
    store = LmdbStore(tmp_path)
    group = store.group(G)
    with pytest.raises(StorageCorrupt, match=r"^group 3: entry 2 does not match its checksum$"):
        group.payload(index(2))
    with pytest.raises(StorageCorrupt, match=r"^group 3: entry 2 does not match its checksum$"):
        group.entries(index(1), index(4), 1 << 20)
    assert group.payload(index(1)) == b"data of 1"
    assert group.term(index(2)) == 1
    assert data_of(store.group(GroupId(4)), 1, 3) == [b"data of 1", b"data of 2", b"data of 3"]
    store.close()


def test_a_rotten_entry_header_is_named(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(1, MARK, term=0x1122334455)])])
    store.close()
    rot(tmp_path, bytes.fromhex("1122334455") + MARK, bytes.fromhex("1122334456") + MARK)
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match=r"^group 3: entry 1 has a damaged header$"):
        store.group(G).term(index(1))
    store.close()


def test_a_rotten_snapshot_index_is_named(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, snapshot=(meta(0, term=0), bytes(70_000) + MARK))])
    store.close()
    rot(tmp_path, MARK, MARK.upper())
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match=r"^group 3: part 1 of the snapshot's index does not match its checksum$"):
        store.group(G).snapshot_index()
    assert store.group(G).snapshot_meta() == meta(0, term=0)
    store.close()


def test_a_rotten_hard_state_is_named_and_the_other_groups_go_on(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, hard_state=hard_state(0x1122334455, vote=3))])
    store.write([appended(1, 1, group=GroupId(4))])
    store.close()
    data = (tmp_path / "data.mdb").read_bytes()
    term = bytes.fromhex("1122334455")
    (tmp_path / "data.mdb").write_bytes(data.replace(term, term[:-1] + b"\0"))
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageCorrupt, match=r"^group 3: the hard state does not match its checksum$"):
        store.group(G).initial_state()
    with pytest.raises(StorageCorrupt, match="group 3"):
        store.write([appended(2, 2, group=GroupId(4)), GroupWrite(G, hard_state=hard_state(1))])
    store.write([appended(2, 2, group=GroupId(4))])
    assert store.group(GroupId(4)).initial_state().last_index == 2
    store.close()


@pytest.mark.parametrize("length", [8192, 3 * 4096, 10 * 4096 + 17])
def test_a_data_file_that_was_cut_off_is_corrupt_and_no_crash(tmp_path: Path, length: int) -> None:
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(n, bytes([n]) * 5000) for n in range(1, 40)])])
    store.close()
    os.truncate(tmp_path / "data.mdb", length)
    with pytest.raises(StorageCorrupt):  # noqa: PT012 - how far one comes depends on the length
        store = LmdbStore(tmp_path)
        try:
            for number in range(1, 40):
                store.group(G).payload(index(number))
        finally:
            store.close()


def test_a_damaged_list_of_free_pages_is_found_before_anything_is_written(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    for number in range(1, 20):
        store.write([GroupWrite(G, entries=[entry(number, LARGE + b"more")])])
    store.close()
    root = free_list_root((tmp_path / "data.mdb").read_bytes())
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.seek(root * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    with pytest.raises(StorageCorrupt, match=r"its list of free pages is wrong$"):
        LmdbStore(tmp_path)


@pytest.mark.parametrize("number", range(3))
def test_a_page_that_is_not_free_is_not_handed_out(tmp_path: Path, number: int) -> None:
    """A bit flips in a number in the list of free pages, which LMDB gives to whoever writes next."""
    store = LmdbStore(tmp_path)
    store.write([GroupWrite(G, entries=[entry(n, LARGE) for n in range(1, 60)])])
    store.write([GroupWrite(G, snapshot=(meta(40), b""), delete_entries=[LogIndex(n) for n in range(1, 40)])])
    store.close()
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    root = free_list_root(content) * PAGE_BYTES
    (first_node,) = struct.unpack_from("<H", content, root + 16)
    record = root + first_node + 16  # behind the node's head and its key
    assert number < struct.unpack_from("<Q", content, record)[0]
    content[record + 8 * (1 + number) + 3] ^= 1
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StorageCorrupt, match=r"its list of free pages is wrong$"):
        LmdbStore(tmp_path)


@pytest.mark.parametrize("content", [b"\xff" * 16384, b"not a database" * 1000, b"short"])
def test_a_foreign_data_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    LmdbStore(tmp_path).close()
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StorageCorrupt, match=f"^{tmp_path}/data.mdb is damaged: "):
        LmdbStore(tmp_path)
    (tmp_path / "data.mdb").unlink()


def test_a_new_data_file_has_the_one_format_whatever_the_binding_is_told(tmp_path: Path) -> None:
    """A file of LMDB's other format would be taken for a damaged one."""
    program = """
import sys, pathlib, cluster.store.lmdb_store
for _ in "made", "opened again":
    cluster.store.lmdb_store.LmdbStore(pathlib.Path(sys.argv[1])).close()
"""
    environment = {**os.environ, "LMDB_DEFAULT_LIB_VERSION": "1"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "store")], env=environment, check=True)


def test_a_data_file_of_an_unknown_lmdb_format_is_corrupt(tmp_path: Path) -> None:
    LmdbStore(tmp_path).close()
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.seek(20)  # the version in the first meta page: a header of 16 bytes, then magic, then version
        file.write(b"\x77\x00\x00\x00")
    with pytest.raises(StorageCorrupt, match=f"^{tmp_path}/data.mdb is damaged: its meta page 0 is none"):
        LmdbStore(tmp_path)


def test_reading_a_closed_store_is_no_sign_of_damage(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    group = store.group(G)
    store.write([appended(1, 1)])
    store.close()
    with pytest.raises(StorageIO, match=r"Attempt to operate on closed/deleted/dropped object\.$"):
        group.payload(index(1))


def test_one_group_too_many_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, groups_max=2)
    store.write([appended(1, 1, group=GroupId(1)), appended(1, 1, group=GroupId(2))])
    with pytest.raises(StorageFull, match=f"^{tmp_path} has no room for another group, 2 is its maximum$"):
        store.write([appended(1, 1, group=GroupId(3))])
    store.write([appended(2, 2, group=GroupId(1))])
    assert list(store.groups()) == [1, 2]
    store.close()
