"""What the admin interface asks of the node it belongs to.

Law: the admin interface holds no state of the broker; it asks, each time. Every answer is bounded in time by the
source: a peer that does not answer becomes a member without a report, never a wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.commands import SingleCommand
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import QueueId
from cluster.node.admin.report import (
    ChannelReport,
    ClusterReport,
    ConnectionReport,
    ConsumerReport,
    ExchangeFlow,
    NodeReport,
    Phase,
    QueueCounts,
    QueueFlow,
    QueueReport,
    VhostFlow,
)


class Refusal(Enum):
    """Why a request was not carried out, as an HTTP status."""

    NOT_FOUND = 404
    CONFLICT = 409
    UNAVAILABLE = 503


class Refused(Exception):
    """The node will not do it; `text` is one line for the operator."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.text = text


class Operations(Protocol):
    """What the node does for an operator. Each raises Refused (UNAVAILABLE) when there is no quorum for it."""

    @property
    def home(self) -> tuple[int, int]:
        """Node and incarnation, where queues live that are not replicated."""

    async def submit(self, command: SingleCommand) -> None:
        """Change the catalog. Raises BrokerError."""

    async def counts(self, queue: QueueDefinition) -> QueueCounts:
        """Zeros when the queue's leader does not answer."""

    async def catch_up(self) -> None:
        """The copy of the catalog has everything that was answered before."""

    async def purge(self, find: Callable[[], QueueDefinition]) -> int:
        """How many messages went of what `find` finds, which may be another queue than it was."""

    async def retry(self, find: Callable[[], QueueDefinition]) -> int:
        """Parked messages of what `find` finds become ready again, their deliveries forgotten. How many."""

    async def delete_queue(self, find: Callable[[], QueueDefinition | None], *, if_unused: bool, if_empty: bool) -> int:
        """Of what `find` finds, 0 for nothing: how many messages went with it. Raises BrokerError."""

    async def pass_through(self, queue: QueueDefinition) -> None:
        """Bring a message into a replicated queue, with a quorum, and take out what is in it."""

    async def close_connection(self, name: str, reason: str) -> bool:
        """Close it with 320, on whichever node it is. False if no node that answers has it."""


class Maintenance(Protocol):
    """The node's service to clients."""

    phase: Phase

    def drain(self) -> None:
        """Begin to leave service, if that has not begun; `phase` tells when it is done."""

    def revive(self) -> None:
        """Come back. Raises OSError when a port is taken."""


class NodeSource(Protocol):
    """Implemented by the assembly."""

    @property
    def catalog(self) -> Catalog:
        """This node's copy. For reading only."""

    @property
    def operations(self) -> Operations: ...

    @property
    def service(self) -> Maintenance: ...

    def amqp_client(self) -> trio.SocketStream:
        """The client's end of a new AMQP connection to this node, as from its own machine."""

    def local_report(self) -> NodeReport:
        """This node, now. Called for every probe and scrape: cheap, no await."""

    async def cluster_report(self, timeout_seconds: float) -> ClusterReport:
        """All members, each asked for its report at the same time; answers without quorum too."""

    async def queue_counts(
        self, timeout_seconds: float, queues: Sequence[QueueId] | None = None, *, weighed: bool = True
    ) -> Mapping[int, QueueCounts]:
        """What the leaders of these queues, of all by default, have counted; those that answer in time. Of all, without
        their messages' weights it is cheaper."""

    async def connections(self, timeout_seconds: float) -> Sequence[ConnectionReport]:
        """Every client connection of the nodes that answer, ordered by node and name."""

    async def channels(self, timeout_seconds: float) -> Sequence[ChannelReport]:
        """Every channel of the nodes that answer, ordered by node, connection and number."""

    async def consumers(self, timeout_seconds: float) -> Sequence[ConsumerReport]:
        """Every consumer of the nodes that answer, ordered by vhost, queue and tag."""

    async def vhost_flows(self, timeout_seconds: float) -> Sequence[VhostFlow]:
        """What went through the vhosts, of each node that answers."""

    async def exchange_flows(self, timeout_seconds: float) -> Sequence[ExchangeFlow]:
        """What was published to exchanges, of each node that answers."""

    async def queue_flows(self, timeout_seconds: float, queues: Sequence[QueueId] | None = None) -> Sequence[QueueFlow]:
        """What was taken from these queues, from all by default, of each node that answers."""

    def queue_report(self, queue: QueueDefinition, counts: QueueCounts) -> QueueReport:
        """The queue, with what its leader counted."""

    async def transfer(self, group: int, node: str) -> None:
        """Ask the group's leader to hand over to `node`; returns once it is asked. Raises Refused."""

    async def verify(self) -> dict[str, Any]:
        """Compare all replicas of all groups at one index each; see `GroupVerdict`. A few seconds for each group
        that does not answer."""

    async def remove(self, node: str) -> None:
        """Let a member go; returns once that has begun. Raises Refused."""

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        """The user's tags, or None: no such user, wrong password, or a user that may not come from `peer_host`."""
