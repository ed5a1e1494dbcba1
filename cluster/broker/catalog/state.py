"""The whole of what the catalog replicates, without what can be done to it.

Law: everything here follows from the commands applied and from nothing else. `queue_by_id`, `shard_load`, `by_home`
and `by_owner` repeat what the queue definitions say, for lookup.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter
from typing import TypeVar

from cluster.broker.catalog.access import Access
from cluster.broker.catalog.commands import Scalar
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import ConnectionId, GroupId, NodeId, QueueId
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import no_vhost

K = TypeVar("K", NodeId, ConnectionId)


class MemberState(IntEnum):
    """JOINING holds no replica yet; DRAINING and GONE shall hold none soon, and then they are members no more.

    Who is GONE has lost its data and is never let in again; its name is free. Whether a node is up is not the
    catalog's.
    """

    JOINING = 0
    ACTIVE = 1
    DRAINING = 2
    GONE = 3


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster; `host` and `port` are those of its peer listener."""

    node: NodeId
    name: str
    host: str
    port: int
    state: MemberState
    token: str = ""
    """Of the directory that it joined with; "" for a founder."""


class State:
    """The catalog's contents. Changed by its commands alone."""

    __slots__ = (
        "access",
        "applied_index",
        "by_home",
        "by_owner",
        "cluster_id",
        "cluster_name",
        "gone_incarnations",
        "highest_node",
        "members",
        "placement",
        "queue_by_id",
        "settings",
        "shard_load",
        "used_queues",
        "version",
        "vhosts",
    )

    def __init__(self) -> None:
        self.applied_index = 0
        """Log index of the last command applied."""
        self.version = 0
        """Rises with every change that can affect routing, permissions or settings of queues."""
        self.cluster_id = ""
        """"" until the cluster is founded."""
        self.cluster_name = ""
        self.settings: dict[str, Scalar] = {}
        self.members: dict[NodeId, Member] = {}
        self.highest_node = NodeId(0)
        """The highest id ever given to a member."""
        self.gone_incarnations: dict[NodeId, int] = {}
        """node -> its lives up to this one are over; nothing may be declared in them any more."""
        self.placement: dict[GroupId, tuple[NodeId, ...]] = {}
        self.access = Access()
        self.vhosts: dict[str, Vhost] = {}
        self.queue_by_id: dict[QueueId, QueueDefinition] = {}
        self.shard_load: dict[GroupId, int] = {}
        """shard -> queues in it; an entry for each placed shard"""
        self.by_home: dict[NodeId, dict[QueueId, None]] = {}
        """node -> queues that live in its memory; only where there are any"""
        self.by_owner: dict[ConnectionId, dict[QueueId, None]] = {}
        """connection -> its exclusive queues; only where there are any"""
        self.used_queues: dict[QueueId, None] = {}
        """Replicated auto-delete queues that have had a consumer: without one they are to go."""

    def vhost(self, name: str) -> Vhost:
        """Raises BrokerError (530, connection) if there is none."""
        vhost = self.vhosts.get(name)
        if vhost is None:
            raise no_vhost(name)
        return vhost

    def add_queue(self, queue: QueueDefinition) -> None:
        self.vhosts[queue.vhost].add_queue(queue)
        self.queue_by_id[queue.id] = queue
        if queue.replicated:
            self.shard_load[queue.shard] = self.shard_load.get(queue.shard, 0) + 1
        else:
            self.by_home.setdefault(queue.home, {})[queue.id] = None
        if queue.exclusive:
            self.by_owner.setdefault(queue.owner, {})[queue.id] = None

    def remove_queue(self, queue: QueueDefinition) -> None:
        self.vhosts[queue.vhost].remove_queue(queue.name)
        del self.queue_by_id[queue.id]
        self.used_queues.pop(queue.id, None)
        if queue.replicated:
            self.shard_load[queue.shard] -= 1
        else:
            _drop(self.by_home, queue.home, queue.id)
        if queue.exclusive:
            _drop(self.by_owner, queue.owner, queue.id)

    def lightest_shard(self, leader: NodeId | None = None) -> GroupId:
        """The shard with the fewest queues, the lowest among equals; of those that `leader` leads, if there are any."""
        loads = self.shard_load.items()
        led = [load for load in loads if self.placement[load[0]][0] == leader] if leader is not None else ()
        return min(led or loads, key=itemgetter(1, 0))[0]


def _drop(index: dict[K, dict[QueueId, None]], key: K, queue: QueueId) -> None:
    queues = index[key]
    del queues[queue]
    if not queues:
        del index[key]
