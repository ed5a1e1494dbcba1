"""The leader of a shard: takes batches in, hands messages out (leader-local deliveries).

Law: pure. Inputs are method calls; outputs are `take_entry` (the next log entry) and `take_out` (what to tell
which home node). Whatever changes the replicated state goes through an entry and shows its effect in
`applied`; a delivery does not, its settle or return does. While `attaching`, batches are taken but nothing is
delivered: the home nodes are telling what their channels hold.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.broker.shard.entry import (
    Batch,
    EntryPayloads,
    LeaderOps,
    QueueId,
    encode_entry,
    pack_column,
)
from cluster.broker.shard.leader_queue import WATERMARK_CHUNK, Holder, HolderState, LeaderQueue
from cluster.broker.shard.messages import AttachedConsumer, Delivery, ReplyStatus, RequestOp, ToHome
from cluster.broker.shard.queue_state import QueueState
from cluster.broker.shard.state import Applied, ShardState


@dataclass(frozen=True, slots=True)
class LeaderLimits:
    """payload_cache_bytes   entries kept in memory for delivery; beyond it they are read back from the log
    hot_backlog_max       ready messages up to which new ones are declared delivered with their enqueue
    """

    payload_cache_bytes: int = 16 << 20
    hot_backlog_max: int = 2 * WATERMARK_CHUNK


class ShardLeader:
    """One term of leadership over a shard's state."""

    def __init__(
        self,
        state: ShardState,
        load: Callable[[int], bytes],
        limits: LeaderLimits = LeaderLimits(),
    ) -> None:
        """`load(index)` gives the data of a live entry from the log."""
        self._state = state
        self._load = load
        self._limits = limits
        self.attaching = True
        self.queues: dict[QueueId, LeaderQueue] = {
            queue: LeaderQueue(queue, queue_state) for queue, queue_state in state.queues.items()
        }
        self._batches: deque[Batch] = deque()
        self._taken: tuple[list[Batch], LeaderOps] | None = None
        self._received: dict[int, tuple[int, int]] = dict(state.sessions)
        self._settles: list[int] = []
        self._returns: list[int] = []
        self._drops: list[int] = []
        self._watermarks: dict[QueueId, int] = {}
        self._payloads: dict[int, EntryPayloads] = {}
        self._payload_bytes = 0
        self._out: dict[int, ToHome] = {}
        self._restless: dict[QueueId, LeaderQueue] = {}
        self.batch_bytes = 0
        """Bytes of batches that wait for an entry. Bounded by what the home nodes may have in flight."""

    # ---- towards the log

    @property
    def wants_entry(self) -> bool:
        """Is there something to propose?"""
        return bool(self._batches or self._settles or self._returns or self._drops or self._watermarks)

    def receive_batch(self, batch: Batch) -> None:
        """A home node's batch. Done before: only the receipt is repeated. Out of turn: dropped, to be re-sent."""
        incarnation, last = self._received.get(batch.node, (0, 0))
        if batch.incarnation < incarnation:
            return
        if batch.incarnation > incarnation:
            last = 0
        if batch.number == last + 1:
            self._received[batch.node] = (batch.incarnation, batch.number)
            self._batches.append(batch)
            self.batch_bytes += batch.weight
        elif batch.number <= last:
            self._receipt(batch.node)

    def take_entry(self, time_ms: int, bytes_max: int) -> bytes | None:
        """The next entry: as many waiting batches as fit (at least one), and the leader's own operations."""
        if not self.wants_entry:
            return None
        batches: list[Batch] = []
        size = 0
        hot: dict[int, None] = {}
        queues = self.queues
        backlog_max = self._limits.hot_backlog_max
        while self._batches and (not batches or size + self._batches[0].weight <= bytes_max):
            batch = self._batches.popleft()
            size += batch.weight
            batches.append(batch)
            runs = array("Q", batch.runs)
            for queue_id in dict.fromkeys(runs[::3]):
                queue = queues.get(QueueId(queue_id))
                if queue is not None and queue.hot(backlog_max):
                    hot[queue_id] = None
        self.batch_bytes -= size
        ops = LeaderOps(
            pack_column(array("Q", hot)),
            pack_column(array("Q", [n for pair in self._watermarks.items() for n in pair])),
            pack_column(array("Q", self._settles)),
            pack_column(array("Q", self._returns)),
            pack_column(array("Q", self._drops)),
        )
        self._watermarks.clear()
        self._settles.clear()
        self._returns.clear()
        self._drops.clear()
        self._taken = (batches, ops)
        return encode_entry(time_ms, batches, ops)

    def entry_accepted(self) -> None:
        """The entry taken last is in the log (not yet committed)."""
        self._taken = None

    def entry_refused(self) -> None:
        """The entry taken last could not be proposed now: its content is offered again."""
        assert self._taken is not None
        batches, ops = self._taken
        self._taken = None
        self._batches.extendleft(reversed(batches))
        self.batch_bytes += sum(b.weight for b in batches)
        self._settles[:0] = array("Q", ops.settles)
        self._returns[:0] = array("Q", ops.returns)
        self._drops[:0] = array("Q", ops.drops)
        pairs = array("Q", ops.watermarks)
        for i in range(0, len(pairs), 2):
            self._watermarks.setdefault(QueueId(pairs[i]), pairs[i + 1])

    def applied(self, applied: Applied, data: bytes) -> None:
        """The state has applied an entry: receipts go out, messages become ready."""
        for node in applied.sessions:
            self._receipt(node)
        if applied.enqueued:
            self._keep(applied.index, EntryPayloads(data))
        for queue_id, first, end in applied.enqueued:
            queue = self._queue(queue_id)
            if end > queue.state.head:
                queue.ready.add(max(first, queue.state.head), end)
            self._restless[queue_id] = queue
        for queue_id, parts in applied.settled:
            self._queue(queue_id).settle(parts)
        for queue_id, returned, node in applied.returned:
            queue = self._queue(queue_id)
            queue.give_back(returned, node)
            self._restless[queue_id] = queue
        for queue_id in applied.watermarks:
            self._restless[queue_id] = self._queue(queue_id)
        for queue_id in applied.dropped:
            self._forget(queue_id)
        self._evict_dead()

    # ---- home nodes

    def attach(self, node: int, consumers: Sequence[AttachedConsumer]) -> None:
        """What a home node's channels hold; replaces everything this leader knew of that node's consumers."""
        self._part(node)
        for c in consumers:
            queue = self._queue(QueueId(c.queue))
            holder = Holder(
                node, c.consumer, c.credit, c.bytes_credit, exclusive=c.exclusive, passive=c.holder
            )
            queue.claim(holder, c.held)
            queue.join(holder)
            self._restless[queue.id] = queue
        self._return_orphans(node)
        self._receipt(node)

    def node_lost(self, node: int) -> None:
        """The link to a node closed: its consumers are gone, what they hold comes back through the log."""
        self._part(node)
        self._return_orphans(node)
        self._out.pop(node, None)

    def _part(self, node: int) -> None:
        for queue in self.queues.values():
            for key in [k for k in queue.holders if k[0] == node]:
                queue.holders.pop(key).state = HolderState.GONE
            for _, _, owner in queue.unacked:
                if owner.node == node and owner.state is HolderState.PRESENT:
                    owner.state = HolderState.GONE
            queue.gets = deque([g for g in queue.gets if g[0] != node])

    def _return_orphans(self, node: int) -> None:
        for queue in self.queues.values():
            orphans = [part for part in queue.unacked if part[2].state is HolderState.GONE and part[2].node == node]
            for first, end, _ in orphans:
                self._returns += (queue.id, first, end - first)
            for _, _, owner in orphans:
                owner.state = HolderState.RETURNING

    def credit(self, node: int, queue_id: QueueId, consumer: int, messages: int, size: int) -> None:
        """The consumer may get more."""
        queue = self.queues.get(queue_id)
        holder = queue.holders.get((node, consumer)) if queue is not None else None
        if queue is not None and holder is not None:
            holder.credit += messages
            holder.bytes_credit += size
            queue.wake(holder)
            self._restless[queue_id] = queue

    def request(self, node: int, request: int, op: RequestOp, queue_id: QueueId, args: Sequence[int]) -> None:
        """See `RequestOp`. The reply comes by `take_out`, maybe later."""
        queue = self._queue(queue_id)
        match op:
            case RequestOp.CONSUME:
                consumer, credit, bytes_credit, exclusive = args
                if queue.doomed:
                    self._reply(node, request, ReplyStatus.GONE)
                    return
                present = queue.consumers - ((node, consumer) in queue.holders)
                if queue.exclusively_used or (exclusive and present):
                    self._reply(node, request, ReplyStatus.EXCLUSIVE)
                    return
                before = [queue.ready.count, present]
                if (node, consumer) not in queue.holders:
                    queue.join(
                        Holder(node, consumer, credit, bytes_credit, exclusive=bool(exclusive), passive=False)
                    )
                self._restless[queue_id] = queue
                self._reply(node, request, ReplyStatus.OK, before)
            case RequestOp.CANCEL:
                leaving = queue.holders.pop((node, args[0]), None)
                if leaving is not None:
                    queue.leave(leaving)
                    self._restless[queue_id] = queue
                self._reply(node, request, ReplyStatus.OK)
            case RequestOp.GET:
                holder = queue.holders.get((node, args[0]))
                if queue.doomed:
                    self._reply(node, request, ReplyStatus.GONE)
                    return
                if holder is None:
                    holder = Holder(node, args[0], 0, 0, exclusive=False, passive=True)
                    queue.join(holder)
                queue.gets.append((node, request, holder))
                self._restless[queue_id] = queue
            case RequestOp.INFO:
                value = [queue.ready.count, queue.unacked.count, queue.consumers]
                self._reply(node, request, ReplyStatus.OK, value)
            case RequestOp.PURGE:
                count = queue.ready.count
                for first, end in queue.ready.take(count, queue.state.next_seq):
                    self._settles += (queue_id, first, end - first)
                self._reply(node, request, ReplyStatus.OK, count)
            case RequestOp.DELETE:
                if_unused, if_empty = args
                if if_unused and queue.consumers:
                    self._reply(node, request, ReplyStatus.IN_USE)
                elif if_empty and queue.state.alive:
                    self._reply(node, request, ReplyStatus.NOT_EMPTY)
                else:
                    queue.doomed = True
                    self._reply(node, request, ReplyStatus.OK, queue.ready.count)

    def drop(self, queue_id: QueueId) -> None:
        """The catalog has the queue no more: its consumers are told, its contents go through the log."""
        queue = self.queues.get(queue_id)
        if queue is None:
            return
        queue.doomed = True
        if queue_id in self._state.queues:
            self._drops.append(queue_id)
            self._cancel_holders(queue)
        else:
            self._forget(queue_id)

    def all_attached(self) -> None:
        """Nobody else is waited for: deliveries begin."""
        self.attaching = False
        self._restless.update(self.queues)

    # ---- deliveries

    def take_out(self) -> dict[int, ToHome]:
        """Hand out what can be delivered, and give what is to be told: home node -> words."""
        if self._restless and not self.attaching:
            for queue in self._restless.values():
                self._dispatch(queue)
            self._restless.clear()
        out = self._out
        if out:
            self._out = {}
        return out

    def _dispatch(self, queue: LeaderQueue) -> None:
        state = queue.state
        ready = queue.ready
        while queue.gets and (not ready or ready.starts[0] < state.watermark):
            self._serve_get(queue)
        share = max(1, ready.count // (len(queue.turn) or 1))
        while queue.turn and ready and ready.starts[0] < state.watermark:
            holder = queue.turn.popleft()
            if not holder.hungry:
                holder.queued = False
                continue
            for first, end in ready.take(min(holder.credit, share), state.watermark):
                self._deliver(queue, holder, first, end)
            if holder.hungry:
                queue.turn.append(holder)
            else:
                holder.queued = False
        if ready and (queue.gets or (queue.holders and queue.consumers)):
            self._raise_watermark(queue)

    def _raise_watermark(self, queue: LeaderQueue) -> None:
        """Ahead of the deliveries, so that they need not wait for it."""
        state = queue.state
        wanted = min(state.next_seq, queue.ready.starts[0] + WATERMARK_CHUNK)
        asked = max(queue.watermark_asked, state.watermark)
        if asked < wanted and (wanted - asked >= WATERMARK_CHUNK // 2 or queue.ready.starts[0] >= asked):
            queue.watermark_asked = wanted
            self._watermarks[queue.id] = wanted

    def _serve_get(self, queue: LeaderQueue) -> None:
        node, request, holder = queue.gets.popleft()
        taken = queue.ready.take(1, queue.state.watermark)
        if not taken:
            self._reply(node, request, ReplyStatus.OK, None)
            return
        ((first, end),) = taken
        ((_, _, index, slot),) = queue.state.places(first, end)
        sizes, records = self._entry(index).slice(slot, 1)
        ((_, _, redelivered),) = queue.redelivered_split(first, end)
        queue.unacked.put(first, end, holder)
        self._reply(node, request, ReplyStatus.OK, [first, redelivered, sizes, records, queue.ready.count])

    def _deliver(self, queue: LeaderQueue, holder: Holder, first: int, end: int) -> None:
        """Send `[first, end)` to a consumer as far as its bytes allow; the rest is ready again."""
        deliveries = self._to(holder.node).deliveries
        position = first
        for a, b, redelivered in queue.redelivered_split(first, end):
            for seq, run, index, slot in queue.state.places(a, b):
                if holder.bytes_credit <= 0:
                    break
                count = run
                payloads = self._entry(index)
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
            queue.unacked.put(first, position, holder)
        if position < end:
            queue.ready.add(position, end)

    # ---- payloads in memory

    def _entry(self, index: int) -> EntryPayloads:
        payloads = self._payloads.get(index)
        if payloads is None:
            payloads = EntryPayloads(self._load(index))
            self._keep(index, payloads)
        return payloads

    def _keep(self, index: int, payloads: EntryPayloads) -> None:
        if index not in self._payloads:
            self._payloads[index] = payloads
            self._payload_bytes += len(payloads.data)
        while self._payload_bytes > self._limits.payload_cache_bytes and len(self._payloads) > 1:
            oldest = next(iter(self._payloads))
            self._payload_bytes -= len(self._payloads.pop(oldest).data)

    def _evict_dead(self) -> None:
        payloads = self._payloads
        live = self._state.live
        while payloads:
            oldest = next(iter(payloads))
            if oldest in live:
                return
            self._payload_bytes -= len(payloads.pop(oldest).data)

    # ---- small things

    def _queue(self, queue_id: QueueId) -> LeaderQueue:
        queue = self.queues.get(queue_id)
        if queue is None:
            state = self._state.queues.get(queue_id) or QueueState(queue_id)
            queue = self.queues[queue_id] = LeaderQueue(queue_id, state)
        if queue.state.next_seq == 0 and queue_id in self._state.queues:
            queue.state = self._state.queues[queue_id]
        return queue

    def _forget(self, queue_id: QueueId) -> None:
        queue = self.queues.pop(queue_id, None)
        self._restless.pop(queue_id, None)
        self._watermarks.pop(queue_id, None)
        if queue is not None:
            self._cancel_holders(queue)

    def _cancel_holders(self, queue: LeaderQueue) -> None:
        for holder in queue.holders.values():
            if holder.state is HolderState.PRESENT and not holder.passive:
                self._to(holder.node).cancelled.append(holder.consumer)
                queue.leave(holder)
        for node, request, _ in queue.gets:
            self._reply(node, request, ReplyStatus.GONE)
        queue.gets.clear()

    def _to(self, node: int) -> ToHome:
        out = self._out.get(node)
        if out is None:
            out = self._out[node] = ToHome()
        return out

    def _reply(self, node: int, request: int, status: ReplyStatus, value: object = None) -> None:
        self._to(node).replies.append((request, int(status), value))

    def _receipt(self, node: int) -> None:
        session = self._state.sessions.get(node)
        if session is not None:
            self._to(node).receipt = session
