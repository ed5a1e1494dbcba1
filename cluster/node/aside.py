"""Nodes that left service, maybe this one among them: they are to lead nothing.

Law: a node says itself that it is aside: to all that it is linked to when it leaves service, to each that links come up
to later, and to all again when it comes back. What it said holds until it is linked anew.
"""

from __future__ import annotations

from typing import Protocol

from cluster.node.kinds import Kind
from cluster.raft.types import NodeId


class AsideLinks(Protocol):
    def send(self, peer: NodeId, kind: int, body: bool) -> bool: ...

    def up_peers(self) -> list[NodeId]: ...


class Aside:
    """As far as one node knows."""

    __slots__ = ("_links", "_node", "_nodes")

    def __init__(self, node: NodeId, links: AsideLinks) -> None:
        self._node = node
        self._links = links
        self._nodes: set[NodeId] = set()

    def __contains__(self, node: NodeId) -> bool:
        return node in self._nodes

    def serving_peers(self) -> set[NodeId]:
        """The nodes that are linked to this one and in service."""
        return set(self._links.up_peers()) - self._nodes

    def announce(self, is_aside: bool) -> None:
        """This node leaves service, or comes back to it."""
        self.note(self._node, is_aside)
        for peer in self._links.up_peers():
            self._links.send(peer, Kind.ASIDE, is_aside)

    def note(self, node: NodeId, is_aside: bool) -> None:
        """What a node says of itself."""
        if is_aside:
            self._nodes.add(node)
        else:
            self._nodes.discard(node)

    def link_up(self, peer: NodeId) -> None:
        self.note(peer, False)
        if self._node in self._nodes:
            self._links.send(peer, Kind.ASIDE, True)
