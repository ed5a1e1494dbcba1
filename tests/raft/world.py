"""A whole cluster in one thread, in virtual time, out of one seed.

Law: nothing happens but by an event of the heap, and every choice comes from the seed's generator; the same
seed gives the same run. Disks write when their event comes and not before: a crash takes back everything
that was not yet written. A disk that is full refuses what brings data, and is asked again; a member may go on without
what was refused, as the driver lets it, and nobody hears of that. The network loses, duplicates, delays and reorders;
it may be cut in one direction.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import msgpack

from cluster.raft.group import NotLeader, Persist, ProposalDropped, RaftConfig, RaftGroup, Role
from cluster.raft.messages import Message, SnapshotChunkMessage
from cluster.raft.storage import Health
from cluster.raft.types import Configuration, GroupId, LogIndex, NodeId
from cluster.raft.wire import from_wire, to_wire
from tests.raft.checks import Checks, check_invariants
from tests.raft.disk import Disk

GROUP = GroupId(3)
TICK = 10
"""Virtual time units per tick."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it is. Probabilities, and times in units."""

    loss: float
    duplication: float
    delay_max: int
    disk_max: int
    tells_disconnects: bool
    crash_keeps_write: float
    config: RaftConfig


class Member:
    """A node's process, or its remains: the disk outlives it."""

    def __init__(self, node: NodeId, disk: Disk) -> None:
        self.node = node
        self.disk = disk
        self.group: RaftGroup | None = None
        self.life = 0
        self.applied_index = 0
        self.was_leader_in = -1
        self.write: Persist | None = None
        self.is_full = False
        """Has its disk no room for data?"""
        self.is_refused = False
        """Has it refused the write that is out?"""
        self.asked: dict[int, int] = {}
        self.configuration = disk.meta.configuration

    @property
    def is_up(self) -> bool:
        return self.group is not None


