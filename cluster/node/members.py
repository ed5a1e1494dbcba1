"""Who belongs to the cluster, and where replicas are to be, as this node knows it.

Law: until the catalog is founded, or read, it is what the charter says; from then on the catalog's copy here, and
nothing else. Whoever waits for `changed` looks again at everything.
"""

from __future__ import annotations

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.ids import NodeId as CatalogNodeId
from cluster.broker.catalog.state import Member, MemberState
from cluster.node.bootstrap import Charter
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.raft.types import GroupId, NodeId


class Members:
    """Of one node's copy of the catalog."""

    def __init__(self, charter: Charter, catalog: Catalog) -> None:
        self._catalog = catalog
        self.by_id = founders(charter)
        """Every member, also one that is GONE."""
        self.placement = charter.placement()
        """Group -> where its replicas shall be, who is to lead first."""
        self.changed = trio.Event()
        """Set and replaced when members or places are others."""

    def adopt(self) -> None:
        """The catalog's copy has other members or places."""
        catalog = self._catalog
        if catalog.cluster_id:
            self.by_id = {NodeId(node): member for node, member in sorted(catalog.members.items())}
            active = tuple([node for node, member in self.by_id.items() if member.state is MemberState.ACTIVE])
            self.placement = {CATALOG_GROUP: active} if active else {}
            for group, nodes in catalog.placement.items():
                self.placement[GroupId(group)] = tuple([NodeId(node) for node in nodes])
        self.changed.set()
        self.changed = trio.Event()

    def has_left(self, node: NodeId) -> bool:
        """Was it a member, and is none any more?"""
        if node in self.by_id:
            return self.by_id[node].state is MemberState.GONE
        return bool(self._catalog.cluster_id) and node < self._catalog.next_node

    def name_of(self, node: int) -> str:
        """As operators see it: one name for each member at a time."""
        member = self.by_id.get(NodeId(node))
        if member is None:
            return f"node {node}" if node else ""
        return f"{member.name} (lost)" if member.state is MemberState.GONE else member.name


def founders(charter: Charter) -> dict[NodeId, Member]:
    """The members of a cluster whose catalog is not founded yet, or not read."""
    return {
        NodeId(node): Member(CatalogNodeId(node), spec.name, spec.host, spec.port, MemberState.ACTIVE)
        for node, spec in enumerate(charter.members, start=1)
    }
