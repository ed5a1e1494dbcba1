"""How a node comes to know which cluster it belongs to, and as whom.

Law: a data directory knows it for ever. An empty one has a token, which is lost with it; whoever founds a cluster
writes the tokens of its first members down, and a first member is let in by its token alone. So a node that has lost
its directory is nobody's former self: it asks to join, and is another member (ADR 11). A cluster is founded by the
first of the configured members, when all of them answer that they are empty and know the same list; or, after some
patience, when a majority does and no other answers.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgpack
import trio

from cluster.node.config import NodeConfig, PeerSpec
from cluster.node.links import ProbeFailed, petition, probe
from cluster.node.logging import get_logger
from cluster.node.membership.placement import REPLICAS
from cluster.node.tls import Certificates
from cluster.raft.storage import GroupWrite, Storage
from cluster.raft.types import NOBODY, Configuration, GroupId, HardState, LogIndex, NodeId, SnapshotMeta, Term
from cluster.store.identity import Identity

FOUNDING_PATIENCE_SECONDS = 5.0
"""How long a founder waits for members that do not answer, when a majority is empty."""
_PROBE_PAUSE_SECONDS = 0.05
_ANSWER_SECONDS = 1.0
_COMPLAIN_AFTER_SECONDS = 10.0
_TOKEN_NOTE = "token"
_CHARTER_NOTE = "charter"


class Notes(Protocol):
    """Where a node keeps what it must know of itself."""

    def read_note(self, name: str) -> bytes | None: ...

    def write_note(self, name: str, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Charter:
    """What a cluster was founded as: its id, its members in the order of their ids (from 1), its shards.

    `tokens` are those of the members' directories. Of a cluster that a node joined later it knows no first members.
    """

    cluster_id: str
    members: tuple[PeerSpec, ...]
    shards: int
    tokens: tuple[str, ...] = ()

    def node_of(self, name: str) -> NodeId:
        """NOBODY for a stranger."""
        for node, member in enumerate(self.members, start=1):
            if member.name == name:
                return NodeId(node)
        return NOBODY

    def admits(self, name: str, token: str) -> bool:
        """Is this the directory of a first member, which has not worked yet?"""
        node = self.node_of(name)
        return bool(node and token) and self.tokens[node - 1 : node] == (token,)

    def placement(self) -> dict[GroupId, tuple[NodeId, ...]]:
        """Group -> its voters, the preferred leader first. Group 0 is on every member."""
        nodes = [NodeId(n) for n in range(1, len(self.members) + 1)]
        if not nodes:
            return {}
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
        members = [[m.name, m.host, m.port] for m in self.members]
        return [self.cluster_id, members, self.shards, list(self.tokens)]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Charter:
        cluster_id, members, shards, *tokens = wire
        specs = tuple([PeerSpec(name, host, port) for name, host, port in members])
        return cls(cluster_id, specs, shards, tuple(tokens[0]) if tokens else ())


@dataclass(frozen=True, slots=True)
class Admission:
    """A cluster let this node in: under which id, and where the members are."""

    charter: Charter
    node: NodeId
    members: tuple[tuple[int, str, str, int], ...]
    """id, name, host, port"""


def directory_token(notes: Notes) -> str:
    """Of the directory that `notes` are in; made once, durable before anybody is told it."""
    token = notes.read_note(_TOKEN_NOTE)
    if token is None:
        token = secrets.token_hex(16).encode()
        notes.write_note(_TOKEN_NOTE, token)
    return token.decode()


def read_charter(notes: Notes) -> Charter | None:
    """None in a directory that an older program began."""
    data = notes.read_note(_CHARTER_NOTE)
    return Charter.from_wire(msgpack.unpackb(data)) if data is not None else None


def describe(charter: Charter | None, token: str, configured: Sequence[str]) -> dict[str, Any]:
    """What a probe is told: the charter, or that this node is empty and which members it was given."""
    wire = charter.to_wire() if charter is not None else None
    return {"charter": wire, "token": token, "configured": list(configured)}


def configured_names(config: NodeConfig) -> list[str]:
    return [member.name for member in config.members]


def founded(config: NodeConfig, token: str, answers: Mapping[str, Mapping[str, Any]], waited: float) -> Charter | None:
    """The charter of a new cluster, if this node may found one by the answers of this moment.

    `waited` are the seconds since the founder began to ask.
    """
    names = configured_names(config)
    empty = {
        name: str(answer["token"])
        for name, answer in answers.items()
        if answer.get("charter") is None and answer.get("token") and answer.get("configured") == names
    }
    empty[config.node.name] = token
    is_majority = 2 * len(empty) > len(names) and answers.keys() <= empty.keys()
    if len(empty) < len(names) and not (is_majority and waited >= FOUNDING_PATIENCE_SECONDS):
        return None
    members = tuple([member for member in config.members if member.name in empty])
    tokens = tuple([empty[member.name] for member in members])
    return Charter(secrets.token_hex(8), members, config.cluster.shards, tokens)


async def find_cluster(
    config: NodeConfig, token: str, certificates: Certificates | None, *, may_found: bool
) -> Charter | Admission:
    """With an empty directory: found a cluster if this node may, take up a first member's place, or join."""
    log = get_logger("bootstrap")
    began = trio.current_time()
    complain_at = began + _COMPLAIN_AFTER_SECONDS
    while True:
        answers: dict[str, dict[str, Any]] = {}
        failures: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for other in config.other_members:
                nursery.start_soon(_ask, config, certificates, other, answers, failures)
        charters = {
            name: Charter.from_wire(answer["charter"])
            for name, answer in answers.items()
            if answer.get("charter") is not None
        }
        for charter in charters.values():
            if charter.admits(config.node.name, token):
                return charter
        for other in config.other_members:
            if other.name in charters:
                admission = await _join(config, token, certificates, other, failures)
                if admission is not None:
                    return admission
        if not charters and may_found:
            new = founded(config, token, answers, trio.current_time() - began)
            if new is not None:
                return new
        if trio.current_time() >= complain_at:
            complain_at += 6 * _COMPLAIN_AFTER_SECONDS
            told = "; ".join([f"{name}: {why}" for name, why in failures.items()]) or "none belongs to a cluster"
            log.warning("waiting for a member of the cluster", founder=config.founder.name, members=told)
        await trio.sleep(_PROBE_PAUSE_SECONDS)


