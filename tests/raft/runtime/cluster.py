"""A cluster of runtimes in one process: fake network, fake disk, real consensus, on the virtual clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import outcome
import trio

from cluster.raft.group import Role
from cluster.raft.messages import Message
from cluster.raft.runtime import Runtime, RuntimeConfig, WriteOutcome
from cluster.raft.storage import GroupWrite, Storage
from cluster.raft.types import (
    NOBODY,
    Configuration,
    Entry,
    EntryKind,
    GroupId,
    LogIndex,
    NodeId,
    SnapshotMeta,
    Term,
)
from cluster.store.memory import MemoryStore

VOTERS = (NodeId(1), NodeId(2), NodeId(3))
DEADLINE_SECONDS = 60.0


class Machine:
    """A `GroupHandler` whose state is the list of commands it applied."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.group = GroupId(0)
        self.commands: list[bytes] = []
        self.wanted: list[bytes] = []
        self.asked: list[int] = []
        self.indexes: list[LogIndex] = []
        self.refused: list[tuple[bytes, str]] = []
        self.reads: list[tuple[int, int]] = []
        self.restored: list[tuple[LogIndex, bytes]] = []
        self.applied_index = 0
        self.role = (Role.FOLLOWER, Term(0), NOBODY)
        self._changed = trio.Event()

    def want(self, *commands: bytes) -> None:
        assert self.runtime is not None
        self.wanted += commands
        self.runtime.mark_dirty(self.group)

    def has(self, command: bytes) -> bool:
        return command in self.commands

    def take_proposal(self, max_bytes: int) -> bytes | None:
        self.asked.append(len(self.wanted))
        if not self.wanted:
            return None
        batch, self.wanted = b",".join(self.wanted), []
        return batch

    def proposed(self, index: LogIndex, term: Term) -> None:
        self.indexes.append(index)

    def proposal_refused(self, data: bytes, error: Exception) -> None:
        self.refused.append((data, str(error)))
        self._change()

    def apply(self, entries: list[Entry]) -> None:
        for entry in entries:
            assert entry.index == self.applied_index + 1
            self.applied_index = entry.index
            if entry.kind is EntryKind.COMMAND:
                self.commands += entry.data.split(b",")
        self._change()

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        self.restored.append((meta.index, data))
        self.commands = data.split(b",") if data else []
        self.applied_index = meta.index
        self._change()

    def role_changed(self, role: Role, term: Term, leader: NodeId) -> None:
        self.role = (role, term, leader)
        self._change()

    def read_ready(self, context: int) -> None:
        self.reads.append((context, self.applied_index))
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                await self._changed.wait()


class Disk:
    """A `Writer` over a storage: each write takes `latency_seconds` of virtual time, or until `thaw`."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.latency_seconds = 0.002
        self.frozen = False
        self.failures: list[Exception] = []
        self.writes: list[Sequence[GroupWrite]] = []
        self._jobs, self._incoming = trio.open_memory_channel[
            tuple[Sequence[GroupWrite], Callable[[WriteOutcome], None]]
        ](10)
        self._thawed = trio.Event()

    def submit(self, writes: Sequence[GroupWrite], done: Callable[[WriteOutcome], None]) -> None:
        self._jobs.send_nowait((writes, done))

    def close(self) -> None:
        self._jobs.close()

    def freeze(self) -> None:
        self.frozen = True
        self._thawed = trio.Event()

    def thaw(self) -> None:
        self.frozen = False
        self._thawed.set()

    async def run(self) -> None:
        async for writes, done in self._incoming:
            await trio.sleep(self.latency_seconds)
            if self.frozen:
                await self._thawed.wait()
            done(WriteOutcome(self.latency_seconds, outcome.capture(self._write, writes)))

    def has_written(self, data: bytes) -> bool:
        return any(entry.data == data for writes in self.writes for write in writes for entry in write.entries)

    def _write(self, writes: Sequence[GroupWrite]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.storage.write(writes)
        self.writes.append(writes)


class Full:
    """A `StorageListener` that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[bool, str]] = []

    def storage_full_changed(self, is_full: bool, text: str) -> None:
        self.told.append((is_full, text))

    def group_damaged(self, group: GroupId, text: str) -> None:
        """Told by the runtime's report as well."""


