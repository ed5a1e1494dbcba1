"""Both stores, behind one fixture: what one promises the other keeps. And a machine that can be started anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from cluster.store import journal as journal_file
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import MemoryStore

Store = LmdbStore | MemoryStore


@pytest.fixture(params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store nothing was written to."""
    made: Store = LmdbStore(tmp_path / "data") if request.param == "lmdb" else MemoryStore()
    yield made
    made.close()


@pytest.fixture(params=["lmdb", "memory"])
def small_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that is full after about a megabyte."""
    made: Store = MemoryStore(bytes_max=1 << 20)
    if request.param == "lmdb":
        made = LmdbStore(tmp_path / "data", map_size=1 << 17, map_size_max=1 << 20)
    yield made
    made.close()


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Starts the machine anew, as a journal sees it."""
    file = tmp_path / "boot_id"
    numbers = count()

    def boot() -> None:
        file.write_text(f"boot {next(numbers)}\n")

    boot()
    monkeypatch.setattr(journal_file, "_BOOT_ID", file)
    return boot
