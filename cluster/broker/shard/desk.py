"""What home nodes ask a leader about a queue, and the answers.

Law: an answer comes at once, unless only the log or the watermark can give it (a purge, a retry, a basic.get); then it
comes when that has. A queue that is being deleted takes no consumer any more, and who asks for one that is gone is
told: its home node may take it for another, which bears its name now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.broker.shard.dispatch import Outbox
from cluster.broker.shard.holder import Holder, HolderState
from cluster.broker.shard.keeper import Keeper
from cluster.broker.shard.leader_queue import LeaderQueue
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.orders import Order
from cluster.broker.shard.proposals import Proposals

CLOSED_MS = 10_000
"""How long a queue is closed for whoever deletes it. If the catalog does not know by then, that node has not told it:
the queue is as it was."""


class Desk:
    """One leader's."""

    def __init__(self, out: Outbox, proposals: Proposals, keeper: Keeper) -> None:
        self._out = out
        self._proposals = proposals
        self._keeper = keeper

    def answer(self, queue: LeaderQueue, node: int, request: int, op: RequestOp, args: Sequence[int]) -> bool:
        """See `RequestOp`. True: there may be something to hand out now."""
        match op:
            case RequestOp.CONSUME:
                return self._consume(queue, node, request, args)
            case RequestOp.CANCEL:
                leaving = queue.holders.pop((node, args[0]), None)
                if leaving is not None:
                    queue.leave(leaving)
                self._out.reply(node, request, ReplyStatus.OK)
                return leaving is not None
            case RequestOp.GET:
                return self._get(queue, node, request, args[0])
            case RequestOp.INFO:
                status = ReplyStatus.GONE if self._is_gone(queue) else ReplyStatus.OK
                self._out.reply(node, request, status, queue.counts())
            case RequestOp.PURGE | RequestOp.RETRY if self._is_gone(queue):
                self._out.reply(node, request, ReplyStatus.GONE)
            case RequestOp.PURGE:
                purge = queue.purge(node, request)
                for first, end in purge.ranges:
                    self._proposals.settles += (queue.id, first, end - first)
                if not purge.count:
                    self._out.reply(node, request, ReplyStatus.OK, 0)
            case RequestOp.RETRY:
                retry = queue.retry(node, request)
                for first, end in retry.ranges:
                    self._proposals.forgives += (queue.id, first, end - first)
                if not retry.count:
                    self._out.reply(node, request, ReplyStatus.OK, 0)
            case RequestOp.DELETE:
                if_unused, if_empty = args
                if if_unused and queue.consumers:
                    self._out.reply(node, request, ReplyStatus.IN_USE)
                elif if_empty and not queue.is_empty:
                    self._out.reply(node, request, ReplyStatus.NOT_EMPTY)
                else:
                    queue.closed_until_ms = self._keeper.now_ms + CLOSED_MS
                    self._out.reply(node, request, ReplyStatus.OK, queue.deletable)
        return False

    def _is_gone(self, queue: LeaderQueue) -> bool:
        """Deleted, or about to be."""
        return queue.doomed or self._keeper.now_ms < queue.closed_until_ms

    def dismiss(self, queue: LeaderQueue) -> None:
        """The queue goes: whoever waits for something of it is told."""
        for holder in queue.holders.values():
            if holder.state is HolderState.PRESENT and not holder.passive:
                self._out.to(holder.node).cancelled.append(holder.consumer)
                queue.leave(holder)
        for node, request, _ in queue.gets:
            self._out.reply(node, request, ReplyStatus.GONE)
        queue.gets.clear()
        self.done(queue.orders.take_all())

    def done(self, orders: Iterable[Order]) -> None:
        """What these asked for has happened."""
        for order in orders:
            self._out.reply(order.node, order.request, ReplyStatus.OK, order.count)

    def _consume(self, queue: LeaderQueue, node: int, request: int, args: Sequence[int]) -> bool:
        consumer, credit, bytes_credit, exclusive, *more = args
        if self._is_gone(queue):
            self._out.reply(node, request, ReplyStatus.GONE)
            return False
        others = queue.others(node, consumer)
        if any(h.exclusive for h in others) or (exclusive and others):
            self._out.reply(node, request, ReplyStatus.EXCLUSIVE)
            return False
        before = [queue.ready.count, len(others)]
        if (node, consumer) not in queue.holders:
            joining = Holder(
                node,
                consumer,
                credit,
                bytes_credit,
                exclusive=bool(exclusive),
                passive=False,
                priority=more[0] if more else 0,
            )
            queue.join(joining)
        self._out.reply(node, request, ReplyStatus.OK, before)
        return True

    def _get(self, queue: LeaderQueue, node: int, request: int, consumer: int) -> bool:
        if self._is_gone(queue):
            self._out.reply(node, request, ReplyStatus.GONE)
            return False
        holder = queue.holders.get((node, consumer))
        if holder is None:
            holder = Holder(node, consumer, 0, 0, exclusive=False, passive=True)
            queue.join(holder)
        queue.gets.append((node, request, holder))
        return True
