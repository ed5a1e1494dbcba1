"""What the catalog's leader does for the cluster: newcomers become members, shards get their places, leavers go.

Law: it keeps nothing. What it has begun stands in the catalog and in the groups' configurations, so that whoever leads
next goes on with it. A member goes when it holds nothing and votes nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.state import MemberState
from cluster.broker.errors import BrokerError
from cluster.node.catalog.client import NoQuorum
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.core import Core
from cluster.node.links import VERSION_OF_MEMBERSHIP
from cluster.node.logging import get_logger
from cluster.node.membership.electorate import catalog_electorate
from cluster.node.membership.placement import next_places
from cluster.node.membership.standing import Standing, gather
from cluster.node.membership.steps import caught_up
from cluster.raft.group import Role
from cluster.raft.runtime.beat import beat_after
from cluster.raft.types import GroupId, NodeId

LOOK_SECONDS = 0.5
_LOG = get_logger("membership")


async def steward(core: Core) -> None:
    """Until cancelled."""
    while True:
        changed = core.members.changed
        with trio.move_on_at(beat_after(LOOK_SECONDS)):
            await changed.wait()
        if core.catalog.role is not Role.LEADER or not core.view.is_current or not core.catalog.catalog.cluster_id:
            continue
        if all(core.links.version_of(peer) >= VERSION_OF_MEMBERSHIP for peer in core.links.up_peers()):
            try:
                await _look(core)
            except (BrokerError, NoQuorum) as error:
                _LOG.warning("membership not changed yet", reason=str(error))


async def _look(core: Core) -> None:
    places = {group: nodes for group, nodes in core.members.placement.items() if group != CATALOG_GROUP}
    states = {node: member.state for node, member in core.members.by_id.items()}
    usable = [node for node, state in states.items() if state is MemberState.ACTIVE]
    live = {NodeId(node) for node in core.reachable()}
    is_calm = len(usable) == len(states) and not next_places(places, usable=usable, live=live, moving=())
    if is_calm:
        return
    standings = await gather(core)
    await _promote(core, standings)
    moving = [group for group, nodes in places.items() if group not in standings or not standings[group].is_at(nodes)]
    for group, nodes in next_places(places, usable=usable, live=live, moving=moving).items():
        _LOG.info("shard gets another place", group=int(group), nodes=str(nodes), before=str(places[group]))
        await core.client.submit(c.PlaceShard(group, nodes))
    await _dismiss(core, states, standings)


async def _promote(core: Core, standings: Mapping[GroupId, Standing]) -> None:
    """Who joins and votes is a member like the others; so is who has all of the catalog, where enough vote.

    Members may have come and gone since `standings` were asked for: who is a member is what is known now.
    """
    catalog = standings.get(CATALOG_GROUP)
    if catalog is None or not catalog.is_settled:
        return
    up_to_date = caught_up(core.runtime.groups[CATALOG_GROUP].status())
    listening = [node for node in catalog_electorate(core)[1] if node in catalog.members and node in up_to_date]
    for node, member in list(core.members.by_id.items()):
        if member.state is MemberState.JOINING and (node in catalog.voters or node in listening):
            _LOG.info("joined", member=member.name, node=int(node))
            await core.client.submit(c.PutMember(node, member.name, member.host, member.port, int(MemberState.ACTIVE)))


async def _dismiss(core: Core, states: Mapping[NodeId, MemberState], standings: Mapping[GroupId, Standing]) -> None:
    """Who is to go, holds nothing and votes nowhere is a member no more."""
    groups = core.members.placement.keys() | {CATALOG_GROUP}
    if any(group not in standings or not standings[group].is_settled for group in groups):
        return
    for node, state in states.items():
        is_bound = any(node in nodes for group, nodes in core.members.placement.items() if group != CATALOG_GROUP)
        is_counted = any(node in standing.members for standing in standings.values())
        if state in (MemberState.DRAINING, MemberState.GONE) and not is_bound and not is_counted:
            _LOG.info("left", member=core.members.name_of(node), node=int(node))
            await core.client.submit(c.RemoveMember(node))
