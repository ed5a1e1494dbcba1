"""What has gone through a node's channels, counted where a run of messages is handled anyway.

Law: counters only grow while what they count for is there. A channel counts for itself, and for the queue that it
consumes from or the exchange that it publishes to; its vhost and the node have what their closed channels counted, and
whoever asks adds the open ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.definitions import ExchangeDefinition, QueueDefinition
from cluster.broker.catalog.outcome import Change, QueueDeclared, QueueDeleted, VhostDeleted
from cluster.broker.shard.entry import QueueId

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

FLOW_WORDS: Final = (
    "publish",
    "confirm",
    "return_unroutable",
    "drop_unroutable",
    "deliver",
    "deliver_no_ack",
    "get",
    "get_no_ack",
    "get_empty",
    "redeliver",
    "ack",
)
"""What is counted, in the order in which nodes tell each other. What is new comes last."""
_EXCHANGES_LOOK = 1024
"""So many exchanges have been published to: those that are gone are forgotten."""


class Flow:
    """Messages, in the words of RabbitMQ's `message_stats`."""

    __slots__ = FLOW_WORDS

    def __init__(self) -> None:
        self.publish = 0
        self.confirm = 0
        self.return_unroutable = 0
        """Sent back, because they were mandatory and went nowhere."""
        self.drop_unroutable = 0
        """Went nowhere."""
        self.deliver = 0
        """To consumers that acknowledge."""
        self.deliver_no_ack = 0
        self.get = 0
        self.get_no_ack = 0
        self.get_empty = 0
        self.redeliver = 0
        """Of those delivered and got, what may have been delivered before."""
        self.ack = 0
        """By clients; what is acknowledged automatically is not counted again."""

    def row(self) -> list[int]:
        """In the order of `FLOW_WORDS`."""
        return [getattr(self, word) for word in FLOW_WORDS]

    def add(self, other: Flow) -> None:
        """What another has counted is this one's as well."""
        self.publish += other.publish
        self.confirm += other.confirm
        self.return_unroutable += other.return_unroutable
        self.drop_unroutable += other.drop_unroutable
        self.deliver += other.deliver
        self.deliver_no_ack += other.deliver_no_ack
        self.get += other.get
        self.get_no_ack += other.get_no_ack
        self.get_empty += other.get_empty
        self.redeliver += other.redeliver
        self.ack += other.ack


class Entrance:
    """What was published to one exchange and went to so many queues."""

    __slots__ = ("count", "definition")

    def __init__(self, definition: ExchangeDefinition | None) -> None:
        """`definition` as it was when this began."""
        self.definition = definition
        self.count = 0


class VhostTotal:
    """Of channels and connections of a vhost."""

    __slots__ = ("flow", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.flow = Flow()
        self.received_bytes = 0
        self.sent_bytes = 0

    def add(self, connection: Connection) -> None:
        """Its octets."""
        self.received_bytes += connection.received_bytes
        self.sent_bytes += connection.outgoing.sent_bytes


class Flows:
    """One node's. Bounded by the exchanges, queues and vhosts that there are."""

    def __init__(self, catalog: Catalog) -> None:
        self.past = Flow()
        """Of all channels that are over."""
        self.queues: dict[QueueId, Flow] = {}
        self.vhosts: dict[str, VhostTotal] = {}
        """Of what is over there."""
        self.queues_created = 0
        self.queues_deleted = 0
        self._catalog = catalog
        self._entrances: dict[tuple[str, str, int], Entrance] = {}
        """By vhost, exchange and number of queues."""
        self._look_at = _EXCHANGES_LOOK

    def queue(self, queue: QueueId) -> Flow:
        """Of what this node's clients take from a queue."""
        flow = self.queues.get(queue)
        if flow is None:
            flow = self.queues[queue] = Flow()
        return flow

    def entrance(self, vhost: str, exchange: str, queues: int) -> Entrance:
        """Counts for the exchange of that name as the catalog has it now: one that was made anew begins anew."""
        definition = self._catalog.exchange(vhost, exchange)
        key = (vhost, exchange, queues)
        entrance = self._entrances.get(key)
        if entrance is None or entrance.definition is not definition:
            if len(self._entrances) >= self._look_at:
                self._entrances = {key: entrance for key, entrance in self._entrances.items() if self._is_there(key)}
                self._look_at = max(_EXCHANGES_LOOK, 2 * len(self._entrances))
            entrance = self._entrances[key] = Entrance(definition)
        return entrance

    def _is_there(self, key: tuple[str, str, int]) -> bool:
        place = self._catalog.vhosts.get(key[0])
        return place is not None and place.exchanges.get(key[1]) is self._entrances[key].definition

    def by_exchange(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(vhost, exchange) -> what was published to it, and copies of that which went to queues."""
        totals: dict[tuple[str, str], tuple[int, int]] = {}
        for key, entrance in self._entrances.items():
            if self._is_there(key):
                vhost, exchange, queues = key
                came, went = totals.get((vhost, exchange), (0, 0))
                totals[vhost, exchange] = came + entrance.count, went + entrance.count * queues
        return totals

    def vhost(self, vhost: str) -> VhostTotal:
        found = self.vhosts.get(vhost)
        if found is None:
            found = self.vhosts[vhost] = VhostTotal()
        return found

    def channel_over(self, vhost: str, flow: Flow) -> None:
        self.past.add(flow)
        if vhost in self._catalog.vhosts:
            self.vhost(vhost).flow.add(flow)

    def connection_over(self, connection: Connection) -> None:
        if connection.vhost in self._catalog.vhosts:
            self.vhost(connection.vhost).add(connection)

    def catalog_changed(self, changes: Iterable[Change], leads: Callable[[QueueDefinition], bool]) -> None:
        """Queues are counted where they are led, which is on one node."""
        for change in changes:
            if isinstance(change, QueueDeclared):
                self.queues_created += leads(change.queue)
            elif isinstance(change, QueueDeleted):
                self.queues_deleted += leads(change.queue)
                self.queues.pop(change.queue.id, None)
            elif isinstance(change, VhostDeleted):
                self.vhosts.pop(change.vhost, None)

    def total(self, connections: Iterable[Connection]) -> Flow:
        """Everything since the node began; `connections` are those that are open."""
        total = Flow()
        total.add(self.past)
        for connection in connections:
            for channel in connection.channels.values():
                total.add(channel.flow)
        return total

    def by_vhost(self, connections: Iterable[Connection]) -> dict[str, VhostTotal]:
        """The same of each vhost, of those that are there."""
        totals: dict[str, VhostTotal] = {}
        for vhost, past in self.vhosts.items():
            total = totals[vhost] = VhostTotal()
            total.flow.add(past.flow)
            total.received_bytes, total.sent_bytes = past.received_bytes, past.sent_bytes
        for connection in connections:
            if connection.vhost in self._catalog.vhosts:
                total = totals.setdefault(connection.vhost, VhostTotal())
                total.add(connection)
                for channel in connection.channels.values():
                    total.flow.add(channel.flow)
        return totals
