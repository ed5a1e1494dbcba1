import pytest
import trio

from cluster.raft.group import Role
from cluster.raft.runtime import RuntimeConfig
from cluster.raft.storage import Health, StorageCorrupt, StorageFull, StorageIO
from cluster.raft.types import GroupId, LogIndex, NodeId
from cluster.store.chunk import log_key
from cluster.store.memory import MemoryStore
from tests.raft.runtime.cluster import Network, Node, bootstrap, running_cluster

G, H = GroupId(1), GroupId(2)
LONE = (NodeId(1),)


async def test_a_full_disk_is_told_and_the_write_retried_until_there_is_space(autojump_clock):
    async with running_cluster(voters=LONE) as cluster:
        leader = await cluster.leader(G)
        leader.storage.bytes_max = leader.storage.used_bytes()
        leader.machines[G].want(b"a")
        await trio.sleep(1)
        assert leader.machines[G].commands == []
        assert leader.full.told == [(True, leader.full.told[0][1])]
        assert "the store reached its configured maximum" in leader.full.told[0][1]
        assert leader.runtime.statistics().is_storage_full
        assert leader.runtime.statistics().writes_failed in (5, 6), "once every 0.2 seconds"
        leader.storage.bytes_max = None
        await cluster.until_all_have(G, [b"a"])
        assert leader.full.told[1:] == [(False, "")]
        assert not leader.runtime.statistics().is_storage_full


async def test_nothing_is_asked_of_a_group_whose_write_the_full_disk_refused(autojump_clock):
    async with running_cluster(voters=LONE) as cluster:
        leader = await cluster.leader(G)
        leader.storage.bytes_max = leader.storage.used_bytes()
        leader.machines[G].want(b"a")
        await trio.sleep(0.5)
        leader.machines[G].want(b"b")
        await trio.sleep(0.5)
        assert leader.machines[G].wanted == [b"b"]
        leader.storage.bytes_max = None
        await cluster.until_all_have(G, [b"a", b"b"])


async def test_a_group_with_little_to_write_goes_on_beside_one_whose_write_the_full_disk_refuses(autojump_clock):
    async with running_cluster([G, H], voters=LONE) as cluster:
        leader = await cluster.leader(G)
        await cluster.leader(H)
        leader.storage.bytes_max = leader.storage.used_bytes() + 500
        leader.machines[G].want(bytes(1000))
        leader.machines[H].want(b"h")
        await cluster.until_all_have(H, [b"h"])
        assert leader.machines[G].commands == []
        assert leader.runtime.statistics().is_storage_full
        leader.storage.bytes_max = None
        await cluster.until_all_have(G, [bytes(1000)])
        assert not leader.runtime.statistics().is_storage_full


async def test_what_gives_space_back_passes_a_full_disk(autojump_clock):
    async with running_cluster([G, H], voters=LONE) as cluster:
        leader = await cluster.leader(G)
        await cluster.leader(H)
        machine = leader.machines[H]
        machine.want(bytes(100))
        await machine.until(lambda: bool(machine.commands))
        await trio.sleep(0.1)
        index = LogIndex(machine.applied_index)
        leader.runtime.snapshot_created(H, index, b"")
        await trio.sleep(0.1)
        leader.storage.bytes_max = leader.storage.used_bytes()
        leader.machines[G].want(bytes(50))
        await trio.sleep(0.05)
        assert leader.runtime.statistics().is_storage_full
        leader.runtime.compact_payloads(H, [index], [])
        await cluster.until_all_have(G, [bytes(50)])
        assert not leader.runtime.statistics().is_storage_full


