"""What a killed process left in the page cache is on the disk before anybody builds on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.machine.shim import Disk, build, missing_for_shim, of_store
from cluster.store.journal import JOURNAL_NAME, Journal
from cluster.store.lmdb_store import LmdbStore

from .build import appended

OPENED = "from cluster.store.lmdb_store import LmdbStore; from pathlib import Path; import os\n"


def run(disk: Disk, program: str) -> None:
    subprocess.run([*disk.environment(), sys.executable, "-c", program], check=True)


@pytest.mark.skipif(bool(missing_for_shim()), reason=missing_for_shim())
@pytest.mark.parametrize("name", ["data.mdb", JOURNAL_NAME])
def test_a_commit_that_nobody_flushed_is_flushed_by_the_next_process(tmp_path: Path, name: str) -> None:
    path, later = tmp_path / "store", tmp_path / "later"
    store = LmdbStore(path)
    if name == JOURNAL_NAME:
        store.write([appended(1, 1)])
    store.close()
    disk = Disk(build(tmp_path), of_store(path), tmp_path / "shim")
    subprocess.run(["cp", "-r", path, later], check=True)
    store = LmdbStore(later)
    store.write([appended(1, 1)] if name == "data.mdb" else [appended(2, 2)])
    os.sync()
    content = (later / name).read_bytes()
    store.close()
    (tmp_path / "content").write_bytes(content)
    source = str(tmp_path / "content")
    written = f"os.pwrite(os.open({str(path / name)!r}, os.O_RDWR), open({source!r}, 'rb').read(), 0)"
    run(disk, f"import os; {written}")
    assert disk.has_unsynced
    run(disk, f"{OPENED}store = LmdbStore(Path({str(path)!r})); os._exit(0)")
    assert not disk.has_unsynced


def test_records_that_the_device_may_have_refused_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a flush that failed the pages count as clean: no later flush writes them, nor does it fail."""
    on_disk = bytearray()
    journal = Journal.made(tmp_path, 7)
    journal.append(b"one")
    journal.close()
    file = tmp_path / JOURNAL_NAME
    on_disk[:] = file.read_bytes()
    journal = Journal(tmp_path, 7)
    journal.append(b"refused")
    journal.close()
    writes: dict[int, bytes] = {}
    write = os.pwrite

    def cached(descriptor: int, data: bytes, at: int) -> int:
        writes[at] = bytes(data)
        return write(descriptor, data, at)

    def flushed(descriptor: int) -> None:
        for at, data in writes.items():
            on_disk[at : at + len(data)] = data
        writes.clear()

    monkeypatch.setattr(os, "pwrite", cached)
    monkeypatch.setattr(os, "fdatasync", flushed)
    journal = Journal(tmp_path, 7)
    journal.close()
    assert journal.records == [b"one", b"refused"]
    file.write_bytes(on_disk)
    assert Journal(tmp_path, 7).records == journal.records