class World:
    """See the law of this file."""

    def __init__(self, seed: int, nodes: int, configuration: Configuration, weather: Weather) -> None:
        self.random = Random(seed)
        self.weather = weather
        self.now = 0
        self.checks = Checks(configuration)
        self.members = {NodeId(node): Member(NodeId(node), Disk(configuration)) for node in range(1, nodes + 1)}
        self.disks = {node: member.disk for node, member in self.members.items()}
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._contexts = 0
        self.proposals = 0
        self.reads_answered = 0
        self.snapshots_installed = 0
        self.repairs = 0
        self.withdrawals = 0
        self.is_short = False
        """Is there little room on the disks?"""
        for node in self.members:
            self.start(node)

    # -- time

    def after(self, delay: int, act: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self.events, (self.now + delay, self._sequence, act))

    def run_until(self, end: int, stop: Callable[[], bool] | None = None) -> bool:
        """False if `stop` was given and never came true."""
        while self.events and self.events[0][0] <= end:
            self.now, _, act = heapq.heappop(self.events)
            act()
            if stop is not None and stop():
                return True
        self.now = end
        return stop is None

    # -- processes

    def start(self, node: NodeId) -> None:
        member = self.members[node]
        if not member.is_up:
            self._begin(member, is_damaged=member.disk.is_damaged)
            for peer in self.members:
                self._tell_connected(node, peer)

    def damage(self, node: NodeId) -> None:
        """The log of a member that runs turns out to be damaged; whatever was said before is still under way."""
        member = self.members[node]
        if member.group is None:
            return
        if member.write is not None and self.random.random() < self.weather.crash_keeps_write:
            self._apply(member, member.write)
        self._spoil(member)
        self._begin(member, is_damaged=True)
        for peer in self.members:
            self._tell_connected(node, peer)

    def tear(self, node: NodeId) -> None:
        """The power of a member that runs fails, and its log is damaged when it comes back: its device called a write
        done that was not, wholly. Term and vote are as they were written."""
        member = self.members[node]
        if member.is_up:
            self.crash(node)
            self._spoil(member)

    def _spoil(self, member: Member) -> None:
        node, disk = member.node, member.disk
        known = self.checks.lost.get(node, LogIndex(0)) if disk.health is not Health.SOUND else LogIndex(0)
        self.checks.lost[node] = max(known, disk.last_index)
        disk.is_damaged = True
        self.repairs += 1

    def withdraw(self, member: Member) -> None:
        """Begin a member anew without the data that its full disk has refused, while all others go on."""
        write = member.write.write if member.write is not None else None
        is_data = write is not None and (write.entries or write.stage)
        if member.group is None or not member.is_refused or not is_data or member.group.role is Role.LEADER:
            return
        self.withdrawals += 1
        term = member.group.term
        self._begin(member, is_damaged=False)
        member.group.pass_over(term)

    def _begin(self, member: Member, *, is_damaged: bool) -> None:
        node = member.node
        member.life += 1
        member.write = None
        member.is_refused = False
        member.group = RaftGroup(
            node=node,
            group=GROUP,
            storage=member.disk,
            config=self.weather.config,
            random=Random(self.random.random()),
            is_damaged=is_damaged,
        )
        member.applied_index = LogIndex(0) if is_damaged else member.disk.meta.index
        if member.applied_index:
            self.checks.restores(member.disk.meta.index, member.disk.index)
        member.asked.clear()
        member.configuration = member.group.configuration
        self._schedule_tick(member)

    def crash(self, node: NodeId) -> None:
        member = self.members[node]
        if not member.is_up:
            return
        if member.write is not None and self.random.random() < self.weather.crash_keeps_write:
            self._apply(member, member.write)
        member.group = None
        member.write = None
        for peer in self.members:
            self._tell_disconnected(node, peer)

    def _schedule_tick(self, member: Member) -> None:
        life = member.life
        # Clocks differ by a twentieth.
        period = self.random.randint(TICK * 95, TICK * 105) / 100

        def tick(at: float) -> None:
            if member.life != life or member.group is None:
                return
            if not member.group.has_durable_vote:
                self.withdraw(member)
            if member.life == life:
                member.group.tick()
            self.pump(member)
            if member.life != life:
                return
            following = at + period
            self.after(max(0, int(following) - self.now), lambda: tick(following))

        first = self.now + self.random.random() * TICK
        self.after(int(first) - self.now, lambda: tick(first))

    # -- what a driver does

    def pump(self, member: Member) -> None:
        """Carry out everything the member has to say, and start its next write."""
        group = member.group
        while group is not None and group.has_ready():
            self._note(member, group)
            ready = group.ready()
            for message in ready.messages:
                self.send(member, message)
            if ready.restored is not None:
                self.snapshots_installed += 1
                self.checks.restores(ready.restored.index, member.disk.index)
                member.applied_index = ready.restored.index
            member.applied_index = self.checks.applies(member.applied_index, ready.committed)
            for state in ready.read_states:
                self.reads_answered += 1
                asked = member.asked.pop(state.context, None)
                if asked is not None:
                    self.checks.reads(state.index, asked)
        if group is None:
            return
        check_invariants(group)
        self.checks.goes_by(group)
        member.configuration = group.configuration
        if self.is_short and self.random.random() < 0.5:
            # A write of other groups is under way.
            life = member.life
            self.after(self.random.randint(0, self.weather.disk_max), lambda: self._take(member, life))
        else:
            self._take(member, member.life)

    def _take(self, member: Member, life: int) -> None:
        if member.life != life or member.group is None:
            return
        persist = member.group.take_persist(is_short=self.is_short)
        if persist is not None:
            assert member.write is None
            member.write = persist
            self.after(self.random.randint(0, self.weather.disk_max), lambda: self._written(member, life, persist))

    def _written(self, member: Member, life: int, persist: Persist) -> None:
        """The disk has it; the member learns of that a little later, as from a thread."""
        if member.life == life and member.is_up:
            if member.is_full and (persist.write.entries or persist.write.stage):
                member.is_refused = True
                self.after(TICK, lambda: self._written(member, life, persist))
                return
            member.is_refused = False
            self._apply(member, persist)
            member.write = None
            self.after(self.random.randint(0, TICK), lambda: self._persisted(member, life, persist))

    def _persisted(self, member: Member, life: int, persist: Persist) -> None:
        if member.life != life or member.group is None:
            return
        member.group.persisted(persist)
        for message in persist.messages:
            self.send(member, message)
        self.pump(member)

    def _apply(self, member: Member, persist: Persist) -> None:
        self.checks.wrote(member.disk, persist.write)
        member.disk.apply(persist.write)

    def _note(self, member: Member, group: RaftGroup) -> None:
        if group.role is Role.LEADER and member.was_leader_in != group.term:
            member.was_leader_in = group.term
            self.checks.leads(group, member.disk)
        self.checks.commits(group, member.configuration, self.disks)

    # -- the network

    def send(self, source: Member, message: Message) -> None:
        self.checks.leaves(message, source.disk)
        if self.random.random() < self.weather.loss:
            return
        copies = 2 if self.random.random() < self.weather.duplication else 1
        for _ in range(copies):
            carried = message
            if self.random.random() < 0.05:
                carried = from_wire(msgpack.unpackb(msgpack.packb(to_wire(message))))
                assert carried == message
            self.after(self.random.randint(0, self.weather.delay_max), partial(self._deliver, carried))

    def _deliver(self, message: Message) -> None:
        if (message.source, message.target) in self.cut:
            return
        member = self.members[message.target]
        if isinstance(message, SnapshotChunkMessage) and self.random.random() < 0.5:
            self.withdraw(member)
        if member.group is not None:
            member.group.step(message)
            self.pump(member)

    def calm(self) -> None:
        """From now on the network loses nothing, and is quick, and so are the disks."""
        self.set_cut(set())
        for member in self.members.values():
            member.is_full = False
        self.weather = replace(self.weather, loss=0, duplication=0, delay_max=TICK // 2, disk_max=TICK // 2)

    def set_cut(self, cut: set[tuple[NodeId, NodeId]]) -> None:
        """These directed pairs carry nothing from now on, all others do."""
        before, self.cut = self.cut, cut
        for source, target in sorted(before ^ cut):
            if (source, target) in cut:
                self._tell_disconnected(source, target)
            else:
                self._tell_connected(source, target)

    def _tell_disconnected(self, first: NodeId, second: NodeId) -> None:
        if self.weather.tells_disconnects:
            for node, peer in ((first, second), (second, first)):
                self.tell(node, peer, False, self.random.randint(0, TICK * 2))

    def _tell_connected(self, first: NodeId, second: NodeId) -> None:
        if self.weather.tells_disconnects:
            for node, peer in ((first, second), (second, first)):
                self.tell(node, peer, True, self.random.randint(TICK * 2, TICK * 4))

    def tell(self, node: NodeId, peer: NodeId, is_up: bool, delay: int) -> None:
        def act() -> None:
            member = self.members[node]
            if member.group is not None and node != peer:
                if is_up:
                    member.group.peer_connected(peer)
                else:
                    member.group.peer_disconnected(peer)
                self.pump(member)

        self.after(delay, act)

    # -- clients

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.is_up]

    def leaders(self) -> list[Member]:
        return [m for m in self.up() if m.group is not None and m.group.role is Role.LEADER]

    def act(self, member: Member, what: Callable[[RaftGroup], object]) -> bool:
        """Do something to a member and what follows from it; False if it was refused."""
        if member.group is None:
            return False
        try:
            what(member.group)
        except (NotLeader, ProposalDropped):
            return False
        self.pump(member)
        return True

    def propose(self, member: Member) -> bool:
        self.proposals += 1
        data = f"{self.proposals}:".encode() + self.random.randbytes(self.random.randint(0, 60))
        return self.act(member, lambda group: group.propose(data))

    def read(self, member: Member) -> None:
        self._contexts += 1
        context = self._contexts
        member.asked[context] = self.checks.commit_index
        self.act(member, lambda group: group.read_index(context))

    def snapshot(self, member: Member) -> None:
        """The state machine makes its index, and finds that some payloads are dead."""
        index = LogIndex(member.applied_index)
        if member.group is None or index <= member.disk.meta.index:
            return
        dead = [at for at in member.disk.payload_indexes() if self.random.random() < 0.3]

        def create(group: RaftGroup) -> None:
            group.snapshot_created(index, self.checks.digests[index])
            group.compact_payloads(dead, [])

        self.act(member, create)
