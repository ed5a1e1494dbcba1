"""Opening a node's store, also when what is in it cannot be used any more.

Law: data whose votes cannot be known is never served under its old id. It is set aside, not deleted, and the node goes
on as one that lost its directory (ADR 11): it joins as another member. Such a node founds no cluster: what is missing
may be all there was. The same where a member was let go and starts again: the others have what it held, so its data is
deleted once it belongs to them again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from cluster.node.config.model import SHARDS_MAX
from cluster.node.logging import get_logger
from cluster.raft.membership import all_members, decode_configuration
from cluster.raft.storage import StorageCorrupt, StorageError
from cluster.raft.types import EntryKind, LogIndex, NodeId
from cluster.store.directory import DATA_NAME, flush_directory, lock_directory
from cluster.store.lmdb_store import LmdbStore

STORE_NAME = "store"
ASIDE_NAME = "store.damaged"
"""Where the latest damaged data is. An operator who does not need it deletes it."""
RESERVE_BYTES = 16 << 20
"""Of disk that is kept for what consumers settle when everything else is full."""
_READ_BYTES = 4 << 20
_CONDEMNED_NAME = "condemned"
_LEFT_NAME = "left"
"""In the store of a former member."""
_FORMER_NAME = "store.left"


class Irreplaceable(StorageError):
    """The journal of the only member is damaged. Nothing was changed."""


class LeftBehind(StorageError):
    """This is the data of a former member. It is marked: the next start joins anew."""


def open_store(data_dir: Path, *, map_size_max: int | None, groups_max: int) -> LmdbStore:
    """The store in `data_dir`; an empty one if what was there is beyond repair. Raises StorageError, OSError."""
    path = data_dir / STORE_NAME
    try:
        _check_condemned(data_dir)
        return _opened(path, map_size_max, groups_max)
    except StorageCorrupt as error:
        _set_aside(path, ASIDE_NAME)
        get_logger("store").error(
            "damaged data is set aside: this node joins as another member",
            reason=str(error),
            directory=str(data_dir / ASIDE_NAME),
        )
    return _opened(path, map_size_max, groups_max)


def open_sound_store(data_dir: Path) -> tuple[Path, LmdbStore]:
    """The directory and the store that a node left in `data_dir`, which is neither made nor set aside. Nobody has what
    it lost: see `marks_damage` of LmdbStore.

    Raises StorageError, OSError.
    """
    path = data_dir / STORE_NAME
    if not (path / DATA_NAME).exists():
        raise FileNotFoundError(f"{path} holds no data of a node")
    _check_condemned(data_dir)
    return path, LmdbStore(path, groups_max=SHARDS_MAX + 1, reserve_file=RESERVE_BYTES, marks_damage=False)


def _opened(path: Path, map_size_max: int | None, groups_max: int) -> LmdbStore:
    def opened(*, marks_damage: bool) -> LmdbStore:
        return LmdbStore(
            path,
            map_size_max=map_size_max,
            groups_max=groups_max,
            reserve_file=RESERVE_BYTES,
            marks_damage=marks_damage,
        )

    store = opened(marks_damage=False)
    damage = store.journal_damage
    if not damage:
        return store
    is_alone = _is_alone(store)
    store.close()
    if is_alone:
        raise Irreplaceable(f"{damage}. Nobody else has what is here: only `clusterd recover` goes on without it")
    get_logger("store").error("damaged journal: all replicas here are rebuilt", reason=damage)
    return opened(marks_damage=True)


def _is_alone(store: LmdbStore) -> bool:
    """Is nobody else a member of any group, as far as the logs tell?"""
    identity = store.read_identity()
    members: set[NodeId] = set()
    for group in store.groups():
        storage = store.group(group)
        with suppress(StorageCorrupt):
            initial = storage.initial_state()
            latest = initial.snapshot.configuration
            first, end = initial.first_index, LogIndex(initial.last_index + 1)
            while first < end:
                for entry in storage.entries(first, end, _READ_BYTES):
                    if entry.kind is EntryKind.CONFIG:
                        latest = decode_configuration(entry.data)
                    first = LogIndex(entry.index + 1)
            members.update(all_members(latest))
    return identity is not None and members == {identity.member_id}


def has_lost_data(data_dir: Path) -> bool:
    """Was there data that is not used any more?"""
    return any((data_dir / name).exists() for name in (ASIDE_NAME, _FORMER_NAME))


def note_left(data_dir: Path) -> None:
    """The member whose data this is has left its cluster, which has said so."""
    _write_mark(data_dir / STORE_NAME / _LEFT_NAME, "left")


def forget_left(data_dir: Path) -> None:
    """This data is to be used again, whatever its cluster said. Durable when it returns. Raises OSError."""
    path = data_dir / STORE_NAME
    (path / _LEFT_NAME).unlink(missing_ok=True)
    flush_directory(path)


def drop_former(data_dir: Path) -> None:
    """Set the data of a former member aside, so that the node can join anew. Raises DirectoryInUse, OSError."""
    path = data_dir / STORE_NAME
    if (path / _LEFT_NAME).exists():
        _set_aside(path, _FORMER_NAME)
        get_logger("store").warning("a former member: its data is set aside, and it joins anew")


def forget_former(data_dir: Path) -> None:
    """The node belongs to the cluster again: what its former self held is not needed."""
    shutil.rmtree(data_dir / _FORMER_NAME, ignore_errors=True)


def note_damage(data_dir: Path, error: BaseException) -> None:
    """If damage ends the node, its data is not opened again."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            note_damage(data_dir, part)
    elif isinstance(error, StorageCorrupt):
        _write_mark(data_dir / STORE_NAME / _CONDEMNED_NAME, str(error))


def _write_mark(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def is_condemned(data_dir: Path) -> bool:
    """Has damage ended the node that this data is of?"""
    return (data_dir / STORE_NAME / _CONDEMNED_NAME).exists()


def _check_condemned(data_dir: Path) -> None:
    """Raises StorageCorrupt."""
    if is_condemned(data_dir):
        condemned = data_dir / STORE_NAME / _CONDEMNED_NAME
        raise StorageCorrupt(condemned.read_text(encoding="utf-8").strip() or "the store was found damaged")


def _set_aside(path: Path, name: str) -> None:
    """Raises DirectoryInUse."""
    lock = lock_directory(path)
    try:
        aside = path.with_name(name)
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
    finally:
        os.close(lock)
