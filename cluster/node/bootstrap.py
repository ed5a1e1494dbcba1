"""How a node comes to know which cluster it belongs to, and as whom.

Law: a data directory knows it for ever. With an empty one, the founder (the first of the configured members) founds
a cluster if no other member that answers belongs to one already; every other node waits until a member tells it.
A name that has already worked in a cluster is never taken up again with an empty directory: its votes are lost,
and a vote may be cast once.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio

from cluster.node.config import NodeConfig, PeerSpec
from cluster.node.links import ProbeFailed, probe
from cluster.node.logging import get_logger
from cluster.node.tls import Certificates
from cluster.raft.storage import GroupWrite, Storage
from cluster.raft.types import NOBODY, Configuration, GroupId, HardState, LogIndex, NodeId, SnapshotMeta, Term
from cluster.store.identity import Identity, IdentityMismatch

REPLICAS = 3
"""Replicas of a shard, where there are so many members."""
_PROBE_PAUSE_SECONDS = 0.05
_COMPLAIN_AFTER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Charter:
    """What a cluster was founded as: its id, its members in the order of their ids (from 1), its shards."""

    cluster_id: str
    members: tuple[PeerSpec, ...]
    shards: int

    def node_of(self, name: str) -> NodeId:
        """NOBODY for a stranger."""
        for node, member in enumerate(self.members, start=1):
            if member.name == name:
                return NodeId(node)
        return NOBODY

    def placement(self) -> dict[GroupId, tuple[NodeId, ...]]:
        """Group -> its voters, the preferred leader first. Group 0 is on every member."""
        nodes = [NodeId(n) for n in range(1, len(self.members) + 1)]
        placed = {GroupId(0): tuple(nodes)}
        for shard in range(1, self.shards + 1):
            turned = nodes[(shard - 1) % len(nodes) :] + nodes[: (shard - 1) % len(nodes)]
            placed[GroupId(shard)] = tuple(turned[:REPLICAS])
        return placed

    def first_writes(self, node: NodeId) -> list[GroupWrite]:
        """What the groups of `node` are before anything happened."""
        return [
            GroupWrite(
                group,
                hard_state=HardState(Term(0), NOBODY, LogIndex(0)),
                snapshot=(SnapshotMeta(LogIndex(0), Term(0), Configuration(tuple(sorted(voters)))), b""),
            )
            for group, voters in self.placement().items()
            if node in voters
        ]

    def to_wire(self) -> list[Any]:
        return [self.cluster_id, [[m.name, m.host, m.port] for m in self.members], self.shards]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Charter:
        cluster_id, members, shards = wire
        return cls(cluster_id, tuple([PeerSpec(name, host, port) for name, host, port in members]), shards)


def new_charter(config: NodeConfig) -> Charter:
    return Charter(secrets.token_hex(8), config.members, config.cluster.shards)


def describe(charter: Charter | None, worked: Sequence[int]) -> dict[str, Any]:
    """What a probe is told: the charter, and which nodes are known to have worked."""
    return {"charter": charter.to_wire() if charter is not None else None, "worked": list(worked)}


async def find_charter(config: NodeConfig, certificates: Certificates | None) -> Charter:
    """With an empty directory: found a cluster, or learn of it. Raises IdentityMismatch."""
    log = get_logger("bootstrap")
    began = trio.current_time()
    complained = False
    while True:
        answers: dict[str, dict[str, Any]] = {}
        failures: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for other in config.other_members:
                nursery.start_soon(_ask, config, certificates, other, answers, failures)
        for answer in answers.values():
            if answer.get("charter") is not None:
                return _admitted(Charter.from_wire(answer["charter"]), answer, config.node.name)
        if config.is_founder:
            return new_charter(config)
        if not complained and trio.current_time() - began > _COMPLAIN_AFTER_SECONDS:
            complained = True
            told = "; ".join([f"{name}: {why}" for name, why in failures.items()]) or "none has joined a cluster"
            log.warning("waiting for a member of the cluster", founder=config.founder.name, members=told)
        await trio.sleep(_PROBE_PAUSE_SECONDS)


async def _ask(
    config: NodeConfig,
    certificates: Certificates | None,
    other: PeerSpec,
    answers: dict[str, dict[str, Any]],
    failures: dict[str, str],
) -> None:
    with trio.move_on_after(1.0):
        try:
            answers[other.name] = await probe(
                other.host, other.port, config.secret_bytes, name=config.node.name, certificates=certificates
            )
        except ProbeFailed as error:
            failures[other.name] = str(error)


def _admitted(charter: Charter, answer: dict[str, Any], name: str) -> Charter:
    node = charter.node_of(name)
    if node == NOBODY:
        raise IdentityMismatch(f"{name} is not a member of the cluster {charter.cluster_id} that its peers belong to")
    if node in answer.get("worked", ()):
        raise IdentityMismatch(
            f"{name} has worked in the cluster {charter.cluster_id} before, but its data directory is empty: "
            "bring the data back; a node without it cannot take up the same name"
        )
    return charter


def identity_of(charter: Charter, name: str) -> Identity:
    members = tuple([(NodeId(node), m.name) for node, m in enumerate(charter.members, start=1)])
    return Identity(charter.cluster_id, charter.node_of(name), name, members)


def establish(storage: Storage, charter: Charter, node: NodeId) -> None:
    """Write the first state of every group that this node holds."""
    storage.write(charter.first_writes(node))
