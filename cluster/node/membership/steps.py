"""How a group gets from the members it has to those it shall have.

Law: pure; the group's leader asks, each time its configuration is settled, and does one step. A new replica first only
receives the log; it votes when it has caught up, and whoever it replaces goes in the same step. A replica goes without
being replaced only where there are more than wanted; where it is to listen, it keeps the log and loses its vote. No
step is made towards voters of which less than a majority is alive, and a leader hands over before it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.raft.ready import GroupStatus
from cluster.raft.types import Configuration, NodeId

CAUGHT_UP_ENTRIES = 64
"""A replica that is so many entries behind what is committed has caught up: the rest comes while it is promoted."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The leader is to go: one of these is to lead first."""

    candidates: tuple[NodeId, ...]


Step = Configuration | HandOver


def has_majority(voters: Collection[NodeId], live: Collection[NodeId]) -> bool:
    """Can those of `voters` that are alive decide?"""
    return 2 * sum([voter in live for voter in voters]) > len(voters)


def caught_up(status: GroupStatus) -> set[NodeId]:
    """The replicas whose logs have all but the end, as their leader knows."""
    near = status.commit_index - CAUGHT_UP_ENTRIES
    return {
        node
        for node, replica in status.progress.items()
        if replica.active and replica.state == "replicate" and replica.match_index >= near
    }


def next_step(
    current: Configuration,
    wanted: Sequence[NodeId],
    *,
    leader: NodeId,
    ready: Collection[NodeId],
    live: Collection[NodeId],
    listeners: Sequence[NodeId] = (),
) -> Step | None:
    """From a settled configuration towards the voters `wanted`; None when it is there, or has to wait.

    `ready` are the replicas that have caught up, `listeners` those that are to have the log and no vote.
    """
    assert wanted, "a group needs a voter"
    voters = current.voters
    coming = tuple(sorted(node for node in wanted if node not in voters))
    leaving = sorted((node for node in voters if node not in wanted), key=lambda node: (node in live, node))
    learners = tuple(sorted({*coming, *listeners} - {*voters}))
    if current.learners != learners:
        return Configuration(voters, (), learners)
    arrived = [node for node in coming if node in ready and node in live]
    others = [node for node in leaving if node != leader]
    if not arrived and not (leaving and len(voters) > len(wanted)):
        return None
    if not arrived and not others:
        heirs = tuple([node for node in wanted if node in voters and node in ready and node in live])
        return HandOver(heirs) if heirs else None
    target = tuple(sorted({*voters, *arrived[:1]} - set(others[:1])))
    if not has_majority(voters, live) or not has_majority(target, live):
        return None
    return Configuration(target, (), tuple(sorted({*coming, *listeners} - {*target})))
