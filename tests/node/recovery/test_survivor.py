"""What is left in one directory, and the cluster that is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.codec import encode_command
from cluster.broker.catalog.ids import GroupId as CatalogGroupId
from cluster.broker.catalog.ids import NodeId as CatalogNodeId
from cluster.broker.shard.entry import LeaderOps, encode_entry
from cluster.node.bootstrap import Charter, establish, identity_of, read_charter
from cluster.node.config import PeerSpec
from cluster.node.main import main as clusterd
from cluster.node.opening import STORE_NAME, drop_former, has_lost_data, note_left
from cluster.node.recovery.survivor import NothingToRecover, survey, survive
from cluster.raft.membership import decode_configuration
from cluster.raft.storage import GroupWrite, Health
from cluster.raft.types import Configuration, Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, Term
from cluster.store.lmdb_store import LmdbStore
from tests.broker.catalog.build import FOUND, queue
from tests.broker.shard.batches import make_batch

CHARTER = Charter(
    FOUND.cluster_id, tuple([PeerSpec(name, host, port) for _, name, host, port in FOUND.members]), shards=3
)
SURVIVOR = NodeId(3)
TERM = Term(7)


def command(index: int, data: bytes) -> Entry:
    return Entry(TERM, LogIndex(index), EntryKind.COMMAND, data)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    """Of node 3: three queues, one in each shard; two messages in shard 1, the second of which nobody agreed upon."""
    made = LmdbStore(tmp_path / STORE_NAME)
    establish(made, CHARTER, SURVIVOR)
    made.write_identity(identity_of(CHARTER, "mq-3"))
    declared = [queue(name) for name in ("a", "b", "c")]
    catalog = Catalog()
    for index, each in enumerate([FOUND, *declared], start=1):
        catalog.apply(index, encode_command(each))
    queue_id = next(q.id for q in catalog.queues.values() if q.shard == 1)
    entries = [
        command(n, encode_entry(0, [make_batch(n, records=[b"x"], runs=[(queue_id, 0, 1)])], LeaderOps()))
        for n in (1, 2)
    ]
    made.write(
        [
            GroupWrite(
                GroupId(0),
                hard_state=HardState(TERM, NodeId(1), LogIndex(4)),
                entries=[command(n, encode_command(each)) for n, each in enumerate([FOUND, *declared], start=1)],
            ),
            GroupWrite(GroupId(1), hard_state=HardState(TERM, NodeId(2), LogIndex(1)), entries=entries),
        ]
    )
    yield made
    made.close()


def applied(store: LmdbStore) -> Catalog:
    catalog = Catalog()
    for entry in store.group(GroupId(0)).entries(LogIndex(1), LogIndex(7), 1 << 20):
        if entry.kind is EntryKind.COMMAND:
            catalog.apply(entry.index, entry.data)
    return catalog


def test_a_survey_says_what_is_there_and_what_nobody_may_have_agreed_upon(store: LmdbStore) -> None:
    remains = survey(store)
    assert remains.others == ("mq-1", "mq-2")
    assert (remains.unagreed, len(remains.catalog.queues)) == (0, 3)
    assert [(s.group, s.messages, s.queues, s.unagreed, s.lost) for s in remains.shards] == [
        (1, 2, 1, 1, ""),
        (2, 0, 0, 0, ""),
        (3, 0, 0, 0, ""),
    ]


def test_the_survivor_is_another_cluster_of_one_voter_in_every_group_in_a_term_of_its_own(store: LmdbStore) -> None:
    cluster_id = survive(store, survey(store))
    identity, charter = store.read_identity(), read_charter(store)
    assert identity is not None
    assert charter is not None
    assert identity.cluster_id == charter.cluster_id == cluster_id != FOUND.cluster_id
    assert (identity.member_id, identity.node_name, charter.members) == (SURVIVOR, "mq-3", ())
    for group in range(4):
        stored = store.group(GroupId(group))
        state = stored.initial_state()
        before = TERM if group < 2 else 0
        assert state.hard_state == HardState(Term(before + 1), SURVIVOR, state.last_index)
        changes = [
            entry
            for entry in stored.entries(state.first_index, LogIndex(state.last_index + 1), 1 << 20)
            if entry.kind is EntryKind.CONFIG
        ]
        assert [(c.term, decode_configuration(c.data)) for c in changes] == [(before + 1, Configuration((SURVIVOR,)))]
    catalog = applied(store)
    assert catalog.cluster_id == cluster_id
    assert list(catalog.members) == [CatalogNodeId(3)]
    assert set(catalog.placement.values()) == {(CatalogNodeId(3),)}
    assert catalog.next_node == 4, "no id of the past is given again"
    assert len(catalog.queues) == 3


def test_a_shard_that_is_damaged_or_not_here_is_told_and_begins_empty(store: LmdbStore) -> None:
    store.write([GroupWrite(GroupId(1), health=Health.DAMAGED), GroupWrite(GroupId(2), forget=True)])
    remains = survey(store)
    assert [s.lost for s in remains.shards] == [
        "group 1: it was found damaged, and not rebuilt",
        "group 2: this node has no replica of it",
        "",
    ]
    survive(store, remains)
    for group in (1, 2):
        state = store.group(GroupId(group)).initial_state()
        assert (state.health, state.last_index) == (Health.SOUND, 0)
        assert state.snapshot.configuration == Configuration((SURVIVOR,))
    assert store.group(GroupId(1)).hard_state().term == TERM + 1
    assert applied(store).placement[CatalogGroupId(1)] == (CatalogNodeId(3),)


def test_it_can_be_done_again_and_is_yet_another_cluster(store: LmdbStore) -> None:
    first = survive(store, survey(store))
    remains = survey(store)
    assert (remains.others, remains.shards[0].messages) == ((), 2)
    assert survive(store, remains) != first


def test_what_was_recovered_of_a_former_member_is_not_set_aside_when_it_starts(
    store: LmdbStore, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    shutil.copytree(tmp_path / STORE_NAME, left / STORE_NAME)
    note_left(left)
    assert clusterd(["recover", "--only-survivor", "--data", str(left), "--accept-loss"]) == 0
    drop_former(left)
    assert not has_lost_data(left)
    assert (left / STORE_NAME).exists()


def test_without_a_catalog_nothing_can_be_recovered(store: LmdbStore) -> None:
    store.write([GroupWrite(GroupId(0), health=Health.DAMAGED)])
    with pytest.raises(NothingToRecover, match=r"^the catalog cannot be read, .*group 0: it was found damaged"):
        survey(store)


def test_a_directory_of_no_cluster_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recover", "--only-survivor", "--data", str(tmp_path)]
    assert clusterd(words) == 1
    assert "holds no data of a node" in capsys.readouterr().err
    LmdbStore(tmp_path / STORE_NAME).close()
    assert clusterd(words) == 1
    assert capsys.readouterr().err == "clusterd recover: this directory has never belonged to a cluster\n"
    assert clusterd(["recover", "--data", str(tmp_path)]) == 2


def test_of_a_damaged_journal_only_what_it_held_is_lost_and_nothing_is_changed_before_that_is_accepted(
    store: LmdbStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write([GroupWrite(GroupId(1), entries=[Entry(TERM, LogIndex(3), EntryKind.NOOP, b"")])])
    data = tmp_path / "data"
    left = data / STORE_NAME
    shutil.copytree(tmp_path / STORE_NAME, left)
    (left / "lock").unlink()
    journal = left / "journal"
    journal.write_bytes(journal.read_bytes().replace(b"jrec", b"jRec", 1))
    before = (left / "data.mdb").read_bytes(), journal.read_bytes(), (left / "format").read_bytes()
    for _ in range(2):
        assert clusterd(["recover", "--only-survivor", "--data", str(data)]) == 2
        told = capsys.readouterr().out
        assert "shard 1: 2 messages" in told
        assert "LOST: up to 512 of the latest writes, of anything above" in told
        assert "journal is damaged: record 0 does not match its checksum" in told
        assert before == ((left / "data.mdb").read_bytes(), journal.read_bytes(), (left / "format").read_bytes())
    assert clusterd(["recover", "--only-survivor", "--data", str(data), "--accept-loss"]) == 0
    capsys.readouterr()
    assert clusterd(["recover", "--only-survivor", "--data", str(data)]) == 2
    told = capsys.readouterr().out
    assert "shard 1: 2 messages" in told
    assert "LOST" not in told
