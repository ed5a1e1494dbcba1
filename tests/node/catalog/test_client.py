"""Changes of the catalog, seen from the node that asks for them; the rest of the cluster is a few plain values."""

from __future__ import annotations

from typing import Any

import trio

from cluster.broker.catalog.commands import DeleteVhost
from cluster.node.catalog.client import VISIBLE_TIMEOUT_SECONDS, CatalogClient
from cluster.raft.types import GroupId, NodeId

HERE, PEER = NodeId(1), NodeId(2)
TRIES = 30
"""Who runs first of two that wake at once is left to chance."""


class Host:
    """The catalog's copy here, which leads and has applied everything."""

    applied_index = 1

    async def submit(self, command: object, asker: NodeId) -> int:
        return self.applied_index


class Cluster:
    """One peer, which is reachable and says nothing; this node leads."""

    def up_peers(self) -> list[NodeId]:
        return [PEER]

    def send(self, peer: NodeId, kind: int, body: Any) -> bool:
        return True

    def leader_of(self, group: GroupId) -> NodeId:
        return HERE


async def test_a_change_may_be_seen_everywhere_at_the_moment_when_nobody_waits_for_that_any_more(autojump_clock):
    for _ in range(TRIES):
        cluster = Cluster()
        client = CatalogClient(HERE, Host(), cluster, cluster)  # type: ignore[arg-type]
        client.peer_applied(PEER, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.submit, DeleteVhost("v"))
            await trio.sleep(VISIBLE_TIMEOUT_SECONDS)
            client.peer_applied(PEER, 1)
