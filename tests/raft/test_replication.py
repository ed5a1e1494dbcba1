"""Replication and commitment: Raft paper §5.3, §5.4.2, figures 7 and 8; thesis §10.2.1."""

from __future__ import annotations

import pytest

from cluster.raft.group import NotLeader, ProposalDropped, RaftConfig, RaftGroup, Role
from cluster.raft.messages import Append, AppendReply, Heartbeat
from cluster.raft.types import Entry, EntryKind, LogIndex, NodeId, Term
from tests.raft.ensemble import GROUP, Ensemble, fill

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def entry(index: int, term: int, data: bytes = b"x") -> Entry:
    return Entry(Term(term), LogIndex(index), EntryKind.COMMAND, data)


def test_appends_leave_before_the_leader_has_written_its_own() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    assert [message.target for message in ensemble.queue] == [2, 3]
    assert 1 in ensemble.writes


def test_a_follower_acknowledges_only_what_it_has_written() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.deliver(1, 2)
    assert ensemble.take(2, 1) == []
    ensemble.write(2)
    [reply] = ensemble.take(2, 1)
    assert reply == AppendReply(GROUP, TWO, ONE, Term(1), LogIndex(2), False, LogIndex(0), Term(0))


def test_a_leader_commits_by_its_own_write_and_one_of_two_followers() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.deliver(1, 2)
    ensemble.write(2)
    ensemble.deliver(2, 1)
    assert leader.commit_index == 1
    ensemble.write(1)
    assert leader.commit_index == 2
    assert ensemble.applied[1][-1].data == b"a"


def test_a_follower_applies_what_is_committed_while_its_own_disk_is_still_busy_with_it() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.settle()
    ensemble.propose(1, "a")
    ensemble.deliver(1)
    ensemble.write(1)
    ensemble.write(2)
    ensemble.deliver(2, 1)
    told = ensemble.deliver(1)
    assert [(type(message), message.target) for message in told] == [(Heartbeat, 2), (Append, 3)]
    assert [ensemble.applied[node][-1].data for node in (1, 2, 3)] == [b"a"] * 3
    assert 3 in ensemble.writes
    ensemble.settle()
    assert ensemble.groups[1].status().progress[THREE].match_index == ensemble.groups[1].last_index


def test_a_follower_that_missed_an_entry_is_not_told_that_it_is_committed() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.settle()
    ensemble.propose(1, "a")
    ensemble.take(1, 3)
    ensemble.deliver(1)
    ensemble.write(1)
    ensemble.write(2)
    ensemble.deliver(2, 1)
    ensemble.deliver(1, 3)
    assert ensemble.applied[1][-1].data == b"a"
    assert ensemble.groups[3].commit_index < ensemble.groups[1].commit_index
    ensemble.settle()
    assert ensemble.applied[3][-1].data == b"a"


def test_patient_followers_hear_of_a_commit_with_the_next_append() -> None:
    ensemble = Ensemble(config=RaftConfig(patient_commit_news=True))
    leader = ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    assert (leader.commit_index, ensemble.groups[2].commit_index) == (2, 1)
    ensemble.propose(1, "b")
    assert [type(message) for message in ensemble.queue] == [Append, Append]
    ensemble.settle()
    assert [ensemble.groups[node].commit_index for node in (1, 2, 3)] == [3, 2, 2]


def test_patient_followers_hear_of_a_commit_a_tick_later_at_the_latest() -> None:
    ensemble = Ensemble(config=RaftConfig(patient_commit_news=True, heartbeat_ticks=5))
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    ensemble.tick(1)
    assert [type(message) for message in ensemble.queue] == [Heartbeat, Heartbeat]
    ensemble.settle()
    assert [ensemble.applied[node][-1].data for node in (1, 2, 3)] == [b"a"] * 3
    ensemble.tick(1)
    assert ensemble.queue == []


def test_a_leader_commits_by_both_followers_before_its_own_write() -> None:
    """Raft thesis §10.2.1: the leader may even commit before its own disk has the entry."""
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle(without_writes_of=[1])
    assert leader.commit_index == 2
    assert ensemble.disks[1].last_index == 1


def test_many_proposals_in_one_round_leave_in_one_append() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    for number in range(20):
        leader.propose(b"%d" % number)
    ensemble.collect()
    [first, second] = ensemble.take()
    assert isinstance(first, Append)
    assert isinstance(second, Append)
    assert len(first.entries) == 20
    assert first.entries is second.entries


