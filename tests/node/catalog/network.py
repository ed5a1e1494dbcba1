"""Links and consensus as a catalog's client sees them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from cluster.node.catalog.client import CatalogClient
from cluster.node.links.handshake import VERSION_MAX
from cluster.raft.types import GroupId, NodeId
from tests.node.catalog.world import ME, Replica


class Network:
    """Links and consensus of a node that leads the catalog itself, or knows who does."""

    def __init__(self, *peers: NodeId) -> None:
        self.peers = peers
        self.leader = ME
        self.version = VERSION_MAX
        self.sent: list[tuple[NodeId, int, Any]] = []
        self.answer: list[Any] = []
        self.reads: list[int] = []
        self.written = 0

    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float) -> Any:
        self.sent.append((peer, kind, body))
        return self.answer

    def send(self, peer: NodeId, kind: int, body: Any) -> bool:
        self.sent.append((peer, kind, body))
        return peer in self.peers

    def write(self) -> None:
        self.written = len(self.sent)

    def up_peers(self) -> Sequence[NodeId]:
        return self.peers

    def version_of(self, peer: NodeId) -> int:
        return self.version if peer in self.peers else 0

    def leader_of(self, group: GroupId) -> NodeId:
        return self.leader

    def read_index(self, group: GroupId, context: int) -> None:
        self.reads.append(context)


def client_of(
    replica: Replica, network: Network, node: NodeId = ME, *, aside: Container[NodeId] = (), incarnation: int = 1
) -> CatalogClient:
    client = CatalogClient(node, incarnation, replica.host, network, network, aside)
    replica.on_leader_changed = client.leader_changed
    return client
