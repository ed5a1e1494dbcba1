"""The node's parts and the paths between them: consensus, links, shards, catalog.

Law: the only place where concrete classes meet. It decides nothing: what arrives is given to the part that it is for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace
from random import Random
from typing import Any

import trio

from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import declared_at
from cluster.broker.catalog.outcome import (
    Change,
    MemberChanged,
    PoliciesChanged,
    QueueDeclared,
    QueueDeleted,
    ShardPlaced,
)
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import LeaderLimits
from cluster.broker.shard.stream import StreamLimits
from cluster.node.bootstrap import Charter
from cluster.node.catalog.client import CatalogClient
from cluster.node.catalog.host import CATALOG_GROUP, CatalogHost
from cluster.node.clock import SteadyClock, wall_clock_ms
from cluster.node.config import NodeConfig
from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_DOOMS, Links, ProtocolViolation
from cluster.node.logging import get_logger
from cluster.node.members import Members
from cluster.node.node_figure import NodeFigure
from cluster.node.node_flag import NodeFlag
from cluster.node.raft_mail import RaftMail
from cluster.node.reviews import Reviews
from cluster.node.shards.host import HostLimits, ShardHost
from cluster.node.shards.local import LocalShard
from cluster.node.shards.seat import Seat
from cluster.node.shards.switchboard import Switchboard
from cluster.node.shards.view import CatalogView, shard_of
from cluster.node.turns import Turns
from cluster.node.unused_queues import UnusedQueues
from cluster.raft.group import RaftConfig, RaftGroup
from cluster.raft.runtime import GroupHandler, PromptWriter, Runtime, RuntimeConfig, Writer
from cluster.raft.runtime.beat import next_beat
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.storage import Storage, StorageCorrupt, is_held
from cluster.raft.types import NOBODY, Entry, GroupId, LogIndex, NodeId

TICK_SECONDS = 0.05
"""How finely leaders of queues see time."""
DEADLINES_SECONDS = 0.25
"""How finely shards and streams without a leader do."""
_LINKING_SECONDS = 1.0
"""How long after its start a node may lack links to nodes that are there."""
SETTLES_HELD_MAX = 1000
"""Acked messages of one shard that wait, until the next tick at most, for a publish to share its entry of the log."""
Request = Callable[[NodeId, Any], Awaitable[Any]]


class Core:
    """One member at work. Implements what consensus, links, seats and the catalog ask of their node."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        charter: Charter,
        node: NodeId,
        incarnation: int,
        storage: Storage,
        links: Links,
        writer: Writer | None = None,
        random: Random | None = None,
        wall_clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """`writer` None waits for what is small where the disk is prompt; `random` spreads elections over time;
        `wall_clock_ms` are Unix milliseconds, which somebody may set."""
        self.charter = charter
        self.node = node
        self.incarnation = incarnation
        self.links = links
        self.aside = NodeFlag(node, links, Kind.ASIDE)
        self.short_of_disk = NodeFlag(node, links, Kind.SHORT_OF_DISK)
        self.behind = NodeFlag(node, links, Kind.BEHIND)
        self.kept_bytes = NodeFigure(node, links, Kind.KEPT_BYTES)
        said = (self.aside, self.short_of_disk, self.behind, self.kept_bytes)
        self._said: dict[int, NodeFlag | NodeFigure] = {each.kind: each for each in said}
        self.last_linked: dict[NodeId, float] = {}
        """When a link that is down now went down."""
        self.on_catalog: Callable[[list[Change]], None] = _nothing_changed
        self.on_direct_reply: Callable[[str, bytes], None] = _no_channel
        self.on_storage_full: Callable[[bool], None] = _not_full
        self._unused = UnusedQueues()
        self._log = get_logger("node")
        self._started_at = trio.current_time()
        self._wall_clock_ms = wall_clock_ms
        self._clock = SteadyClock(wall_clock_ms(), self._started_at)
        self._met: set[int] = set()
        """Nodes that this life has been linked to."""
        wakeup = Wakeup()
        self.switchboard = Switchboard(
            node=node,
            incarnation=incarnation,
            sender=links,
            wake=wakeup.wake,
            propose=self.propose,
            queue_unused=self._unused.add,
            limits=StreamLimits(settles_held_max=SETTLES_HELD_MAX),
        )
        self.turns = Turns(wakeup, self.switchboard, links)
        self._mail = RaftMail(links)
        self._storage = storage
        self._leader_limits = LeaderLimits(config.limits.payload_memory_max // (charter.shards + 1))
        self.catalog = CatalogHost(self)
        self.members = Members(charter, self.catalog.catalog)
        self.view = CatalogView(self.catalog.catalog, self._know_dooms)
        self._reviews = Reviews(self.switchboard)
        handlers: dict[GroupId, GroupHandler] = {CATALOG_GROUP: self.catalog}
        for group in storage.groups():
            if group != CATALOG_GROUP and is_held(storage.group(group)):
                handlers[group] = self._seat(group)
        self.local = LocalShard(self, incarnation, self._leader_limits)
        self.switchboard.seats[self.local.shard] = self.local
        raft = RaftConfig(
            election_ticks=config.raft.election_ticks,
            heartbeat_ticks=config.raft.heartbeat_ticks,
            max_uncommitted_bytes=config.limits.shard_inflight_max,
            retention_ticks=config.raft.retention_ticks,
        )
        # Nobody asks a shard's follower; what the catalog says, every node answers from its own copy.
        patient = replace(raft, patient_commit_news=True)
        self._prompt = PromptWriter(storage) if writer is None else None
        self.runtime = Runtime(
            node=node,
            storage=storage,
            handlers=handlers,
            transport=self._mail,
            config=RuntimeConfig(
                tick_seconds=config.raft.tick_seconds,
                raft=patient,
                raft_of={CATALOG_GROUP: raft},
            ),
            random=random or Random(),
            storage_listener=self,
            writer=writer or self._prompt,
        )
        self._mail.runtime = self.runtime
        self.client = CatalogClient(node, incarnation, self.catalog, self, links, self.aside)
        self.requests: dict[int, Request] = {Kind.CATALOG_COMMAND: self.client.serve}
        """What other nodes may ask, besides."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.runtime.run)
            self.local.start()
            for peer in self.links.up_peers():
                self.link_up(peer, 0)
            if len(self.members.by_id) == 1:
                self._claim()
            nursery.start_soon(self._deadlines)
            nursery.start_soon(self._ticks)
            nursery.start_soon(self.view.stay_current, self.client.catch_up, self.leaders_go_on)
            task_status.started()
            await self.turns.run(self.runtime, self._prompt)

    def leaders_go_on(self) -> None:
        """Those may that waited for the catalog's copy, or for room."""
        for seat in self.switchboard.seats.values():
            self.disturbed(seat)

    async def _deadlines(self) -> None:
        while True:
            await next_beat(DEADLINES_SECONDS)
            self.switchboard.check_deadlines(trio.current_time())

    async def _ticks(self) -> None:
        """Time for the leaders of queues, and an end for the queues that nobody uses."""
        async with trio.open_nursery() as nursery:
            while True:
                await next_beat(TICK_SECONDS)
                self.switchboard.hasten_settles()
                self.switchboard.try_again()
                self._reviews.tick()
                self.catalog.tick()
                self.client.tick()
                self.switchboard.tick(self.wall_ms())
                self._unused.tick(nursery, self.catalog, self.client)

    def _claim(self) -> None:
        """Stand for what this node should lead, where nobody leads."""
        if self.node in self.aside:
            return
        for group, voters in self.members.placement.items():
            if voters[0] == self.node:
                self.runtime.campaign(group)

    # ---- replicas

    def holds(self, group: GroupId) -> bool:
        """Has this node a replica of the group, working or stopped?"""
        return group == CATALOG_GROUP or group in self.switchboard.seats

    def is_leaving(self, group: GroupId) -> bool:
        """Is what was left of an earlier replica of the group still on its way out of the store?"""
        return self.runtime.is_writing(group) and not self.holds(group)

    def hold(self, group: GroupId) -> None:
        """Take part in a shard. What it holds comes from its leader."""
        self.runtime.add_group(group, self._seat(group))

    def release(self, group: GroupId) -> None:
        """Take no part in a shard any more, and give its space back."""
        seat = self.switchboard.seats.pop(group)
        self.runtime.remove_group(group, forget=True)
        seat.end()

    def _seat(self, group: GroupId) -> ShardHost:
        host = ShardHost(group, self._storage.group(group), self, HostLimits(), self._leader_limits)
        self.switchboard.seats[group] = host
        return host

    # ---- for seats and hosts

    def now(self) -> float:
        return trio.current_time()

    def wall_ms(self) -> int:
        return self._clock.now_ms(self._wall_clock_ms(), trio.current_time())

    def reachable(self) -> set[int]:
        return {self.node, *self.links.up_peers()}

    def expected(self) -> set[int]:
        """See `Seat`: a node that has just come back may lead before it is linked to one that never went away."""
        if self.now() - self._started_at > _LINKING_SECONDS:
            return self.reachable()
        return self.reachable() | {node for node in self.members.by_id if node not in self._met}

    def queue_deleted(self, queue: QueueId) -> bool:
        known = self.catalog.applied_index
        return declared_at(queue) <= known and queue not in self.catalog.catalog.queues

    def is_full(self, node: int) -> bool:
        return self.links.is_full(NodeId(node))

    def announce(self, seat: Seat, nodes: Iterable[int]) -> None:
        self.switchboard.announce(seat, nodes)

    def disturbed(self, seat: Seat) -> None:
        self.switchboard.disturbed(seat)

    def propose(self, group: GroupId) -> None:
        self.runtime.mark_dirty(group)

    def write_snapshot(self, group: GroupId, index: LogIndex, data: bytes, dead: list[LogIndex]) -> None:
        self.runtime.snapshot_created(group, index, data)
        if dead:
            self.runtime.compact_payloads(group, dead, ())

    def raft(self, group: GroupId) -> RaftGroup | None:
        return self.runtime.group(group)

    def rewrite(self, group: GroupId, entries: list[Entry]) -> None:
        self.runtime.compact_payloads(group, (), entries)

    def damaged(self, group: GroupId, error: StorageCorrupt) -> None:
        self.runtime.damaged(group, error)

    # ---- for the catalog

    def catalog_applying(self, index: int, askers: Container[NodeId] | None) -> None:
        self.client.applied(index, askers)

    def catalog_applied(self, changes: list[Change]) -> None:
        if any(isinstance(change, MemberChanged | ShardPlaced) for change in changes):
            self.members.adopt()
        for change in changes:
            if isinstance(change, QueueDeleted):
                queue = change.queue
                self.switchboard.queue_deleted(shard_of(queue), queue.id)
            elif isinstance(change, QueueDeclared):
                self._reviews.look([change.queue])
            elif isinstance(change, PoliciesChanged):
                self._reviews.want(self.view.queues_in(change.vhost))
        self.on_catalog(changes)

    def catalog_restored(self) -> None:
        self.client.applied(self.catalog.applied_index, None)
        self.client.restored()
        self.members.adopt()
        self._reviews.want(list(self.catalog.catalog.queues.values()))
        self.on_catalog([])

    def leads(self, queue: QueueDefinition) -> bool:
        """Are its messages led here?"""
        seat = self.switchboard.seats.get(shard_of(queue))
        return seat is not None and seat.leader is not None

    def catalog_leader_changed(self) -> None:
        self.client.leader_changed()

    def leader_of(self, group: GroupId) -> NodeId:
        """NOBODY if unknown, or of a group that this node has no replica of."""
        raft = self.runtime.group(group)
        return raft.leader if raft is not None else NOBODY

    def read_index(self, group: GroupId, context: int) -> None:
        self.runtime.read_index(group, context)

    # ---- for consensus

    def storage_full_changed(self, is_full: bool, text: str) -> None:
        if is_full:
            self._log.error("storage full: publishers are blocked", reason=text)
        else:
            self._log.info("storage has space again")
        self.on_storage_full(is_full)

    def group_damaged(self, group: GroupId, text: str) -> None:
        if text:
            self._log.error("damaged data: this replica is rebuilt from the others", group=group, reason=text)
        else:
            self._log.warning("the replica is whole again", group=group)

    def _know_dooms(self) -> bool:
        """Can the nodes that are up read why messages leave their queues?"""
        return all(self.links.version_of(peer) >= VERSION_OF_DOOMS for peer in self.links.up_peers())

    # ---- for links

    def message(self, peer: NodeId, kind: int, body: Any) -> None:
        """Raises ProtocolViolation."""
        match kind:
            case Kind.RAFT:
                self._mail.arrived(body)
            case Kind.SHARD_TO_HOME:
                self.switchboard.to_home(body)
            case Kind.SHARD_FROM_HOME:
                self.switchboard.from_home(peer, body)
            case Kind.SHARD_LEADER:
                self.switchboard.leaders_announced(peer, body)
            case Kind.DIRECT_REPLY:
                self.on_direct_reply(*body)
            case Kind.SHARD_POST:
                self.switchboard.post_arrived(peer, body)
            case Kind.SHARD_POST_RECEIPT:
                self.switchboard.post_receipt_arrived(body)
            case Kind.SHARD_TRANSACTION:
                self.switchboard.transaction_word(body)
            case Kind.CATALOG_APPLIED:
                self.client.peer_applied(peer, body)
            case Kind.CATALOG_ASK | Kind.CATALOG_DECLINED | Kind.CATALOG_AWAIT | Kind.CATALOG_AWAITED:
                self.client.message(peer, kind, body)
            case Kind.ASIDE | Kind.SHORT_OF_DISK | Kind.BEHIND | Kind.KEPT_BYTES:
                self._said[kind].note(peer, body)
            case _:
                raise ProtocolViolation(f"unknown message kind {kind}")

    def request(self, peer: NodeId, kind: int, body: Any) -> Awaitable[Any]:
        """Raises ProtocolViolation."""
        handler = self.requests.get(kind)
        if handler is None:
            raise ProtocolViolation(f"unknown request kind {kind}")
        return handler(peer, body)

    def link_up(self, peer: NodeId, incarnation: int) -> None:
        self._log.info("link up", peer=peer)
        self._met.add(peer)
        for said in self._said.values():
            said.link_up(peer)
        self.runtime.peer_connected(peer)
        self.client.link_up(peer)
        self.switchboard.link_up(peer)
        self._claim()

    def link_down(self, peer: NodeId, reason: str) -> None:
        self._log.info("link down", peer=peer, reason=reason)
        self.last_linked[peer] = trio.current_time()
        self.runtime.peer_disconnected(peer)
        self.client.link_down(peer)
        self.switchboard.link_down(peer)


def _nothing_changed(changes: list[Change]) -> None:
    """Nobody looks yet."""


def _no_channel(address: str, record: bytes) -> None:
    """Nobody to answer yet."""


def _not_full(is_full: bool) -> None:
    """Nobody to block yet."""
