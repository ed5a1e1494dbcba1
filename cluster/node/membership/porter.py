"""Letting nodes in: a newcomer asks any member, the catalog's leader decides.

Law: whoever proves the secret and comes with a directory of its own is let in, under a new id. A name is taken from a
member that lost its directory, never from one that answers; nor is its address. Asking again gives the same id.
"""

from __future__ import annotations

from typing import Any

from cluster.broker.catalog.commands import AdmitMember
from cluster.broker.catalog.state import MemberState
from cluster.broker.errors import BrokerError
from cluster.node.catalog.client import NoQuorum
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_MEMBERSHIP, LinkError, RequestError
from cluster.node.logging import get_logger
from cluster.node.membership.announcement import look_for
from cluster.raft.types import NodeId

_ADMIT_SECONDS = 8.0


class Porter:
    """Of one member."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = get_logger("membership")

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.ADMIT: self._admit_for}

    async def petition(self, body: dict[str, Any]) -> dict[str, Any]:
        """`LinkHandler.petition`: the id and the members, or why not. Of a member: see `announcement`."""
        core = self._core
        if "node" in body:
            return look_for(core, body)
        try:
            asked = (str(body["name"]), str(body["host"]), int(body["port"]), str(body["token"]))
        except (KeyError, TypeError, ValueError):
            return {"refused": "malformed petition"}
        leader = core.leader_of(CATALOG_GROUP)
        try:
            if leader == core.node:
                node = await self._admit(*asked)
            elif leader:
                node = int(await core.links.call(leader, Kind.ADMIT, list(asked), _ADMIT_SECONDS))
            else:
                return {"refused": "the catalog has no leader: nobody can be let in now"}
        except (RequestError, LinkError) as error:
            return {"refused": str(error)}
        members = [[int(m.node), m.name, m.host, m.port] for m in core.members.by_id.values() if _counts(m.state)]
        return {
            "node": node,
            "cluster_id": core.charter.cluster_id,
            "shards": core.charter.shards,
            "members": members,
        }

    async def _admit_for(self, peer: NodeId, body: Any) -> Any:
        """ADMIT. Raises RequestError."""
        name, host, port, token = body
        return await self._admit(name, host, port, token)

    async def _admit(self, name: str, host: str, port: int, token: str) -> int:
        core = self._core
        known = next((m for m in core.members.by_id.values() if m.name == name and _counts(m.state)), None)
        if known is not None and known.token != token and int(known.node) in core.reachable():
            raise RequestError(f"{name} is there already, as node {known.node}: a name is one member's")
        neighbours = [m for m in core.members.by_id.values() if (m.host, m.port) == (host, port) and m.name != name]
        for member in neighbours:
            if _counts(member.state) and int(member.node) in core.reachable():
                raise RequestError(f"{host}:{port} is the address of {member.name}: set peer.advertise to {name}'s own")
        old = [peer for peer in core.links.up_peers() if core.links.version_of(peer) < VERSION_OF_MEMBERSHIP]
        if old:
            named = ", ".join([core.members.name_of(peer) for peer in old])
            raise RequestError(f"{named} runs a version that knows no changing members: upgrade all nodes first")
        try:
            await core.client.submit(AdmitMember(name, host, port, token))
        except (BrokerError, NoQuorum) as error:
            raise RequestError(str(error)) from error
        for member in core.catalog.catalog.members.values():
            if member.name == name and member.token == token and _counts(member.state):
                self._log.info("let in", member=name, node=int(member.node), address=f"{host}:{port}")
                return int(member.node)
        raise RequestError(f"{name} was let in and has gone again")


def _counts(state: MemberState) -> bool:
    return state is not MemberState.GONE