async def test_a_leader_whose_disk_stays_full_gives_way(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        leader.storage.bytes_max = leader.storage.used_bytes()
        leader.machines[G].want(b"a")
        successor = await cluster.leader(G, other_than=leader.node)
        successor.machines[G].want(b"b")
        await successor.machines[G].until(lambda: successor.machines[G].commands == [b"a", b"b"])
        assert leader.runtime.statistics().is_stalled
        leader.storage.bytes_max = None
        await cluster.until_all_have(G, [b"a", b"b"])
        await trio.sleep(0.1)
        assert not leader.runtime.statistics().is_stalled


async def test_a_leader_whose_fsync_stalls_gives_way_and_comes_back_as_follower(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        frozen_at = trio.current_time()
        leader.disk.freeze()
        leader.machines[G].want(b"a")
        successor = await cluster.leader(G, other_than=leader.node)
        assert 1.0 <= trio.current_time() - frozen_at < 1.5
        successor.machines[G].want(b"b")
        await successor.machines[G].until(lambda: successor.machines[G].commands == [b"a", b"b"])
        await trio.sleep(10)
        assert await cluster.leader(G, other_than=leader.node) is successor
        leader.disk.thaw()
        await cluster.until_all_have(G, [b"a", b"b"])
        await trio.sleep(2)
        assert leader.machines[G].role[0] is Role.FOLLOWER
        assert not leader.runtime.statistics().is_stalled


async def test_a_leader_whose_fsync_stalls_goes_on_leading_while_nobody_could_do_without_its_disk(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        lost = next(node for node in cluster.nodes if node is not leader)
        cluster.network.cut_off(lost.node)
        await trio.sleep(1)
        leader.disk.freeze()
        leader.machines[G].want(b"a")
        await trio.sleep(4.5)
        assert leader.machines[G].role[0] is Role.LEADER
        cluster.network.reconnect(lost.node)
        successor = await cluster.leader(G, other_than=leader.node)
        await successor.machines[G].until(lambda: successor.machines[G].commands == [b"a"])
        leader.disk.thaw()
        await cluster.until_all_have(G, [b"a"])


async def test_a_leader_whose_disk_is_gone_for_long_gives_way_to_who_hears_of_more(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        unheard = next(node for node in cluster.nodes if node is not leader)
        cluster.network.cut |= {(leader.node, unheard.node), (unheard.node, leader.node)}
        leader.runtime.peer_disconnected(unheard.node)
        unheard.runtime.peer_disconnected(leader.node)
        await trio.sleep(1)
        frozen_at = trio.current_time()
        leader.disk.freeze()
        leader.machines[G].want(b"a")
        successor = await cluster.leader(G, other_than=leader.node)
        assert 5 <= trio.current_time() - frozen_at < 7
        await successor.machines[G].until(lambda: successor.machines[G].has(b"a"))
        leader.disk.thaw()


async def test_who_has_a_disk_that_stalls_does_not_stand(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        stalled = next(node for node in cluster.nodes if node is not leader)
        stalled.disk.freeze()
        leader.machines[G].want(b"a")
        await trio.sleep(2)
        cluster.network.cut |= {(leader.node, stalled.node), (stalled.node, leader.node)}
        await trio.sleep(5)
        assert stalled.machines[G].role[0] is Role.FOLLOWER
        assert await cluster.leader(G) is leader
        stalled.disk.thaw()


async def test_a_lone_voter_whose_fsync_stalls_goes_on_leading(autojump_clock):
    async with running_cluster(voters=LONE) as cluster:
        leader = await cluster.leader(G)
        leader.disk.freeze()
        leader.machines[G].want(b"a")
        await trio.sleep(10)
        leader.disk.thaw()
        await cluster.until_all_have(G, [b"a"])
        assert leader.machines[G].role[1] == 1


async def test_damage_met_by_a_write_concerns_only_the_group_it_is_in_which_is_rebuilt(autojump_clock):
    async with running_cluster([G, H]) as cluster:
        await cluster.leader(G)
        await cluster.leader(H)
        victim = cluster.leader_of(G)
        await trio.sleep(1)
        repairs = []

        def damaged(writes, write=victim.storage.write):
            if not repairs and any(write.group == G and write.health is None for write in writes):
                raise StorageCorrupt("group 1: record 5 is damaged")
            repairs.extend(write.health for write in writes if write.health is not None)
            write(writes)

        victim.storage.write = damaged
        victim.machines[G].want(b"a")
        cluster.leader_of(H).machines[H].want(b"b")
        await cluster.until_all_have(H, [b"b"])
        successor = await cluster.leader(G, other_than=victim.node)
        successor.machines[G].want(b"c")
        await victim.machines[G].until(lambda: b"c" in victim.machines[G].commands)
        await trio.sleep(0.5)
        assert victim.machines[G].commands == successor.machines[G].commands
        assert repairs == [Health.DAMAGED, Health.REBUILDING, Health.SOUND]
        assert victim.runtime.statistics().groups_repairing == 0


async def test_damage_that_nobody_can_repair_is_kept_and_reported_and_the_other_groups_run(autojump_clock):
    network = Network(RuntimeConfig())
    storage = MemoryStore()
    bootstrap(storage, [G, H], LONE)
    first = Node(LONE[0], network, [G, H], storage, seed=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run)
        for group in (G, H):
            machine = first.machines[group]
            await machine.until(lambda machine=machine: machine.role[0] is Role.LEADER)
            machine.want(b"a")
            await machine.until(lambda machine=machine: bool(machine.commands))
        await trio.sleep(0.1)
        first.kill()
        record = storage.group(G).record(log_key(1))
        assert record is not None
        storage.damage(G, log_key(1), bytes([record[0] ^ 1]) + record[1:])
        again = Node(LONE[0], network, [G, H], storage, seed=1)
        nursery.start_soon(again.run)
        await again.machines[H].until(lambda: again.machines[H].commands == [b"a"])
        await trio.sleep(10)
        assert again.runtime.report(G).repairing == "group 1: entry 1 has a damaged header"
        assert again.runtime.statistics().groups_repairing == 1
        assert storage.group(G).initial_state().health is Health.DAMAGED
        nursery.cancel_scope.cancel()


async def test_two_of_three_that_are_damaged_wait_for_the_third_and_throw_nothing_away(autojump_clock):
    async with running_cluster([G]) as cluster:
        leader = await cluster.leader(G)
        leader.machines[G].want(b"a")
        await cluster.until_all_have(G, [b"a"])
        await trio.sleep(0.2)
        followers = [node for node in cluster.nodes if node is not leader]
        leader.kill()
        for node in followers:
            node.runtime.damaged(G, StorageCorrupt("group 1: entry 2 does not match its checksum"))
        await trio.sleep(20)
        for node in followers:
            assert node.runtime.report(G).repairing == "group 1: entry 2 does not match its checksum"
            assert node.storage.group(G).initial_state().health is Health.DAMAGED
            assert node.machines[G].role[0] is Role.FOLLOWER


async def test_a_leader_that_finds_damage_is_rebuilt_from_its_successor_under_traffic(autojump_clock):
    async with running_cluster([G]) as cluster:
        expected = []
        for round_ in range(6):
            leader = await cluster.leader(G)
            for number in range(20):
                command = b"%d.%d" % (round_, number)
                leader.machines[G].want(command)
                expected.append(command)
                await leader.machines[G].until(lambda command=command, leader=leader: leader.machines[G].has(command))
            leader.runtime.damaged(G, StorageCorrupt("group 1: entry 5 does not match its checksum"))
            assert leader.machines[G].role[0] is Role.FOLLOWER
            await cluster.leader(G, other_than=leader.node)
            await cluster.until_all_have(G, expected)
            await trio.sleep(2)
            assert not leader.runtime.report(G).repairing


async def test_a_node_whose_vote_cannot_be_read_ends(autojump_clock):
    def unreadable():
        raise StorageCorrupt("group 1: the hard state does not match its checksum")

    with pytest.RaisesGroup(StorageCorrupt, flatten_subgroups=True):
        async with running_cluster([G]) as cluster:
            leader = await cluster.leader(G)
            leader.storage.group(G).hard_state = unreadable
            leader.runtime.damaged(G, StorageCorrupt("group 1: entry 5 does not match its checksum"))
            await trio.sleep(1)


async def test_a_device_that_refuses_stops_the_node(autojump_clock):
    with pytest.RaisesGroup(StorageIO, flatten_subgroups=True):
        async with running_cluster(voters=LONE) as cluster:
            leader = await cluster.leader(G)
            leader.disk.failures.append(StorageIO("EIO"))
            leader.machines[G].want(b"a")
            await trio.sleep(1)


async def test_a_full_disk_that_refuses_everything_loses_nothing(autojump_clock):
    async with running_cluster([G, H]) as cluster:
        leaders = {group: await cluster.leader(group) for group in (G, H)}
        for node in cluster.nodes:
            node.disk.failures += [StorageFull("no space left on device")] * 5
        for group, leader in leaders.items():
            leader.machines[group].want(b"x%d" % group)
        for group in (G, H):
            await cluster.until_all_have(group, [b"x%d" % group])


async def test_run_ends_only_after_the_write_under_way(autojump_clock):
    async with running_cluster(voters=LONE) as cluster:
        leader = await cluster.leader(G)
        leader.disk.latency_seconds = 3
        leader.machines[G].want(b"a")
        await trio.sleep(0.01)
        leader.runtime.stop()
        await trio.sleep(2.9)
        assert not leader.disk.has_written(b"a")
        await trio.sleep(0.2)
        assert leader.disk.has_written(b"a")