def test_entry_data_is_never_copied() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    data = bytes(100_000)
    ensemble.do(1, lambda group: group.propose(data))
    ensemble.settle()
    assert all(applied[-1].data is data for applied in ensemble.applied.values())
    assert all(disk.log[-1].data is data for disk in ensemble.disks.values())


def test_the_normal_case_reads_nothing_from_storage() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    before = [disk.reads for disk in ensemble.disks.values()]
    for number in range(50):
        ensemble.propose(1, str(number))
        ensemble.settle()
    assert [disk.reads for disk in ensemble.disks.values()] == before


def test_followers_learn_of_a_commit_without_another_proposal() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    assert {group.commit_index for group in ensemble.groups.values()} == {2}


def test_a_proposal_to_a_follower_names_the_leader() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    with pytest.raises(NotLeader) as refusal:
        ensemble.groups[2].propose(b"x")
    assert refusal.value.leader == 1
    assert str(refusal.value) == "the leader is node 1"


def test_uncommitted_bytes_are_bounded_and_freed_by_commits() -> None:
    ensemble = Ensemble(config=RaftConfig(max_uncommitted_bytes=10))
    leader = ensemble.elect(1)
    leader.propose(bytes(6))
    with pytest.raises(ProposalDropped, match=r"^6 bytes wait for a quorum already$"):
        leader.propose(bytes(6))
    assert leader.last_index == 2
    ensemble.collect()
    ensemble.settle()
    leader.propose(bytes(60))
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")


# -- consistency


def test_an_append_that_does_not_fit_is_refused_with_a_hint() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(Append(GROUP, ONE, TWO, Term(1), LogIndex(5), Term(1), LogIndex(0), [])))
    ensemble.settle()
    assert ensemble.groups[2].last_index == 0


