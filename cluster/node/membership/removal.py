"""Letting a member go, at the word of an operator.

Law: nobody goes before every group is sure to have a quorum without them: the check refuses what it cannot see to be
safe, and says why. A member that answers first gives everything to others; one that is dead is replaced in every group,
by those that live. The catalog's leader decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from cluster.broker.catalog.commands import PutMember
from cluster.broker.catalog.state import Member, MemberState
from cluster.broker.errors import BrokerError
from cluster.node.admin.source import Refusal, Refused
from cluster.node.catalog.client import NoQuorum
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import LinkDown, LinkTimeout, RemoteError, RequestError
from cluster.node.logging import get_logger
from cluster.node.membership.standing import Standing, gather
from cluster.node.membership.steps import has_majority
from cluster.raft.types import GroupId, NodeId

_REMOVE_SECONDS = 8.0


def objection(
    leaving: NodeId,
    members: Mapping[NodeId, Member],
    groups: Iterable[GroupId],
    standings: Mapping[GroupId, Standing],
    live: Collection[NodeId],
) -> str | None:
    """Why this member may not go now, in one line; None if it may."""
    name = members[leaving].name
    staying = [node for node, member in members.items() if node != leaving and member.state is MemberState.ACTIVE]
    heirs = [node for node in staying if node in live]
    if not heirs:
        return f"{name} is the last member that could serve: nobody could take over"
    for group in sorted(groups):
        standing = standings.get(group)
        if standing is None:
            return f"group {group} has no leader that answers: bring its members back first"
        rest = [voter for voter in standing.voters if voter != leaving]
        if len(rest) == len(standing.voters):
            continue
        heir = [node for node in heirs if node not in standing.voters][:1]
        if not has_majority([*rest, *heir], live):
            dead = ", ".join([members[node].name for node in rest if node in members and node not in live])
            return f"group {group} would have no quorum without {name}: {dead or 'nobody'} is down. Bring it back first"
    return None


class Removal:
    """Of one node."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = get_logger("membership")

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.REMOVE: self._remove_for}

    async def remove(self, name: str) -> None:
        """Let a member go; returns when that has begun. Raises Refused."""
        core = self._core
        leader = core.leader_of(CATALOG_GROUP)
        try:
            if leader == core.node:
                await self._remove(name)
            elif leader:
                unknown = await core.links.call(leader, Kind.REMOVE, name, _REMOVE_SECONDS)
                if unknown:
                    raise Refused(Refusal.UNAVAILABLE, str(unknown))
            else:
                raise Refused(Refusal.UNAVAILABLE, "the catalog has no leader: nobody can be removed now")
        except (RequestError, RemoteError) as error:
            raise Refused(Refusal.CONFLICT, str(error)) from error
        except (LinkDown, LinkTimeout) as error:
            raise Refused(Refusal.UNAVAILABLE, str(error)) from error

    async def _remove_for(self, peer: NodeId, body: Any) -> Any:
        """REMOVE. None, or why nobody knows what comes of it. Raises RequestError."""
        try:
            await self._remove(str(body))
        except Refused as refused:
            return str(refused)
        return None

    async def _remove(self, name: str) -> None:
        core = self._core
        known = core.members.by_id.values()
        member = next((m for m in known if m.name == name and m.state is not MemberState.GONE), None)
        if member is None:
            raise RequestError(f"there is no member {name}")
        live = {NodeId(node) for node in core.reachable()}
        standings = await gather(core)
        groups = core.members.placement.keys() | {CATALOG_GROUP}
        reason = objection(NodeId(member.node), core.members.by_id, groups, standings, live)
        if reason is not None:
            raise RequestError(reason)
        try:
            await core.client.submit(
                PutMember(member.node, member.name, member.host, member.port, int(MemberState.DRAINING))
            )
        except BrokerError as error:
            raise RequestError(str(error)) from error
        except NoQuorum as error:
            raise Refused(Refusal.UNAVAILABLE, f"{error}; it may be begun yet") from error
        self._log.info("is to leave", member=name, node=int(member.node))
