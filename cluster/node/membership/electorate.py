"""Who votes in the catalog, and who only has a copy of it.

Law: everybody has a copy, for a name or a route is looked up at home; five vote, those that have been members for
longest, so that a change waits for three nodes however many there are. The next in line votes when one of them leaves.
Who is only away keeps its vote: it may be the one that has the last change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cluster.broker.catalog.state import Member, MemberState
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core
from cluster.node.shards.view import LOCAL_SHARDS
from cluster.raft.types import NodeId

CATALOG_VOTERS_MAX = 5
"""They bear the loss of two, as many as a catalog needs to: a shard bears one."""


def electorate(
    members: Mapping[NodeId, Member],
    *,
    live: Collection[int],
    counted: Collection[NodeId],
    bound: Collection[int],
) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
    """The voters of the catalog, and its learners, each ascending: members that are active, those that join and answer
    or vote (`counted`) already, and those that leave as long as they have a shard to give away (`bound`)."""
    entitled = sorted(
        node
        for node, member in members.items()
        if member.state is MemberState.ACTIVE
        or (member.state is MemberState.JOINING and (node in live or node in counted))
        or (member.state is MemberState.DRAINING and node in bound)
    )
    return tuple(entitled[:CATALOG_VOTERS_MAX]), tuple(entitled[CATALOG_VOTERS_MAX:])


def catalog_electorate(core: Core) -> tuple[tuple[NodeId, ...], tuple[NodeId, ...]]:
    """The same, as the catalog's leader sees it.

    Who leads a shard without a place there has it to give away, too, and needs the catalog to know that.
    """
    placed = [node for group, nodes in core.members.placement.items() if group != CATALOG_GROUP for node in nodes]
    leading = [stream.leader for shard, stream in core.switchboard.streams.items() if shard < LOCAL_SHARDS]
    return electorate(
        core.members.by_id,
        live=core.reachable(),
        counted=core.runtime.groups[CATALOG_GROUP].configuration.voters,
        bound={*placed, *leading},
    )
