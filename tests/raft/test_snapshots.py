"""Snapshots: made here, sent in chunks, installed whole (Raft paper §7; design D4)."""

from __future__ import annotations

from random import Random

from cluster.raft.group import RaftConfig, RaftGroup, Role
from cluster.raft.messages import Append, SnapshotChunkMessage, SnapshotChunkReply
from cluster.raft.types import Entry, EntryKind, LogIndex, NodeId, SnapshotMeta, Term
from tests.raft.disk import members
from tests.raft.ensemble import GROUP, Ensemble, fill

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
SMALL = RaftConfig(tail_bytes=0, snapshots_passed_max=0, snapshot_chunk_bytes=1)


def snapshot(ensemble: Ensemble, node: int, data: bytes = b"index") -> LogIndex:
    index = ensemble.groups[node].status().applied_index
    ensemble.do(node, lambda group: group.snapshot_created(index, data))
    return index


def with_a_lagging_third(config: RaftConfig = SMALL) -> Ensemble:
    """Member 3 was away while five entries were committed and compacted."""
    ensemble = Ensemble(config=config)
    ensemble.elect(1)
    ensemble.crash(3)
    ensemble.propose(1, *"abcde")
    ensemble.settle()
    snapshot(ensemble, 1)
    ensemble.settle()
    ensemble.start(3)
    return ensemble


def connect(ensemble: Ensemble, node: int, peer: int) -> None:
    ensemble.do(node, lambda group: group.peer_connected(NodeId(peer)))


def test_a_snapshot_goes_to_the_disk_with_the_next_write_and_compacts_the_log() -> None:
    ensemble = Ensemble(config=SMALL)
    leader = ensemble.elect(1)
    ensemble.propose(1, "a", "b")
    ensemble.settle()
    index = snapshot(ensemble, 1)
    assert leader.status().first_index == 1
    ensemble.write(1)
    assert leader.status().first_index == index + 1
    assert ensemble.disks[1].meta == SnapshotMeta(index, Term(1), members(1, 2, 3))
    assert ensemble.disks[1].index == b"index"
    assert ensemble.disks[1].payload(LogIndex(2)) == b"a"


def test_a_snapshot_older_than_the_latest_is_ignored() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    snapshot(ensemble, 1)
    ensemble.do(1, lambda group: group.snapshot_created(LogIndex(1), b"old"))
    snapshot(ensemble, 1, b"the same again")
    ensemble.settle()
    assert ensemble.disks[1].index == b"index"


def test_a_snapshot_of_what_the_member_has_not_handed_out_is_nothing_to_it() -> None:
    """The machine may be ahead of a member that began anew."""
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.settle()
    ahead = LogIndex(leader.last_index + 1)
    leader.snapshot_created(ahead, b"")
    leader.compact_payloads([ahead], [])
    assert not leader.has_persist()


def test_dead_payloads_are_deleted_and_shrunk_ones_replaced() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "dead", "long", "alive")
    ensemble.settle()
    snapshot(ensemble, 1)
    shorter = Entry(Term(1), LogIndex(3), EntryKind.COMMAND, b"l")
    ensemble.do(1, lambda group: group.compact_payloads([LogIndex(2)], [shorter]))
    ensemble.settle()
    disk = ensemble.disks[1]
    assert [disk.payload(LogIndex(index)) for index in (2, 3, 4)] == [None, b"l", b"alive"]


def test_memory_still_serves_a_follower_below_the_snapshot() -> None:
    """A follower that is a little behind must not need a whole snapshot because the leader compacted."""
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.isolate(3)
    ensemble.propose(1, "a", "b")
    ensemble.settle()
    snapshot(ensemble, 1)
    ensemble.settle()
    ensemble.heal()
    connect(ensemble, 1, 3)
    ensemble.settle()
    assert ensemble.groups[3].commit_index == 3
    assert not [line for line in ensemble.lines if "Snapshot" in line]


def test_a_follower_whose_entries_are_gone_is_sent_the_snapshot_and_then_what_follows() -> None:
    ensemble = with_a_lagging_third()
    ensemble.propose(1, "f")
    connect(ensemble, 1, 3)
    ensemble.settle()
    disk = ensemble.disks[3]
    assert (disk.meta.index, disk.index) == (6, b"index")
    assert disk.payload(LogIndex(4)) == b"c"
    assert [entry.data for entry in ensemble.applied[3]] == [b"f"]
    assert "3 restores the snapshot up to 6" in ensemble.lines
    status = ensemble.groups[1].status().progress[THREE]
    assert (status.state, status.is_near) == ("replicate", True)


