"""What applying a command gives back: a result for the proposer, and what changed for everybody else.

Law: the same on every replica. Whoever keeps something beside the catalog (shards, sessions, links) learns from
`changes` what to make, drop or look at again; nothing calls back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import GroupId, NodeId
from cluster.broker.errors import BrokerError


@dataclass(frozen=True, slots=True)
class QueueDeclared:
    queue: QueueDefinition


@dataclass(frozen=True, slots=True)
class QueueDeleted:
    queue: QueueDefinition


@dataclass(frozen=True, slots=True)
class VhostDeleted:
    """After the QueueDeleted of each of its queues. Its connections must be closed."""

    vhost: str


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """User's password, tags, permissions or limits; or the user is gone."""

    user: str


@dataclass(frozen=True, slots=True)
class PoliciesChanged:
    """Effective settings of queues in the vhost may be others now."""

    vhost: str


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member is new, changed, or gone."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class ShardPlaced:
    group: GroupId
    nodes: tuple[NodeId, ...]


Change: TypeAlias = (
    QueueDeclared | QueueDeleted | VhostDeleted | AccessChanged | PoliciesChanged | MemberChanged | ShardPlaced
)


@dataclass(frozen=True, slots=True)
class Ok:
    """`value`: the ExchangeDefinition or QueueDefinition (new or existing) of a declare; the QueueDefinition that
    DeleteQueue deleted, or None; the outcomes in order of Several; None otherwise."""

    request_id: bytes
    value: object
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changed."""

    request_id: bytes
    error: BrokerError


Outcome: TypeAlias = Ok | Refused