@pytest.mark.parametrize(
    "terms",
    [
        [1, 1, 1, 4, 4, 5, 5, 6, 6],
        [1, 1, 1, 4],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        [1, 1, 1, 4, 4, 4, 4],
        [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ],
)
def test_a_new_leader_brings_every_follower_of_figure_7_to_its_log(terms: list[int]) -> None:
    """Raft paper figure 7, followers (a) to (f)."""
    ensemble = Ensemble()
    fill(ensemble.disks[1], [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term=7)
    fill(ensemble.disks[2], terms, term=7)
    fill(ensemble.disks[3], [1, 1, 1, 4, 4, 5, 5, 6, 6], term=7)
    for node in (1, 2, 3):
        ensemble.start(node)
    ensemble.elect(1)
    assert ensemble.role(1) is Role.LEADER
    assert set(ensemble.logs().values()) == {"1 1 1 4 4 5 5 6 6 6 8"}
    assert ensemble.disks[2].log == ensemble.disks[1].log
    assert ensemble.groups[2].commit_index == 11


def test_a_divergence_of_many_entries_is_found_in_one_step_per_term() -> None:
    ensemble = Ensemble()
    fill(ensemble.disks[1], [1] * 5 + [9] * 500, term=9)
    fill(ensemble.disks[2], [1] * 5 + [3] * 200 + [4] * 200 + [5] * 90, term=9)
    for node in (1, 2):
        ensemble.start(node)
    ensemble.elect(1)
    refusals = [line for line in ensemble.lines if line.startswith("2>1 AppendReply") and "refused" in line]
    assert len(refusals) == 1
    assert ensemble.groups[2].commit_index == 506


def test_entries_of_earlier_terms_are_not_committed_by_counting() -> None:
    """Raft paper §5.4.2, figure 8 (c): a majority has the entry of term 2, and it may still be replaced."""
    ensemble = Ensemble([1, 2, 3, 4, 5], config=RaftConfig(max_append_bytes=1))
    fill(ensemble.disks[1], [1, 2], term=2)
    fill(ensemble.disks[2], [1, 2], term=2)
    for node in (1, 2):
        ensemble.start(node)
    ensemble.do(1, RaftGroup.campaign)
    leader = ensemble.groups[1]
    while leader.role is not Role.LEADER:
        if ensemble.writes:
            ensemble.write(min(ensemble.writes))
        else:
            ensemble.hand(ensemble.queue.pop(0))
    assert leader.term == 3
    ensemble.take()
    acknowledged = AppendReply(GROUP, THREE, ONE, Term(3), LogIndex(2), False, LogIndex(0), Term(0))
    for peer in (TWO, THREE):
        acknowledged.source = peer
        ensemble.do(1, lambda group: group.step(acknowledged))
    assert leader.commit_index == 0
    acknowledged.index = LogIndex(3)
    for peer in (TWO, THREE):
        acknowledged.source = peer
        ensemble.do(1, lambda group: group.step(acknowledged))
    if 1 in ensemble.writes:
        ensemble.write(1)
    assert leader.commit_index == 3


def test_a_duplicate_append_changes_nothing() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    [append, _] = list(ensemble.queue)
    ensemble.settle()
    disk = list(ensemble.disks[2].log)
    ensemble.propose(1, "b")
    ensemble.settle()
    ensemble.hand(append)
    ensemble.settle()
    assert ensemble.disks[2].log[:2] == disk
    assert ensemble.groups[2].last_index == 3


def test_a_short_append_does_not_cut_what_follows() -> None:
    """Raft paper §5.3: only a conflict removes entries; an old message may be shorter than the log."""
    ensemble = Ensemble()
    group = ensemble.groups[2]
    group.step(Append(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), LogIndex(0), [entry(1, 1), entry(2, 1)]))
    group.step(Append(GROUP, ONE, TWO, Term(1), LogIndex(0), Term(0), LogIndex(0), [entry(1, 1)]))
    assert group.last_index == 2


def test_a_follower_commits_no_further_than_what_the_append_covers() -> None:
    """Raft paper figure 2: min(leaderCommit, index of last new entry)."""
    ensemble = Ensemble()
    fill(ensemble.disks[2], [1, 1, 1])
    group = ensemble.start(2)
    group.step(Append(GROUP, ONE, TWO, Term(2), LogIndex(1), Term(1), LogIndex(3), [entry(2, 1)]))
    assert group.commit_index == 2


# -- flow


def test_appends_in_flight_are_bounded() -> None:
    ensemble = Ensemble(config=RaftConfig(max_inflight_appends=3))
    ensemble.elect(1)
    for number in range(10):
        ensemble.propose(1, str(number))
    assert len(ensemble.take(1, 2, Append)) == 3
    ensemble.settle()
    assert ensemble.groups[1].commit_index == 11


def test_bytes_in_flight_are_bounded() -> None:
    ensemble = Ensemble(config=RaftConfig(max_inflight_bytes=100))
    ensemble.elect(1)
    for _ in range(10):
        ensemble.do(1, lambda group: group.propose(bytes(60)))
    assert len([m for m in ensemble.queue if m.target == 2]) == 2
    ensemble.settle()
    assert ensemble.groups[2].commit_index == 11


def test_what_is_sent_to_a_new_follower_is_cut_into_appends() -> None:
    ensemble = Ensemble(config=RaftConfig(max_append_bytes=1000))
    ensemble.crash(3)
    ensemble.elect(1)
    for _ in range(10):
        ensemble.do(1, lambda group: group.propose(bytes(400)))
        ensemble.settle()
    ensemble.start(3)
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle()
    assert ensemble.groups[3].commit_index == 11


def test_lost_appends_are_sent_again_after_silent_heartbeats() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a", "b")
    ensemble.take()
    for _ in range(4):
        ensemble.tick(1, 2)
        ensemble.settle()
    assert ensemble.groups[2].commit_index == 3


def test_a_lost_append_in_the_middle_is_repaired_by_the_refusal_of_the_next() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.take(1, 2)
    ensemble.propose(1, "b")
    ensemble.settle()
    assert ensemble.groups[2].commit_index == 3


def test_a_slow_disk_alone_makes_the_leader_send_nothing_twice() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    for _ in range(20):
        ensemble.tick(1, 2)
        ensemble.settle(without_writes_of=[2])
    sent = [line for line in ensemble.lines if line.startswith("1>2 Append ") and ":a]" in line]
    assert len(sent) == 1


def test_a_disconnected_peer_is_probed_again_when_it_is_back() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.do(1, lambda group: group.peer_disconnected(TWO))
    assert leader.status().progress[TWO].state == "probe"
    assert not leader.status().progress[TWO].active
    ensemble.propose(1, "a")
    assert ensemble.take(1, 2) == []
    ensemble.do(1, lambda group: group.peer_connected(TWO))
    assert len(ensemble.queue) > 0
    ensemble.settle()
    status = leader.status().progress[TWO]
    assert (status.state, status.match_index, status.active) == ("replicate", 2, True)


def test_a_peer_that_lost_its_disk_is_brought_back_after_its_connection_is_new() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.propose(1, "a", "b")
    ensemble.settle()
    ensemble.crash(3)
    fresh = Ensemble().disks[3]
    ensemble.disks[3] = fresh
    ensemble.start(3)
    ensemble.do(1, lambda group: group.peer_connected(THREE))
    ensemble.settle()
    assert leader.status().progress[THREE].match_index == 3
    assert ensemble.groups[3].commit_index == 3
