"""What the catalog holds about exchanges, bindings and queues.

Law: values; a change makes a new one. Strings that repeat (vhost, type) are shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from cluster.broker.catalog.arguments import Arguments
from cluster.broker.catalog.ids import NO_CONNECTION, NO_SHARD, ConnectionId, GroupId, NodeId, QueueId
from cluster.broker.errors import exchange_label, queue_label

DELAYED: Final = "x-delayed-message"
"""The type of an exchange whose messages wait in their queues until their x-delay header is over."""
DELAYED_TYPE: Final = "x-delayed-type"
"""The argument that says how such an exchange routes."""
DEDUPLICATING: Final = "x-message-deduplication"
"""The type of an exchange that goes to all its queues, and to each once for a key; an argument of queues, too."""
SPECIAL_TYPES: Final = (DELAYED, DEDUPLICATING)


@dataclass(frozen=True, slots=True)
class ExchangeDefinition:
    """An exchange. `type` is a key of `routing.table.EXCHANGE_TYPES`, or one of SPECIAL_TYPES."""

    vhost: str
    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Arguments

    @property
    def label(self) -> str:
        return exchange_label(self.vhost, self.name)

    @property
    def routing_type(self) -> str:
        """How it routes: a key of `routing.table.EXCHANGE_TYPES`."""
        if self.type == DELAYED:
            return self.arguments.text(DELAYED_TYPE) or "direct"
        return "fanout" if self.type == DEDUPLICATING else self.type


class Binding(NamedTuple):
    """Identity of a binding within a vhost: all of it. `arguments` is a canonical table (`Arguments.table`)."""

    source: str
    to_queue: bool
    destination: str
    routing_key: str
    arguments: bytes


@dataclass(frozen=True, slots=True, eq=False)
class QueueDefinition:
    """A queue. Equal to another when the ids are equal: a queue is never changed, only deleted and declared anew.

    owner     the connection a queue is exclusive to, NO_CONNECTION if it is not
    type      "classic" or "quorum"; on a replicated queue both mean the same
    shard     the group that replicates it; NO_SHARD for one that lives in the memory of `home`
    home, incarnation  the node, and which of its lives, that holds a queue without shard; 0 otherwise
    """

    id: QueueId
    vhost: str
    name: str
    durable: bool
    auto_delete: bool
    owner: ConnectionId
    arguments: Arguments
    type: str
    shard: GroupId
    home: NodeId
    incarnation: int

    @property
    def exclusive(self) -> bool:
        return self.owner != NO_CONNECTION

    @property
    def replicated(self) -> bool:
        return self.shard != NO_SHARD

    @property
    def label(self) -> str:
        return queue_label(self.vhost, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueueDefinition) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


class Route(NamedTuple):
    """The queues a message goes to, in ascending order of their ids.

    `by_headers`: a headers exchange was on the way, so another message with the same keys may go elsewhere.
    """

    queues: tuple[QueueDefinition, ...]
    by_headers: bool
