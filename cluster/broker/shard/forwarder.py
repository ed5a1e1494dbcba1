"""Sends what stands in a shard's outboxes to the shards that it is for.

Law: one stretch at a time for each target, and the next one only when the target has said that the one before is
committed there. The session is the shard's, numbered by the seqs of the outbox: what is sent twice, by whichever
leader, is enqueued once. A new leader first asks how far the target has come. What is committed there is settled here.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from cluster.broker.shard.columns import pack_column, pack_numbers
from cluster.broker.shard.dead_letters import open_post
from cluster.broker.shard.entry import HIDDEN_QUEUES, SHARD_SESSIONS, Batch, QueueId
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.payload_cache import PayloadCache
from cluster.broker.shard.state import ShardState

AGAIN_MS = 500
"""A question or a stretch without an answer is sent again."""
STRETCH_MAX = 1000
STRETCH_BYTES = 1 << 20
"""Messages and bytes after which a stretch ends."""


class Forwarder:
    """One leader's. Bounded by the number of shards."""

    def __init__(self, *, shard: int, incarnation: int, state: ShardState, payloads: PayloadCache) -> None:
        self._session = SHARD_SESSIONS + shard
        self._incarnation = incarnation
        self._state = state
        self._payloads = payloads
        self._known: dict[int, int] = {}
        """Target -> the seq up to which it has everything."""
        self._sent: dict[int, tuple[int, int]] = {}
        """Target -> (when, end of the stretch; 0 for a question). One at a time."""
        self._targets = {queue - HIDDEN_QUEUES: None for queue in state.queues if queue >= HIDDEN_QUEUES}
        """Shards for which something may stand in an outbox."""

    def filled(self, outbox: QueueId) -> None:
        """Something has been put into an outbox."""
        self._targets[outbox - HIDDEN_QUEUES] = None

    def __bool__(self) -> bool:
        return bool(self._targets)

    def words(self, now_ms: int) -> list[tuple[int, int, int, Batch | None]]:
        """What to send now: (target, session, incarnation, stretch or None for the question how far it is)."""
        words: list[tuple[int, int, int, Batch | None]] = []
        for target in list(self._targets):
            queue = self._state.queues.get(QueueId(HIDDEN_QUEUES + target))
            if queue is None or not queue.alive:
                del self._targets[target]
                self._sent.pop(target, None)
                continue
            if target in self._sent and now_ms - self._sent[target][0] < AGAIN_MS:
                continue
            known = self._known.get(target)
            if known is None:
                self._sent[target] = (now_ms, 0)
                words.append((target, self._session, self._incarnation, None))
            elif (batch := self._stretch(queue.id, max(known, queue.head), queue.next_seq)) is not None:
                self._sent[target] = (now_ms, batch.number)
                words.append((target, self._session, self._incarnation, batch))
        return words

    def receipt(self, target: int, incarnation: int, last: int) -> tuple[int, int, int] | None:
        """The target has everything below `last`. Returns what is to be settled: (queue, first seq, count).

        What it has of an earlier incarnation of this shard is nothing of this one.
        """
        if incarnation > self._incarnation:
            return None
        if incarnation < self._incarnation:
            last = 0
        known = self._known.get(target)
        self._known[target] = max(last, known or 0)
        if known is None or self._known[target] >= self._sent.get(target, (0, 0))[1]:
            self._sent.pop(target, None)
        queue = self._state.queues.get(QueueId(HIDDEN_QUEUES + target))
        if queue is None or queue.head >= last:
            return None
        return queue.id, queue.head, min(last, queue.next_seq) - queue.head

    def forsaken(self, deleted: Callable[[QueueId], bool]) -> list[tuple[int, int, int]]:
        """What stands first in outboxes whose target does not answer, for queues that are no more: to be settled."""
        gone: list[tuple[int, int, int]] = []
        for target in self._sent:
            queue = self._state.queues.get(QueueId(HIDDEN_QUEUES + target))
            if queue is None or not queue.alive:
                continue
            end = queue.head
            for seq, count, index, slot in queue.places(queue.head, queue.next_seq):
                payloads = self._payloads.get(index)
                while end < seq + count and deleted(open_post(payloads.record(slot + end - seq))[0]):
                    end += 1
                if end < seq + count:
                    break
            if end > queue.head:
                gone.append((queue.id, queue.head, end - queue.head))
        return gone

    def _stretch(self, outbox: QueueId, first: int, next_seq: int) -> Batch | None:
        """Messages from `first` on, which are all alive: only receipts settle here, in order. Raises EntryCorrupt."""
        sizes: array[int] = array("I")
        runs: list[int] = []
        marks: list[int] = []
        records: list[bytes] = []
        size = 0
        for _, count, index, slot in self._state.queues[outbox].places(first, min(first + STRETCH_MAX, next_seq)):
            payloads = self._payloads.get(index)
            for i in range(count):
                if size >= STRETCH_BYTES:
                    break
                queue, priority, record = open_post(payloads.record(slot + i))
                if runs and runs[-3] == queue:
                    runs[-1] += 1
                else:
                    runs += (queue, len(sizes), 1)
                if priority:
                    marks += (len(sizes), Mark.PRIORITY, priority)
                sizes.append(len(record))
                records.append(record)
                size += len(record)
        if not sizes:
            return None
        return Batch(
            self._session,
            self._incarnation,
            first + len(sizes),
            pack_column(sizes),
            pack_numbers(runs),
            b"",
            b"",
            b"",
            pack_numbers(marks),
            b"".join(records),
        )
