"""The home nodes of a shard's consumers: what they bring, what they held when they went, and which queues that left
without consumers.

Law: what a node says that it holds nobody else gets, unless another has it already. What nobody holds any more who is
there comes back through the log, once; what a node that is gone held, behind everything that was taken from the node
before it went.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from cluster.broker.shard.columns import unpack_column
from cluster.broker.shard.dispatch import Outbox
from cluster.broker.shard.entry import Batch, QueueId
from cluster.broker.shard.holder import Holder
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.orphans import Orphans
from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.registry import QueueRegistry
from cluster.broker.shard.settings import PLAIN


class HomeNodes:
    """Of one leader."""

    def __init__(
        self,
        registry: QueueRegistry,
        out: Outbox,
        received: Mapping[int, tuple[int, int]],
        keeper: Keeper,
        proposals: Proposals,
    ) -> None:
        """`received`: incarnation and number of the last batch that was taken from each node."""
        self._registry = registry
        self._out = out
        self._received = received
        self._keeper = keeper
        self._proposals = proposals
        self._widowed: dict[int, dict[QueueId, None]] = {}
        """Lost node -> queues that it had consumers of."""

    def attach(self, node: int, consumers: Sequence[AttachedConsumer]) -> list[LeaderQueue]:
        """The node, which has parted, tells what it has; what it left behind is nobody's concern any more. Returns the
        queues that are to be looked at for it."""
        self._widowed.pop(node, None)
        claims: dict[LeaderQueue, list[tuple[int, int, Holder]]] = {}
        for c in consumers:
            if self._registry.is_dropped(QueueId(c.queue)):
                if not c.holder:
                    self._out.to(node).cancelled.append(c.consumer)
                continue
            queue = self._registry.queue(QueueId(c.queue))
            holder = Holder(
                node,
                c.consumer,
                c.credit,
                c.bytes_credit,
                exclusive=c.exclusive,
                passive=c.holder,
                priority=c.priority,
                served_end=c.served_end,
            )
            queue.join(holder)
            claims.setdefault(queue, []).extend([(first, end, holder) for first, end in c.held])
        for queue, parts in claims.items():
            queue.claim(sorted(parts, key=itemgetter(0)))
        return list(claims)

    def disclaimed(self, batch: Batch) -> Iterator[tuple[LeaderQueue, list[Range]]]:
        """What comes back by a batch that was done before: the node did not know, and said that it holds this."""
        triples = unpack_column("Q", batch.returns)
        for i in range(0, len(triples), 3):
            queue = self._registry.queues.get(QueueId(triples[i]))
            if queue is not None:
                yield queue, queue.state.alive_parts(triples[i + 1], triples[i + 1] + triples[i + 2])

    def part(self, node: int) -> list[LeaderQueue]:
        """The node is lost, or about to tell anew what it has. Returns the queues that are to be looked at for it."""
        concerned: list[LeaderQueue] = []
        for queue in self._registry.queues.values():
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
        for queue in self._registry.queues.values():
            for first, end in queue.take_orphans(node):
                triples += (queue.id, first, end - first)
        if triples:
            self._proposals.orphans.add(Orphans(node, self._received.get(node, (0, 0)), triples))

    def take_widowed(self, node: int) -> list[QueueId]:
        """Queues that lost a consumer with the node, which has not attached since; told once."""
        return list(self._widowed.pop(node, ()))
