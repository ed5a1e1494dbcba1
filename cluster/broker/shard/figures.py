"""What a leader says of itself and of its queues to whoever asks how they are.

Law: it reads and changes nothing. What takes time to sum is summed when somebody asks, for as much as he has patience.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.broker.shard.entry import HIDDEN_QUEUES, QueueId
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.proposals import Proposals
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.weight import Scale


class Figures:
    """Of one leader."""

    def __init__(
        self,
        *,
        queues: Mapping[QueueId, LeaderQueue],
        state: ShardState,
        payloads: PayloadCache,
        proposals: Proposals,
        keeper: Keeper,
    ) -> None:
        self._queues = queues
        self._state = state
        self._payloads = payloads
        self._proposals = proposals
        self._keeper = keeper

    @property
    def payload_bytes(self) -> int:
        """Bytes of entries in memory."""
        return self._payloads.bytes

    @property
    def payload_reads(self) -> int:
        """Entries that were read back from the log."""
        return self._payloads.reads

    @property
    def batch_bytes(self) -> int:
        """Bytes of batches that wait for an entry."""
        return self._proposals.batch_bytes

    @property
    def leaving(self) -> int:
        """Dead letters that are not where they go to: in their queues yet, or on their way to another shard."""
        posted = [queue.alive for queue_id, queue in self._state.queues.items() if queue_id >= HIDDEN_QUEUES]
        return sum([queue.leaving for queue in self._queues.values()]) + sum(posted)

    def of(self, queue: LeaderQueue, patience: int) -> list[int]:
        """`LeaderQueue.counts`; when something happened last, and the time now (Unix milliseconds); how long consumers
        could take at once what came, in milliseconds, and whether one can now; node and number of the consumer that
        alone is served (0, 0: none); `Scale.figures`; messages leaving. Raises EntryCorrupt."""
        chosen, now_ms = queue.chosen, self._keeper.now_ms
        return [
            *queue.counts(),
            queue.stirred_ms,
            now_ms,
            queue.able_in_all_ms(now_ms),
            int(queue.is_able),
            *((chosen.node, chosen.consumer) if chosen is not None else (0, 0)),
            *Scale(self._payloads, patience).figures(queue),
            queue.leaving,
        ]