def test_each_chunk_is_durable_before_the_next_is_asked_for() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    status = ensemble.groups[1].status().progress[THREE]
    assert (status.state, status.is_near) == ("snapshot", False)
    sent = [line for line in ensemble.lines if "SnapshotChunkMessage" in line]
    assert len(sent) == 1
    ensemble.write(3)
    [reply] = ensemble.take(3, 1, SnapshotChunkReply)
    assert isinstance(reply, SnapshotChunkReply)
    assert reply.cursor


def test_the_snapshot_is_installed_in_a_write_of_its_own_after_the_last_chunk() -> None:
    ensemble = with_a_lagging_third(RaftConfig(tail_bytes=0, snapshots_passed_max=0))
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    staged = ensemble.write(3)
    assert staged.write.stage
    assert staged.write.install is None
    assert ensemble.groups[3].last_index == 1
    installed = ensemble.write(3)
    assert installed.write.install is not None
    assert not installed.write.entries
    assert ensemble.groups[3].last_index == 6


def test_a_lost_chunk_is_sent_again() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    ensemble.write(3)
    ensemble.take()
    for _ in range(12):
        ensemble.tick(1)
        ensemble.settle()
    assert ensemble.disks[3].meta.index == 6


def test_a_duplicate_chunk_does_not_start_over() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    [first] = [message for message in ensemble.queue if isinstance(message, SnapshotChunkMessage)]
    ensemble.deliver(1, 3)
    ensemble.write(3)
    ensemble.deliver(3, 1)
    ensemble.deliver(1, 3)
    ensemble.write(3)
    staged = dict(ensemble.disks[3].staged)
    assert len(staged) > 2
    ensemble.hand(first)
    ensemble.settle()
    assert [line for line in ensemble.lines if "at=b''" in line] == [
        "1>3 SnapshotChunkMessage term=1 snapshot=6/1 at=b''"
    ]
    assert ensemble.disks[3].index == b"index"


def test_a_receiver_that_restarted_is_sent_the_snapshot_from_its_beginning() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    ensemble.write(3)
    ensemble.crash(3)
    ensemble.start(3)
    ensemble.settle()
    for _ in range(12):
        ensemble.tick(1)
        ensemble.settle()
    assert ensemble.disks[3].meta.index == 6


def test_a_newer_snapshot_waits_until_a_transfer_is_done() -> None:
    """Otherwise a group that is busy would begin every transfer again before it ends."""
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    assert ensemble.groups[1].status().progress[THREE].state == "snapshot"
    ensemble.propose(1, "f")
    ensemble.settle(without_writes_of=[3])
    later = snapshot(ensemble, 1, b"later")
    ensemble.settle(without_writes_of=[3])
    assert ensemble.disks[1].meta.index == 6
    ensemble.settle()
    assert ensemble.disks[1].meta.index == later
    assert ensemble.groups[3].commit_index == later


def test_a_leader_is_not_dispensable_while_the_others_lack_a_snapshot_that_it_sends() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    leader = ensemble.groups[1]
    assert leader.status().progress[THREE].active
    assert not leader.is_dispensable(is_long=False)
    assert leader.is_dispensable(is_long=True)
    ensemble.settle()
    assert leader.is_dispensable(is_long=False)


def test_a_newer_snapshot_does_not_wait_for_a_peer_that_is_gone() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    ensemble.propose(1, "f")
    ensemble.settle(without_writes_of=[3])
    later = snapshot(ensemble, 1, b"later")
    ensemble.do(1, lambda group: group.peer_disconnected(THREE))
    ensemble.settle(without_writes_of=[3])
    assert ensemble.disks[1].meta.index == later


def test_a_newer_snapshot_does_not_wait_for_a_peer_that_takes_nothing_in() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    ensemble.propose(1, "f")
    ensemble.settle(without_writes_of=[3])
    later = snapshot(ensemble, 1, b"later")
    for _ in range(40):
        ensemble.tick(1)
        ensemble.settle(without_writes_of=[3])
    assert ensemble.groups[1].status().progress[THREE].active
    assert ensemble.disks[1].meta.index == later


