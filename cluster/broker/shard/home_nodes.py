"""The home nodes of a shard's consumers: what they held when they went, and whom that left without consumers.

Law: what a node that is gone held comes back through the log, once, behind everything that was taken from the node
before it went.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.orphans import Orphans
from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.settings import PLAIN


class HomeNodes:
    """Of one leader."""

    def __init__(
        self,
        queues: Mapping[QueueId, LeaderQueue],
        received: Mapping[int, tuple[int, int]],
        keeper: Keeper,
        proposals: Proposals,
    ) -> None:
        """`received`: incarnation and number of the last batch that was taken from each node."""
        self._queues = queues
        self._received = received
        self._keeper = keeper
        self._proposals = proposals
        self._widowed: dict[int, dict[QueueId, None]] = {}
        """Lost node -> queues that it had consumers of."""

    def came(self, node: int) -> None:
        """It tells what it has; what it left behind before is nobody's concern any more."""
        self._widowed.pop(node, None)

    def part(self, node: int) -> list[LeaderQueue]:
        """The node is lost, or about to tell anew what it has. Returns the queues that are to be looked at for it."""
        concerned: list[LeaderQueue] = []
        for queue in self._queues.values():
            gone = queue.part(node)
            if gone:
                queue.used_ms = self._keeper.now_ms
                if queue.settings is not PLAIN:
                    concerned.append(queue)
                if not all(holder.passive for holder in gone):
                    self._widowed.setdefault(node, {})[queue.id] = None
        return concerned

    def return_orphans(self, node: int) -> None:
        """Propose that what holders of the node that are gone still have comes back."""
        triples: list[int] = []
        for queue in self._queues.values():
            for first, end in queue.take_orphans(node):
                triples += (queue.id, first, end - first)
        if triples:
            self._proposals.orphans.add(Orphans(node, self._received.get(node, (0, 0)), triples))

    def take_widowed(self, node: int) -> list[QueueId]:
        """Queues that lost a consumer with the node, which has not attached since; told once."""
        return list(self._widowed.pop(node, ()))
