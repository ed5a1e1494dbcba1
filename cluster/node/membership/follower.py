"""What every member does as the catalog changes: links to those that belong, replicas of the shards placed here, and
one step at a time of the groups that it leads.

Law: a replica is taken up when the catalog places it here, and given up when the catalog does not place it here any
more and the group's leader says, by a later configuration than any known here, that it is none. Groups are changed by
their leaders alone, and only by a copy of the catalog that has caught up. A copy that has not may be older than what
this node was told when it was let in: members that it does not know yet are kept, for the rest of it comes from them.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from cluster.broker.catalog.state import MemberState
from cluster.node.balance import hand_over
from cluster.node.catalog.host import CATALOG_GROUP
from cluster.node.config import NodeConfig
from cluster.node.core import Core, Request
from cluster.node.kinds import Kind
from cluster.node.links import PeerAddress
from cluster.node.logging import get_logger
from cluster.node.membership.electorate import catalog_electorate
from cluster.node.membership.roster import addressed, write_roster
from cluster.node.membership.standing import gather, own_standings
from cluster.node.membership.steps import HandOver, caught_up, next_step
from cluster.raft.group import NotLeader, ProposalDropped, RaftGroup, Role
from cluster.raft.runtime.beat import beat_after
from cluster.raft.types import GroupId, NodeId

LOOK_SECONDS = 0.25
"""How often groups that are on their way are looked at; what the catalog changes is looked at at once."""
_LEAVE_LOOKS = 4
"""Looks between two questions whether a replica may be given up."""


class Follower:
    """Of one node."""

    def __init__(self, core: Core, config: NodeConfig) -> None:
        self._core = core
        self._config = config
        self._known: list[PeerAddress] = []
        self._looks = 0
        self._log = get_logger("membership")

    def requests(self) -> dict[int, Request]:
        """What other nodes ask."""
        return {Kind.STANDINGS: self._give_standings}

    async def _give_standings(self, peer: NodeId, body: object) -> list[list[object]]:
        return [standing.to_wire() for standing in own_standings(self._core)]

    async def run(self) -> None:
        """Until cancelled."""
        core = self._core
        while True:
            changed = core.members.changed
            if core.catalog.catalog.cluster_id:
                await self._link()
                self._take_up()
                if core.view.is_current:
                    self._step()
                    await self._give_up()
            with trio.move_on_at(beat_after(LOOK_SECONDS)):
                await changed.wait()

    async def _link(self) -> None:
        core = self._core
        members = [
            PeerAddress(member.name, node, member.host, member.port)
            for node, member in core.members.by_id.items()
            if member.state is not MemberState.GONE
        ]
        for peer in core.links.peers():
            if core.members.has_left(peer.node):
                self._log.info("member gone", member=peer.name, node=int(peer.node))
                core.links.remove_peer(peer.node)
        belonging = {address.node for address in members}
        known = [*members, *[peer for peer in core.links.peers() if peer.node not in belonging]]
        if known == self._known:
            return
        self._known = known
        for address in addressed(members, self._config):
            core.links.add_peer(address)
        with suppress(OSError):
            await trio.to_thread.run_sync(write_roster, self._config.data_dir, known)

    def _take_up(self) -> None:
        core = self._core
        for group, nodes in core.members.placement.items():
            if core.node in nodes and not core.holds(group) and not core.is_leaving(group):
                self._log.info("takes up a replica", group=int(group))
                core.hold(group)

    async def _give_up(self) -> None:
        core = self._core
        self._looks += 1
        idle = [
            host.group
            for host in core.switchboard.hosts()
            if core.node not in core.members.placement.get(host.group, (core.node,)) and host.role is not Role.LEADER
        ]
        if not idle or self._looks % _LEAVE_LOOKS:
            return
        standings = await gather(core)
        for group in idle:
            standing, raft = standings.get(group), core.runtime.group(group)
            if (
                standing is not None
                and raft is not None
                and standing.leaves_out(core.node, raft.status())
                and core.node not in core.members.placement.get(group, ())
                and not core.runtime.is_writing(group)
            ):
                self._log.info("gives up a replica", group=int(group))
                core.release(group)

    # ---- the groups that this node leads

    def _step(self) -> None:
        core = self._core
        for group, raft in list(core.runtime.groups.items()):
            if raft.role is Role.LEADER:
                if group == CATALOG_GROUP:
                    wanted, listeners = catalog_electorate(core)
                else:
                    wanted, listeners = core.members.placement.get(group, ()), ()
                if wanted:
                    self._approach(group, raft, wanted, listeners)

    def _approach(
        self, group: GroupId, raft: RaftGroup, wanted: tuple[NodeId, ...], listeners: tuple[NodeId, ...]
    ) -> None:
        core, now = self._core, raft.configuration
        if now.learners == listeners and set(now.voters) == set(wanted):
            return
        status = raft.status()
        if not status.is_settled:
            return
        live = {NodeId(node) for node in core.reachable()}
        step = next_step(now, wanted, leader=core.node, ready=caught_up(status), live=live, listeners=listeners)
        if isinstance(step, HandOver):
            any(hand_over(core, group, node) for node in step.candidates)
        elif step is not None:
            with suppress(NotLeader, ProposalDropped):
                core.runtime.propose_configuration(group, step)
                self._log.info(
                    "members of a group change", group=int(group), voters=str(step.voters), learners=str(step.learners)
                )
