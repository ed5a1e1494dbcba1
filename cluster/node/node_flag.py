"""Something that nodes say of themselves, yes or no: that they left service, that their disks are short, that their
copies of the catalog are behind.

Law: a node says it itself: to all that it is linked to when it becomes so, to each that links come up to later, and to
all again when it is so no more. What it said holds until it is linked anew. Who speaks too old a link version to know
of the flag is told nothing, and says nothing.
"""

from __future__ import annotations

from typing import Protocol

from cluster.node.kinds import Kind
from cluster.raft.types import NodeId


class FlagLinks(Protocol):
    def send(self, peer: NodeId, kind: int, body: bool) -> bool: ...

    def up_peers(self) -> list[NodeId]: ...

    def version_of(self, peer: NodeId) -> int: ...


class NodeFlag:
    """One flag of all nodes, as far as one node knows."""

    __slots__ = ("_links", "_node", "_nodes", "_version_min", "kind")

    def __init__(self, node: NodeId, links: FlagLinks, kind: Kind, version_min: int = 0) -> None:
        """`kind` of message carries it over links of `version_min` and later."""
        self._node = node
        self._links = links
        self.kind = kind
        self._version_min = version_min
        self._nodes: set[NodeId] = set()

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def peers_without(self) -> set[NodeId]:
        """The nodes that are linked to this one, would say that they raise it, and have not."""
        return {peer for peer in self._links.up_peers() if peer not in self._nodes and self._is_known_to(peer)}

    def announce(self, is_raised: bool) -> None:
        """This node raises it, or takes it back."""
        self.note(self._node, is_raised)
        for peer in self._links.up_peers():
            self._tell(peer, is_raised)

    def note(self, node: NodeId, is_raised: bool) -> None:
        """What a node says of itself."""
        if is_raised:
            self._nodes.add(node)
        else:
            self._nodes.discard(node)

    def link_up(self, peer: NodeId) -> None:
        self.note(peer, False)
        if self._node in self._nodes:
            self._tell(peer, True)

    def _tell(self, peer: NodeId, is_raised: bool) -> None:
        if self._is_known_to(peer):
            self._links.send(peer, self.kind, is_raised)

    def _is_known_to(self, peer: NodeId) -> bool:
        return self._links.version_of(peer) >= self._version_min
