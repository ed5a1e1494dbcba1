"""Something that nodes say of themselves, yes or no: that they left service, that their disks are short, that their
copies of the catalog are behind.

Law: a node says so when it becomes so, and when it is so no more (`Announcements`). What it said holds until it is
linked anew.
"""

from __future__ import annotations

from cluster.node.announcements import AnnouncementLinks, Announcements
from cluster.node.kinds import Kind
from cluster.raft.types import NodeId


class NodeFlag:
    """One flag of all nodes, as far as one node knows."""

    __slots__ = ("_announcements", "_node", "_nodes", "kind")

    def __init__(self, node: NodeId, links: AnnouncementLinks, kind: Kind) -> None:
        self.kind = kind
        self._node = node
        self._announcements = Announcements(links, kind)
        self._nodes: set[NodeId] = set()

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def peers_without(self) -> set[NodeId]:
        """The nodes that are linked to this one, would say that they raise it, and have not."""
        return self._announcements.hearers() - self._nodes

    def announce(self, is_raised: bool) -> None:
        """This node raises it, or takes it back."""
        self.note(self._node, is_raised)
        self._announcements.tell_all(is_raised)

    def note(self, node: NodeId, is_raised: object) -> None:
        """What a node says of itself."""
        if is_raised:
            self._nodes.add(node)
        else:
            self._nodes.discard(node)

    def link_up(self, peer: NodeId) -> None:
        self.note(peer, False)
        if self._node in self._nodes:
            self._announcements.tell(peer, True)
