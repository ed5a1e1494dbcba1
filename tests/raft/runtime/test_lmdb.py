from random import Random

import trio

from cluster.raft.group import Role
from cluster.raft.runtime import Runtime, RuntimeConfig
from cluster.raft.types import GroupId, NodeId
from cluster.store.lmdb_store import LmdbStore
from tests.raft.runtime.cluster import VOTERS, Machine, bootstrap

GROUPS = [GroupId(0), GroupId(1)]


class Delivery:
    """A `Transport` between runtimes of this process."""

    def __init__(self, runtimes):
        self.runtimes = runtimes

    def send(self, peer, messages):
        if peer in self.runtimes:
            self.runtimes[peer].receive(messages)


def make_runtime(node, store, runtimes):
    machines = {group: Machine() for group in GROUPS}
    runtime = Runtime(
        node=node,
        storage=store,
        handlers=machines,
        transport=Delivery(runtimes),
        config=RuntimeConfig(tick_seconds=0.01),
        random=Random(node),
    )
    for group, machine in machines.items():
        machine.runtime, machine.group = runtime, group
    runtimes[node] = runtime
    return machines


async def run_three(stores, commands):
    runtimes = {}
    machines = {node: make_runtime(node, store, runtimes) for node, store in stores.items()}
    async with trio.open_nursery() as nursery:
        for runtime in runtimes.values():
            nursery.start_soon(runtime.run)
        for group in GROUPS:
            first = machines[NodeId(1)][group]
            await first.until(lambda first=first: first.role[2] != 0)
            leader = machines[first.role[2]][group]
            await leader.until(lambda leader=leader: leader.role[0] is Role.LEADER)
            for command in commands:
                leader.want(command)
                await trio.lowlevel.checkpoint()
        for group in GROUPS:
            for node in stores:
                machine = machines[node][group]
                await machine.until(lambda machine=machine: machine.commands[-1:] == commands[-1:])
        statistics = runtimes[NodeId(1)].statistics()
        for runtime in runtimes.values():
            runtime.stop()
    return machines, statistics


async def test_three_nodes_on_real_disks_agree_and_remember(tmp_path):
    stores = {node: LmdbStore(tmp_path / str(node)) for node in VOTERS}
    for store in stores.values():
        bootstrap(store, GROUPS, VOTERS)
    commands = [b"%d" % number for number in range(200)]
    machines, statistics = await run_three(stores, commands)
    assert machines[NodeId(2)][GroupId(0)].commands == commands
    assert statistics.write_seconds_p99 >= statistics.write_seconds_p50 > 0
    for store in stores.values():
        store.close()

    stores = {node: LmdbStore(tmp_path / str(node)) for node in VOTERS}
    machines, _ = await run_three(stores, [b"end"])
    for node in VOTERS:
        for group in GROUPS:
            assert machines[node][group].commands == [*commands, b"end"]
    for store in stores.values():
        store.close()
