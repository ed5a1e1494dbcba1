"""What a node says of itself, in one kind of message.

Law: it says it itself: to all that it is linked to when it becomes so, and to each that links come up to later. Who
speaks too old a link version to know of it is told nothing, and says nothing.
"""

from __future__ import annotations

from typing import Final, Protocol

from cluster.node.kinds import Kind
from cluster.node.links import VERSION_OF_LAGS, VERSION_OF_SHORTAGES, VERSION_OF_SIZES
from cluster.raft.types import NodeId

_VERSIONS: Final = {
    Kind.SHORT_OF_DISK: VERSION_OF_SHORTAGES,
    Kind.BEHIND: VERSION_OF_LAGS,
    Kind.KEPT_BYTES: VERSION_OF_SIZES,
}
"""The link version that brought the kind; every version knows the others."""


class AnnouncementLinks(Protocol):
    def send(self, peer: NodeId, kind: int, body: int) -> bool: ...

    def up_peers(self) -> list[NodeId]: ...

    def version_of(self, peer: NodeId) -> int: ...


class Announcements:
    """Of one node, of one kind."""

    __slots__ = ("_links", "_version_min", "kind")

    def __init__(self, links: AnnouncementLinks, kind: Kind) -> None:
        self.kind = kind
        self._links = links
        self._version_min = _VERSIONS.get(kind, 0)

    def hearers(self) -> set[NodeId]:
        """The nodes that are linked to this one and know of the kind: they would say it, too."""
        return {peer for peer in self._links.up_peers() if self.knows(peer)}

    def knows(self, peer: NodeId) -> bool:
        """Of a node that is linked to this one."""
        return self._links.version_of(peer) >= self._version_min

    def tell_all(self, body: int) -> None:
        for peer in self._links.up_peers():
            self.tell(peer, body)

    def tell(self, peer: NodeId, body: int) -> None:
        if self.knows(peer):
            self._links.send(peer, self.kind, body)
