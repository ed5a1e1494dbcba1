"""Keeps leaders where they should be: spread over the nodes, as the shards are placed.

Law: a leader that is not the first of its group's placement hands over to it when that node is reachable, in service,
not short of disk, not behind with the catalog if this one is not, and has all of the log; at most one group a look, so
that clients see one short pause at a time. Who is not in service keeps nothing that another one can lead.
"""

from __future__ import annotations

from contextlib import suppress

from cluster.broker.catalog.ids import QueueId
from cluster.node.core import Core
from cluster.raft.group import NotLeader, ProposalDropped, Role
from cluster.raft.runtime.beat import next_beat
from cluster.raft.types import GroupId, NodeId

LOOK_SECONDS = 1.0
SETTLE_LOOKS = 3
"""Looks that a node must have been reachable for before it gets leaders back."""


async def balance(core: Core) -> None:
    """Until cancelled."""
    reachable_for: dict[NodeId, int] = {}
    while True:
        await next_beat(LOOK_SECONDS)
        up = core.aside.peers_without()
        if core.node in core.aside:
            hand_over_all(core)
        reachable_for = {node: reachable_for.get(node, 0) + 1 for node in up if _may_lead(core, node)}
        for group, voters in list(core.members.placement.items()):
            home = voters[0]
            if home != core.node and reachable_for.get(home, 0) > SETTLE_LOOKS and hand_over(core, group, home):
                break
        core.catalog.tidy()
        for host in core.switchboard.hosts():
            host.tidy(is_short=core.node in core.short_of_disk)
            if host.leader is not None:
                for queue in [q for q in host.leader.queues if core.queue_deleted(QueueId(q))]:
                    host.queue_dropped(queue)


def _may_lead(core: Core, node: NodeId) -> bool:
    """In place of this node."""
    is_behind = node in core.behind and core.node not in core.behind
    return node not in core.short_of_disk and not is_behind


def hand_over(core: Core, group: GroupId, target: NodeId) -> bool:
    """Ask `target` to lead, if this node leads and `target` has the whole log. True if it was asked."""
    raft = core.runtime.group(group)
    if raft is None or raft.role is not Role.LEADER:
        return False
    status = raft.status()
    replica = status.progress.get(target)
    if replica is None or replica.match_index < status.commit_index:
        return False
    with suppress(NotLeader, ProposalDropped):
        core.runtime.transfer_leadership(group, target)
        return True
    return False


def hand_over_all(core: Core) -> bool:
    """Every group that this node leads goes to a reachable voter in service that has its log. True when none is left
    that another node could lead."""
    up = core.aside.peers_without()
    done = True
    for group, raft in core.runtime.groups.items():
        others = [voter for voter in raft.configuration.voters if voter in up]
        if others and raft.leader == core.node:
            done = False
            any(hand_over(core, group, voter) for voter in others)
    return done
