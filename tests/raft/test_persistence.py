"""The handshake with the disk: one write at a time, nothing said that a crash could take back."""

from __future__ import annotations

from random import Random

import pytest

from cluster.raft.group import RaftConfig, RaftGroup, Role
from cluster.raft.messages import Append, AppendReply
from cluster.raft.types import Entry, EntryKind, HardState, LogIndex, NodeId, Term
from tests.raft.ensemble import GROUP, Ensemble, fill

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def append(source: int, term: int, prev: tuple[int, int], *entries: tuple[int, str], commit_index: int = 0) -> Append:
    """An append of (term, data) entries after `prev` (index, term), to member 2."""
    prev_index, prev_term = prev
    return Append(
        GROUP,
        NodeId(source),
        TWO,
        Term(term),
        LogIndex(prev_index),
        Term(prev_term),
        LogIndex(commit_index),
        [
            Entry(Term(at), LogIndex(prev_index + 1 + offset), EntryKind.COMMAND, data.encode())
            for offset, (at, data) in enumerate(entries)
        ],
    )


def test_one_write_is_out_at_a_time_and_the_next_carries_all_that_came_meanwhile() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    leader.propose(b"a")
    first = leader.take_persist()
    assert first is not None
    leader.propose(b"b")
    leader.propose(b"c")
    assert leader.take_persist() is None
    ensemble.disks[1].apply(first.write)
    leader.persisted(first)
    second = leader.take_persist()
    assert second is not None
    assert [entry.data for entry in second.write.entries] == [b"b", b"c"]
    assert second.write.hard_state is not None


def test_with_nothing_to_write_there_is_no_persist() -> None:
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    assert not leader.has_persist()
    assert leader.take_persist() is None


def test_a_write_is_acknowledged_once() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    persist = ensemble.write(1)
    with pytest.raises(AssertionError):
        ensemble.groups[1].persisted(persist)


def test_the_acknowledgement_of_a_write_does_not_count_entries_that_were_replaced_meanwhile() -> None:
    """The write of the old entry ends after a new leader replaced it in memory."""
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(append(1, 1, (0, 0), (1, "kept"), (1, "old"))))
    assert 2 in ensemble.writes
    ensemble.do(2, lambda group: group.step(append(3, 2, (1, 1), (2, "new"))))
    log = ensemble.groups[2]._state.log
    ensemble.write(2)
    assert log.stable_index == 1
    assert [entry.data for entry in ensemble.disks[2].log] == [b"kept", b"old"]
    acks = [m for m in ensemble.take(2) if isinstance(m, AppendReply)]
    assert [(ack.target, ack.term, ack.index) for ack in acks] == [(1, 1, 2)], "said of term 1, and true then"
    ensemble.write(2)
    assert log.stable_index == 2
    assert [entry.data for entry in ensemble.disks[2].log] == [b"kept", b"new"]
    [ack] = ensemble.take(2)
    assert ack == AppendReply(GROUP, TWO, THREE, Term(2), LogIndex(2), False, LogIndex(0), Term(0))


def test_replaced_by_fewer_entries_the_stored_rest_is_truncated() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(append(1, 1, (0, 0), (1, "a"), (1, "b"), (1, "c"))))
    ensemble.settle()
    ensemble.do(2, lambda group: group.step(append(3, 2, (0, 0), (2, "x"))))
    persist = ensemble.write(2)
    assert persist.write.truncate_from == 1
    assert [entry.data for entry in ensemble.disks[2].log] == [b"x"]


def test_replaced_twice_during_one_write_only_the_last_is_written() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(append(1, 1, (0, 0), (1, "a"), (1, "b"))))
    ensemble.do(2, lambda group: group.step(append(3, 2, (1, 1), (2, "c"), (2, "d"))))
    ensemble.do(2, lambda group: group.step(append(1, 3, (1, 1), (3, "e"))))
    ensemble.settle()
    assert [entry.data for entry in ensemble.disks[2].log] == [b"a", b"e"]
    assert ensemble.groups[2]._state.log.stable_index == 2


def test_replaced_before_it_was_ever_offered_an_entry_is_not_written() -> None:
    ensemble = Ensemble()
    group = ensemble.groups[2]
    group.step(append(1, 1, (0, 0), (1, "a")))
    group.step(append(3, 2, (0, 0), (2, "b")))
    ensemble.collect()
    persist = ensemble.write(2)
    assert persist.write.truncate_from is None
    assert [entry.data for entry in persist.write.entries] == [b"b"]


def test_acknowledgements_that_wait_for_one_write_are_one_message() -> None:
    ensemble = Ensemble()
    group = ensemble.groups[2]
    group.step(append(1, 1, (0, 0), (1, "a")))
    group.step(append(1, 1, (1, 1), (1, "b")))
    group.step(append(1, 1, (2, 1), (1, "c")))
    ensemble.collect()
    persist = ensemble.write(2)
    assert [m.index for m in persist.messages if isinstance(m, AppendReply)] == [3]