def test_entries_that_a_write_just_compacted_are_replaced_by_the_snapshot() -> None:
    """The disk is ahead of the member until it is told that the write is done."""
    ensemble = Ensemble(config=SMALL)
    ensemble.elect(1)
    ensemble.crash(3)
    ensemble.propose(1, "a", "b")
    ensemble.settle()
    snapshot(ensemble, 1)
    ensemble.disks[1].apply(ensemble.writes[1].write)
    ensemble.start(3)
    connect(ensemble, 1, 3)
    assert [type(message) for message in ensemble.queue] == [SnapshotChunkMessage]
    ensemble.groups[1].persisted(ensemble.writes.pop(1))
    ensemble.settle()
    assert ensemble.groups[3].commit_index == 3


def test_a_snapshot_of_what_is_in_the_log_only_commits_it() -> None:
    ensemble = Ensemble()
    group = ensemble.groups[2]
    entries = [Entry(Term(1), LogIndex(index), EntryKind.COMMAND, b"x") for index in (1, 2, 3)]
    group.step(Append(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), LogIndex(0), entries))
    meta = SnapshotMeta(LogIndex(2), Term(1), members(1, 2, 3))
    group.step(SnapshotChunkMessage(GROUP, ONE, TWO, Term(1), meta, b"", b"{}", None))
    assert group.commit_index == 2
    ensemble.collect()
    persist = ensemble.write(2)
    assert not persist.write.stage
    assert len(persist.write.entries) == 3


def test_appends_are_not_taken_between_the_last_chunk_and_the_installation() -> None:
    ensemble = with_a_lagging_third(RaftConfig(tail_bytes=0, snapshots_passed_max=0))
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    late = Append(
        GROUP,
        ONE,
        THREE,
        Term(1),
        LogIndex(1),
        Term(1),
        LogIndex(1),
        [Entry(Term(1), LogIndex(2), EntryKind.COMMAND, b"a")],
    )
    ensemble.write(3)
    ensemble.hand(late)
    assert ensemble.groups[3].last_index == 1
    ensemble.settle()
    assert ensemble.groups[3].last_index == 6


def test_while_it_installs_a_member_applies_nothing() -> None:
    """The disk may have the old state or the new one; what it did not apply yet comes with the snapshot."""
    ensemble = Ensemble(config=RaftConfig(max_apply_bytes=1, tail_bytes=0, snapshots_passed_max=0))
    disk = ensemble.disks[2]
    fill(disk, [1] * 5, commit_index=5)
    group = RaftGroup(node=TWO, group=GROUP, storage=disk, config=ensemble.config, random=Random(1))
    assert [entry.index for entry in group.ready().committed] == [1]
    meta = SnapshotMeta(LogIndex(9), Term(2), members(1, 2, 3))
    group.step(SnapshotChunkMessage(GROUP, ONE, TWO, Term(2), meta, b"", b'{"index": ""}', None))
    staged = group.take_persist()
    assert staged is not None
    disk.apply(staged.write)
    group.persisted(staged)
    group.ready()
    installed = group.take_persist()
    assert installed is not None
    assert installed.write.install == meta
    disk.apply(installed.write)
    assert not group.has_ready()
    assert group.ready().committed == []
    group.persisted(installed)
    ready = group.ready()
    assert ready.restored == meta
    assert ready.committed == []
    assert group.status().applied_index == 9


def test_a_member_does_not_stand_while_it_installs() -> None:
    ensemble = with_a_lagging_third(RaftConfig(tail_bytes=0, snapshots_passed_max=0))
    connect(ensemble, 1, 3)
    ensemble.settle(without_writes_of=[3])
    ensemble.do(3, RaftGroup.campaign)
    assert ensemble.role(3) is Role.FOLLOWER


def test_the_configuration_comes_with_the_snapshot() -> None:
    ensemble = Ensemble([1, 2], others=[3], config=SMALL)
    ensemble.elect(1)
    ensemble.isolate(3)
    ensemble.do(1, lambda group: group.propose_configuration(members(1, 2, 3)))
    ensemble.settle()
    snapshot(ensemble, 1)
    ensemble.settle()
    ensemble.heal()
    connect(ensemble, 1, 3)
    ensemble.settle()
    assert ensemble.disks[3].meta.configuration == members(1, 2, 3)
    assert ensemble.groups[3].configuration == members(1, 2, 3)


def test_a_restart_after_the_installation_continues_from_it() -> None:
    ensemble = with_a_lagging_third()
    connect(ensemble, 1, 3)
    ensemble.settle()
    ensemble.crash(3)
    group = ensemble.start(3)
    assert (group.status().applied_index, group.last_index) == (6, 6)
