"""A data directory belongs to one node of one cluster, and to one process at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.raft.storage import StorageCorrupt
from cluster.raft.types import NodeId
from cluster.store.directory import DirectoryInUse
from cluster.store.identity import Identity, IdentityMismatch, begin_incarnation, decode_identity, encode_identity
from cluster.store.lmdb_store import LmdbStore

from .conftest import Store

MEMBERS = ((NodeId(1), "a"), (NodeId(2), "b"), (NodeId(3), "c"))
IDENTITY = Identity(cluster_id="blue", member_id=NodeId(2), node_name="b", members=MEMBERS)


def test_a_new_store_belongs_to_nobody(store: Store) -> None:
    assert store.read_identity() is None


def test_an_identity_is_kept(store: Store) -> None:
    store.write_identity(IDENTITY)
    assert store.read_identity() == IDENTITY


def test_each_start_has_its_own_incarnation(store: Store) -> None:
    assert begin_incarnation(store, cluster_id="blue", node_name="b") is None
    store.write_identity(IDENTITY)
    assert begin_incarnation(store, cluster_id="blue", node_name="b") == replace(IDENTITY, incarnation=2)
    assert begin_incarnation(store, cluster_id=None, node_name=None) == replace(IDENTITY, incarnation=3)
    assert store.read_identity() == replace(IDENTITY, incarnation=3)


def test_a_start_under_another_name_leaves_the_incarnation_alone(store: Store) -> None:
    store.write_identity(IDENTITY)
    with pytest.raises(IdentityMismatch):
        begin_incarnation(store, cluster_id="blue", node_name="a")
    assert store.read_identity() == IDENTITY


def test_an_identity_survives_the_process(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.write_identity(IDENTITY)
    store.close()
    store = LmdbStore(tmp_path)
    assert store.read_identity() == IDENTITY
    store.close()


def test_the_owner_is_accepted() -> None:
    IDENTITY.check(cluster_id="blue", node_name="b")
    IDENTITY.check(cluster_id=None, node_name=None)


def test_another_cluster_is_refused() -> None:
    with pytest.raises(IdentityMismatch, match=r"^the data belongs to cluster 'blue', not to 'green'$"):
        IDENTITY.check(cluster_id="green", node_name="b")


def test_another_node_is_refused() -> None:
    with pytest.raises(IdentityMismatch, match=r"^the data belongs to node 'b', not to 'c'$"):
        IDENTITY.check(cluster_id=None, node_name="c")


def test_a_record_of_a_newer_format_is_refused_whatever_is_in_it() -> None:
    body = json.dumps({**asdict(IDENTITY), "format_version": 3, "new_field": 1}).encode()
    with pytest.raises(IdentityMismatch, match=r"^the data has format 3, this program reads up to 2: run a newer one$"):
        decode_identity(b"%08x" % zlib.crc32(body) + body)


def test_a_damaged_record_is_corrupt() -> None:
    record = encode_identity(IDENTITY)
    with pytest.raises(StorageCorrupt, match=r"^the identity record does not match its checksum$"):
        decode_identity(record.replace(b"blue", b"gray"))


def test_a_directory_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    LmdbStore(tmp_path).close()
    (tmp_path / "format").write_text("3\n")
    with pytest.raises(IdentityMismatch, match=r"^the data has format 3"):
        LmdbStore(tmp_path)


def test_a_format_file_with_nonsense_is_corrupt(tmp_path: Path) -> None:
    LmdbStore(tmp_path).close()
    (tmp_path / "format").write_text("what\n")
    with pytest.raises(StorageCorrupt, match="format does not hold a format version"):
        LmdbStore(tmp_path)


@pytest.mark.parametrize("loss", ["removed", "emptied"])
def test_a_used_directory_without_its_data_is_not_a_new_one(tmp_path: Path, loss: str) -> None:
    LmdbStore(tmp_path).close()
    if loss == "removed":
        (tmp_path / "data.mdb").unlink()
    else:
        (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(StorageCorrupt, match=f"^{tmp_path}/data.mdb is gone, though {tmp_path} was in use$"):
        LmdbStore(tmp_path)


def test_a_second_store_of_the_same_process_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(DirectoryInUse, match=f"^{tmp_path} is in use by process {os.getpid()}$"):
        LmdbStore(tmp_path)
    store.close()
    LmdbStore(tmp_path).close()


def test_another_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from cluster.store.lmdb_store import LmdbStore\n"
        "store = LmdbStore(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(DirectoryInUse, match=f"is in use by process {child.pid}$"):
            LmdbStore(tmp_path)
        child.kill()
        child.wait()
    LmdbStore(tmp_path).close()
