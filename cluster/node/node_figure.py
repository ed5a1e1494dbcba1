"""A figure that nodes give of themselves, all of which keep to the least: how many bytes their stores keep for
consumers.

Law: a node says when it is another (`Announcements`). What it said holds until it says something else, also while it is
away: what is agreed on meanwhile comes to it when it is back, and a majority may need it. Only who is no member any
more, or is linked with too old a version to say it, counts no longer.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.node.announcements import AnnouncementLinks, Announcements
from cluster.node.kinds import Kind
from cluster.node.links import ProtocolViolation
from cluster.raft.types import NodeId


class NodeFigure:
    """Of all nodes, as far as one node knows: whole numbers above 0."""

    __slots__ = ("_announcements", "_figures", "_node", "kind")

    def __init__(self, node: NodeId, links: AnnouncementLinks, kind: Kind) -> None:
        self.kind = kind
        self._node = node
        self._announcements = Announcements(links, kind)
        self._figures: dict[NodeId, int] = {}

    def announce(self, figure: int) -> None:
        """This node's own. Tells nobody what it told before."""
        if figure != self._figures.get(self._node):
            self.note(self._node, figure)
            self._announcements.tell_all(figure)

    def note(self, node: NodeId, figure: object) -> None:
        """What a node says of itself. Raises ProtocolViolation."""
        if not isinstance(figure, int) or isinstance(figure, bool) or figure <= 0:
            raise ProtocolViolation(f"{self.kind.name} is a whole number above 0")
        self._figures[node] = figure

    def link_up(self, peer: NodeId) -> None:
        if not self._announcements.knows(peer):
            self._figures.pop(peer, None)
        if self._node in self._figures:
            self._announcements.tell(peer, self._figures[self._node])

    def least(self, has_left: Callable[[NodeId], bool]) -> tuple[int, NodeId]:
        """And whose it is: this node's rather than another's. This node has announced its own."""
        members = [(figure, node != self._node, node) for node, figure in self._figures.items() if not has_left(node)]
        figure, _, node = min(members)
        return figure, node