def test_an_acknowledgement_of_durable_entries_does_not_wait_for_a_write_under_way() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(append(1, 1, (0, 0), (1, "a"))))
    ensemble.settle()
    ensemble.do(2, lambda group: group.step(append(1, 1, (1, 1), (1, "b"))))
    ensemble.do(2, lambda group: group.step(append(1, 1, (0, 0), (1, "a"))))
    assert [m.index for m in ensemble.take(2) if isinstance(m, AppendReply)] == [1]


def test_a_crash_takes_back_what_was_not_written_and_nothing_else() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.settle()
    ensemble.propose(1, "b")
    ensemble.deliver(1, 2)
    ensemble.crash(2)
    group = ensemble.start(2)
    assert group.last_index == 2
    assert group.term == 1
    ensemble.do(1, lambda leader: leader.peer_connected(TWO))
    ensemble.settle()
    assert group.last_index == 3


def test_a_restart_applies_what_it_knows_to_be_committed_without_a_leader() -> None:
    ensemble = Ensemble()
    fill(ensemble.disks[2], [1, 1, 1], commit_index=2)
    ensemble.start(2)
    assert [entry.index for entry in ensemble.applied[2]] == [1, 2]


def test_the_commit_hint_never_exceeds_the_written_log() -> None:
    ensemble = Ensemble()
    ensemble.elect(1)
    for number in range(5):
        ensemble.propose(1, str(number))
        ensemble.settle(without_writes_of=[1])
    ensemble.settle()
    for disk in ensemble.disks.values():
        assert disk.hard_state().commit_index <= disk.last_index


def test_a_vote_that_goes_before_entries_does_not_take_what_they_replace_for_committed() -> None:
    """The disk is full: the term is stored and the entries are not, and then the process is gone."""
    ensemble = Ensemble()
    fill(ensemble.disks[2], [1, 1, 1])
    group = ensemble.start(2)
    group.step(append(3, 2, (1, 1), (2, "new"), (2, "newer"), commit_index=3))
    persist = group.take_persist(is_short=True)
    assert persist is not None
    assert not persist.write.entries
    assert persist.write.truncate_from is None
    ensemble.disks[2].apply(persist.write)
    group.persisted(persist)
    ensemble.crash(2)
    again = ensemble.start(2)
    assert again.term == 2
    assert [(entry.index, entry.term) for entry in ensemble.applied[2]] == [(1, 1)]


def test_committed_entries_are_handed_out_in_bounded_pieces_each_once() -> None:
    ensemble = Ensemble(config=RaftConfig(max_apply_bytes=10))
    fill(ensemble.disks[2], [1] * 20, commit_index=20)
    group = RaftGroup(node=TWO, group=GROUP, storage=ensemble.disks[2], config=ensemble.config, random=Random(1))
    seen: list[int] = []
    rounds = 0
    while group.has_ready():
        committed = group.ready().committed
        assert sum(len(entry.data) for entry in committed) <= 10
        seen += [entry.index for entry in committed]
        rounds += 1
    assert seen == list(range(1, 21))
    assert rounds > 5


def test_memory_keeps_only_the_recent_end_of_the_log() -> None:
    ensemble = Ensemble(config=RaftConfig(tail_bytes=10_000))
    ensemble.elect(1)
    for _ in range(100):
        ensemble.do(1, lambda group: group.propose(bytes(1000)))
        ensemble.settle()
    for group in ensemble.groups.values():
        assert sum(len(entry.data) for entry in group._state.log._tail) <= 11_250


def test_what_is_not_durable_stays_in_memory_whatever_its_size() -> None:
    ensemble = Ensemble(config=RaftConfig(tail_bytes=0, max_uncommitted_bytes=1 << 20))
    ensemble.elect(1)
    for _ in range(10):
        ensemble.do(1, lambda group: group.propose(bytes(1000)))
    log = ensemble.groups[1]._state.log
    assert len(log._tail) >= 10
    ensemble.settle()
    assert len(log._tail) == 0


def test_a_term_is_durable_before_a_refusal_that_names_it() -> None:
    ensemble = Ensemble()
    ensemble.do(2, lambda group: group.step(append(1, 3, (7, 2))))
    assert ensemble.take(2) == []
    ensemble.write(2)
    assert ensemble.disks[2].hard_state() == HardState(Term(3), NodeId(0), LogIndex(0))
    [refusal] = ensemble.take(2)
    assert refusal == AppendReply(GROUP, TWO, ONE, Term(3), LogIndex(7), True, LogIndex(0), Term(0))


def test_stepping_down_keeps_the_term_and_asks_the_best_voter_to_take_over() -> None:
    """A leader whose disk stalls must not hold the group up."""
    ensemble = Ensemble()
    leader = ensemble.elect(1)
    ensemble.propose(1, "a")
    ensemble.take(1, 2)
    ensemble.deliver(1, 3)
    ensemble.write(3)
    ensemble.deliver(3, 1)
    ensemble.do(1, RaftGroup.step_down)
    assert (leader.role, leader.term) == (Role.FOLLOWER, 1)
    ensemble.settle(without_writes_of=[1])
    assert ensemble.role(3) is Role.LEADER
    assert ensemble.groups[3].commit_index == 3
