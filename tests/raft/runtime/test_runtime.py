from functools import partial
from random import Random

import pytest
import trio

from cluster.raft.group import NotLeader, RaftConfig
from cluster.raft.messages import Append, VoteRequest
from cluster.raft.runtime import RuntimeConfig
from cluster.raft.types import Configuration, GroupId, LogIndex, NodeId, Term
from cluster.store.memory import MemoryStore
from tests.raft.runtime.cluster import Node, running_cluster

G = GroupId(1)


async def test_a_command_proposed_by_the_leader_is_applied_everywhere(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await cluster.until_all_have(G, [b"a"])
        assert leader.machines[G].indexes == [leader.machines[G].applied_index]


async def test_a_single_voter_leads_and_commits_alone(autojump_clock):
    async with running_cluster(voters=(NodeId(1),)) as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await cluster.until_all_have(G, [b"a"])


async def test_one_write_carries_all_groups(autojump_clock):
    groups = [GroupId(number) for number in range(8)]
    async with running_cluster(groups) as cluster:
        leaders = [await cluster.leader(group) for group in groups]
        await trio.sleep(1)
        for node in cluster.nodes:
            node.disk.writes.clear()
        for group, leader in zip(groups, leaders, strict=True):
            leader.machines[group].want(b"x")
        for group in groups:
            await cluster.until_all_have(group, [b"x"])
        busiest = max(leaders, key=leaders.count)
        first = next(write for write in busiest.disk.writes if any(group.entries for group in write))
        led = [group for group, leader in zip(groups, leaders, strict=True) if leader is busiest]
        assert {write.group for write in first if write.entries} >= set(led)


async def test_all_messages_of_a_round_to_a_peer_are_one_parcel(autojump_clock):
    groups = [GroupId(number) for number in range(8)]
    async with running_cluster(groups) as cluster:
        leaders = [await cluster.leader(group) for group in groups]
        await trio.sleep(1)
        busiest = max(leaders, key=leaders.count)
        led = {group for group, leader in zip(groups, leaders, strict=True) if leader is busiest}
        cluster.network.parcels.clear()
        for group in led:
            busiest.machines[group].want(b"x")
        await trio.sleep(0.001)
        peer = next(node.node for node in cluster.nodes if node is not busiest)
        appends = [
            {message.group for message in parcel if isinstance(message, Append) and message.entries}
            for source, target, parcel in cluster.network.parcels
            if (source, target) == (busiest.node, peer)
        ]
        assert led in appends


async def test_appends_leave_before_the_own_write_is_done(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.disk.freeze()
        leader.machines[G].want(b"a")
        others = [node for node in cluster.nodes if node is not leader]
        for other in others:
            await other.machines[G].until(lambda other=other: other.machines[G].commands == [b"a"])
        assert not leader.disk.has_written(b"a")
        leader.disk.thaw()


async def test_another_node_leads_soon_after_the_leader_dies(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"before")
        await cluster.until_all_have(G, [b"before"])
        died_at = trio.current_time()
        leader.kill()
        del cluster.network.nodes[leader.node]
        successor = await cluster.leader(G, other_than=leader.node)
        assert trio.current_time() - died_at < 0.3
        successor.machines[G].want(b"after")
        await cluster.until_all_have(G, [b"before", b"after"])
        cluster.restart(leader)
        await cluster.until_all_have(G, [b"before", b"after"])


async def test_a_member_that_was_away_catches_up(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        lost = next(node for node in cluster.nodes if node is not leader)
        cluster.network.cut_off(lost.node)
        for number in range(20):
            leader.machines[G].want(b"%d" % number)
            await trio.sleep(0.01)
        cluster.network.reconnect(lost.node)
        await cluster.until_all_have(G, [b"%d" % number for number in range(20)])


async def test_a_member_far_behind_gets_the_snapshot(autojump_clock):
    async with running_cluster(config=RuntimeConfig(raft=RaftConfig(tail_bytes=1, snapshots_passed_max=0))) as cluster:
        leader = await cluster.leader(G)
        lost = next(node for node in cluster.nodes if node is not leader)
        cluster.network.cut_off(lost.node)
        machine = leader.machines[G]
        for number in range(20):
            machine.want(b"%d" % number)
            await trio.sleep(0.01)
        expected = [b"%d" % number for number in range(20)]
        await machine.until(lambda: machine.commands == expected)
        leader.runtime.snapshot_created(G, LogIndex(machine.applied_index), b",".join(machine.commands))
        await trio.sleep(0.1)
        assert leader.storage.group(G).snapshot_meta().index == machine.applied_index
        cluster.network.reconnect(lost.node)
        await cluster.until_all_have(G, expected)
        assert lost.machines[G].restored == [(machine.applied_index, b",".join(expected))]
        cluster.restart(lost)
        await cluster.until_all_have(G, expected)


async def test_a_member_that_was_away_while_a_snapshot_was_made_goes_on_with_the_log(autojump_clock):
    entry_by_entry = RaftConfig(tail_bytes=1, max_append_bytes=1, max_inflight_appends=1)
    async with running_cluster(config=RuntimeConfig(raft=entry_by_entry)) as cluster:
        leader = await cluster.leader(G)
        lost = next(node for node in cluster.nodes if node is not leader)
        machine = leader.machines[G]
        for number in range(4):
            machine.want(b"%d" % number)
            await machine.until(lambda number=number: machine.has(b"%d" % number))
            leader.runtime.snapshot_created(G, LogIndex(machine.applied_index), b",".join(machine.commands))
            await trio.sleep(0.5)
            if number == 1:
                assert leader.storage.group(G).snapshot_meta().index == machine.applied_index
                cluster.network.cut_off(lost.node)
        cluster.network.reconnect(lost.node)
        await cluster.until_all_have(G, [b"0", b"1", b"2", b"3"])
        assert lost.machines[G].restored == []
        await trio.sleep(0.5)
        assert leader.storage.group(G).snapshot_meta().index == machine.applied_index


async def test_no_log_is_kept_for_a_member_that_is_away_where_space_is_short(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        lost = next(node for node in cluster.nodes if node is not leader)
        cluster.network.cut_off(lost.node)
        machine, storage = leader.machines[G], leader.storage.group(G)
        machine.want(b"a")
        await machine.until(lambda: machine.has(b"a"))
        index = LogIndex(machine.applied_index)
        leader.runtime.snapshot_created(G, index, b"a")
        leader.runtime.compact_payloads(G, [index], [])
        await trio.sleep(1)
        assert storage.payload(index) is not None
        leader.runtime.is_short = True
        await trio.sleep(0.1)
        assert storage.payload(index) is None


async def test_the_stored_snapshot_is_restored_at_the_start(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        machine = leader.machines[G]
        machine.want(b"a", b"b")
        await cluster.until_all_have(G, [b"a", b"b"])
        index = LogIndex(machine.applied_index)
        leader.runtime.snapshot_created(G, index, b"a,b")
        leader.runtime.compact_payloads(G, [index], [])
        await trio.sleep(0.1)
        assert leader.storage.group(G).payload(index) is None
        leader.kill()
        await cluster.leader(G, other_than=leader.node)
        again = cluster.restart(leader)
        await again.machines[G].until(lambda: again.machines[G].commands == [b"a", b"b"])
        assert again.machines[G].restored == [(index, b"a,b")]


async def test_a_read_sees_all_that_was_confirmed_before_it(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await leader.machines[G].until(lambda: leader.machines[G].commands == [b"a"])
        index = leader.machines[G].applied_index
        for node in cluster.nodes:
            await node.machines[G].until(lambda node=node: node.machines[G].role[2] == leader.node)
            node.runtime.read_index(G, 7)
            await node.machines[G].until(lambda node=node: bool(node.machines[G].reads))
            assert node.machines[G].reads == [(7, node.machines[G].applied_index)]
            assert node.machines[G].applied_index >= index


async def test_leadership_moves_on_request(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        target = next(node for node in cluster.nodes if node is not leader)
        leader.runtime.transfer_leadership(G, target.node)
        assert await cluster.leader(G, other_than=leader.node) is target
        with pytest.raises(NotLeader):
            leader.runtime.transfer_leadership(G, target.node)


async def test_a_new_member_is_added_and_filled(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await cluster.until_all_have(G, [b"a"])
        fourth = Node(NodeId(4), cluster.network, [], MemoryStore(), seed=4)
        cluster.nursery.start_soon(fourth.run)
        machine = type(leader.machines[G])()
        machine.runtime, machine.group = fourth.runtime, G
        fourth.machines[G] = machine
        await trio.sleep(0.1)
        fourth.runtime.add_group(G, machine)
        leader.runtime.propose_configuration(G, Configuration((NodeId(1), NodeId(2), NodeId(3), NodeId(4))))
        await cluster.until_all_have(G, [b"a"])
        await trio.sleep(1)
        status = leader.runtime.report(G).status
        assert status.configuration.voters == (1, 2, 3, 4)
        assert not status.configuration.outgoing_voters


async def test_a_removed_group_is_silent_and_may_be_added_again_after_its_last_write(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await trio.sleep(0.001)
        assert leader.runtime.is_writing(G)
        leader.runtime.remove_group(G)
        await trio.sleep(0.01)
        assert not leader.runtime.is_writing(G)
        assert not leader.runtime.groups
        await cluster.leader(G, other_than=leader.node)
        again = type(leader.machines[G])()
        again.runtime, again.group = leader.runtime, G
        leader.machines[G] = again
        leader.runtime.add_group(G, again)
        await again.until(lambda: again.commands == [b"a"])


async def test_a_group_that_is_forgotten_comes_back_as_a_new_replica_that_votes_when_it_has_everything_again(
    autojump_clock,
):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await cluster.until_all_have(G, [b"a"])
        other = next(node for node in cluster.nodes if node is not leader)
        rest = tuple(node.node for node in cluster.nodes if node is not other)
        leader.runtime.propose_configuration(G, Configuration(rest))
        await trio.sleep(1)
        other.runtime.remove_group(G, forget=True)
        assert other.runtime.is_writing(G)
        await trio.sleep(0.1)
        assert not other.runtime.is_writing(G)
        stored = other.storage.group(G).initial_state()
        assert (stored.last_index, stored.snapshot.configuration) == (0, Configuration(()))
        assert stored.hard_state.term >= 1
        again = type(other.machines[G])()
        again.runtime, again.group = other.runtime, G
        other.machines[G] = again
        other.runtime.add_group(G, again)
        assert other.runtime.report(G).status.is_repairing
        assert other.runtime.report(G).repairing == "it had been given up"
        await trio.sleep(0.1)
        # Who missed that it had gone asks for its vote, and lacks what it had acknowledged.
        term, missed = Term(stored.hard_state.term + 1), next(node for node in rest if node != leader.node)
        other.runtime.receive([VoteRequest(G, missed, other.node, term, LogIndex(1), Term(0), True)])
        await trio.sleep(0.1)
        assert other.storage.group(G).initial_state().hard_state.vote != missed
        await trio.sleep(2)
        leader = await cluster.leader(G)
        leader.runtime.propose_configuration(G, Configuration(rest, (), (other.node,)))
        await again.until(lambda: again.commands == [b"a"])
        await trio.sleep(1)
        assert not other.runtime.report(G).status.is_repairing


async def test_an_idle_node_runs_a_round_a_tick_and_no_writes(autojump_clock):
    async with running_cluster([GroupId(number) for number in range(9)]) as cluster:
        for number in range(9):
            await cluster.leader(GroupId(number))
        await trio.sleep(2)
        node = cluster.nodes[0]
        before = node.runtime.statistics()
        await trio.sleep(10)
        after = node.runtime.statistics()
        assert after.writes == before.writes
        assert (after.rounds - before.rounds) / (10 / 0.05) < 4


async def test_the_inbox_is_bounded_and_raft_survives_what_it_drops(autojump_clock):
    async with running_cluster(config=RuntimeConfig(inbox_messages_max=2)) as cluster:
        leader = await cluster.leader(G)
        for number in range(30):
            leader.machines[G].want(b"%d" % number)
            await trio.sleep(0.003)
        await cluster.until_all_have(G, [b"%d" % number for number in range(30)])


async def test_commands_survive_any_order_of_deaths(autojump_clock):
    seed = Random().randrange(1 << 32)
    print(f"seed {seed}")
    chance = Random(seed)
    async with running_cluster() as cluster:
        confirmed = []
        for number in range(12):
            leader = await cluster.leader(G)
            machine = leader.machines[G]
            command = b"%d" % number
            machine.want(command)
            with trio.move_on_after(chance.choice((0.001, 0.005, 1))):
                await machine.until(partial(machine.has, command))
            if command in machine.commands:
                confirmed.append(command)
            victim = chance.choice(cluster.nodes)
            victim.kill()
            del cluster.network.nodes[victim.node]
            await trio.sleep(chance.random())
            cluster.restart(victim)
        leader = await cluster.leader(G)
        leader.machines[G].want(b"end")
        for node in cluster.nodes:
            await node.machines[G].until(lambda node=node: b"end" in node.machines[G].commands)
        histories = [node.machines[G].commands for node in cluster.nodes]
        assert histories[0] == histories[1] == histories[2]
        assert [command for command in histories[0] if command in confirmed] == confirmed
