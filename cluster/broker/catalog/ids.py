"""The ids that the catalog gives out or speaks of.

Law: an id is never given twice in the life of a cluster. The numbers of nodes and groups are those of consensus,
under the domain's own types, because the domain knows no consensus.
"""

from __future__ import annotations

from typing import Final, NewType

from cluster.broker.shard.entry import QueueId

NodeId = NewType("NodeId", int)
"""A member, from 1. 0 stands for "no node"."""
GroupId = NewType("GroupId", int)
"""A shard, from 1. 0 stands for "no shard": the queue lives in the memory of its home node."""
ConnectionId = NewType("ConnectionId", str)
"""A client connection, unique over all nodes and all their lives. "" stands for "no connection"."""

NO_NODE: Final = NodeId(0)
NO_SHARD: Final = GroupId(0)
NO_CONNECTION: Final = ConnectionId("")

_INDEX_BITS: Final = 48
ORDINAL_MAX: Final = (1 << 16) - 2
"""Commands that one entry (`Several`) may hold, less one. The ids above are shards' own (`HIDDEN_QUEUES`)."""


def queue_id(index: int, ordinal: int) -> QueueId:
    """The id of a queue declared by the `ordinal`-th command (from 0) of the catalog entry at `index`.

    The first command's id is the log index itself, so a queue declared on its own is known by its index.
    """
    assert 0 < index < 1 << _INDEX_BITS
    assert 0 <= ordinal <= ORDINAL_MAX
    return QueueId(ordinal << _INDEX_BITS | index)


def declared_at(queue: QueueId) -> int:
    """The catalog's log index at which a queue was declared.

    A queue that a catalog copy does not know is yet to come if this lies above the copy's applied index, and
    deleted if it does not.
    """
    return queue & ((1 << _INDEX_BITS) - 1)


__all__ = [
    "NO_CONNECTION",
    "NO_NODE",
    "NO_SHARD",
    "ORDINAL_MAX",
    "ConnectionId",
    "GroupId",
    "NodeId",
    "QueueId",
    "declared_at",
    "queue_id",
]
