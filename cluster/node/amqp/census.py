"""How many clients a user and a vhost have, on all nodes together, for the limits that are set on them.

Law: every node counts its own, and nobody is asked while there is no limit. A node that does not answer in time is left
out: its clients cannot be reached anyway. Two clients that come through two nodes at once may both be let in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from cluster.node.kinds import Kind
from cluster.node.links import LinkError, Links, RequestError
from cluster.raft.types import NodeId

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection

_ANSWER_TIMEOUT_SECONDS = 1.0


class Numbers(NamedTuple):
    """Open connections in the vhost and of the user (in any vhost), open channels of the user."""

    vhost_connections: int
    user_connections: int
    user_channels: int


class Census:
    """Counts the connections of this node, and asks the other nodes for theirs."""

    def __init__(self, connections: Mapping[str, Connection], links: Links) -> None:
        self._connections = connections
        self._links = links

    def here(self, user: str, vhost: str) -> Numbers:
        """Connections count once they are in their vhost."""
        inside = [connection for connection in self._connections.values() if connection.vhost]
        of_user = [connection for connection in inside if connection.user == user]
        return Numbers(
            sum(1 for connection in inside if connection.vhost == vhost),
            len(of_user),
            sum(len(connection.channels) for connection in of_user),
        )

    async def elsewhere(self, user: str, vhost: str) -> Numbers:
        """On all other nodes that can be reached."""
        found: list[Numbers] = []

        async def ask(peer: NodeId) -> None:
            try:
                answer = await self._links.call(peer, Kind.CENSUS, [user, vhost], _ANSWER_TIMEOUT_SECONDS)
            except LinkError:
                return
            found.append(Numbers(*answer))

        async with trio.open_nursery() as nursery:
            for peer in self._links.up_peers():
                nursery.start_soon(ask, peer)
        return Numbers(*[sum(column) for column in zip(*found, strict=True)]) if found else Numbers(0, 0, 0)

    async def give(self, peer: NodeId, body: Any) -> list[int]:
        """CENSUS."""
        try:
            user, vhost = body
        except (ValueError, TypeError):
            raise RequestError(f"not a user and a vhost: {body!r}") from None
        return list(self.here(user, vhost))
