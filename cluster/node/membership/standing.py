"""How the groups of the cluster stand: who leads each, and who its members are in truth, not in plan.

Law: a standing is the word of a group's leader. Of two, that of the later term counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio

from cluster.node.core import Core
from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_MEMBERSHIP, LinkError
from cluster.raft.group import GroupStatus, Role
from cluster.raft.membership import all_members
from cluster.raft.types import GroupId, LogIndex, NodeId, Term

_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """`members` are voters of both halves and learners; `is_settled`: the configuration is committed and not joint."""

    group: GroupId
    term: Term
    leader: NodeId
    is_settled: bool
    configuration_index: LogIndex
    voters: tuple[NodeId, ...]
    members: tuple[NodeId, ...]

    def is_at(self, nodes: Sequence[NodeId]) -> bool:
        """Are these its members, all of them voters?"""
        return self.is_settled and set(self.voters) == set(self.members) == set(nodes)

    def leaves_out(self, node: NodeId, own: GroupStatus) -> bool:
        """Is it sure that `node`, whose replica says `own`, is no member? A leader of the past may not know that it has
        become one again; then the replica has a later configuration."""
        knows_it = node not in all_members(own.configuration)
        is_later = self.configuration_index > own.configuration_index
        is_same = self.configuration_index == own.configuration_index
        return self.is_settled and node not in self.members and (is_later or (knows_it and is_same))

    def to_wire(self) -> list[Any]:
        return [
            int(self.group),
            int(self.term),
            int(self.leader),
            self.is_settled,
            int(self.configuration_index),
            list(self.voters),
            list(self.members),
        ]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Standing:
        group, term, leader, is_settled, index, voters, members = wire
        return cls(group, term, leader, is_settled, index, tuple(voters), tuple(members))


def own_standings(core: Core) -> list[Standing]:
    """Of the groups that this node leads."""
    found: list[Standing] = []
    for group, raft in core.runtime.groups.items():
        if raft.role is Role.LEADER:
            status, now = raft.status(), raft.configuration
            members = all_members(now)
            found.append(
                Standing(
                    group,
                    status.term,
                    core.node,
                    status.is_settled,
                    status.configuration_index,
                    now.voters,
                    members,
                )
            )
    return found


async def gather(core: Core) -> dict[GroupId, Standing]:
    """Of every group whose leader answers."""
    found: dict[GroupId, Standing] = {}

    def note(standing: Standing) -> None:
        known = found.get(standing.group)
        if known is None or known.term < standing.term:
            found[standing.group] = standing

    async def ask(peer: NodeId) -> None:
        try:
            rows = await core.links.call(peer, Kind.STANDINGS, None, _ANSWER_SECONDS)
        except LinkError:
            return
        for row in rows:
            note(Standing.from_wire(row))

    for standing in own_standings(core):
        note(standing)
    async with trio.open_nursery() as nursery:
        for peer in core.links.up_peers():
            if core.links.version_of(peer) >= VERSION_OF_MEMBERSHIP:
                nursery.start_soon(ask, peer)
    return found