class Node:
    """One runtime, what it stands on and what stands on it. `start` again after `kill`."""

    def __init__(self, node: NodeId, network: Network, groups: Sequence[GroupId], storage: Storage, seed: int) -> None:
        self.node = node
        self.network = network
        self.storage = storage
        self.disk = Disk(storage)
        self.full = Full()
        self.machines = {group: Machine() for group in groups}
        self.runtime = Runtime(
            node=node,
            storage=storage,
            handlers=self.machines,
            transport=Wire(node, network),
            config=network.config,
            random=Random(seed),
            storage_listener=self.full,
            writer=self.disk,
        )
        for group, machine in self.machines.items():
            machine.runtime, machine.group = self.runtime, group
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        self.network.nodes[self.node] = self
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.disk.run)
                await self.runtime.run()
                nursery.cancel_scope.cancel()

    def kill(self) -> None:
        """Gone at once; the peers see their connections break."""
        self._scope.cancel()
        self.network.cut_off(self.node)


class Network:
    """Who reaches whom. Parcels arrive at once; what is sent over a cut way is lost."""

    def __init__(self, config: RuntimeConfig) -> None:
        self.config = config
        self.nodes: dict[NodeId, Node] = {}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.parcels: list[tuple[NodeId, NodeId, list[Message]]] = []

    def cut_off(self, node: NodeId) -> None:
        others = [other for other in self.nodes if other != node]
        self.cut |= {(node, other) for other in others} | {(other, node) for other in others}
        for other in others:
            self.nodes[other].runtime.peer_disconnected(node)
            if node in self.nodes:
                self.nodes[node].runtime.peer_disconnected(other)

    def reconnect(self, node: NodeId) -> None:
        self.cut = {way for way in self.cut if node not in way}
        for other in self.nodes:
            if other != node:
                self.nodes[other].runtime.peer_connected(node)
                self.nodes[node].runtime.peer_connected(other)


class Wire:
    """The `Transport` of one node."""

    def __init__(self, node: NodeId, network: Network) -> None:
        self.node = node
        self.network = network

    def send(self, peer: NodeId, messages: list[Message]) -> None:
        network = self.network
        network.parcels.append((self.node, peer, messages))
        if (self.node, peer) not in network.cut and peer in network.nodes:
            network.nodes[peer].runtime.receive(list(messages))


def bootstrap(storage: Storage, groups: Sequence[GroupId], voters: tuple[NodeId, ...]) -> None:
    meta = SnapshotMeta(LogIndex(0), Term(0), Configuration(voters))
    storage.write([GroupWrite(group, snapshot=(meta, b"")) for group in groups])


class Cluster:
    """Nodes on one network."""

    def __init__(self, nodes: list[Node], network: Network, nursery: trio.Nursery) -> None:
        self.nodes = nodes
        self.network = network
        self.nursery = nursery

    def leader_of(self, group: GroupId) -> Node | None:
        """The live node whose machine was told that it leads, of the latest term."""
        leaders = [
            (node.machines[group].role[1], node)
            for node in self.network.nodes.values()
            if node.machines[group].role[0] is Role.LEADER and node.machines[group].applied_index
        ]
        return max(leaders, key=lambda pair: pair[0])[1] if leaders else None

    async def leader(self, group: GroupId, *, other_than: NodeId = NOBODY) -> Node:
        """The leader, once it has applied the entry that opens its term."""
        with trio.fail_after(DEADLINE_SECONDS):
            while True:
                node = self.leader_of(group)
                if node is not None and node.node != other_than:
                    status = node.runtime.report(group).status
                    if status is not None and status.role is Role.LEADER and status.applied_index == status.last_index:
                        return node
                await trio.sleep(0.001)

    async def until_all_have(self, group: GroupId, commands: list[bytes]) -> None:
        for node in list(self.network.nodes.values()):
            machine = node.machines[group]
            await machine.until(lambda machine=machine: machine.commands == commands)

    def restart(self, node: Node) -> Node:
        groups = list(node.machines)
        again = Node(node.node, self.network, groups, node.storage, seed=99)
        self.network.nodes[node.node] = again
        self.nodes[self.nodes.index(node)] = again
        self.nursery.start_soon(again.run)
        self.network.reconnect(node.node)
        return again


@asynccontextmanager
async def running_cluster(
    groups: Sequence[GroupId] = (GroupId(1),),
    config: RuntimeConfig | None = None,
    voters: tuple[NodeId, ...] = VOTERS,
) -> AsyncIterator[Cluster]:
    network = Network(config or RuntimeConfig())
    nodes = []
    for number, voter in enumerate(voters):
        storage = MemoryStore()
        bootstrap(storage, groups, voters)
        nodes.append(Node(voter, network, groups, storage, seed=number))
    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(node.run)
        yield Cluster(nodes, network, nursery)
        nursery.cancel_scope.cancel()