async def _ask(
    config: NodeConfig,
    certificates: Certificates | None,
    other: PeerSpec,
    answers: dict[str, dict[str, Any]],
    failures: dict[str, str],
) -> None:
    with trio.move_on_after(_ANSWER_SECONDS):
        try:
            answers[other.name] = await probe(
                other.host, other.port, config.secret_bytes, name=config.node.name, certificates=certificates
            )
        except ProbeFailed as error:
            failures[other.name] = str(error)


async def _join(
    config: NodeConfig,
    token: str,
    certificates: Certificates | None,
    other: PeerSpec,
    failures: dict[str, str],
) -> Admission | None:
    own = config.this_member
    body = {"name": own.name, "host": own.host, "port": own.port, "token": token}
    try:
        answer = await petition(
            other.host, other.port, config.secret_bytes, body, name=own.name, certificates=certificates
        )
    except ProbeFailed as error:
        failures[other.name] = str(error)
        return None
    if "node" not in answer:
        failures[other.name] = str(answer.get("refused", "no answer"))
        return None
    charter = Charter(answer["cluster_id"], (), answer["shards"])
    members = tuple([(node, name, host, port) for node, name, host, port in answer["members"]])
    return Admission(charter, NodeId(answer["node"]), members)


def identity_of(charter: Charter, name: str) -> Identity:
    members = tuple([(NodeId(node), m.name) for node, m in enumerate(charter.members, start=1)])
    return Identity(charter.cluster_id, charter.node_of(name), name, members)


def establish(storage: Storage, charter: Charter, node: NodeId) -> None:
    """Write the first state of every group that this node holds; what an interrupted start wrote goes."""
    storage.write([GroupWrite(group, forget=True) for group in storage.groups()])
    storage.write(charter.first_writes(node))


def write_charter(notes: Notes, charter: Charter) -> None:
    notes.write_note(_CHARTER_NOTE, msgpack.packb(charter.to_wire()))
