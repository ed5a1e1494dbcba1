"""Saying where a node is to members that look for it elsewhere.

Law: a link takes a connection in each direction, so a node that came up under an address that nobody knows reaches the
others and is linked to none of them; and without a quorum it cannot tell them by the catalog. So it asks each to look
where it is now. What is told is a hint: who answers there still has to prove which node it is, the catalog says the
same as soon as the node has a quorum, and nobody leaves a link that is up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from cluster.broker.catalog.state import MemberState
from cluster.node.config import NodeConfig
from cluster.node.core import Core
from cluster.node.links import PeerAddress, ProbeFailed, petition
from cluster.node.tls import Certificates
from cluster.raft.types import NodeId

_PAUSE_SECONDS = 3.0
"""Longer than a cluster takes that starts as a whole, which needs none of this."""
_PATIENCE_SECONDS = 2.0


async def announce(
    config: NodeConfig, core: Core, others: Sequence[PeerAddress], certificates: Certificates | None
) -> None:
    """Tell those of `others` that there is no link to, again and again. Until cancelled."""
    own = config.this_member
    body = {
        "cluster_id": core.charter.cluster_id,
        "node": int(core.node),
        "name": own.name,
        "host": own.host,
        "port": own.port,
    }

    async def tell(host: str, port: int) -> None:
        with trio.move_on_after(_PATIENCE_SECONDS):
            try:
                await petition(host, port, config.secret_bytes, body, name=own.name, certificates=certificates)
            except ProbeFailed:
                # The links complain of whom they cannot reach.
                return

    while True:
        await trio.sleep(_PAUSE_SECONDS)
        async with trio.open_nursery() as nursery:
            for other in others:
                if other.node != core.node and not core.links.is_up(other.node):
                    for host, port in ((other.host, other.port), *other.also):
                        nursery.start_soon(tell, host, port)


def look_for(core: Core, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to what `announce` tells: `node`, or `refused` and why."""
    try:
        cluster_id, node, name = str(body["cluster_id"]), NodeId(int(body["node"])), str(body["name"])
        host, port = str(body["host"]), int(body["port"])
    except (KeyError, TypeError, ValueError):
        return {"refused": "malformed announcement"}
    member = core.members.by_id.get(node)
    if cluster_id != core.charter.cluster_id or member is None or member.name != name:
        return {"refused": f"{name} is no member here"}
    if member.state is MemberState.GONE or not host or not 0 < port < 65536:
        return {"refused": f"{name} is not looked for at {host}:{port}"}
    if not core.links.is_up(node):
        before = (member.host, member.port)
        also = (before,) if before != (host, port) else ()
        core.links.add_peer(PeerAddress(name, node, host, port, also))
    return {"node": int(node)}
