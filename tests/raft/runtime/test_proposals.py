import trio

from cluster.raft.group import RaftConfig
from cluster.raft.runtime import RuntimeConfig
from cluster.raft.types import GroupId
from tests.raft.runtime.cluster import Cluster, Node, running_cluster

G = GroupId(1)


async def test_what_is_wanted_during_a_write_goes_into_one_entry(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        machine = leader.machines[G]
        machine.want(b"0")
        await trio.sleep(0.001)
        entries = leader.runtime.statistics().entries_proposed
        for number in range(1, 100):
            machine.want(b"%d" % number)
            await trio.lowlevel.checkpoint()
        await cluster.until_all_have(G, [b"%d" % number for number in range(100)])
        assert leader.runtime.statistics().entries_proposed == entries + 1


async def test_what_is_wanted_until_little_is_committed_goes_into_one_entry(autojump_clock):
    assert await _entries_of_three_wishes(RuntimeConfig()) == 2


async def _leader_that_knows_its_quorum(cluster: Cluster) -> Node:
    """By an entry that was committed quickly."""
    leader = await cluster.leader(G)
    leader.machines[G].want(b"first")
    await cluster.until_all_have(G, [b"first"])
    return leader


async def test_a_new_leader_waits_for_nothing_as_nobody_knows_how_long_its_quorum_takes(autojump_clock):
    async with running_cluster() as cluster:
        leader = await cluster.leader(G)
        for node in cluster.nodes:
            if node is not leader:
                node.disk.freeze()
        entries = leader.runtime.statistics().entries_proposed
        leader.machines[G].want(b"a")
        await trio.sleep(0.01)
        leader.machines[G].want(b"b")
        await trio.sleep(0.01)
        assert leader.runtime.statistics().entries_proposed == entries + 2


async def test_nothing_is_waited_for_longer_than_two_ticks(autojump_clock):
    async with running_cluster() as cluster:
        leader = await _leader_that_knows_its_quorum(cluster)
        for node in cluster.nodes:
            if node is not leader:
                node.disk.freeze()
        entries = leader.runtime.statistics().entries_proposed
        leader.machines[G].want(b"a")
        await trio.sleep(0.02)
        leader.machines[G].want(b"b")
        await trio.sleep(0.02)
        assert leader.runtime.statistics().entries_proposed == entries + 1
        await trio.sleep(0.1)
        assert leader.runtime.statistics().entries_proposed == entries + 2
        leader.machines[G].want(b"c")
        await trio.sleep(0.01)
        assert leader.runtime.statistics().entries_proposed == entries + 3, "the quorum is known to be slow"


async def test_more_is_proposed_while_much_is_not_committed(autojump_clock):
    assert await _entries_of_three_wishes(RuntimeConfig(patient_bytes=0)) == 3


async def _entries_of_three_wishes(config: RuntimeConfig) -> int:
    """That a leader proposes for what comes up one by one while its followers' disks are slow."""
    async with running_cluster(config=config) as cluster:
        leader = await _leader_that_knows_its_quorum(cluster)
        for node in cluster.nodes:
            if node is not leader:
                node.disk.latency_seconds = 0.02
        entries = leader.runtime.statistics().entries_proposed
        for number in range(3):
            leader.machines[G].want(b"%d" % number)
            await trio.sleep(2 * leader.disk.latency_seconds)
        await cluster.until_all_have(G, [b"first", b"0", b"1", b"2"])
        return leader.runtime.statistics().entries_proposed - entries


async def test_a_dropped_proposal_is_told_and_asked_for_again_within_a_tick(autojump_clock):
    config = RuntimeConfig(patient_bytes=0, raft=RaftConfig(max_uncommitted_bytes=100))
    async with running_cluster(config=config) as cluster:
        leader = await cluster.leader(G)
        machine = leader.machines[G]
        for node in cluster.nodes:
            if node is not leader:
                cluster.network.cut |= {(node.node, leader.node)}
        for _ in range(3):
            machine.want(bytes(90))
            await trio.sleep(0.01)
        assert machine.refused
        asked = len(machine.asked)
        await trio.sleep(0.1)
        assert len(machine.asked) - asked <= 4, "a refusal must not make the driver spin"
