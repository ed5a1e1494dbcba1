"""A follower whose disk is full of what is gone elsewhere takes a snapshot in place of the log it has no room for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from cluster.raft.group import RaftConfig, Role
from cluster.raft.messages import (
    Append,
    PreVoteReply,
    PreVoteRequest,
    SnapshotChunkMessage,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from cluster.raft.runtime import RuntimeConfig
from cluster.raft.types import Entry, EntryKind, GroupId, LogIndex, NodeId, SnapshotMeta, Term
from tests.raft.runtime.cluster import Cluster, Node, running_cluster

G = GroupId(1)
LARGE = bytes(1000)
IMPATIENT = RuntimeConfig(raft=RaftConfig(retention_ticks=40))
WAIT_SECONDS = 3.0
"""More than a leader keeps its log for somebody, a bit less than two times."""


@asynccontextmanager
async def with_a_full_follower(room: int) -> AsyncIterator[tuple[Cluster, Node, Node]]:
    """A leader that has three large entries, and a follower that had room for less than one of them."""
    async with running_cluster(config=IMPATIENT) as cluster:
        leader = await cluster.leader(G)
        follower = next(node for node in cluster.nodes if node is not leader)
        leader.machines[G].want(b"first")
        await cluster.until_all_have(G, [b"first"])
        await trio.sleep(0.1)
        follower.storage.bytes_max = follower.storage.used_bytes() + room
        for count in range(1, 4):
            leader.machines[G].want(LARGE)
            await leader.machines[G].until(lambda count=count: len(leader.machines[G].commands) > count)
        await trio.sleep(1)
        assert follower.runtime.report(G).refused
        assert not leader.runtime.groups[G].wants_snapshot
        yield cluster, leader, follower


def write_snapshot(leader: Node, state: bytes) -> None:
    """All entries up to now are dead but for what `state` says."""
    index = LogIndex(leader.machines[G].applied_index)
    leader.runtime.snapshot_created(G, index, state)
    leader.runtime.compact_payloads(G, range(1, index + 1), [])


async def test_it_is_back_once_its_leader_has_little_left(autojump_clock):
    async with with_a_full_follower(room=500) as (cluster, leader, follower):
        await trio.sleep(WAIT_SECONDS)
        assert leader.runtime.groups[G].wants_snapshot
        assert follower.runtime.report(G).refused
        write_snapshot(leader, b"little")
        await follower.machines[G].until(lambda: follower.machines[G].commands == [b"little"])
        leader.machines[G].want(b"next")
        await follower.machines[G].until(lambda: follower.machines[G].commands == [b"little", b"next"])
        assert not follower.runtime.report(G).refused
        assert not leader.runtime.groups[G].wants_snapshot
        # It counts again: the two of them are a quorum.
        third = next(node for node in cluster.nodes if node not in (leader, follower))
        third.kill()
        leader.machines[G].want(b"last")
        await follower.machines[G].until(lambda: follower.machines[G].has(b"last"))


async def test_what_it_has_said_is_still_so_when_it_makes_way(autojump_clock):
    async with with_a_full_follower(room=500) as (_, leader, follower):
        before = follower.storage.group(G).initial_state()
        await trio.sleep(WAIT_SECONDS)
        leader.machines[G].want(LARGE)
        await trio.sleep(0.1)
        follower.storage.bytes_max = follower.storage.used_bytes()
        write_snapshot(leader, LARGE)
        await trio.sleep(WAIT_SECONDS)
        # The snapshot does not fit either. What was durable before still is, and counts.
        after = follower.storage.group(G).initial_state()
        assert after.last_index == before.last_index
        assert after.hard_state.term == before.hard_state.term > Term(0)
        assert follower.machines[G].commands == [b"first"]
        # A smaller one takes its place.
        await trio.sleep(WAIT_SECONDS)
        assert leader.runtime.groups[G].wants_snapshot is False, "nothing new to be had"
        leader.machines[G].want(b"news")
        await leader.machines[G].until(lambda: leader.machines[G].has(b"news"))
        assert leader.runtime.groups[G].wants_snapshot
        follower.storage.bytes_max += 100
        write_snapshot(leader, b"little")
        await follower.machines[G].until(lambda: follower.machines[G].commands == [b"little"])


async def test_it_goes_on_from_its_own_snapshot_when_it_makes_way(autojump_clock):
    async with running_cluster(config=IMPATIENT) as cluster:
        leader = await cluster.leader(G)
        follower = next(node for node in cluster.nodes if node is not leader)
        leader.machines[G].want(b"first")
        await cluster.until_all_have(G, [b"first"])
        for node in (leader, follower):
            node.runtime.snapshot_created(G, LogIndex(node.machines[G].applied_index), b"first")
        leader.machines[G].want(b"second")
        await cluster.until_all_have(G, [b"first", b"second"])
        await trio.sleep(0.1)
        stored = follower.storage.group(G).snapshot_meta()
        assert stored.index
        follower.storage.bytes_max = follower.storage.used_bytes() + 500
        for count in range(1, 4):
            leader.machines[G].want(LARGE)
            await leader.machines[G].until(lambda count=count: leader.machines[G].commands.count(LARGE) == count)
        # It is told of another term by somebody who is gone again: a term goes before entries that have no room.
        third = next(node for node in cluster.nodes if node not in (leader, follower))
        term = leader.runtime.groups[G].term
        leader.kill()
        await third.machines[G].until(lambda: third.machines[G].role[0] is Role.LEADER)
        await trio.sleep(1)
        assert follower.storage.group(G).hard_state().term > term
        assert (stored.index, b"first") in follower.machines[G].restored
        assert follower.machines[G].commands[:2] == [b"first", b"second"]
        follower.storage.bytes_max = None
        await follower.machines[G].until(lambda: follower.machines[G].commands.count(LARGE) == 3)


async def test_a_leader_does_not_make_way(autojump_clock):
    """Whatever comes late: others may have been told of what its own disk refuses."""
    async with running_cluster(config=IMPATIENT) as cluster:
        leader = await cluster.leader(G)
        other = next(node for node in cluster.nodes if node is not leader)
        leader.storage.bytes_max = leader.storage.used_bytes()
        leader.machines[G].want(LARGE)
        await leader.machines[G].until(lambda: leader.machines[G].has(LARGE))
        await trio.sleep(0.1)
        assert leader.runtime.report(G).refused
        last = leader.runtime.groups[G].last_index
        meta = SnapshotMeta(LogIndex(1), Term(1), leader.runtime.groups[G].configuration)
        leader.runtime.receive([SnapshotChunkMessage(G, other.node, leader.node, Term(0), meta, b"", b"", None)])
        await trio.sleep(0.1)
        assert leader.runtime.groups[G].role is Role.LEADER
        assert leader.runtime.groups[G].last_index == last


async def test_it_goes_on_with_the_log_when_it_has_room_in_time(autojump_clock):
    async with with_a_full_follower(room=500) as (cluster, _, follower):
        follower.storage.bytes_max = None
        await cluster.until_all_have(G, [b"first", LARGE, LARGE, LARGE])
        assert follower.machines[G].restored == []


async def test_it_takes_part_in_elections_and_is_back_under_another_leader(autojump_clock):
    async with with_a_full_follower(room=500) as (cluster, leader, follower):
        term = leader.runtime.groups[G].term
        third = next(node for node in cluster.nodes if node not in (leader, follower))
        leader.kill()
        # It votes for who has more than it; that nothing can be committed without it is another matter.
        await third.machines[G].until(lambda: third.machines[G].role[0] is Role.LEADER)
        assert follower.storage.group(G).hard_state().term > term
        cluster.restart(leader)
        successor = await cluster.leader(G)
        await trio.sleep(WAIT_SECONDS)
        assert follower.runtime.report(G).refused
        assert successor.runtime.groups[G].wants_snapshot
        write_snapshot(successor, b"little")
        await follower.machines[G].until(lambda: follower.machines[G].commands == [b"little"])


async def test_a_group_that_is_given_up_on_a_full_node_makes_room_there(autojump_clock):
    """What the disk has refused of it is not waited for: nothing else may ever give space back."""
    async with with_a_full_follower(room=500) as (_, _, follower):
        before, rounds = follower.storage.used_bytes(), follower.runtime.statistics().rounds
        follower.runtime.remove_group(G, forget=True)
        await trio.sleep(WAIT_SECONDS)
        assert not follower.runtime.is_writing(G)
        assert follower.storage.used_bytes() < before
        assert not follower.runtime.statistics().is_storage_full
        assert follower.full.told[-1] == (False, "")
        assert follower.runtime.statistics().rounds - rounds < 100


async def test_votes_for_the_log_that_it_had_do_not_count_once_it_has_made_way(autojump_clock):
    """It asks for votes with an entry in memory that its disk refuses, and its vote goes nowhere before that is
    withdrawn. The entry is committed without it; its answers come late, when its old leader has it stand again."""
    old_leader, one, third = NodeId(1), NodeId(2), NodeId(3)
    async with running_cluster() as cluster:
        for node in cluster.nodes:
            if node.node != one:
                node.kill()
        await trio.sleep(0.01)
        node = next(node for node in cluster.nodes if node.node == one)

        def asked(kind: type[PreVoteRequest | VoteRequest]) -> list[int]:
            """Up to where the log went for which it asked in term 2."""
            sent = [message for source, _, parcel in cluster.network.parcels if source == one for message in parcel]
            found = {m.last_index for m in sent if isinstance(m, kind) and m.target == third and m.term == Term(2)}
            return sorted(found)

        def append(index: int, data: bytes) -> Append:
            entry = Entry(Term(1), LogIndex(index), EntryKind.COMMAND, data)
            before = LogIndex(index - 1)
            return Append(G, old_leader, one, Term(1), before, Term(min(before, 1)), before, [entry])

        node.runtime.receive([append(1, b"small")])
        await trio.sleep(0.1)
        assert node.storage.group(G).initial_state().last_index == 1
        node.storage.bytes_max = node.storage.used_bytes() + 100
        node.runtime.receive([append(2, LARGE)])
        await trio.sleep(1.5)
        assert asked(PreVoteRequest) == [2]
        node.runtime.receive([PreVoteReply(G, third, one, Term(2), True)])
        await trio.sleep(0.2)
        assert asked(VoteRequest) == [2]
        assert node.runtime.groups[G].last_index == 1, "what was refused is withdrawn"
        node.runtime.receive([TimeoutNow(G, old_leader, one, Term(1))])
        node.runtime.receive([VoteReply(G, third, one, Term(2), True)])
        await trio.sleep(0.2)
        assert node.runtime.groups[G].role is not Role.LEADER, "it lacks what may be committed"
        assert asked(VoteRequest) == [2]
        assert node.storage.group(G).hard_state().term == 2
