"""Links of a node to two others, and what was said to them."""

from __future__ import annotations

from cluster.raft.types import NodeId

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


class Peers:
    """Of the first node. The second speaks link version `version`, the third the one before."""

    def __init__(self, version: int) -> None:
        self.sent: list[tuple[NodeId, int, int]] = []
        self._version = version

    def send(self, peer: NodeId, kind: int, body: int) -> bool:
        self.sent.append((peer, kind, body))
        return True

    def up_peers(self) -> list[NodeId]:
        return [TWO, THREE]

    def version_of(self, peer: NodeId) -> int:
        return self._version - 1 if peer == THREE else self._version
