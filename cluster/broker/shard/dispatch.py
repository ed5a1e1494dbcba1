"""Hands ready messages of a queue to who waits for them.

Law: the lowest seq goes first, and only what lies below the replicated watermark goes at all. Nobody gets what is too
old, also where it stood behind what is not. A consumer gets no more messages than its credit, and no more bytes than
its bytes credit and one message. What is handed out is `unacked` under its holder before the words leave.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.holder import Holder
from cluster.broker.shard.intervals import Range
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import WATERMARK_CHUNK, LeaderQueue
from cluster.broker.shard.mark import Mark
from cluster.broker.shard.messages import Delivery, ReplyStatus, ToHome
from cluster.broker.shard.payload_cache import PayloadCache

WORDS_BYTES_MAX = 8 << 20
"""Of messages in the words for one node, about: who brings it there is not served until they have left."""


class Outbox:
    """Words for home nodes that have gathered since the last `take`. Bounded by their credit and requests."""

    def __init__(self, is_full: Callable[[int], bool]) -> None:
        """`is_full(node)`: so much is on its way there that messages should wait."""
        self._words: dict[int, ToHome] = {}
        self._bytes: dict[int, int] = {}
        """Of messages, by node."""
        self._is_full = is_full

    def has_room(self, node: int) -> bool:
        """May the node be given another run of messages?"""
        return self._bytes.get(node, 0) < WORDS_BYTES_MAX and not self._is_full(node)

    def put_messages(self, node: int, size: int) -> None:
        """A delivery or a reply with so many bytes of messages is among the words now."""
        self._bytes[node] = self._bytes.get(node, 0) + size

    def to(self, node: int) -> ToHome:
        words = self._words.get(node)
        if words is None:
            words = self._words[node] = ToHome()
        return words

    def reply(self, node: int, request: int, status: ReplyStatus, value: object = None) -> None:
        self.to(node).replies.append((request, int(status), value))

    def forget(self, node: int) -> None:
        """What was meant for the node is void: it will attach again."""
        self._words.pop(node, None)
        self._bytes.pop(node, None)

    def take(self) -> dict[int, ToHome]:
        words = self._words
        if words:
            self._words = {}
            self._bytes = {}
        return words


class Dispatcher:
    """Deliveries of one leader. `watermarks` gathers what has to be raised through the log: queue -> seq."""

    def __init__(self, payloads: PayloadCache, keeper: Keeper, out: Outbox, watermarks: dict[QueueId, int]) -> None:
        self._payloads = payloads
        self._keeper = keeper
        self._out = out
        self._watermarks = watermarks

    def dispatch(self, queue: LeaderQueue) -> bool:
        """Hand out what can be handed out now. False: somebody's node has no room for more. Raises EntryCorrupt."""
        state = queue.state
        ready = queue.ready
        has_room = self._out.has_room
        late: list[Holder] = []
        is_done = True
        while queue.gets and (not ready or ready.starts[0] < state.watermark):
            if not has_room(queue.gets[0][0]):
                is_done = False
                break
            self._serve_get(queue)
        share = max(1, ready.count // (len(queue.turn) or 1))
        while queue.turn and ready and ready.starts[0] < state.watermark:
            holder = queue.next_in_turn()
            if not holder.hungry:
                holder.queued = False
                continue
            if not has_room(holder.node):
                late.append(holder)
                continue
            full = False
            most = holder.credit if queue.prioritized else min(holder.credit, share)
            for first, end in self._take(queue, most):
                position = first if full else self._deliver(queue, holder, first, end)
                if position < end:
                    ready.add(position, end)
                    full = True
            if holder.hungry:
                queue.turn.append(holder)
            else:
                holder.queued = False
        queue.turn.extendleft(reversed(late))
        if ready and (queue.gets or (queue.holders and queue.consumers)):
            self._raise_watermark(queue)
        return is_done and not late

    def _raise_watermark(self, queue: LeaderQueue) -> None:
        """Ahead of the deliveries, so that they need not wait for it."""
        state = queue.state
        chunk = WATERMARK_CHUNK if queue.settings.delivery_limit is None else min(WATERMARK_CHUNK, queue.appetite)
        wanted = min(state.next_seq, queue.ready.starts[0] + chunk)
        asked = max(queue.watermark_asked, state.watermark)
        if asked < wanted and (wanted - asked >= WATERMARK_CHUNK // 2 or queue.ready.starts[0] >= asked):
            queue.watermark_asked = wanted
            self._watermarks[queue.id] = wanted

    def _take(self, queue: LeaderQueue, count: int) -> list[Range]:
        """Up to so many that may be handed out. Nothing, where all of them were too old."""
        taken = queue.ready.take(count, queue.state.watermark)
        return self._keeper.fresh(queue, taken) if Mark.EXPIRATION in queue.state.marks else taken

    def _serve_get(self, queue: LeaderQueue) -> None:
        """The first get, unless what it would have got was too old and there is more."""
        taken = self._take(queue, 1)
        if not taken and queue.ready:
            return
        node, request, holder = queue.gets.popleft()
        if not taken:
            self._out.reply(node, request, ReplyStatus.OK, None)
            return
        ((first, end),) = taken
        ((_, _, index, slot),) = queue.state.places(first, end)
        sizes, records = self._payloads.get(index).slice(slot, 1)
        ((_, _, redelivered),) = queue.redelivered_split(first, end)
        queue.unacked.put(first, end, holder)
        queue.delivered += 1
        if Mark.EXPIRATION in queue.state.marks:
            self._keeper.expire(queue)
        value = [first, redelivered, sizes, records, queue.ready.count]
        self._out.reply(node, request, ReplyStatus.OK, value)
        self._out.put_messages(node, len(records))

    def _deliver(self, queue: LeaderQueue, holder: Holder, first: int, end: int) -> int:
        """Send `[first, end)` to a consumer as far as its bytes allow. Returns where that ended."""
        deliveries = self._out.to(holder.node).deliveries
        given = holder.bytes_credit
        position = first
        for a, b, redelivered in queue.redelivered_split(first, end):
            for seq, run, index, slot in queue.state.places(a, b):
                if holder.bytes_credit <= 0:
                    break
                count = run
                payloads = self._payloads.get(index)
                offsets = payloads.offsets
                if offsets[slot + count] - offsets[slot] > holder.bytes_credit:
                    fit = bisect_right(offsets, offsets[slot] + holder.bytes_credit, slot, slot + count)
                    count = max(1, fit - 1 - slot)
                sizes, records = payloads.slice(slot, count)
                delivery: Delivery = (holder.consumer, queue.id, seq, count, redelivered, sizes, records)
                deliveries.append(delivery)
                holder.credit -= count
                holder.bytes_credit -= len(records)
                position = seq + count
                if count < run:
                    break
            else:
                continue
            break
        if position > first:
            self._out.put_messages(holder.node, given - holder.bytes_credit)
            queue.delivered += position - first
            queue.unacked.put(first, position, holder)
        return position
